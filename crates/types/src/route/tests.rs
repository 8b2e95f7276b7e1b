use proptest::prelude::*;
use serde_json::json;

use super::*;

fn route(document: serde_json::Value) -> RouteSpec {
    serde_json::from_value(document).unwrap()
}

fn at(path: &str) -> RouteSpec {
    route(json!({ "path": path, "function": "f" }))
}

fn places(spec: &RouteSpec) -> Vec<String> {
    spec.problems().into_iter().map(|problem| problem.place).collect()
}

#[test]
fn a_route_reads_as_the_manifest_spells_it() {
    let spec = route(json!({
        "host": "*.example.com",
        "path": "/thumb/{size}/{*rest}",
        "methods": ["GET", "POST"],
        "function": "thumbnail",
        "qualifier": "3",
        "filters": [{ "use": "rate-limit", "rate": "100/s", "per": "ip" }, { "use": "coalesce" }],
    }));
    assert_eq!(spec.problems(), []);
    assert_eq!(spec.qualifier, Qualifier::Version(crate::VersionNumber(3)));
    assert_eq!(spec.filters[0].parameters["rate"], "100/s");
    assert_eq!(spec.target(&"shop".parse().unwrap()).to_string(), "thumbnail.shop");
    assert_eq!(serde_json::from_value::<RouteSpec>(serde_json::to_value(&spec).unwrap()).unwrap(), spec);
    let unknown = serde_json::from_value::<RouteSpec>(json!({ "path": "/", "function": "f", "pahts": 1 }));
    assert!(unknown.unwrap_err().to_string().contains("pahts"));
}

#[test]
fn everything_that_is_wrong_is_named_with_its_place() {
    let mut deep = json!(1);
    for _ in 0..40 {
        deep = json!([deep]);
    }
    let spec = route(json!({
        "host": "Example.com:80",
        "path": "/a//{b}c/../{d}/{d}",
        "methods": ["GET", "get", "GET", "TRACE"],
        "function": "f",
        "qualifier": "live",
        "filters": [{ "use": "cache" }, { "use": "Rate limit", "deep": deep }, { "use": "x", "n": 0.1 }],
    }));
    let expected = [
        "host",
        "path",
        "path",
        "path",
        "path",
        "methods[1]",
        "methods[2]",
        "methods[3]",
        "qualifier",
        "filters[1].use",
        "filters[1].deep",
    ];
    assert_eq!(places(&spec), expected, "{:#?}", spec.problems());
}

#[test]
fn paths_are_in_their_normal_form() {
    for good in [
        "/",
        "/a",
        "/a/",
        "/a/{b}",
        "/a/{b}/",
        "/a/{b}/c/{*d}",
        "/{*all}",
        "/{a}",
        "/a.b-c_d~e!$&'()*+,;=:@",
        "/%C3%A9",
        "/%20",
        "/functions",
        "/a/function",
        "/{_a1}",
    ] {
        assert_eq!(at(good).problems(), [], "{good}");
    }
    for (bad, word) in [
        ("", "begin with '/'"),
        ("a", "begin with '/'"),
        ("//", "two '/'"),
        ("/a//b", "two '/'"),
        ("/a?b", "query"),
        ("/a#b", "query"),
        ("/a b", "percent-encode"),
        ("/é", "percent-encode"),
        ("/%c3%A9", "upper case"),
        ("/%", "two digits"),
        ("/%4", "two digits"),
        ("/%61", "as it is"),
        ("/a/./b", "stands for"),
        ("/..", "stands for"),
        ("/x{a}", "whole segment"),
        ("/{a}{b}", "name"),
        ("/{", "whole segment"),
        ("/{}", "name"),
        ("/{*}", "name"),
        ("/{1a}", "name"),
        ("/{a-b}", "name"),
        ("/{*a}/b", "the end"),
        ("/{*a}/", "the end"),
        ("/{a}/{*a}", "twice"),
        ("/function/f", "gateway's own"),
        ("/function", "gateway's own"),
        ("/async-function/{*f}", "gateway's own"),
        ("/healthz", "gateway's own"),
        ("/readyz", "gateway's own"),
        ("/_onrush-cache", "gateway's own"),
    ] {
        let problems = at(bad).problems();
        assert!(
            problems.iter().any(|problem| problem.place == "path" && problem.why.contains(word)),
            "{bad}: {problems:?}"
        );
    }
}

#[test]
fn paths_are_bounded() {
    assert_eq!(at(&format!("/{}", "a/".repeat(511))).problems(), []);
    assert_eq!(places(&at(&format!("/{}", "a/".repeat(512)))), ["path"]);
    let parameters = |count: usize| (0..count).map(|n| format!("/{{p{n}}}")).collect::<String>();
    assert_eq!(at(&parameters(16)).problems(), []);
    assert_eq!(places(&at(&parameters(17))), ["path"]);
}

#[test]
fn hosts_are_names_with_at_most_one_star() {
    let host = |host: &str| RouteSpec { host: Some(host.to_owned()), ..at("/") };
    for good in ["a", "example.com", "*.example.com", "10.0.0.1", "xn--bcher-kva.example"] {
        assert_eq!(host(good).problems(), [], "{good}");
    }
    let long = format!("{}a", "abc.".repeat(64));
    for bad in ["", "*", "*.", "a.*.b", "*a.b", "A.b", "a:80", "a.", ".a", "a..b", "[::1]", "a_b", "http://a", &long] {
        assert_eq!(places(&host(bad)), ["host"], "{bad}");
    }
}

