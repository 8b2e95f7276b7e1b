use std::path::PathBuf;

use serde_json::json;

use super::*;
use crate::manifest::Manifest;

const FUNCTIONS: &str = "[function.thumbnail]\nsource = 'a'\nidempotent = true\n[function.other]\nsource = 'b'\n";

fn routes(text: &str) -> Result<Vec<Route>, String> {
    Manifest::parse(&format!("{FUNCTIONS}{text}"), PathBuf::from(".")).map(|manifest| manifest.routes)
}

#[test]
fn a_route_has_its_name_from_function_and_path_where_it_says_none() {
    let routes = routes(
        r#"
        [[route]]
        path = "/thumb/{*rest}"
        methods = ["GET", "POST"]
        function = "thumbnail"

        [[route]]
        name = "mine"
        host = "*.example.com"
        path = "/"
        function = "other@3"
        "#,
    )
    .unwrap();
    assert_eq!(routes[0].name.as_str(), "thumbnail-thumb-rest");
    assert_eq!(routes[0].spec.methods, ["GET", "POST"]);
    assert_eq!(routes[0].spec.qualifier, Qualifier::Latest);
    assert_eq!(routes[1].name.as_str(), "mine");
    assert_eq!(routes[1].spec.host.as_deref(), Some("*.example.com"));
    assert_eq!(routes[1].spec.qualifier, "3".parse().unwrap());
    assert_eq!(default_name("thumbnail", "/").unwrap().as_str(), "thumbnail");
    assert_eq!(default_name("t", "/A/%20/b_c/").unwrap().as_str(), "t-a-20-b-c");
    assert_eq!(default_name("t", &"/x".repeat(99)).unwrap().as_str().len(), 63);
}

#[test]
fn mistakes_are_named_with_their_table_and_field() {
    for (text, words) in [
        ("[[route]]\nfunction = 'other'", ["[[route]] 1: ", "path"]),
        ("[[route]]\npath = '/'", ["[[route]] 1: ", "function"]),
        ("[[route]]\nname = 'r'\npath = '/'\nfunction = 'other'\npahts = 1", ["[[route]] 1: route \"r\": ", "pahts"]),
        ("[[route]]\npath = '/'\nfunction = 'nobody'", ["[[route]] 1: function: ", "other, thumbnail"]),
        ("[[route]]\npath = '/'\nfunction = 'other.shop'", ["[[route]] 1: function: ", "no function of this manifest"]),
        ("[[route]]\npath = '/'\nfunction = 'other@live'", ["[[route]] 1: ", "qualifier: "]),
        ("[[route]]\npath = 'x'\nfunction = 'other'", ["[[route]] 1: route \"other-x\": ", "path: "]),
        ("[[route]]\nname = 'No'\npath = '/'\nfunction = 'other'", ["[[route]] 1: ", "name: "]),
        ("[[route]]\npath = '/'\nfunction = 'other'\nhost = 'A'", ["route \"other\": ", "host: "]),
        ("[[route]]\npath = '/'\nfunction = 'other'\nmethods = ['get']", ["route \"other\": ", "methods[0]: "]),
        ("[[route]]\npath = '/'\nfunction = 'other'\nfilters = [{}]", ["[[route]] 1: ", "filters[0].use: missing"]),
        (
            "[[route]]\nname = 'r'\npath = '/'\nfunction = 'other'\nfilters = [{ use = 'no-such-filter' }]",
            ["[[route]] 1: route \"r\": ", "filters[0].use: "],
        ),
        (
            "[[route]]\npath = '/a/{x}'\nfunction = 'other'\n[[route]]\npath = '/a/{y}'\nfunction = 'other'",
            ["[[route]] 2: route \"other-a-y\": ", "clashes with [[route]] 1"],
        ),
        (
            "[[route]]\npath = '/'\nfunction = 'other'\nmethods = ['GET']\n[[route]]\npath = '/'\nfunction = 'other'\n\
             methods = ['PUT']",
            ["[[route]] 2: ", "another name"],
        ),
    ] {
        let why = routes(text).unwrap_err();
        assert!(words.iter().all(|word| why.contains(word)), "{text}: {why}");
    }
}

#[test]
fn everything_that_is_wrong_is_said_at_once() {
    let why = routes(
        "[[route]]\npath = 'x'\nfunction = 'other'\nmethods = ['get']\n[[route]]\npath = '/'\nfunction = 'nobody'\nname = 'A'",
    )
    .unwrap_err();
    for place in [
        "[[route]] 1: route \"other-x\": path: ",
        "[[route]] 1: route \"other-x\": methods[0]: ",
        "function: ",
        "name: ",
    ] {
        assert!(why.contains(place), "{place}: {why}");
    }
    assert_eq!(why.lines().count(), 4, "{why}");
}

#[test]
fn filters_are_written_as_tables_or_as_words() {
    let filter = |text: &str| filter_of(text).map(|used| serde_json::to_value(used).unwrap());
    assert_eq!(filter("coalesce").unwrap(), json!({ "use": "coalesce" }));
    let words =
        filter("rate-limit rate=100/s per=ip burst=7 on=true share=0.5 of=[\"a\",\"b\"] until=2026-01-01").unwrap();
    let expected = json!({
        "use": "rate-limit", "rate": "100/s", "per": "ip", "burst": 7, "on": true, "share": 0.5, "of": ["a", "b"],
        "until": "2026-01-01",
    });
    assert_eq!(words, expected);
    let table = json!({ "use": "cache", "ttl": "60s", "vary": ["a"] });
    assert_eq!(filter("{ use = \"cache\", ttl = \"60s\", vary = [\"a\"] }").unwrap(), table);
    assert_eq!(filter("{\"use\": \"cache\", \"ttl\": \"60s\", \"vary\": [\"a\"]}").unwrap(), table);
    for (wrong, word) in [
        ("", "names no filter"),
        ("cache ttl", "KEY=VALUE"),
        ("cache a=1 a=2", "twice"),
        ("{ ttl = \"60s\" }", "use"),
        ("{ use = 1 }", "filter's name"),
        ("{ use = \"a\"", "expected"),
        ("{ use = \"a\" }\nx = 1", "KEY"),
    ] {
        let result = filter(wrong);
        assert!(result.is_err(), "{wrong}: {result:?} {word}");
    }
}
