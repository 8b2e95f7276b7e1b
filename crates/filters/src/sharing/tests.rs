use http::Request;
use onrush_types::{FunctionName, Revision, VersionNumber};

use super::*;

fn plan(edit: impl FnOnce(&mut Question)) -> Plan {
    let mut question = Question::build(None, None, None, (None, None)).unwrap();
    edit(&mut question);
    let coalesce = Coalesce { waiters: 1, share_errors: false, lock_age: Duration::from_secs(1) };
    Plan::new(None, Some((&coalesce, &question)), [0; 32]).unwrap()
}

fn request(method: &str, uri: &str, headers: &[(&str, &str)]) -> Parts {
    let request =
        headers.iter().fold(Request::builder().method(method).uri(uri), |r, (name, value)| r.header(*name, *value));
    request.body(()).unwrap().into_parts().0
}

fn share(plan: &Plan, parts: &Parts, body: &Body, idempotent: bool) -> Share {
    let function = FunctionName::new("default".parse().unwrap(), "f".parse().unwrap());
    let target = Target { function, version: VersionNumber(1), revision: Revision(1) };
    let timeout = Duration::from_secs(3);
    plan.share(&Asked { parts, body, target: &target, digest: &Digest([7; 32]), idempotent, timeout })
}

fn key(plan: &Plan, parts: &Parts, body: &Body) -> SharingKey {
    match share(plan, parts, body, true) {
        Share::With(sharing) => {
            assert_eq!(sharing.timeout, Some(Duration::from_secs(3)));
            sharing.key
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_replies_may_depend_on_is_in_the_key_and_nothing_else() {
    let plan = plan(|question| question.vary = Some(vec!["accept-language".parse().unwrap()]));
    let base = request("GET", "http://h/a?b", &[]);
    let same = request("GET", "http://h/a?b", &[("user-agent", "x"), ("x-forwarded-for", "192.0.2.1")]);
    assert_eq!(key(&plan, &base, &Body::empty()), key(&plan, &same, &Body::empty()));
    assert_eq!(key(&plan, &base, &Body::empty()), key(&plan, &request("HEAD", "http://h/a?b", &[]), &Body::empty()));
    let others = [
        request("GET", "http://i/a?b", &[]),
        request("GET", "https://h/a?b", &[]),
        request("GET", "http://h/a?c", &[]),
        request("GET", "http://h/a", &[]),
        request("GET", "http://h/a?b", &[("accept-language", "de")]),
        request("GET", "http://h/a?b", &[("accept-language", "")]),
        request("GET", "http://h/a?b", &[("accept-language", "de"), ("accept-language", "en")]),
        request("GET", "http://h/a?b", &[("x-forwarded-host", "evil")]),
    ];
    let keys: std::collections::BTreeSet<_> = others.iter().map(|other| key(&plan, other, &Body::empty())).collect();
    assert_eq!(keys.len(), others.len());
    assert!(!keys.contains(&key(&plan, &base, &Body::empty())));
}

#[test]
fn the_version_its_code_and_the_route_s_additions_are_in_the_key() {
    let question = Question::build(None, None, None, (None, None)).unwrap();
    let coalesce = Coalesce { waiters: 1, share_errors: false, lock_age: Duration::from_secs(1) };
    let parts = request("GET", "http://h/", &[]);
    let one = |salt: u8, name: &str, version, digest: u8| {
        let plan = Plan::new(None, Some((&coalesce, &question)), [salt; 32]).unwrap();
        let function = FunctionName::new("default".parse().unwrap(), name.parse().unwrap());
        let target = Target { function, version: VersionNumber(version), revision: Revision(1) };
        let (digest, timeout) = (Digest([digest; 32]), Duration::from_secs(1));
        let body = Body::empty();
        let asked = Asked { parts: &parts, body: &body, target: &target, digest: &digest, idempotent: true, timeout };
        plan.key(&asked, b"")
    };
    let keys = [one(0, "f", 1, 1), one(1, "f", 1, 1), one(0, "g", 1, 1), one(0, "f", 2, 1), one(0, "f", 1, 2)];
    assert_eq!(keys.iter().collect::<std::collections::BTreeSet<_>>().len(), 5);
    assert_eq!(one(0, "f", 1, 1), keys[0]);
}

#[test]
fn the_host_can_be_left_out() {
    let plan = plan(|question| question.host = Some(false));
    let keys = ["http://h/a", "http://i/a"].map(|uri| key(&plan, &request("GET", uri, &[]), &Body::empty()));
    assert_eq!(keys[0], keys[1]);
}

#[test]
fn who_says_who_they_are_shares_nothing_unless_that_is_part_of_the_question() {
    let closed = plan(|_| {});
    let open = plan(|question| question.vary = Some(vec![AUTHORIZATION, COOKIE]));
    for header in ["authorization", "cookie"] {
        let parts = request("GET", "http://h/", &[(header, "a")]);
        assert!(
            matches!(share(&closed, &parts, &Body::empty(), true), Share::Bypass(value) if value == "onrush; fwd=bypass")
        );
        let other = request("GET", "http://h/", &[(header, "b")]);
        assert_ne!(key(&open, &parts, &Body::empty()), key(&open, &other, &Body::empty()));
    }
}

#[test]
fn only_safe_methods_share_unless_the_function_is_idempotent_and_its_bodies_count() {
    let (without, with) = (plan(|_| {}), plan(|question| question.body = Some(true)));
    let (get, post) = (request("GET", "http://h/", &[]), request("POST", "http://h/", &[]));
    let shares = |plan: &Plan, parts: &Parts, body: &'static str, idempotent| {
        matches!(share(plan, parts, &body.into(), idempotent), Share::With(_))
    };
    for (plan, parts, body, idempotent, expected) in [
        (&without, &get, "", false, true),
        (&without, &get, "body", true, false),
        (&without, &post, "", true, false),
        (&with, &post, "body", true, true),
        (&with, &post, "body", false, false),
        (&with, &get, "body", true, true),
    ] {
        assert_eq!(shares(plan, parts, body, idempotent), expected, "{parts:?} {body} {idempotent}");
    }
    assert_ne!(key(&with, &post, &"one".into()), key(&with, &post, &"two".into()));
    let stream = Body::stream(Body::whole("x"));
    assert!(matches!(share(&with, &post, &stream, true), Share::Bypass(_)), "a stream is nobody's question");
}
