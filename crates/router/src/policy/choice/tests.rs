use std::collections::BTreeSet;

use super::{super::Report, fake::FakeField, *};
use crate::Config;

const NOW: u64 = 10_000_000;

fn full(in_flight: u32, wait: f64) -> Report {
    Report { in_flight, busy: in_flight, wait }
}

struct Table {
    field: FakeField,
    knowledge: Knowledge,
    params: Params,
    seed: u64,
}

impl Table {
    /// Nodes that have just said how many calls they have.
    fn new(in_flight: &[u32]) -> Self {
        let params = Params::from(&Config::default());
        let (field, knowledge) = (FakeField::new(in_flight.len()), Knowledge::new(&params, 4));
        for (belief, in_flight) in field.beliefs.iter().zip(in_flight) {
            belief.report(full(*in_flight, 0.0), 4.0, &knowledge, NOW);
        }
        Self { field, knowledge, params, seed: 1 }
    }

    fn decide_at(&mut self, now: u64) -> Decision {
        let seed = &mut self.seed;
        let mut random = || {
            *seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            *seed ^ (*seed >> 29)
        };
        decide(&self.field, &self.knowledge, &self.params, Call { function: 7, now, may_ask: true }, &mut random)
    }

    fn decide(&mut self) -> Decision {
        self.decide_at(NOW)
    }
}

#[test]
fn a_call_stays_here_until_the_way_elsewhere_is_shorter() {
    for (in_flight, expected) in [(0, 0), (3, 0), (4, 0), (6, 1), (64, 1)] {
        assert_eq!(Table::new(&[in_flight, 0]).decide(), Decision::Go(expected), "{in_flight}");
    }
}

#[test]
fn a_node_that_says_that_calls_wait_is_believed() {
    let mut table = Table::new(&[0, 5]);
    table.field.beliefs[0].report(full(4, 50_000.0), 4.0, &table.knowledge, NOW);
    assert_eq!(table.decide(), Decision::Go(1));
}

#[test]
fn a_node_that_became_slow_is_left_even_when_it_is_idle() {
    let mut table = Table::new(&[0, 0]);
    assert_eq!(table.decide(), Decision::Go(0));
    table.field.beliefs[0].set_pace(3.0_f32.ln(), NOW);
    assert_eq!(table.decide(), Decision::Go(1));
    // Its own word counts alike.
    let mut table = Table::new(&[0, 0]);
    table.field.speeds[0] = 0.3;
    assert_eq!(table.decide(), Decision::Go(1));
}

#[test]
fn a_hot_node_is_avoided_though_it_is_fast_and_among_hot_ones_the_best_wins() {
    let mut table = Table::new(&[0, 0, 0]);
    table.field.here = None;
    let hot = |table: &Table, index: usize, wait| {
        table.field.beliefs[index].report(full(9, wait), 4.0, &table.knowledge, NOW);
    };
    table.field.beliefs[1].set_pace(20.0_f32.ln(), NOW);
    table.field.beliefs[2].set_pace(20.0_f32.ln(), NOW);
    hot(&table, 0, 9_000.0);
    assert!(matches!(table.decide(), Decision::Go(1 | 2)), "ten times longer there, but without a queue");
    hot(&table, 1, 400_000.0);
    hot(&table, 2, 400_000.0);
    table.params.sampled = 3;
    assert_eq!(table.decide(), Decision::Go(0));
}

#[test]
fn ties_are_broken_at_random() {
    let mut table = Table::new(&[0; 4]);
    table.field.here = None;
    let chosen: BTreeSet<_> = (0..64).map(|_| format!("{:?}", table.decide())).collect();
    assert_eq!(chosen.len(), 4, "{chosen:?}");
    table.field.barred = vec![0, 1, 2, 3];
    assert_eq!(table.decide(), Decision::Nobody);
}

#[test]
fn others_are_asked_when_little_is_known_and_much_may_be_won() {
    let later = NOW + 60_000_000;
    let mut table = Table::new(&[0; 9]);
    assert_eq!(table.decide_at(later), Decision::Go(0), "this node is idle: nothing can be won");
    let busy = |table: &Table, in_flight| {
        table.field.beliefs[0].report(full(in_flight, 0.0), 4.0, &table.knowledge, later);
    };
    busy(&table, 5);
    assert!(matches!(table.decide_at(later), Decision::Go(_)), "asking would take longer than it can save");
    busy(&table, 12);
    let Decision::Ask(asked) = table.decide_at(later) else { panic!("asks") };
    assert_eq!((asked.len(), asked.contains(0)), (2, false));
    // Answers are there: the best of them is chosen, and nobody is asked again.
    let idle = asked.iter().last().unwrap();
    for index in asked.iter() {
        let in_flight = if index == idle { 0 } else { 9 };
        table.field.beliefs[index].report(full(in_flight, 0.0), 4.0, &table.knowledge, later);
    }
    let call = Call { function: 7, now: later, may_ask: true };
    assert_eq!(settle(&table.field, &table.knowledge, &table.params, (call, &asked), &mut || 3), Some(idle));
    // Where the budget is spent, the call goes by what is believed.
    while table.knowledge.questions.take(1) {}
    assert!(matches!(table.decide_at(later), Decision::Go(1..)));
}

#[test]
fn a_fresh_report_of_a_free_node_makes_asking_needless() {
    let mut table = Table::new(&[12, 0, 0]);
    assert!(matches!(table.decide(), Decision::Go(1 | 2)));
}

#[test]
fn nodes_that_joined_lately_are_sampled_less_but_taken_where_there_is_nobody_else() {
    let mut table = Table::new(&[64, 0, 0, 0, 0, 0, 0, 0]);
    table.field.beliefs[3].joined(NOW);
    let mut hits = [0; 8];
    for _ in 0..7_000 {
        if let Decision::Go(index) = table.decide() {
            hits[index] += 1;
        }
    }
    assert!((50..250).contains(&hits[3]) && hits[4] > 900, "{hits:?}");
    table.field.barred = vec![0, 1, 2, 4, 5, 6, 7];
    assert_eq!(table.decide(), Decision::Go(3));
}

proptest::proptest! {
    #[test]
    fn whoever_may_be_chosen_is_and_nobody_else(
        loads in proptest::collection::vec(0..64_u32, 1..9), barred in proptest::collection::vec(0..9_usize, 0..8),
        here in 0..10_usize, late: bool, seed: u64,
    ) {
        let mut table = Table::new(&loads);
        table.seed = seed;
        table.field.here = (here < loads.len()).then_some(here);
        table.field.barred = barred;
        let any = (0..loads.len()).any(|index| table.field.may(index));
        match table.decide_at(if late { NOW * 9 } else { NOW }) {
            Decision::Go(index) => proptest::prop_assert!(index < loads.len() && table.field.may(index)),
            Decision::Ask(few) => {
                let fine = few.iter().all(|index| table.field.may(index) && Some(index) != table.field.here);
                proptest::prop_assert!(fine && !few.is_empty());
            }
            Decision::Nobody => proptest::prop_assert!(!any),
        }
    }
}
