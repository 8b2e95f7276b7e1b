//! Markdown.

/// A table: a head, and rows of as many cells.
#[derive(Debug)]
pub(crate) struct Table {
    text: String,
}

impl Table {
    pub(crate) fn new(head: &[&str]) -> Self {
        let mut table = Self { text: String::new() };
        table.row(head.iter().map(ToString::to_string));
        table.row(head.iter().enumerate().map(|(index, _)| if index == 0 { "---".into() } else { "---:".into() }));
        table
    }

    pub(crate) fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.text.push('|');
        for cell in cells {
            self.text.push(' ');
            self.text.push_str(&cell);
            self.text.push_str(" |");
        }
        self.text.push('\n');
    }

    pub(crate) fn text(self) -> String {
        self.text
    }
}

/// Three digits that count.
pub(crate) fn digits(value: f64) -> String {
    let size = value.abs();
    let after = if size >= 100.0 {
        0
    } else if size >= 10.0 {
        1
    } else if size >= 1.0 {
        2
    } else {
        3
    };
    format!("{value:.after$}")
}
