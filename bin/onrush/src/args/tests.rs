use clap::{CommandFactory as _, error::ErrorKind};

use super::*;

fn parse(line: &str) -> Result<Cli, clap::Error> {
    Cli::try_parse_from(line.split_whitespace())
}

#[test]
fn the_definition_is_consistent_and_every_visible_verb_has_an_example() {
    Cli::command().debug_assert();
    for verb in Cli::command().get_subcommands().filter(|verb| !verb.is_hide_set()) {
        let mut leaves: Vec<_> = verb.get_subcommands().collect();
        if leaves.is_empty() {
            leaves.push(verb);
        }
        for leaf in leaves {
            let help = leaf.get_after_help().map(ToString::to_string).unwrap_or_default();
            assert!(help.contains("Examples:"), "{} {}", verb.get_name(), leaf.get_name());
        }
    }
}

#[test]
fn the_issues_verbs_are_all_there() {
    for line in [
        "onrush dev",
        "onrush dev --nodes 5 --data-dir d",
        "onrush start --data-dir d --seed a:1 --seed b:2 --name n --gateway :1 --api :2 --peer :3 --advertise h --voters 3 \
         --roles worker --zone z --insecure --join-token t --process-isolation none --config f",
        "onrush serve f.wasm --addr 127.0.0.1:0 --env A=B",
        "onrush new n --template rust",
        "onrush build",
        "onrush up",
        "onrush deploy",
        "onrush deploy -f m.toml n",
        "onrush deploy n --wasm f --env K=V --timeout 5s --memory 64MiB --concurrency 2 --reuse 3 --idempotent --streaming",
        "onrush deploy n --process d",
        "onrush invoke n@1 -X PUT -p /x -H a:b -d @f -o out",
        "onrush list --api http://h:1 --token t -n ns -o json",
        "onrush describe n",
        "onrush remove n",
        "onrush remove n --with-routes",
        "onrush route set r --path / --function f@3 --host *.a.b --method GET,PUT --method POST --filter coalesce",
        "onrush route set -f m.toml",
        "onrush route set r -f m.toml",
        "onrush route list --fresh -o json",
        "onrush route remove r",
        "onrush route rm r.shop",
        "onrush filter list -o json",
        "onrush filter list cache",
        "onrush logs -f n",
        "onrush node list -o json",
        "onrush node drain n",
        "onrush node drain --undo n",
        "onrush node cordon --undo n",
        "onrush node undrain n",
        "onrush node cordon n",
        "onrush node uncordon n",
        "onrush node remove n",
        "onrush cluster status",
        "onrush cluster set voters=5",
        "onrush compile-component a b",
    ] {
        assert!(parse(line).is_ok(), "{line}: {}", parse(line).unwrap_err());
    }
}

#[test]
fn format_and_api_are_understood_before_and_behind_the_verb() {
    for line in ["onrush -o json list", "onrush list -o json", "onrush node list -o json", "onrush -o json node list"] {
        assert_eq!(parse(line).unwrap().format(), Format::Json, "{line}");
    }
    for line in ["onrush --api http://h:1 list", "onrush list --api http://h:1", "onrush invoke n --api http://h:1"] {
        assert_eq!(parse(line).unwrap().api(), "http://h:1", "{line}");
    }
    assert_eq!(parse("onrush --api http://h:1 list --api http://i:2").unwrap().api(), "http://i:2");
    assert_eq!(parse("onrush list").unwrap().format(), Format::Table);
    assert_eq!(parse("onrush -n a list").unwrap().global.namespace.as_deref(), Some("a"));
    assert_eq!(parse("onrush list -n a").unwrap().global.namespace.as_deref(), Some("a"));
}

#[test]
fn start_listens_on_its_own_api_and_not_on_the_clients() {
    let cli = parse("onrush --api http://h:1 start --api :9").unwrap();
    let Verb::Start(start) = &cli.verb else { panic!() };
    assert_eq!(start.api.as_deref(), Some(":9"));
    let cli = parse("onrush --api http://h:1 start").unwrap();
    let Verb::Start(start) = &cli.verb else { panic!() };
    assert_eq!(start.api, None);
}

#[test]
fn a_route_is_read_with_its_filters_and_methods() {
    let line =
        ["onrush", "route", "set", "r", "--path", "/", "--function", "f", "--method", "GET,PUT", "--method", "POST"];
    let filters =
        ["--filter", "rate-limit rate=100/s per=ip", "--filter", "{ use = \"cache\", ttl = \"60s\" }", "-o", "json"];
    let cli = Cli::try_parse_from(line.into_iter().chain(filters)).unwrap();
    assert_eq!(cli.format(), Format::Json);
    let Verb::Route(RouteVerb::Set(set)) = cli.verb else { panic!() };
    assert_eq!(set.methods, ["GET", "PUT", "POST"]);
    let filters = serde_json::to_value(&set.filters).unwrap();
    let expected = serde_json::json!([
        { "use": "rate-limit", "rate": "100/s", "per": "ip" },
        { "use": "cache", "ttl": "60s" },
    ]);
    assert_eq!(filters, expected);
}

#[test]
fn minus_o_of_invoke_is_a_file() {
    let cli = parse("onrush -o json invoke n -o reply.bin").unwrap();
    assert_eq!(cli.format(), Format::Json);
    let Verb::Invoke(invoke) = cli.verb else { panic!() };
    assert_eq!(invoke.output.unwrap().to_str(), Some("reply.bin"));
}

#[test]
fn wrong_usage_is_refused_and_ends_with_2() {
    for line in [
        "onrush",
        "onrush fly",
        "onrush list extra",
        "onrush deploy --wasm f",
        "onrush deploy n --timeout 5s",
        "onrush deploy n --wasm f -f m.toml",
        "onrush deploy n --wasm f --env novalue",
        "onrush deploy n --wasm f --memory much",
        "onrush invoke n -H nocolon",
        "onrush route",
        "onrush route set r --path /",
        "onrush route set r --function f",
        "onrush route set --path / --function f",
        "onrush route set -f m.toml --path /",
        "onrush route set r --path / --function f --filter {",
        "onrush route remove",
        "onrush filter",
        "onrush cluster set voters=2",
        "onrush cluster set colour=5",
        "onrush dev --nodes 0",
        "onrush list -o yaml",
    ] {
        let error = parse(line).expect_err(line);
        assert_eq!(error.exit_code(), 2, "{line}");
    }
    assert_eq!(parse("onrush help").unwrap_err().kind(), ErrorKind::DisplayHelp);
}
