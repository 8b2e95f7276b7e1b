//! The page: records become Markdown between markers; what people wrote around them stays.

use anyhow::Context as _;

use crate::{
    record::Record,
    row::{self, Row},
    verdict::{Claim, Verdict},
};

const BEGIN: &str = "<!-- bench:rows -->";
const END: &str = "<!-- /bench:rows -->";

/// The page with fresh figures between its markers.
pub(crate) fn renew(page: &str, records: &[Record]) -> anyhow::Result<String> {
    let lost = || format!("the page has no {BEGIN} ... {END} to write between");
    let (before, rest) = page.split_once(BEGIN).with_context(lost)?;
    let (_, after) = rest.split_once(END).with_context(lost)?;
    Ok(format!("{before}{BEGIN}\n\n{}{END}{after}", body(records)))
}

fn body(records: &[Record]) -> String {
    let found = |row: &Row| records.iter().find(|record| record.row == row.name);
    let mut text = "| row | what | bar | aim | measured | verdict |\n|---|---|---|---|---|---|\n".to_owned();
    for row in row::ALL {
        let name = found(row).map_or_else(|| row.name.to_owned(), |_| format!("[{}](#{})", row.name, anchor(row)));
        let measured = found(row).map_or_else(|| "never run".to_owned(), short);
        let verdict = found(row).and_then(|record| Verdict::of(&record.finding.claims)).map_or("-", Verdict::words);
        line(&mut text, &[&name, row.title, row.bar, row.aim, &measured, verdict]);
    }
    for row in row::ALL {
        if let Some(record) = found(row) {
            text.push('\n');
            text.push_str(&one(record));
        }
    }
    text
}

/// GitHub's name for a heading.
fn anchor(row: &Row) -> String {
    row.name.replace(' ', "-")
}

fn short(record: &Record) -> String {
    let claims: Vec<_> = record.finding.claims.iter().map(figure).collect();
    let quick = if record.quick { " (quick)" } else { "" };
    if claims.is_empty() { "see below".to_owned() } else { format!("{}{quick}", claims.join("; ")) }
}

fn figure(claim: &Claim) -> String {
    format!("{} {}{}", claim.what, number(claim.value), unit(&claim.unit))
}

fn unit(unit: &str) -> String {
    if unit.is_empty() || unit == "%" { unit.to_owned() } else { format!(" {unit}") }
}

/// One row: its claims, its table and how it was measured.
pub(crate) fn one(record: &Record) -> String {
    let mut text = String::new();
    let title = row::ALL.iter().find(|row| row.name == record.row).map_or("", |row| row.title);
    text += &format!("### {}\n\n{title}.\n\n", record.row);
    if !record.finding.claims.is_empty() {
        text.push_str("| claim | bar | aim | measured | verdict |\n|---|---|---|---|---|\n");
        for claim in &record.finding.claims {
            let [bar, aim, value] = [claim.bar, claim.aim, claim.value].map(|n| number(n) + &unit(&claim.unit));
            line(&mut text, &[&claim.what, &bar, &aim, &value, claim.verdict().words()]);
        }
        text.push('\n');
    }
    let table = &record.finding.table;
    if !table.lines.is_empty() {
        line(&mut text, &table.head.iter().map(String::as_str).collect::<Vec<_>>());
        text += &format!("|{}\n", "---|".repeat(table.head.len()));
        for cells in &table.lines {
            line(&mut text, &cells.iter().map(String::as_str).collect::<Vec<_>>());
        }
        text.push('\n');
    }
    for note in &record.finding.notes {
        text += &format!("- {note}\n");
    }
    let facts = &record.facts;
    let quick = if record.quick { ", **quick**: short rounds" } else { "" };
    text += &format!(
        "- {}, commit {}, {} ({} cores), Linux {}{quick}. Others had {} % of the machine meanwhile (load average at the end {}). {}.\n",
        facts.date,
        facts.commit,
        facts.processor,
        facts.cores,
        facts.kernel,
        facts.others_percent,
        facts.load_average,
        facts.versions.join("; "),
    );
    text
}

fn line(text: &mut String, cells: &[&str]) {
    *text += &format!("| {} |\n", cells.join(" | "));
}

/// A number with three digits that mean something.
pub(crate) fn number(value: f64) -> String {
    match value.abs() {
        size if !size.is_finite() => "never".to_owned(),
        size if size >= 100.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        size if size >= 1.0 || size == 0.0 => {
            format!("{value:.2}").trim_end_matches('0').trim_end_matches('.').to_owned()
        }
        _ => format!("{value:.3}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{machine::Facts, record::Finding};

    fn record() -> Record {
        let facts = Facts {
            processor: "a processor".into(),
            cores: 2,
            kernel: "6".into(),
            date: "2026-01-01".into(),
            commit: "abc".into(),
            versions: vec!["onrush 1".into()],
            others_percent: 3.0,
            load_average: "1".into(),
        };
        let claims = vec![Claim::at_least("rate", "x", (2.0, 3.5), 2.513)];
        Record {
            row: row::ALL[0].name.to_owned(),
            quick: true,
            facts,
            finding: Finding { claims, ..Finding::default() },
        }
    }

    #[test]
    fn figures_go_between_the_markers_and_the_rest_stays() {
        let page = format!("intro\n{BEGIN}\nSTALE\n{END}\noutro\n");
        let new = renew(&page, &[record()]).unwrap();
        assert!(new.starts_with("intro\n") && new.ends_with("\noutro\n"), "{new}");
        assert!(!new.contains("STALE") && new.contains("rate 2.51 x (quick)") && new.contains("bar met"), "{new}");
        assert_eq!(new.matches("never run").count(), row::ALL.len() - 1);
        assert_eq!(renew(&new, &[record()]).unwrap(), new, "writing it twice changes nothing");
    }

    #[test]
    fn a_page_without_markers_is_left_alone() {
        assert!(renew("nothing", &[]).is_err());
    }

    #[test]
    fn numbers_have_three_digits() {
        assert_eq!([1234.4, 12.34, 1.5, 0.0, 0.0312].map(number), ["1234", "12.3", "1.5", "0", "0.031"]);
        assert_eq!(number(f64::NAN), "never");
    }
}
