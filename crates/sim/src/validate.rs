//! The simulator against mean-field theory, and both against the published table that the rules were planned with.

use crate::{
    compare::Effort,
    engine::run,
    measure::{Estimate, Outcome},
    policies::Fresh,
    scenario::Scenario,
    tables::{Table, digits},
    theory::FixedPoint,
};

/// One number: what the table says, what theory says, what the simulator measured.
struct Check {
    what: String,
    table: f64,
    theory: f64,
    simulated: Estimate,
}

/// A difference this small, in service times, is nothing: the tables have two decimals.
const NOTHING: f64 = 0.005;
/// Runs of each cell, at least: the interval over them has to be worth something.
const RUNS: u64 = 8;
/// The most that the simulator may be off, where its own 95 % interval is not wider. (It is for the last thousandth of a
/// queue that forgets slowly: few of its long waits have nothing to do with one another.)
const TOLERANCE: f64 = 0.03;

/// Load, choices, mean and p99 of the response: nodes of one slot.
const SINGLE: [(f64, u32, f64, f64); 12] = [
    (0.70, 1, 3.33, 15.4),
    (0.70, 2, 1.61, 6.56),
    (0.70, 3, 1.36, 5.77),
    (0.70, 5, 1.17, 5.24),
    (0.90, 1, 10.0, 46.1),
    (0.90, 2, 2.61, 8.79),
    (0.90, 3, 2.03, 7.31),
    (0.90, 5, 1.63, 6.32),
    (0.95, 1, 20.0, 92.1),
    (0.95, 2, 3.38, 10.2),
    (0.95, 3, 2.54, 8.29),
    (0.95, 5, 1.99, 7.08),
];

/// Load, choices, probability, mean, p99 and p99.9 of the wait: nodes of eight slots.
const EIGHT: [(f64, u32, [f64; 4]); 9] = [
    (0.70, 1, [0.27, 0.11, 1.37, 2.33]),
    (0.70, 2, [0.002, 0.0, 0.0, 0.09]),
    (0.70, 3, [0.0, 0.0, 0.0, 0.0]),
    (0.90, 1, [0.70, 0.87, 5.28, 8.11]),
    (0.90, 2, [0.30, 0.05, 0.52, 0.85]),
    (0.90, 3, [0.10, 0.01, 0.29, 0.58]),
    (0.95, 1, [0.84, 2.05, 10.7, 16.3]),
    (0.95, 2, [0.66, 0.16, 0.84, 1.21]),
    (0.95, 3, [0.47, 0.07, 0.56, 0.88]),
];

fn list(names: &[String]) -> String {
    if names.is_empty() { "none".to_owned() } else { names.join("; ") }
}

fn off(value: f64, expected: f64) -> f64 {
    let difference = (value - expected).abs();
    if difference <= NOTHING { 0.0 } else { difference / expected.max(NOTHING) }
}

/// How many calls make a number sure: the slower a queue forgets, the more.
fn calls(load: f64, choices: u32, slots: usize, effort: Effort) -> u64 {
    let memory = (1.0 - load.sqrt()).powi(-2);
    let more = match (choices, slots) {
        (1, 1) => 5_000.0 * memory,
        (1, _) => 12_000.0 * memory,
        _ => 100_000.0 / (1.0 - load),
    };
    effort.of((800_000.0 + more / 4.0) as u64)
}

fn runs(load: f64, choices: u32, slots: usize, effort: Effort) -> Vec<Outcome> {
    let calls = calls(load, choices, slots, effort);
    // As many nodes as keep a queue in memory for many times the time in which it forgets.
    let nodes = if choices == 1 { 200 } else { 1_000 };
    let scenario = Scenario { nodes, slots, hop: 0.0, warm_up: calls / 2, ..Scenario::new(load, 1.0, calls) };
    (0..RUNS.max(effort.runs)).map(|seed| run(&scenario, Fresh(choices), effort.seed + seed)).collect()
}

fn estimate(outcomes: &[Outcome], number: impl Fn(&Outcome) -> f64) -> Estimate {
    Estimate::of(&outcomes.iter().map(number).collect::<Vec<_>>())
}

