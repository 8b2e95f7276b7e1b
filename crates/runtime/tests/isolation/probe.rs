//! A guest that looks for whatever an earlier one can have left behind, then leaves all it can, then ends as asked.
//!
//! It divides by zero when it finds something, so that a finding is told from every other end. It has no standard library
//! and no allocator: every byte, global and table element of it is known here.

/// How a call of the guest ends, once it has left its traces.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// It returns, without an answer.
    Return,
    /// It traps.
    Trap,
    /// It computes until somebody ends it.
    Spin,
}

/// What differs between probes, so that one's slot is another's.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Probe {
    /// Eight bytes of its image, and its globals' first values.
    pub(crate) mark: u32,
    /// Pages of 64 KiB that it begins with.
    pub(crate) pages: u32,
    /// Pages that it adds.
    pub(crate) growth: u32,
    /// Whether it writes two bytes of each 4 KiB instead of all: more dirty regions than one scan of the kernel reports.
    pub(crate) sparse: bool,
    pub(crate) end: End,
}

impl Probe {
    /// Linear memory of a call that has left all its traces: it grows by one more page to say so.
    pub(crate) fn bytes_when_done(self) -> u64 {
        u64::from(self.pages + self.growth + 1) << 16
    }

    /// The component in its text form.
    pub(crate) fn text(self) -> String {
        let Self { mark, pages, growth, sparse, end } = self;
        let all = (pages + growth) << 16;
        let step = if sparse { 4_095 } else { 1 };
        let end = match end {
            End::Return => "",
            End::Trap => "unreachable",
            End::Spin => "(loop $for_ever (br $for_ever))",
        };
        let values = [("MARK", mark), ("PAGES", pages), ("GROWTH", growth), ("STEP", step)];
        let places = [("BEGIN", pages << 16), ("ALL", all), ("LAST", all - 1)];
        let text = include_str!("probe.wat").replace("END", end);
        values.into_iter().chain(places).fold(text, |text, (word, value)| text.replace(word, &value.to_string()))
    }
}
