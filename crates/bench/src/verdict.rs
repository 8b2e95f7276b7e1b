//! What was promised and whether it was kept.

use serde::{Deserialize, Deserializer, Serialize};

/// Which way is better.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Better {
    Higher,
    Lower,
}

/// One figure with a bar, which must be met, and an aim.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Claim {
    /// What it is a figure of.
    pub(crate) what: String,
    /// Behind the number: `x`, `ms`, `%`.
    pub(crate) unit: String,
    pub(crate) better: Better,
    pub(crate) bar: f64,
    pub(crate) aim: f64,
    /// What was measured. What never came about is no number, which JSON writes as null.
    #[serde(deserialize_with = "number_or_null")]
    pub(crate) value: f64,
}

fn number_or_null<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or(f64::NAN))
}

/// How a claim, or a row of them, ended. Ordered: the worst of several is the row's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Verdict {
    /// The bar is missed.
    Missed,
    /// The bar is met, the aim is not.
    Bar,
    /// Both are met.
    Aim,
}

impl Claim {
    /// More is better.
    pub(crate) fn at_least(what: &str, unit: &str, (bar, aim): (f64, f64), value: f64) -> Self {
        Self { what: what.to_owned(), unit: unit.to_owned(), better: Better::Higher, bar, aim, value }
    }

    /// Less is better.
    pub(crate) fn at_most(what: &str, unit: &str, (bar, aim): (f64, f64), value: f64) -> Self {
        Self { better: Better::Lower, ..Self::at_least(what, unit, (bar, aim), value) }
    }

    /// How it ended. What is no number was not measured, and so is missed.
    pub(crate) fn verdict(&self) -> Verdict {
        let reaches = |goal: f64| match self.better {
            Better::Higher => self.value >= goal,
            Better::Lower => self.value <= goal,
        };
        match (reaches(self.bar), reaches(self.aim)) {
            (true, true) => Verdict::Aim,
            (true, false) => Verdict::Bar,
            (false, _) => Verdict::Missed,
        }
    }
}

impl Verdict {
    /// The verdict of several claims.
    pub(crate) fn of(claims: &[Claim]) -> Option<Self> {
        claims.iter().map(Claim::verdict).min()
    }

    /// For people.
    pub(crate) const fn words(self) -> &'static str {
        match self {
            Self::Missed => "bar missed",
            Self::Bar => "bar met",
            Self::Aim => "aim met",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_claim_is_judged_by_its_direction() {
        let verdict = |value| Claim::at_least("rate", "x", (2.0, 3.5), value).verdict();
        assert_eq!((verdict(1.99), verdict(2.0), verdict(3.5)), (Verdict::Missed, Verdict::Bar, Verdict::Aim));
        let verdict = |value| Claim::at_most("p99", "ms", (2.0, 1.0), value).verdict();
        assert_eq!((verdict(2.01), verdict(2.0), verdict(1.0)), (Verdict::Missed, Verdict::Bar, Verdict::Aim));
        assert_eq!(verdict(f64::NAN), Verdict::Missed, "what was not measured is not met");
    }

    #[test]
    fn what_never_came_about_survives_a_file_and_is_missed() {
        let never = Claim::at_most("until", "s", (1.0, 0.2), f64::INFINITY);
        let read: Claim = serde_json::from_str(&serde_json::to_string(&never).unwrap()).unwrap();
        assert!(read.value.is_nan() && read.verdict() == Verdict::Missed);
    }

    #[test]
    fn the_worst_claim_is_the_verdict_of_the_row() {
        let claim = |value| Claim::at_most("p99", "ms", (2.0, 1.0), value);
        assert_eq!(Verdict::of(&[claim(0.5), claim(1.5)]), Some(Verdict::Bar));
        assert_eq!(Verdict::of(&[claim(0.5), claim(9.0)]), Some(Verdict::Missed));
        assert_eq!(Verdict::of(&[]), None);
    }
}
