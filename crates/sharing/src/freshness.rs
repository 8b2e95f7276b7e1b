//! How old a kept reply is, how long it is fresh, and what it may still do when it is stale (RFC 9111, 4.2; RFC 5861).

use std::time::{Duration, SystemTime};

use http::{HeaderMap, HeaderValue, StatusCode, header};
use onrush_invoke::Caching;

use crate::{
    condition::date,
    directives::{Directives, MaxStale, seconds},
};

/// Of a reply that is kept. Ages are counted from its arrival.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Life {
    /// How old it was when it came.
    pub(crate) age: Duration,
    /// The age up to which it is fresh.
    pub(crate) fresh_for: Duration,
    /// How long after that it is sent while a new one is fetched.
    pub(crate) while_revalidate: Duration,
    /// How long after that it stands in for a failure.
    pub(crate) if_error: Duration,
    /// Whether a request that takes stale replies may be given one.
    pub(crate) may_be_stale: bool,
    /// Never sent without asking, fresh or not.
    pub(crate) always_validate: bool,
}

/// What may be done with a kept reply for one request, without asking the function first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Standing {
    /// Sent.
    Fresh,
    /// Sent, and a new one is fetched meanwhile.
    Usable,
    /// Not sent.
    Stale,
}

/// What a lifetime is made from.
pub(crate) struct Arrived<'a> {
    pub(crate) status: StatusCode,
    pub(crate) headers: &'a HeaderMap,
    pub(crate) directives: &'a Directives,
    /// The wall clock when it came.
    pub(crate) now: SystemTime,
    /// From the question to the answer.
    pub(crate) delay: Duration,
    /// Random.
    pub(crate) jitter: u64,
}

impl Life {
    /// Of a reply that is sent this once.
    pub(crate) const OVER: Self = Self {
        age: Duration::ZERO,
        fresh_for: Duration::ZERO,
        while_revalidate: Duration::ZERO,
        if_error: Duration::ZERO,
        may_be_stale: false,
        always_validate: true,
    };

    /// None if the reply says nothing of its freshness and the route has no word on replies like it.
    pub(crate) fn of(arrived: &Arrived<'_>, caching: &Caching) -> Option<Self> {
        let Arrived { directives, jitter, .. } = *arrived;
        let (fresh_for, spread) = match stated(arrived) {
            // What a reply states may be cut, never stretched.
            Some(stated) => (stated, 90 + u32::try_from(jitter % 11).unwrap_or(0)),
            // Worth keeping all the same, if it can be asked about.
            None if directives.no_cache => (Duration::ZERO, 100),
            None => {
                (caching.ttl.filter(|_| is_usually_kept(arrived.status))?, 90 + u32::try_from(jitter % 21).unwrap_or(0))
            }
        };
        // `s-maxage` forbids stale replies too (RFC 9111, 5.2.2.10), unless the reply itself says how stale.
        let own = |own: Option<Duration>, route: Option<Duration>| {
            let route = route.filter(|_| directives.s_maxage.is_none());
            own.or(route).filter(|_| !directives.forbids_stale()).unwrap_or_default()
        };
        Some(Self {
            age: initial_age(arrived),
            fresh_for: fresh_for.min(MOST) * spread / 100,
            while_revalidate: own(directives.stale_while_revalidate, caching.stale_while_revalidate),
            if_error: own(directives.stale_if_error, caching.stale_if_error),
            may_be_stale: !directives.forbids_stale() && directives.s_maxage.is_none(),
            always_validate: directives.no_cache,
        })
    }

    /// How much longer it is fresh when it is this old, in seconds; below zero, for how long it is not.
    pub(crate) fn ttl(&self, age: Duration) -> i64 {
        let signed = |time: Duration| i64::try_from(time.as_millis()).unwrap_or(i64::MAX);
        (signed(self.fresh_for) - signed(age)).div_euclid(1_000)
    }

    /// What may be done with it for a request that wants this.
    pub(crate) fn standing(&self, age: Duration, wants: &Directives) -> Standing {
        let too_old = wants.max_age.is_some_and(|most| age > most);
        if self.always_validate || wants.no_cache || too_old {
            return Standing::Stale;
        }
        let least = wants.min_fresh.unwrap_or_default();
        if age + least < self.fresh_for {
            return Standing::Fresh;
        }
        if wants.min_fresh.is_some() {
            return Standing::Stale;
        }
        let over = age.saturating_sub(self.fresh_for);
        let taken = self.may_be_stale
            && match wants.max_stale {
                Some(MaxStale::Any) => true,
                Some(MaxStale::Upto(most)) => over <= most,
                None => false,
            };
        // A moment of zero is none at all.
        if taken || over < self.while_revalidate { Standing::Usable } else { Standing::Stale }
    }

    /// Whether it stands in for a failure when it is this old.
    pub(crate) fn covers_error(&self, age: Duration) -> bool {
        age < self.fresh_for || age - self.fresh_for < self.if_error
    }

