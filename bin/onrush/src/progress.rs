//! Progress on standard error: a moving line on a terminal, plain lines elsewhere, nothing with `-o json`.

use std::{
    io::{IsTerminal as _, stderr},
    time::Duration,
};

use indicatif::{ProgressBar, ProgressStyle};

use crate::args::Format;

/// What a longer piece of work says of itself.
pub(crate) enum Progress {
    /// A terminal.
    Moving(ProgressBar),
    /// A log.
    Lines,
    /// A program reads the answer; nobody waits and watches.
    Silent,
}

impl Progress {
    /// Fitting to where standard error goes.
    pub(crate) fn new(format: Format) -> Self {
        match format {
            Format::Json => Self::Silent,
            Format::Table if stderr().is_terminal() => {
                let bar = ProgressBar::new_spinner();
                bar.enable_steady_tick(Duration::from_millis(100));
                Self::Moving(bar)
            }
            Format::Table => Self::Lines,
        }
    }

    /// Bytes are on their way.
    pub(crate) fn sending(&self, what: &str, size: u64) {
        let text = format!("{what}: uploading {}", crate::output::bytes(size));
        if let Self::Moving(bar) = self {
            let style = ProgressStyle::with_template("{spinner} {msg} [{bar:30}] {bytes}/{total_bytes}");
            bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
            bar.set_length(size);
        }
        self.say(text);
    }

    /// The next step.
    pub(crate) fn step(&self, text: String) {
        if let Self::Moving(bar) = self {
            bar.set_style(ProgressStyle::default_spinner());
        }
        self.say(text);
    }

    /// The work is over; the answer speaks for itself.
    pub(crate) fn end(&self) {
        if let Self::Moving(bar) = self {
            bar.finish_and_clear();
        }
    }

    fn say(&self, text: String) {
        match self {
            Self::Moving(bar) => bar.set_message(text),
            Self::Lines => eprintln!("{text}"),
            Self::Silent => {}
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.end();
    }
}
