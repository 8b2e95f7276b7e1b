//! Scenarios x policies -> tables and plots.

use crate::{
    engine::run,
    measure::{Estimate, Outcome},
    plot::{Plot, svg},
    policies::{Kind, Ours},
    scenario::{Arrivals, Scenario, Service, Slowdown},
    slowed::{Fall, fall},
    tables::{Table, digits},
};

/// How much is simulated.
#[derive(Debug, Clone, Copy)]
pub struct Effort {
    /// The first seed.
    pub seed: u64,
    /// Runs of each cell, each with a seed of its own that is the same for every policy.
    pub runs: u64,
    /// Of the usual number of calls, in percent.
    pub percent: u64,
}

impl Effort {
    /// So many calls, at this effort.
    pub fn of(self, calls: u64) -> u64 {
        (calls * self.percent / 100).max(1_000)
    }
}

/// Scenarios that differ in one thing, under several policies.
struct Grid {
    name: &'static str,
    title: &'static str,
    /// What differs: its name, and each scenario's value of it.
    axis: &'static str,
    scenarios: Vec<(String, Scenario)>,
    kinds: Vec<Kind>,
    plot: bool,
}

struct Cell {
    mean: Estimate,
    p99: Estimate,
    p999: Estimate,
    away: f64,
    asked: f64,
}

const LOADS: [f64; 4] = [0.5, 0.7, 0.9, 0.95];
const SHORT: f64 = 1e-3;
const LONG: f64 = 50e-3;
/// Measured in each run of a cell.
const CALLS: u64 = 300_000;
/// Nodes of scenarios of the second rank, half the calls each.
const FEWER: usize = 250;

fn cell(scenario: &Scenario, kind: Kind, effort: Effort) -> Cell {
    let outcomes: Vec<Outcome> = (0..effort.runs).map(|run| kind.run(scenario, effort.seed + run)).collect();
    let over = |number: &dyn Fn(&Outcome) -> f64| Estimate::of(&outcomes.iter().map(number).collect::<Vec<_>>());
    Cell {
        mean: over(&Outcome::mean),
        p99: over(&|outcome| outcome.quantile(0.99)),
        p999: over(&|outcome| outcome.quantile(0.999)),
        away: over(&|outcome| outcome.per_call().0).mean,
        asked: over(&|outcome| outcome.per_call().1).mean,
    }
}

/// The same on fewer nodes with fewer calls.
fn smaller(load: f64, service_time: f64, effort: Effort) -> Scenario {
    let calls = effort.of(CALLS / 2);
    Scenario { nodes: FEWER, calls, warm_up: calls * 4 / 5, ..Scenario::new(load, service_time, calls) }
}

/// Measured from when queues no longer know that they began empty.
fn scenario(load: f64, service_time: f64, effort: Effort) -> Scenario {
    let calls = effort.of(CALLS);
    Scenario { warm_up: calls * 4 / 5, ..Scenario::new(load, service_time, calls) }
}

fn without_gossip() -> Vec<Kind> {
    Kind::COMPARED.into_iter().filter(|kind| *kind != Kind::Gossip).collect()
}

/// Those that a scenario of the second rank is run under.
const SOME: [Kind; 7] =
    [Kind::Random, Kind::Piggyback, Kind::Prequal, Kind::Fresh, Kind::LeastTime, Kind::Shortest, Kind::Ours];

fn by_load(effort: Effort) -> Vec<Grid> {
    let at = |service_time: f64| {
        LOADS.iter().map(|load| (format!("{:.0} %", load * 100.0), scenario(*load, service_time, effort))).collect()
    };
    let small = |load: f64| Scenario { nodes: 100, calls: effort.of(600_000), ..scenario(load, SHORT, effort) };
    vec![
        Grid {
            name: "load-1ms",
            title: "Calls of 1 ms, 1,000 nodes",
            axis: "load",
            scenarios: at(SHORT),
            kinds: [without_gossip(), vec![Kind::OursWithoutAsking]].concat(),
            plot: true,
        },
        Grid {
            name: "load-50ms",
            title: "Calls of 50 ms, 1,000 nodes",
            axis: "load",
            scenarios: at(LONG),
            kinds: [Kind::COMPARED.to_vec(), vec![Kind::OursWithoutAsking]].concat(),
            plot: true,
        },
        Grid {
            name: "herd",
            title: "The herd: calls of 1 ms, 100 nodes, loads by gossip every 200 ms",
            axis: "load",
            scenarios: [0.5, 0.9].map(|load| (format!("{:.0} %", load * 100.0), small(load))).into(),
            kinds: vec![Kind::Random, Kind::Gossip, Kind::Shortest, Kind::Ours],
            plot: false,
        },
    ]
}

