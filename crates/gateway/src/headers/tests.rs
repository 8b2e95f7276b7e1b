use http::Request;

use super::*;

fn client(trusted: bool) -> Client {
    Client { address: "192.0.2.7".parse().unwrap(), ip: HeaderValue::from_static("192.0.2.7"), trusted }
}

fn seen(request: http::request::Builder, trusted: bool) -> Parts {
    let (mut parts, ()) = request.body(()).unwrap().into_parts();
    rewrite(&mut parts, PathAndQuery::from_static("/in?q"), &client(trusted)).unwrap();
    parts
}

#[test]
fn the_function_sees_an_absolute_uri_and_no_host_header() {
    let parts = seen(Request::get("/function/x/in?q").header("host", "shop.example:81"), false);
    assert_eq!(parts.uri, "http://shop.example:81/in?q");
    assert!(!parts.headers.contains_key(HOST));
    let parts = seen(Request::get("http://uri.example/").header("host", "other.example"), false);
    assert_eq!(parts.uri.authority().unwrap(), "uri.example", "the request's target wins over the header");
}

#[test]
fn a_request_without_one_good_host_is_refused() {
    for hosts in [&[][..], &["a", "b"], &["user@a"], &["a b"], &["a/b"]] {
        let request = hosts.iter().fold(Request::get("/"), |request, host| request.header("host", *host));
        let (mut parts, ()) = request.body(()).unwrap().into_parts();
        let refused = rewrite(&mut parts, PathAndQuery::from_static("/"), &client(false)).unwrap_err();
        assert_eq!(refused.code, Code::BadRequest, "{hosts:?}");
    }
}

#[test]
fn headers_of_the_connection_and_of_the_platform_do_not_cross() {
    let request = Request::get("/")
        .header("host", "h")
        .header("connection", "keep-alive, x-hop")
        .header("connection", "X-Other ,content-length")
        .header("keep-alive", "5")
        .header("proxy-connection", "1")
        .header("proxy-authorization", "1")
        .header("te", "trailers")
        .header("transfer-encoding", "chunked")
        .header("upgrade", "h2c")
        .header("http2-settings", "1")
        .header("expect", "100-continue")
        .header("x-hop", "1")
        .header("x-other", "1")
        .header("x-onrush-invocation", "1")
        .header("x-onrush-anything", "1")
        .header("content-length", "3")
        .header("x-mine", "1")
        .header("x-mine", "2");
    let parts = seen(request, false);
    let mut names: Vec<_> = parts.headers.keys().map(HeaderName::as_str).collect();
    names.sort_unstable();
    assert_eq!(names, ["content-length", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto", "x-mine"]);
    assert_eq!(parts.headers.get_all("x-mine").iter().count(), 2);
}

#[test]
fn strangers_are_not_believed_and_known_proxies_are() {
    let request = || {
        Request::get("/")
            .header("host", "h")
            .header("x-forwarded-for", "203.0.113.9")
            .header("x-forwarded-for", "10.0.0.2")
            .header("x-forwarded-proto", "https")
            .header("x-forwarded-host", "public.example")
            .header("x-forwarded-port", "443")
            .header("x-real-ip", "203.0.113.9")
            .header("forwarded", "for=203.0.113.9")
    };
    let stranger = seen(request(), false);
    assert_eq!(stranger.headers["x-forwarded-for"], "192.0.2.7");
    assert_eq!(stranger.headers["x-forwarded-proto"], "http");
    assert_eq!(stranger.headers["x-forwarded-host"], "h");
    assert_eq!(stranger.headers.len(), 3);
    let known = seen(request(), true);
    assert_eq!(known.headers["x-forwarded-for"], "203.0.113.9, 10.0.0.2, 192.0.2.7");
    assert_eq!(known.headers.get_all("x-forwarded-for").iter().count(), 1);
    assert_eq!(known.headers["x-forwarded-host"], "public.example");
    assert_eq!(known.headers["forwarded"], "for=203.0.113.9");
    assert_eq!(known.uri.scheme_str(), Some("https"));
}

#[test]
fn a_timeout_is_milliseconds_or_has_a_unit() {
    for (text, expected) in [("250", Some(250)), ("2s", Some(2_000)), ("1s 500ms", Some(1_500)), ("1m", Some(60_000))] {
        let headers = HeaderMap::from_iter([(TIMEOUT, HeaderValue::from_static(text))]);
        assert_eq!(timeout(&headers).unwrap(), expected.map(Duration::from_millis), "{text}");
    }
    for text in ["", "0", "0s", "soon", "-1", "1.5"] {
        let headers = HeaderMap::from_iter([(TIMEOUT, HeaderValue::from_static(text))]);
        assert_eq!(timeout(&headers).unwrap_err().code, Code::BadRequest, "{text}");
    }
    assert_eq!(timeout(&HeaderMap::new()).unwrap(), None);
}

#[test]
fn upgrades_and_tunnels_are_refused_but_an_offer_of_http2_is_ignored() {
    let judged = |request: http::request::Builder| refuse_other_protocols(&request.body(()).unwrap().into_parts().0);
    let refused = judged(Request::get("/").header("upgrade", "websocket")).unwrap_err();
    assert!(refused.message().contains("websocket"));
    assert!(judged(Request::builder().method("CONNECT").uri("h:1")).is_err());
    assert!(judged(Request::get("/").header("upgrade", "H2C")).is_ok());
    assert!(judged(Request::options("/")).is_ok());
}
