//! Small versions of what `./x sim` runs in full.

use onrush_sim::{
    Arrivals, Scenario, Slowdown,
    compare::{against_shortest, fall_of},
    policies::Kind,
    validate::quick,
};

fn small(load: f64, service_time: f64) -> Scenario {
    Scenario { nodes: 300, warm_up: 60_000, ..Scenario::new(load, service_time, 120_000) }
}

#[test]
fn the_simulator_meets_theory() {
    for (load, choices, slots) in [(0.7, 2, 1), (0.9, 3, 1), (0.7, 1, 8), (0.9, 2, 8)] {
        let (simulated, theory) = quick(load, choices, slots, 400_000, 3);
        let off = simulated / theory - 1.0;
        assert!(off.abs() < 0.03, "load {load}, {choices} choices, {slots} slots: {simulated} is not {theory}");
    }
}

#[test]
fn the_same_seed_gives_the_same_numbers() {
    for kind in [Kind::Prequal, Kind::Ours, Kind::Random] {
        let of = |seed| {
            let outcome = kind.run(&small(0.9, 1e-3), seed);
            (outcome.mean(), outcome.quantile(0.99), outcome.sent_away, outcome.asked)
        };
        assert_eq!(of(1), of(1), "{kind:?}");
        assert_ne!(of(1), of(2), "{kind:?}");
    }
}

#[test]
fn ours_is_near_the_omniscient_shortest_queue() {
    for (service_time, load, bar) in [
        (1e-3, 0.7, 1.05),
        (1e-3, 0.9, 1.15),
        (1e-3, 0.95, 1.3),
        (50e-3, 0.7, 1.05),
        (50e-3, 0.9, 1.15),
        (50e-3, 0.95, 1.3),
    ] {
        let times = against_shortest(&small(load, service_time), Kind::Ours, 1);
        assert!(times < bar, "{service_time} s at {load}: {times}");
    }
}

#[test]
fn what_knows_nothing_is_far_from_it_and_gossip_herds() {
    assert!(against_shortest(&small(0.9, 1e-3), Kind::Random, 1) > 1.3);
    let herd = Scenario { nodes: 50, ..Scenario::new(0.9, 1e-3, 300_000) };
    assert!(against_shortest(&herd, Kind::Gossip, 1) > 10.0);
}

#[test]
fn a_burst_at_one_gateway_spreads() {
    let burst = Scenario { arrivals: Arrivals::Batches(64.0), ..small(0.5, 50e-3) };
    let times = against_shortest(&burst, Kind::Ours, 1);
    assert!(times < 1.3, "{times}");
}

#[test]
fn a_slowed_node_loses_its_share_within_a_second() {
    let slowdown = Some(Slowdown { nodes: 1, times: 3.0, at: 0.5 });
    let calm = Scenario { nodes: 3, slowdown, ..Scenario::new(0.6, 10e-3, 0) };
    let scenario = Scenario { calls: (calm.rate() * 5.0) as u64, warm_up: 2_000, ..calm };
    for seed in 1..4 {
        let fall = fall_of(&scenario, false, seed);
        assert!(fall.after < 0.5 * fall.before, "{fall:?}");
        assert!(fall.seconds.is_some_and(|seconds| seconds <= 1.0), "{:?}", fall.seconds);
        let blind = fall_of(&scenario, true, seed);
        assert!(blind.after > fall.after, "knowing its pace is what does it: {} {}", blind.after, fall.after);
    }
}