fn by_kind_of_call(effort: Effort) -> Vec<Grid> {
    let with = |service: Service, service_time: f64| {
        let name = format!("{}, {:.0} ms", service.name(), service_time * 1e3);
        (name, Scenario { service, ..smaller(0.9, service_time, effort) })
    };
    let kinds = [Service::Constant, Service::Exponential, Service::HeavyTail];
    let skewed = |load: f64, service_time: f64| {
        let name = format!("{:.0} %, {:.0} ms", load * 100.0, service_time * 1e3);
        (name, Scenario { speeds: vec![1.0, 2.0, 4.0], ..smaller(load, service_time, effort) })
    };
    let batches = |load: f64, service_time: f64| {
        let name = format!("{:.0} %, {:.0} ms", load * 100.0, service_time * 1e3);
        (name, Scenario { arrivals: Arrivals::Batches(64.0), ..smaller(load, service_time, effort) })
    };
    vec![
        Grid {
            name: "service",
            title: "How long calls take, at 90 % load, 250 nodes",
            axis: "service",
            scenarios: [SHORT, LONG].iter().flat_map(|time| kinds.map(|kind| with(kind, *time))).collect(),
            kinds: SOME.to_vec(),
            plot: false,
        },
        Grid {
            name: "speeds",
            title: "250 nodes of speed 1, 2 and 4",
            axis: "load, service",
            scenarios: vec![skewed(0.7, SHORT), skewed(0.9, SHORT), skewed(0.7, LONG), skewed(0.9, LONG)],
            kinds: SOME.to_vec(),
            plot: false,
        },
        Grid {
            name: "bursts",
            title: "Bursts: 64 calls on average at one gateway at the same moment, 250 nodes",
            axis: "load, service",
            scenarios: vec![batches(0.5, SHORT), batches(0.8, SHORT), batches(0.5, LONG), batches(0.8, LONG)],
            kinds: SOME.to_vec(),
            plot: false,
        },
    ]
}

fn by_age(effort: Effort) -> Vec<Grid> {
    let grid = |name, title, service_time: f64, ages: [f64; 4]| Grid {
        name,
        title,
        axis: "age",
        scenarios: ages
            .map(|age| {
                let name = format!("{} ms", age * 1e3);
                (name, Scenario { stale: age, ..smaller(0.9, service_time, effort) })
            })
            .into(),
        kinds: vec![Kind::Random, Kind::Piggyback, Kind::Prequal, Kind::Ours, Kind::OursWithoutAsking, Kind::Shortest],
        plot: false,
    };
    vec![
        grid(
            "stale-1ms",
            "What nodes say is up to this old: calls of 1 ms, 90 % load, 250 nodes",
            SHORT,
            [0.0, 1e-3, 10e-3, 100e-3],
        ),
        grid(
            "stale-50ms",
            "What nodes say is up to this old: calls of 50 ms, 90 % load, 250 nodes",
            LONG,
            [0.0, 10e-3, 100e-3, 1.0],
        ),
    ]
}

fn measure(grid: &Grid, effort: Effort) -> Vec<Vec<Cell>> {
    let row = |kind: &Kind| {
        eprintln!("compare: {}: {}", grid.name, kind.name());
        grid.scenarios.iter().map(|(_, scenario)| cell(scenario, *kind, effort)).collect()
    };
    grid.kinds.iter().map(row).collect()
}