    /// How long it is worth keeping; zero if not at all.
    pub(crate) fn worth(&self, validator: bool, keep_stale: Duration) -> Duration {
        let fresh = if self.always_validate { Duration::ZERO } else { self.fresh_for };
        let stale = self.while_revalidate.max(self.if_error).max(if validator { keep_stale } else { Duration::ZERO });
        (fresh + stale).saturating_sub(self.age)
    }
}

/// A year is for ever (and sums of two cannot overflow anything).
const MOST: Duration = Duration::from_secs(366 * 86_400);

/// Statuses for which a route's `ttl` holds. Not 404 and its like: a mistake of a moment must say itself that it lasts.
fn is_usually_kept(status: StatusCode) -> bool {
    matches!(status.as_u16(), 200 | 203 | 204 | 300 | 301 | 308)
}

/// What the reply states, in the order of RFC 9111, 4.2.1.
fn stated(arrived: &Arrived<'_>) -> Option<Duration> {
    let Arrived { headers, directives, now, .. } = *arrived;
    let said = directives.s_maxage.or(directives.max_age);
    if said.is_some() {
        return said;
    }
    let mut expires = headers.get_all(header::EXPIRES).iter();
    let first = expires.next()?;
    // Twice said, or no date: expired (RFC 9111, 5.3).
    if expires.next().is_some() {
        return Some(Duration::ZERO);
    }
    let from = headers.get(header::DATE).and_then(date).unwrap_or(now);
    Some(date(first).and_then(|until| until.duration_since(from).ok()).unwrap_or_default())
}

/// RFC 9111, 4.2.3. The time that it took counts only where a cache was on the way: what a function has just computed
/// is new.
fn initial_age(arrived: &Arrived<'_>) -> Duration {
    let Arrived { headers, now, delay, .. } = *arrived;
    let apparent = headers.get(header::DATE).and_then(date).and_then(|date| now.duration_since(date).ok());
    // An HTTP date has whole seconds: less than one says nothing.
    let apparent = apparent.filter(|age| age.as_secs() > 0).unwrap_or_default();
    let text = |value: &HeaderValue| value.to_str().map(|text| seconds(text.trim())).unwrap_or_default();
    let corrected = headers.get(header::AGE).map(|value| text(value) + delay);
    apparent.max(corrected.unwrap_or_default()).min(MOST)
}

#[cfg(test)]
mod tests {
    use http::HeaderName;

    use super::*;

    const NOW: SystemTime = SystemTime::UNIX_EPOCH;
    const SECOND: Duration = Duration::from_secs(1);

    fn route() -> Caching {
        Caching {
            obey_request: false,
            ttl: None,
            stale_while_revalidate: None,
            stale_if_error: None,
            hit_for_miss: SECOND,
        }
    }

    type Pairs<'a> = &'a [(&'static str, &'a str)];

