use onrush_types::RouteSpec;
use serde_json::{Value, json};

use crate::{Surroundings, check, check_route};

fn places(filters: &Value, idempotent: bool, methods: &[&str]) -> Vec<String> {
    let filters: Vec<_> = serde_json::from_value(filters.clone()).unwrap();
    let methods: Vec<_> = methods.iter().map(|text| (*text).to_owned()).collect();
    let problems = check(&filters, Surroundings { idempotent, methods: &methods });
    problems.into_iter().map(|problem| problem.place).collect()
}

#[test]
fn every_wrong_field_is_named_by_its_place() {
    for (filters, place) in [
        (json!([{ "use": "rate-limt", "rate": "1/s" }]), "filters[0].use"),
        (json!([{ "use": "wasm" }]), "filters[0].use"),
        (json!([{ "use": "mirror" }]), "filters[0].use"),
        (json!([{ "use": "timeout", "after": "1s" }, { "use": "rate-limit", "rate": "0/s" }]), "filters[1].rate"),
        (json!([{ "use": "rate-limit" }]), "filters[0].rate"),
        (json!([{ "use": "rate-limit", "rate": 5 }]), "filters[0].rate"),
        (json!([{ "use": "rate-limit", "rate": "1/s", "rat": 1 }]), "filters[0].rat"),
        (json!([{ "use": "rate-limit", "rate": "1/s", "burst": 0 }]), "filters[0].burst"),
        (json!([{ "use": "rate-limit", "rate": "1/s", "per": "user" }]), "filters[0].per"),
        (json!([{ "use": "rate-limit", "rate": "1/s", "per": "header:a b" }]), "filters[0].per"),
        (json!([{ "use": "rate-limit", "rate": "1/s", "per": "key" }]), "filters[0].per"),
        (json!([{ "use": "rate-limit", "rate": "1/s", "scope": "galaxy" }]), "filters[0].scope"),
        (json!([{ "use": "rate-limit", "rate": "1/s", "callers": 1 }]), "filters[0].callers"),
        (json!([{ "use": "rate-limit", "rate": "1/d", "burst": 4_000_000_000_u32 }]), "filters[0].burst"),
        (json!([{ "use": "concurrency-limit", "limit": 0 }]), "filters[0].limit"),
        (json!([{ "use": "body-limit", "size": "1 potato" }]), "filters[0].size"),
        (json!([{ "use": "body-limit", "size": -1 }]), "filters[0].size"),
        (json!([{ "use": "timeout", "after": "0s" }]), "filters[0].after"),
        (json!([{ "use": "timeout", "after": "16m" }]), "filters[0].after"),
        (json!([{ "use": "ip-allow" }]), "filters[0].allow"),
        (json!([{ "use": "ip-allow", "deny": ["10.0.0.0/99"] }]), "filters[0].deny[0]"),
        (json!([{ "use": "cors", "origins": "example.com" }]), "filters[0].origins[0]"),
        (json!([{ "use": "cors", "origins": "*", "credentials": true }]), "filters[0].credentials"),
        (json!([{ "use": "cors", "origins": "*", "methods": ["A B"] }]), "filters[0].methods[0]"),
        (json!([{ "use": "compress", "algorithms": ["lzma"] }]), "filters[0].algorithms[0]"),
        (json!([{ "use": "compress", "min-size": "1MiB" }]), "filters[0].min-size"),
        (json!([{ "use": "headers" }]), "filters[0]"),
        (json!([{ "use": "headers", "request": { "set": { "host": "x" } } }]), "filters[0].request.set"),
        (json!([{ "use": "headers", "response": { "remove": ["x-onrush-node"] } }]), "filters[0].response.remove"),
        (json!([{ "use": "headers", "request": { "put": {} } }]), "filters[0].request.put"),
        (json!([{ "use": "headers", "request": { "set": { "a": "b\n" } } }]), "filters[0].request.set.a"),
        (json!([{ "use": "rewrite", "regex": "(a{999}){999}", "to": "/" }]), "filters[0].regex"),
        (json!([{ "use": "cache", "ttl": "soon" }]), "filters[0].ttl"),
        (json!([{ "use": "cache", "vary": ["a b"] }]), "filters[0].vary[0]"),
        (json!([{ "use": "coalesce", "waiters": 0 }]), "filters[0].waiters"),
        (json!([{ "use": "coalesce", "largest": "65MiB" }]), "filters[0].largest"),
        (json!([{ "use": "cache", "vary": ["a"] }, { "use": "coalesce", "vary": ["b"] }]), "filters[1].vary"),
        (json!([{ "use": "canary", "to": "UP", "weight": 1 }]), "filters[0].to"),
        (json!([{ "use": "canary", "to": "up", "weight": 101 }]), "filters[0].weight"),
        (json!([{ "use": "canary", "to": "up" }]), "filters[0].weight"),
        (json!([{ "use": "retry", "attempts": 1 }]), "filters[0].attempts"),
        (json!([{ "use": "retry", "on": ["4xx"] }]), "filters[0].on[0]"),
        (json!([{ "use": "timeout", "after": "1s" }, { "use": "timeout", "after": "2s" }]), "filters[1].use"),
    ] {
        assert_eq!(places(&filters, true, &[]), [place], "{filters}");
    }
}