fn single(load: f64, choices: u32, table: [f64; 2], effort: Effort) -> Vec<Check> {
    let (theory, outcomes) = (FixedPoint::new(load, 1, choices), runs(load, choices, 1, effort));
    let what = |of: &str| format!("1 slot, {:.0} %, d = {choices}: {of} of the response", load * 100.0);
    let (mean, p99) = (estimate(&outcomes, Outcome::mean), estimate(&outcomes, |outcome| outcome.quantile(0.99)));
    vec![
        Check { what: what("mean"), table: table[0], theory: theory.mean_wait() + 1.0, simulated: mean },
        Check { what: what("p99"), table: table[1], theory: theory.response_exceeded_by(0.01), simulated: p99 },
    ]
}

fn eight(load: f64, choices: u32, table: [f64; 4], effort: Effort) -> Vec<Check> {
    let (theory, outcomes) = (FixedPoint::new(load, 8, choices), runs(load, choices, 8, effort));
    let rows = [
        ("probability", theory.waits(), estimate(&outcomes, Outcome::waits)),
        ("mean", theory.mean_wait(), estimate(&outcomes, Outcome::mean_wait)),
        ("p99", theory.wait_exceeded_by(0.01), estimate(&outcomes, |outcome| outcome.wait_quantile(0.99))),
        ("p99.9", theory.wait_exceeded_by(0.001), estimate(&outcomes, |outcome| outcome.wait_quantile(0.999))),
    ];
    let what = |of: &str| format!("8 slots, {:.0} %, d = {choices}: {of} of the wait", load * 100.0);
    let row = |((of, theory, simulated), table)| Check { what: what(of), table, theory, simulated };
    rows.into_iter().zip(table).map(row).collect()
}

/// Simulates every cell. Returns the report, and whether all is within 3 % of theory.
pub fn report(effort: Effort) -> (String, bool) {
    let mut checks = Vec::new();
    for (load, choices, mean, p99) in SINGLE {
        eprintln!("validate: 1 slot, load {load}, {choices} choices");
        checks.extend(single(load, choices, [mean, p99], effort));
    }
    for (load, choices, table) in EIGHT {
        eprintln!("validate: 8 slots, load {load}, {choices} choices");
        checks.extend(eight(load, choices, table, effort));
    }
    let mut text =
        Table::new(&["number, in service times", "table", "theory", "simulated", "sim / theory", "table / theory"]);
    let (mut worst, mut odd, mut unsure) = (0.0_f64, Vec::new(), Vec::new());
    for check in &checks {
        let error = off(check.simulated.mean, check.theory);
        if error > TOLERANCE && (check.simulated.mean - check.theory).abs() <= check.simulated.half {
            unsure.push(check.what.clone());
        } else {
            worst = worst.max(error);
        }
        // The table is rounded: half of its last digit is no error.
        let rounding = if check.table >= 10.0 { 0.05 } else { 0.005 };
        let wrong = (check.table - check.theory).abs() > rounding + TOLERANCE * check.theory;
        if wrong {
            odd.push(check.what.clone());
        }
        text.row([
            check.what.clone(),
            digits(check.table),
            digits(check.theory),
            format!("{} ± {}", digits(check.simulated.mean), digits(check.simulated.half)),
            if error == 0.0 {
                "=".into()
            } else {
                format!("{:+.1} %", (check.simulated.mean / check.theory - 1.0) * 100.0)
            },
            if wrong { "**differs**".into() } else { "=".into() },
        ]);
    }
    let good = worst <= TOLERANCE;
    let summary = format!(
        "Largest difference of simulation from theory: {:.1} % ({}), not counting numbers whose own 95 % interval is wider \
         and holds what theory says: {}.\n\nNumbers where the table itself differs from theory by more \
         than 3 % and its rounding: {}.\n\n",
        worst * 100.0,
        if good { "within the 3 % asked for" } else { "MORE than the 3 % asked for" },
        list(&unsure),
        list(&odd),
    );
    (summary + &text.text(), good)
}

/// One cell, quickly: how far the simulator is from theory. For tests.
pub fn quick(load: f64, choices: u32, slots: usize, calls: u64, seed: u64) -> (f64, f64) {
    let scenario = Scenario { nodes: 500, slots, hop: 0.0, warm_up: calls / 2, ..Scenario::new(load, 1.0, calls) };
    let outcome = run(&scenario, Fresh(choices), seed);
    (outcome.mean(), FixedPoint::new(load, slots, choices).mean_wait() + 1.0)
}