    fn life(pairs: Pairs<'_>, caching: &Caching, jitter: u64) -> Option<Life> {
        let headers: HeaderMap = pairs
            .iter()
            .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_str(value).unwrap()))
            .collect();
        let directives = Directives::of_reply(&headers);
        let now = NOW + Duration::from_secs(1_000_000);
        let arrived = Arrived {
            status: StatusCode::OK,
            headers: &headers,
            directives: &directives,
            now,
            delay: SECOND * 3,
            jitter,
        };
        Life::of(&arrived, caching)
    }

    fn at(seconds: u64) -> String {
        httpdate::fmt_http_date(NOW + Duration::from_secs(seconds))
    }

    /// With jitter 10, what is stated is taken as it is.
    const PLAIN: u64 = 10;

    #[test]
    fn lifetime_and_age_follow_rfc_9111() {
        let (now, earlier, later) = (at(1_000_000), at(999_940), at(1_000_060));
        let table: [(Pairs<'_>, Option<(u64, u64)>); 14] = [
            (&[], None),
            (&[("cache-control", "public")], None),
            (&[("cache-control", "max-age=60")], Some((60, 0))),
            (&[("cache-control", "max-age=60, s-maxage=5")], Some((5, 0))),
            (&[("cache-control", "max-age=60"), ("expires", &earlier)], Some((60, 0))),
            (&[("expires", &later)], Some((60, 0))),
            (&[("expires", &later), ("date", &now)], Some((60, 0))),
            (&[("expires", &later), ("date", &earlier)], Some((120, 60))),
            (&[("expires", &earlier)], Some((0, 0))),
            (&[("expires", "0")], Some((0, 0))),
            (&[("cache-control", "max-age=60"), ("date", &earlier)], Some((60, 60))),
            (&[("cache-control", "max-age=60"), ("date", &later)], Some((60, 0))),
            (&[("cache-control", "max-age=60"), ("age", "7")], Some((60, 10))),
            (&[("cache-control", "max-age=60"), ("age", "7"), ("date", &earlier)], Some((60, 60))),
        ];
        for (pairs, wanted) in table {
            let found = life(pairs, &route(), PLAIN).map(|life| (life.fresh_for.as_secs(), life.age.as_secs()));
            assert_eq!(found, wanted, "{pairs:?}");
        }
    }

    #[test]
    fn the_routes_ttl_holds_only_where_the_reply_states_nothing() {
        let caching = Caching { ttl: Some(SECOND * 100), ..route() };
        let of = |pairs: &[(&'static str, &str)], jitter| life(pairs, &caching, jitter).unwrap().fresh_for;
        assert_eq!(of(&[], 10), SECOND * 100);
        assert_eq!(of(&[("cache-control", "max-age=0")], PLAIN), Duration::ZERO);
        assert_eq!(of(&[("expires", "never")], PLAIN), Duration::ZERO);
        // Spread by a tenth both ways; a stated lifetime is cut only.
        assert_eq!((of(&[], 0), of(&[], 20)), (SECOND * 90, SECOND * 110));
        let stated = [("cache-control", "max-age=100")];
        assert_eq!((of(&stated, 0), of(&stated, 10)), (SECOND * 90, SECOND * 100));
    }

    #[test]
    fn what_a_stale_reply_may_do_is_said_by_the_reply_then_by_the_route() {
        let caching = Caching { stale_while_revalidate: Some(SECOND * 5), stale_if_error: Some(SECOND * 6), ..route() };
        let of = |line: &str| {
            let life = life(&[("cache-control", line)], &caching, PLAIN).unwrap();
            (life.while_revalidate.as_secs(), life.if_error.as_secs(), life.may_be_stale)
        };
        let table = [
            ("max-age=1", (5, 6, true)),
            ("max-age=1, stale-while-revalidate=9", (9, 6, true)),
            ("max-age=1, stale-if-error=0", (5, 0, true)),
            ("max-age=1, must-revalidate, stale-if-error=9", (0, 0, false)),
            ("max-age=1, proxy-revalidate", (0, 0, false)),
            ("max-age=1, no-cache", (0, 0, false)),
            ("s-maxage=1", (0, 0, false)),
            ("s-maxage=1, stale-while-revalidate=9", (9, 0, false)),
        ];
        for (line, wanted) in table {
            assert_eq!(of(line), wanted, "{line}");
        }
    }

    #[test]
    fn standing_follows_age_and_what_the_request_wants() {
        let life = life(&[("cache-control", "max-age=10, stale-while-revalidate=5")], &route(), PLAIN).unwrap();
        let none = Directives::default();
        let wants = |line: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::CACHE_CONTROL, HeaderValue::from_str(line).unwrap());
            Directives::of_request(&headers)
        };
        let table = [
            (0, none, Standing::Fresh),
            (9, none, Standing::Fresh),
            (10, none, Standing::Usable),
            (14, none, Standing::Usable),
            (15, none, Standing::Stale),
            (1, wants("no-cache"), Standing::Stale),
            (5, wants("max-age=4"), Standing::Stale),
            (4, wants("max-age=4"), Standing::Fresh),
            (5, wants("min-fresh=5"), Standing::Stale),
            (4, wants("min-fresh=5"), Standing::Fresh),
            (20, wants("max-stale"), Standing::Usable),
            (20, wants("max-stale=9"), Standing::Stale),
            (19, wants("max-stale=9"), Standing::Usable),
        ];
        for (age, wants, wanted) in table {
            assert_eq!(life.standing(SECOND * age, &wants), wanted, "{age} {wants:?}");
        }
        assert_eq!((life.ttl(SECOND * 3), life.ttl(SECOND * 12)), (7, -2));
        let strict = Life { may_be_stale: false, while_revalidate: Duration::ZERO, ..life };
        assert_eq!(strict.standing(SECOND * 11, &wants("max-stale")), Standing::Stale);
        let asked = Life { always_validate: true, ..life };
        assert_eq!(asked.standing(Duration::ZERO, &none), Standing::Stale);
    }

    #[test]
    fn a_reply_is_kept_for_as_long_as_it_is_good_for_something() {
        let worth = |line: &str, validator| {
            let life = life(&[("cache-control", line), ("age", "0")], &route(), PLAIN).unwrap();
            life.worth(validator, SECOND * 100).as_secs()
        };
        // Three seconds old when it came: it was on its way for so long, and says that a cache was there.
        assert_eq!(worth("max-age=10", false), 7);
        assert_eq!(worth("max-age=0", false), 0);
        assert_eq!(worth("max-age=0", true), 97);
        assert_eq!(worth("max-age=10, stale-if-error=20", false), 27);
        assert_eq!(worth("no-cache, max-age=10", false), 0);
        assert_eq!(worth("no-cache, max-age=10", true), 97);
        assert_eq!(worth("no-cache", true), 97);
    }
}