#[test]
fn one_needs_no_list_and_a_version_no_quotes() {
    let filters = json!([
        { "use": "ip-allow", "allow": "10.0.0.0/8" },
        { "use": "compress", "algorithms": "gzip" },
        { "use": "cache", "vary": "accept-language" },
        { "use": "retry", "on": "5xx" },
        { "use": "canary", "to": 7, "weight": 0.5 },
    ]);
    assert_eq!(places(&filters, true, &[]), [""; 0]);
    assert_eq!(places(&json!([{ "use": "ip-allow", "allow": "10.0.0.0/99" }]), true, &[]), ["filters[0].allow"]);
}

#[test]
fn a_misspelt_name_is_answered_with_the_right_one() {
    let why = |filters: Value| {
        let filters: Vec<_> = serde_json::from_value(filters).unwrap();
        check(&filters, Surroundings { idempotent: true, methods: &[] }).remove(0).to_string()
    };
    assert!(why(json!([{ "use": "ratelimit" }])).contains("did you mean \"rate-limit\"?"));
    assert!(why(json!([{ "use": "rate-limit", "rat": "1/s" }])).contains("did you mean \"rate\"?"));
    assert!(!why(json!([{ "use": "xyzzy" }])).contains("did you mean"));
    assert!(why(json!([{ "use": "mirror" }])).contains("not yet available"));
}

#[test]
fn sharing_and_retrying_need_calls_that_may_run_twice() {
    let cache = json!([{ "use": "cache" }]);
    assert_eq!(places(&cache, false, &[]), ["filters[0].use"]);
    assert_eq!(places(&cache, false, &["GET", "POST"]), ["filters[0].use"]);
    assert_eq!(places(&cache, false, &["GET", "HEAD"]), [""; 0]);
    assert_eq!(places(&cache, true, &[]), [""; 0]);
    let bodies = json!([{ "use": "coalesce", "body": true }]);
    assert_eq!(places(&bodies, false, &["GET"]), ["filters[0].body"]);
    assert_eq!(places(&bodies, true, &["POST"]), [""; 0]);
    let retry = json!([{ "use": "retry" }]);
    assert_eq!(places(&retry, false, &["GET"]), ["filters[0].use"]);
    assert_eq!(places(&retry, true, &[]), [""; 0]);
}

#[test]
fn one_caller_s_reply_never_goes_to_another() {
    let hash = format!("sha256:{}", "0".repeat(64));
    let with = |auth: Value, vary: &[&str]| {
        let mut auth = auth;
        auth["use"] = "auth".into();
        places(&json!([{ "use": "cache", "vary": vary }, auth]), true, &[])
    };
    assert_eq!(with(json!({ "keys": [hash] }), &[]), ["filters[0].vary"]);
    assert_eq!(with(json!({ "keys": [hash] }), &["authorization"]), ["filters[0].vary"]);
    assert_eq!(with(json!({ "keys": [hash] }), &["x-api-key"]), [""; 0]);
    assert_eq!(with(json!({ "keys": [hash], "forward": false }), &[]), [""; 0]);
    let jwt = json!({ "algorithm": "HS256", "key": "0123456789abcdef0123456789abcdef" });
    assert_eq!(with(json!({ "jwt": jwt }), &["x-api-key"]), ["filters[0].vary"]);
    assert_eq!(with(json!({ "jwt": jwt }), &["authorization"]), [""; 0]);
}

#[test]
fn a_rewrite_uses_parameters_that_the_path_has() {
    let places = |path: &str| {
        let route =
            json!({ "path": path, "function": "f", "filters": [{ "use": "rewrite", "to": "/r/{size}/{rest}" }] });
        let route: RouteSpec = serde_json::from_value(route).unwrap();
        check_route(&route, true).into_iter().map(|problem| problem.to_string()).collect::<Vec<_>>()
    };
    assert_eq!(places("/t/{size}/{*rest}"), [""; 0]);
    let found = places("/t/{size}");
    assert!(found.len() == 1 && found[0].starts_with("filters[0].to: ") && found[0].contains("{rest}"), "{found:?}");
}