/// The p99 of each cell, and how many times that of the shortest queue it is.
fn markdown(grid: &Grid, cells: &[Vec<Cell>]) -> String {
    let names: Vec<_> = grid.scenarios.iter().map(|(name, _)| name.as_str()).collect();
    let head: Vec<_> = std::iter::once("p99, ms (times the shortest queue's)").chain(names.iter().copied()).collect();
    let mut table = Table::new(&head);
    let best = grid.kinds.iter().position(|kind| *kind == Kind::Shortest);
    for (kind, row) in grid.kinds.iter().zip(cells) {
        let text = row.iter().enumerate().map(|(index, cell)| {
            let times = best.map(|best| cell.p99.mean / cells[best][index].p99.mean);
            let times = times.map_or(String::new(), |times| format!(" ({times:.2})"));
            format!("{} ± {}{times}", digits(cell.p99.mean * 1e3), digits(cell.p99.half * 1e3))
        });
        table.row(std::iter::once(kind.name().to_owned()).chain(text));
    }
    let mut more = Table::new(&[["mean / p99.9, ms"].as_slice(), &names].concat());
    for (kind, row) in grid.kinds.iter().zip(cells) {
        let text =
            row.iter().map(|cell| format!("{} / {}", digits(cell.mean.mean * 1e3), digits(cell.p999.mean * 1e3)));
        more.row(std::iter::once(kind.name().to_owned()).chain(text));
    }
    let mut cost = Table::new(&[["per call: sent away / nodes asked"].as_slice(), &names].concat());
    for (kind, row) in grid.kinds.iter().zip(cells).filter(|(kind, _)| matches!(kind, Kind::Ours | Kind::Prequal)) {
        let text = row.iter().map(|cell| format!("{:.2} / {:.3}", cell.away, cell.asked));
        cost.row(std::iter::once(kind.name().to_owned()).chain(text));
    }
    format!("## {}\n\nBy {}.\n\n{}\n{}\n{}\n", grid.title, grid.axis, table.text(), more.text(), cost.text())
}

fn plot(grid: &Grid, cells: &[Vec<Cell>]) -> anyhow::Result<(String, String)> {
    let points =
        |row: &Vec<Cell>| LOADS.iter().zip(row).map(|(load, cell)| (load * 100.0, cell.p99.mean * 1e3)).collect();
    let lines = grid.kinds.iter().zip(cells).map(|(kind, row)| (kind.name().to_owned(), points(row)));
    let best = cells.iter().flatten().map(|cell| cell.p99.mean * 1e3).fold(f64::INFINITY, f64::min);
    let (x, y) = ("load, %", "p99, ms");
    let text = svg(&Plot { title: grid.title, x, y, most: best * 4.0, lines: lines.collect() })?;
    Ok((format!("{}.svg", grid.name), text))
}

/// Nodes that become three times slower.
struct Slowed {
    name: &'static str,
    title: &'static str,
    scenario: Scenario,
}

fn slowed(effort: Effort) -> Vec<Slowed> {
    let make = |nodes: usize, slow: usize, service_time: f64, load: f64, seconds: f64| {
        let base = Scenario::new(load, service_time, 0);
        let scenario = Scenario { nodes, slowdown: Some(Slowdown { nodes: slow, times: 3.0, at: 0.5 }), ..base };
        let calls = effort.of((scenario.rate() * (seconds + 0.5)) as u64);
        Scenario { calls, warm_up: calls / 3, ..scenario }
    };
    vec![
        Slowed {
            name: "slowed-3",
            title: "One of three nodes slowed threefold, calls of 10 ms, 60 % load",
            scenario: make(3, 1, 10e-3, 0.6, 6.0),
        },
        Slowed {
            name: "slowed-1ms",
            title: "Ten of 100 nodes slowed threefold, calls of 1 ms, 70 % load",
            scenario: make(100, 10, SHORT, 0.7, 1.5),
        },
        Slowed {
            name: "slowed-50ms",
            title: "100 of 1,000 nodes slowed threefold, calls of 50 ms, 70 % load",
            scenario: make(1_000, 100, LONG, 0.7, 4.0),
        },
    ]
}

