//! How rates, times, networks and names of headers are written.

use std::{fmt, marker::PhantomData, net::IpAddr, num::NonZeroU32, time::Duration};

use http::HeaderName;
use ipnet::IpNet;
use serde::{
    Deserialize, Deserializer,
    de::{Error, IntoDeserializer, SeqAccess, Visitor, value::SeqAccessDeserializer},
};

/// So many in a time: `100/s`, `5/m`, `1000/10s`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Rate {
    pub(crate) count: NonZeroU32,
    pub(crate) per: Duration,
}

/// Above this a limit limits nothing.
const FASTEST: u32 = 1_000_000_000;

impl Rate {
    fn parse(text: &str) -> Result<Self, String> {
        let form =
            || format!("{text:?} is no rate: write how many in which time, like \"100/s\", \"5/m\" or \"50/10s\"");
        let (count, per) = text.split_once('/').ok_or_else(form)?;
        let count: u32 = count.trim().parse().map_err(|_| form())?;
        let count = NonZeroU32::new(count).filter(|count| count.get() <= FASTEST).ok_or_else(|| {
            format!("{text:?}: a rate is between 1 and {FASTEST} in its time; zero lets nothing through")
        })?;
        let per = per.trim();
        let per =
            if per.starts_with(|first: char| first.is_ascii_digit()) { per.to_owned() } else { format!("1{per}") };
        let per = humantime::parse_duration(&per).map_err(|_| form())?;
        let rate = Self { count, per };
        if rate.interval().is_zero() || per > Duration::from_secs(86_400) {
            return Err(format!("{text:?}: the time is at most a day, and one call takes at least a nanosecond of it"));
        }
        Ok(rate)
    }

    /// The time that one of them takes.
    pub(crate) fn interval(self) -> Duration {
        self.per / self.count.get()
    }

    /// How many a second brings, at least one.
    pub(crate) fn in_a_second(self) -> NonZeroU32 {
        let interval = self.interval().as_nanos().max(1);
        let count = u32::try_from(1_000_000_000 / interval).unwrap_or(u32::MAX);
        NonZeroU32::new(count).unwrap_or(NonZeroU32::MIN)
    }
}

impl<'de> Deserialize<'de> for Rate {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::parse(&String::deserialize(deserializer)?).map_err(D::Error::custom)
    }
}

/// A time that is not zero: `500ms`, `2s`, `1m 30s`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Time(pub(crate) Duration);

impl<'de> Deserialize<'de> for Time {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let parsed = humantime::parse_duration(&text);
        let fits = |time: &Duration| !time.is_zero() && *time <= Duration::from_secs(366 * 86_400);
        parsed.ok().filter(fits).map(Self).ok_or_else(|| {
            D::Error::custom(format!(
                "{text:?} is no time: write \"500ms\", \"2s\" or \"1h\"; more than 0, up to a year"
            ))
        })
    }
}

/// A network of addresses: `10.0.0.0/8`, `fd00::/8`, or one address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Network(IpNet);

impl Network {
    /// An IPv4 address in IPv6 clothes is an IPv4 address; callers have it canonical.
    pub(crate) fn contains(&self, ip: IpAddr) -> bool {
        self.0.contains(&ip)
    }
}

impl<'de> Deserialize<'de> for Network {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let network = text.parse::<IpNet>().or_else(|_| text.parse::<IpAddr>().map(IpNet::from));
        network.map(Self).map_err(|_| {
            let why = format!("{text:?} is no network: write \"10.0.0.0/8\", \"fd00::/8\" or one address");
            D::Error::custom(why)
        })
    }
}

/// The name of a header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Name(pub(crate) HeaderName);

impl Name {
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let parsed = HeaderName::from_bytes(text.as_bytes()).ok().filter(|_| text.len() <= 128);
        parsed.map(Self).ok_or_else(|| format!("{text:?} is no name of a header"))
    }
}

impl<'de> Deserialize<'de> for Name {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::parse(&String::deserialize(deserializer)?).map_err(D::Error::custom)
    }
}

/// `"a"` or `["a", "b"]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct List<T>(pub(crate) Vec<T>);

impl<T> Default for List<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for List<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(OneOrSeveral(PhantomData))
    }
}

struct OneOrSeveral<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for OneOrSeveral<T> {
    type Value = List<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text or a list")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
        Ok(List(vec![T::deserialize(text.into_deserializer())?]))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, several: A) -> Result<Self::Value, A::Error> {
        Vec::deserialize(SeqAccessDeserializer::new(several)).map(List)
    }
}

/// One text, or several.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(untagged)]
pub(crate) enum Texts {
    #[default]
    None,
    One(String),
    Many(Vec<String>),
}

impl Texts {
    pub(crate) fn into_vec(self) -> Vec<String> {
        match self {
            Self::None => Vec::new(),
            Self::One(text) => vec![text],
            Self::Many(texts) => texts,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_a_number_in_a_time() {
        for (text, interval, in_a_second) in [
            ("100/s", Duration::from_millis(10), 100),
            ("5/m", Duration::from_secs(12), 1),
            ("50/10s", Duration::from_millis(200), 5),
            ("1/h", Duration::from_secs(3_600), 1),
            ("1000000000/s", Duration::from_nanos(1), 1_000_000_000),
            (" 3 / sec", Duration::from_nanos(333_333_333), 3),
        ] {
            let rate = Rate::parse(text).unwrap();
            assert_eq!((rate.interval(), rate.in_a_second().get()), (interval, in_a_second), "{text}");
        }
        for text in
            ["", "100", "0/s", "-1/s", "1/", "1/0s", "1/fortnight", "x/s", "2000000000/s", "9/1us9", "1/2d", "9/1ns"]
        {
            assert!(Rate::parse(text).is_err(), "{text}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_text_makes_the_reader_panic(text in ".{0,20}|[0-9]{1,12}/[0-9]{0,12}[a-z]{0,3}") {
            if let Ok(rate) = Rate::parse(&text) {
                proptest::prop_assert!(!rate.interval().is_zero());
            }
        }
    }
}
