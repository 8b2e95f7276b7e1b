//! Two or more sides measured in turns, so that a machine whose speed drifts is fair to all of them.

use crate::{
    bench::{Bench, say},
    load::{
        percentile::median,
        wrk::{self, Ran, Target},
    },
    process::Server,
    record::Table,
    report::number,
    verdict::Claim,
};

/// One side: its label, its servers and what it is asked.
pub(crate) struct Side<'a> {
    pub(crate) label: &'a str,
    pub(crate) servers: Vec<&'a Server>,
    pub(crate) target: Target<'a>,
}

/// The medians of each side.
pub(crate) struct Medians {
    /// Requests per second, side by side.
    pub(crate) rate: Vec<f64>,
    /// Processor time per request in microseconds.
    pub(crate) cpu: Vec<f64>,
    /// For the page.
    pub(crate) table: Table,
}

/// Measures all sides in turns. Servers that are not asked stay up: they are idle, which costs next to nothing.
pub(crate) async fn measure(bench: &Bench, sides: &[Side<'_>]) -> anyhow::Result<Medians> {
    let mut all: Vec<Vec<Ran>> = vec![Vec::new(); sides.len()];
    for round in 1..=bench.rounds() {
        for (side, runs) in sides.iter().zip(&mut all) {
            let ran = wrk::measure(bench, &side.target, &side.servers).await?;
            say(format!(
                "round {round} of {}, {}: {:.0} requests/s, {:.1} µs of processor each, p50 {:?}, p99 {:?}",
                bench.rounds(),
                side.label,
                ran.rate,
                ran.cpu,
                ran.p50,
                ran.p99
            ));
            runs.push(ran);
        }
    }
    let medians = |figure: fn(&Ran) -> f64| all.iter().map(|runs| median(runs.iter().map(figure))).collect::<Vec<_>>();
    let (rate, cpu) = (medians(|ran| ran.rate), medians(|ran| ran.cpu));
    let (p50, p99) = (medians(|ran| ran.p50.as_secs_f64() * 1e3), medians(|ran| ran.p99.as_secs_f64() * 1e3));
    let mut table = Table::new(&["server", "requests/s", "CPU µs per request", "p50 ms", "p99 ms"]);
    for (index, side) in sides.iter().enumerate() {
        let cells = [rate[index], cpu[index], p50[index], p99[index]].map(number);
        let cells: Vec<_> = std::iter::once(side.label).chain(cells.iter().map(String::as_str)).collect();
        table.line(&cells);
    }
    Ok(Medians { rate, cpu, table })
}

impl Medians {
    /// The first side beside another, by what a client sees and by what the processor is charged. On one core that nobody
    /// else uses the two are the same; where others use it too, the second is the one to believe.
    pub(crate) fn beside(&self, other: usize, peer: &str, goals: (f64, f64)) -> Vec<Claim> {
        vec![
            Claim::at_least(&format!("rate beside {peer}"), "x", goals, self.rate[0] / self.rate[other]),
            Claim::at_least(
                &format!("rate per second of processor time beside {peer}"),
                "x",
                goals,
                self.cpu[other] / self.cpu[0],
            ),
        ]
    }
}

/// How it was measured, for the page.
pub(crate) fn method(bench: &Bench, connections: usize) -> String {
    format!(
        "`wrk`, closed loop, {connections} connections, medians of {} alternating rounds of {:?}; servers on one core, `wrk` on another.",
        bench.rounds(),
        bench.round()
    )
}
