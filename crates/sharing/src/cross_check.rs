//! The rules here against those of `http-cache-semantics`, where both have an opinion: neither directives twice, nor
//! `proxy-revalidate` (which that crate takes for "never fresh"), nor `Set-Cookie` (which it keeps if it is `public`).

use std::time::{Duration, SystemTime};

use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, header};
use http_cache_semantics::{CacheOptions, CachePolicy};
use onrush_invoke::Caching;
use proptest::prelude::*;

use crate::{
    directives::Directives,
    freshness::{Arrived, Life, Standing},
    storage::Head,
};

/// How long a reply is fresh here; zero if it is not kept, or never sent unasked.
fn ours(status: StatusCode, headers: &HeaderMap, credentials: bool, now: SystemTime) -> i64 {
    let mut request = HeaderMap::new();
    if credentials {
        request.insert(header::AUTHORIZATION, HeaderValue::from_static("Basic x"));
    }
    let head = Head::new(status, headers.clone());
    let wants = Directives::default();
    if head.shareable().is_none() || !head.keepable(&request, &wants) {
        return 0;
    }
    let arrived = Arrived {
        status,
        headers: &head.headers,
        directives: &head.directives,
        now,
        delay: Duration::ZERO,
        // A stated lifetime is taken as it is.
        jitter: 10,
    };
    let caching = Caching {
        obey_request: false,
        ttl: None,
        stale_while_revalidate: None,
        stale_if_error: None,
        hit_for_miss: Duration::ZERO,
    };
    let life = Life::of(&arrived, &caching);
    let fresh = life.filter(|life| life.standing(life.age, &wants) == Standing::Fresh);
    fresh.map_or(0, |life| life.ttl(life.age))
}

fn theirs(status: StatusCode, headers: &HeaderMap, credentials: bool, now: SystemTime) -> i64 {
    let mut request = Request::get("http://example.com/").body(()).unwrap();
    if credentials {
        request.headers_mut().insert(header::AUTHORIZATION, HeaderValue::from_static("Basic x"));
    }
    let mut response = Response::new(());
    *response.status_mut() = status;
    *response.headers_mut() = headers.clone();
    let options = CacheOptions { shared: true, cache_heuristic: 0.0, ..CacheOptions::default() };
    let policy = CachePolicy::new_options(&request, &response, now, options);
    i64::try_from(policy.time_to_live(now).as_secs()).unwrap()
}

fn directives() -> impl Strategy<Value = Vec<String>> {
    let timed = |name: &'static str| prop::option::of((0..100_u32).prop_map(move |time| format!("{name}={time}")));
    let plain = |name: &'static str| prop::option::weighted(0.2, Just(name.to_owned()));
    let all = (
        (timed("max-age"), timed("s-maxage"), timed("stale-while-revalidate")),
        (plain("public"), plain("private"), plain("no-store"), plain("no-cache"), plain("must-revalidate")),
    );
    all.prop_map(|((a, b, c), (d, e, f, g, h))| [a, b, c, d, e, f, g, h].into_iter().flatten().collect()).prop_shuffle()
}

proptest! {
    #[test]
    fn both_keep_the_same_replies_for_as_long(
        status in prop::sample::select(vec![200, 203, 204, 206, 300, 301, 302, 303, 307, 308, 404, 405, 410, 414, 418, 500, 503]),
        directives in directives(),
        expires in prop::option::of(prop_oneof![(0..200_u64).prop_map(Some), Just(None)]),
        age in prop::option::of(0..100_u32),
        vary in prop::option::of(prop::sample::select(vec!["accept", "*"])),
        credentials in any::<bool>(),
    ) {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000);
        let status = StatusCode::from_u16(status).unwrap();
        let mut headers = HeaderMap::new();
        let mut set = |name, value: String| headers.insert(name, HeaderValue::from_str(&value).unwrap());
        if !directives.is_empty() {
            set(header::CACHE_CONTROL, directives.join(", "));
        }
        if let Some(expires) = expires {
            let at = |offset| httpdate::fmt_http_date(now - Duration::from_secs(100) + Duration::from_secs(offset));
            set(header::EXPIRES, expires.map_or("0".to_owned(), at));
        }
        if let Some(age) = age {
            set(header::AGE, age.to_string());
        }
        if let Some(vary) = vary {
            set(header::VARY, vary.to_owned());
        }
        let (ours, theirs) = (ours(status, &headers, credentials, now), theirs(status, &headers, credentials, now));
        prop_assert_eq!(ours, theirs, "{} {:?} {}", status, headers, credentials);
    }
}