const SLOWED_KINDS: [Kind; 7] = [
    Kind::Random,
    Kind::LeastRequests,
    Kind::Piggyback,
    Kind::Prequal,
    Kind::OursWithoutPace,
    Kind::Ours,
    Kind::LeastTime,
];

fn follow(slowed: &Slowed, effort: Effort) -> anyhow::Result<(String, String)> {
    let Scenario { nodes, slowdown, .. } = &slowed.scenario;
    let (slow, at) = slowdown.map_or((1, 0.5), |slowdown| (slowdown.nodes, slowdown.at));
    let mut table = Table::new(&["policy", "share before", "share after", "80 % of the fall after", "p99, ms"]);
    let mut lines = Vec::new();
    for kind in SLOWED_KINDS {
        eprintln!("compare: {}: {}", slowed.name, kind.name());
        let outcomes: Vec<_> = (0..effort.runs).map(|run| kind.run(&slowed.scenario, effort.seed + run)).collect();
        let Fall { before, after, seconds, curve } = fall(&outcomes, slow as f64 / *nodes as f64, at);
        let p99 = Estimate::of(&outcomes.iter().map(|outcome| outcome.quantile(0.99)).collect::<Vec<_>>());
        let falls = before - after > 0.05;
        table.row([
            kind.name().to_owned(),
            format!("{before:.2}"),
            format!("{after:.2}"),
            seconds.filter(|_| falls).map_or("never".to_owned(), |seconds| format!("{:.0} ms", seconds * 1e3)),
            digits(p99.mean * 1e3),
        ]);
        lines.push((kind.name().to_owned(), curve));
    }
    let text = format!("## {}\n\nShares are multiples of an equal one.\n\n{}\n", slowed.title, table.text());
    let (x, y) = ("seconds since", "share of an equal one");
    Ok((text, svg(&Plot { title: slowed.title, x, y, most: 2.0, lines })?))
}

/// Simulates everything. Returns files: their names and what is in them.
///
/// # Errors
/// Where a plot cannot be drawn.
pub fn report(effort: Effort) -> anyhow::Result<Vec<(String, String)>> {
    let mut text = format!(
        "Written by `./x sim`: {} runs of each cell from seed {} on, {} calls measured in each on 1,000 nodes, half of that on 250 nodes below (but for the herd and the slowed nodes). \
         Times are in milliseconds, from a call's arrival to its reply; ± is half a 95 % interval.\n\n",
        effort.runs,
        effort.seed,
        effort.of(CALLS),
    );
    let mut files = Vec::new();
    for grid in [by_load(effort), by_kind_of_call(effort), by_age(effort)].into_iter().flatten() {
        let cells = measure(&grid, effort);
        text.push_str(&markdown(&grid, &cells));
        if grid.plot {
            files.push(plot(&grid, &cells)?);
        }
    }
    for slowed in slowed(effort) {
        let (section, drawing) = follow(&slowed, effort)?;
        text.push_str(&section);
        files.push((format!("{}.svg", slowed.name), drawing));
    }
    files.push(("comparison.md".to_owned(), text));
    Ok(files)
}

/// The p99 of a policy as a multiple of the omniscient shortest queue's, in a scenario. For tests and for tuning.
pub fn against_shortest(scenario: &Scenario, kind: Kind, seed: u64) -> f64 {
    kind.run(scenario, seed).quantile(0.99) / Kind::Shortest.run(scenario, seed).quantile(0.99)
}

/// What becomes of the share of nodes that are slowed, under Onrush's rules or blind to pace.
pub fn fall_of(scenario: &Scenario, blind: bool, seed: u64) -> Fall {
    let policy = if blind { Ours::blind(scenario) } else { Ours::new(scenario, |_| {}) };
    let (slow, at) = scenario.slowdown.map_or((1, 0.0), |slowdown| (slowdown.nodes, slowdown.at));
    fall(&[run(scenario, policy, seed)], slow as f64 / scenario.nodes as f64, at)
}