#[test]
fn filters_are_bounded() {
    let used = |text: usize| {
        route(json!({ "path": "/", "function": "f", "filters": [{ "use": "x", "t": "a".repeat(text) }] }))
    };
    assert_eq!(used(32 * 1024 - 8).problems(), []);
    assert_eq!(places(&used(32 * 1024)), ["filters"]);
    let many = |count: usize| RouteSpec { filters: vec![used(1).filters[0].clone(); count], ..at("/") };
    assert_eq!(many(32).problems(), []);
    assert_eq!(places(&many(33)), ["filters"]);
    let mut twice = used(1);
    twice.filters[0].parameters.insert("use".to_owned(), json!("y"));
    assert_eq!(places(&twice), ["filters[0].use"]);
}

#[test]
fn a_number_that_text_cannot_keep_is_refused() {
    let number = |number: f64| route(json!({ "path": "/", "function": "f", "filters": [{ "use": "x", "n": number }] }));
    assert_eq!(number(0.25).problems(), []);
    let unstable = (0..100_000_u32).map(|n| f64::from(n).sqrt() * 1e-30).find(|number| {
        serde_json::from_str::<f64>(&serde_json::to_string(number).unwrap()).unwrap().to_bits() != number.to_bits()
    });
    // Only where this build of serde_json rounds at all.
    if let Some(unstable) = unstable {
        assert_eq!(places(&number(unstable)), ["filters[0].n"]);
    }
}

#[test]
fn routes_clash_where_nothing_says_which_one_wins() {
    use RouteClash::{ParameterOrRest, SameRequests};
    for (a, b, expected) in [
        ("/a", "/a", Some(SameRequests)),
        ("/a", "/a/", None),
        ("/a/{x}", "/a/{y}", Some(SameRequests)),
        ("/a/{x}", "/a/b", None),
        ("/a/{x}", "/{y}/b", None),
        ("/a/{*x}", "/a/{*y}", Some(SameRequests)),
        ("/a/{*x}", "/a/{y}", Some(ParameterOrRest)),
        ("/a/{*x}", "/a/{y}/b", Some(ParameterOrRest)),
        ("/a/{*x}", "/a/b/{y}", None),
        ("/a/{*x}", "/a/", None),
        ("/{*x}", "/", None),
        ("/{x}/b", "/{*y}", Some(ParameterOrRest)),
    ] {
        assert_eq!(at(a).clash(&at(b)), expected, "{a} {b}");
        assert_eq!(at(b).clash(&at(a)), expected, "{b} {a}");
    }
    let with = |host: Option<&str>, methods: &[&str]| RouteSpec {
        host: host.map(str::to_owned),
        methods: methods.iter().map(|method| (*method).to_owned()).collect(),
        ..at("/a")
    };
    assert_eq!(with(None, &["GET"]).clash(&with(None, &["POST"])), None);
    assert_eq!(with(None, &["GET"]).clash(&with(None, &["POST", "GET"])), Some(SameRequests));
    assert_eq!(with(None, &["GET"]).clash(&with(None, &[])), Some(SameRequests));
    assert_eq!(with(Some("a.b"), &[]).clash(&with(Some("*.b"), &[])), None);
    assert_eq!(with(Some("a.b"), &[]).clash(&with(None, &[])), None);
    assert_eq!(with(Some("a.b"), &[]).clash(&with(Some("a.b"), &[])), Some(SameRequests));
}

fn paths() -> impl Strategy<Value = String> {
    let segment = prop_oneof![Just("a"), Just("b"), Just("ab"), Just("{p}"), Just("{q}")];
    let end = prop_oneof![Just(""), Just("/"), Just("/{*r}"), Just("/{*s}")];
    (prop::collection::vec(segment, 0..4), end).prop_map(|(segments, end)| {
        let mut path = String::new();
        for (at, segment) in segments.iter().enumerate() {
            // Names differ by place, so that no path has one twice.
            path += &format!("/{}", segment.replace('}', &format!("{at}}}")));
        }
        path += end;
        if path.is_empty() { "/".to_owned() } else { path }
    })
}

proptest! {
    /// The gateway keeps paths in a tree of matchit's. Whatever this rule lets through must fit into one.
    #[test]
    fn a_clash_is_what_a_path_tree_refuses(paths in prop::collection::vec(paths(), 2..12)) {
        let mut tree = matchit::Router::new();
        let mut held: Vec<RouteSpec> = Vec::new();
        for path in paths {
            let spec = at(&path);
            prop_assert_eq!(spec.problems(), []);
            let clashes = held.iter().any(|other| spec.clash(other).is_some());
            // A refused insertion leaves its marks in the tree, so it is tried on a copy.
            let fits = tree.clone().insert(path.as_str(), ()).is_ok();
            prop_assert_eq!(fits, !clashes, "{} among {:?}", path, held.iter().map(|spec| &spec.path).collect::<Vec<_>>());
            if fits {
                tree.insert(path.as_str(), ()).unwrap();
                held.push(spec);
            }
        }
    }

    #[test]
    fn no_text_makes_the_check_panic(path in ".{0,60}", host in prop::option::of(".{0,20}"), method in ".{0,8}") {
        let spec = RouteSpec { host, methods: vec![method], ..at(&path) };
        spec.problems();
        spec.clash(&at(&path));
    }
}
