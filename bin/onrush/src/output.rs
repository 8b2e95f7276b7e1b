//! Answers on standard output: tables for people, JSON for programs.

use std::{
    io::{self, Write as _},
    time::{Duration, SystemTime},
};

use serde::Serialize;

use crate::failure::Failure;

/// One line.
pub(crate) fn line(text: impl std::fmt::Display) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    writeln!(out, "{text}")?;
    Ok(out.flush()?)
}

/// A document, indented.
pub(crate) fn json(value: &impl Serialize) -> Result<(), Failure> {
    line(serde_json::to_string_pretty(value).map_err(|error| Failure::here(error.to_string()))?)
}

/// A document on one line.
pub(crate) fn json_line(value: &impl Serialize) -> Result<(), Failure> {
    line(serde_json::to_string(value).map_err(|error| Failure::here(error.to_string()))?)
}

/// Rows under a head, in columns that two spaces part, so that `awk` and `cut` can read them.
pub(crate) fn table<const N: usize>(head: [&str; N], rows: impl IntoIterator<Item = [String; N]>) -> String {
    let seen = |cell: String| if cell.is_empty() { "-".to_owned() } else { cell };
    let mut lines = vec![head.map(str::to_owned)];
    lines.extend(rows.into_iter().map(|row| row.map(seen)));
    let width = |column: usize| lines.iter().map(|line| line[column].chars().count()).max().unwrap_or(0);
    let widths: [usize; N] = std::array::from_fn(width);
    let shown = lines.iter().map(|line| {
        let cells = line.iter().zip(widths).map(|(cell, width)| format!("{cell:<width$}"));
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    });
    shown.collect::<Vec<_>>().join("\n")
}

/// `yes` or nothing to see.
pub(crate) fn mark(holds: bool) -> String {
    if holds { "yes" } else { "-" }.to_owned()
}

/// How long ago, roughly: `3h`.
pub(crate) fn age(then_ms: u64) -> String {
    let then = SystemTime::UNIX_EPOCH + Duration::from_millis(then_ms);
    let seconds = SystemTime::now().duration_since(then).unwrap_or_default().as_secs();
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3_600 => format!("{}m", seconds / 60),
        3_600..86_400 => format!("{}h", seconds / 3_600),
        _ => format!("{}d", seconds / 86_400),
    }
}

/// A moment, to the millisecond.
pub(crate) fn moment(ms: u64) -> String {
    humantime::format_rfc3339_millis(SystemTime::UNIX_EPOCH + Duration::from_millis(ms)).to_string()
}

/// Bytes for people: `79.6 KiB`.
pub(crate) fn bytes(count: u64) -> String {
    bytesize::ByteSize(count).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_and_empty_cells_are_seen() {
        let text = table(["NAME", "X"], [["a".to_owned(), String::new()], ["longer".to_owned(), "1".to_owned()]]);
        assert_eq!(text, "NAME    X\na       -\nlonger  1");
    }
}
