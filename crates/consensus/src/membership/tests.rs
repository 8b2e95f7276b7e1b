use onrush_catalog::{Command, Proposal};
use onrush_types::{ClusterId, RequestId, Roles};
use tokio::time::Instant;

use super::*;

/// A catalog of nodes 1..=n that all may vote.
fn catalog(nodes: u64, wanted: u8) -> Catalog {
    let mut catalog = Catalog::default();
    for id in 1..=nodes {
        let (name, peer, roles) = (format!("n{id}").parse().unwrap(), format!("n{id}:1"), Roles::default());
        let command = match id {
            1 => Command::FormCluster { cluster: ClusterId::new(), voters: wanted, name, peer, roles },
            _ => Command::AllocateNode { name, peer, roles },
        };
        apply(&mut catalog, command);
    }
    catalog
}

fn apply(catalog: &mut Catalog, command: Command) {
    catalog.apply(&Proposal { request: RequestId::new(), at_ms: 0, command }).accepted().unwrap();
}

fn without(mut catalog: Catalog, node: u64) -> Catalog {
    apply(&mut catalog, Command::RemoveNode { node: NodeId(node) });
    catalog
}

fn ids(ids: &[u64]) -> BTreeSet<NodeId> {
    ids.iter().copied().map(NodeId).collect()
}

/// Voters, members, alive, long dead and caught up; node 1 leads.
struct Case {
    catalog: Catalog,
    voters: Vec<BTreeSet<NodeId>>,
    members: BTreeSet<NodeId>,
    alive: BTreeSet<NodeId>,
    long_dead: BTreeSet<NodeId>,
    caught_up: BTreeSet<NodeId>,
}

impl Case {
    fn new(catalog: Catalog, voters: &[u64], members: &[u64]) -> Self {
        let members = ids(members);
        Self {
            catalog,
            voters: vec![ids(voters)],
            alive: members.clone(),
            caught_up: members.clone(),
            members,
            long_dead: BTreeSet::new(),
        }
    }

    fn dead(mut self, dead: &[u64]) -> Self {
        self.alive = self.alive.difference(&ids(dead)).copied().collect();
        self
    }

    fn long_dead(mut self, dead: &[u64]) -> Self {
        self.long_dead = ids(dead);
        self.dead(dead)
    }

    fn behind(mut self, behind: &[u64]) -> Self {
        self.caught_up = self.caught_up.difference(&ids(behind)).copied().collect();
        self
    }

    fn next(&self) -> Option<Change> {
        next_change(&Situation {
            catalog: &self.catalog,
            voters: &self.voters,
            members: &self.members,
            me: NodeId(1),
            alive: &self.alive,
            long_dead: &self.long_dead,
            caught_up: &self.caught_up,
        })
    }
}

fn voters(wanted: &[u64]) -> Option<Change> {
    Some(Change::SetVoters(ids(wanted)))
}

#[test]
fn every_node_of_the_catalog_becomes_a_learner() {
    assert_eq!(Case::new(catalog(2, 3), &[1], &[1]).next(), Some(Change::AddLearner(NodeId(2))));
}

#[test]
fn votes_are_given_to_learners_that_live_and_have_caught_up_and_stay_odd() {
    assert_eq!(Case::new(catalog(1, 3), &[1], &[1]).next(), None);
    assert_eq!(Case::new(catalog(2, 3), &[1], &[1, 2]).next(), None, "two voters are no better than one");
    assert_eq!(Case::new(catalog(3, 3), &[1], &[1, 2, 3]).next(), voters(&[1, 2, 3]));
    assert_eq!(Case::new(catalog(3, 3), &[1], &[1, 2, 3]).behind(&[3]).next(), None);
    assert_eq!(Case::new(catalog(3, 3), &[1], &[1, 2, 3]).dead(&[3]).next(), None);
    assert_eq!(Case::new(catalog(4, 3), &[1, 2, 3], &[1, 2, 3, 4]).next(), None, "enough");
    assert_eq!(Case::new(catalog(5, 5), &[1, 2, 3], &[1, 2, 3, 4, 5]).next(), voters(&[1, 2, 3, 4, 5]));
    assert_eq!(Case::new(catalog(4, 5), &[1, 2, 3], &[1, 2, 3, 4]).next(), None);
    assert_eq!(Case::new(catalog(3, 3), &[1, 2], &[1, 2, 3]).next(), voters(&[1, 2, 3]), "odd again");
    assert_eq!(Case::new(catalog(3, 1), &[1], &[1, 2, 3]).next(), None);
}

#[test]
fn a_node_without_the_control_role_gets_no_vote_and_gives_its_own_up_to_another() {
    let worker = |mut catalog: Catalog, node| {
        let roles = "worker".parse().unwrap();
        apply(&mut catalog, Command::UpdateNode { node: NodeId(node), peer: "x:1".to_owned(), roles });
        catalog
    };
    assert_eq!(Case::new(worker(catalog(3, 3), 3), &[1], &[1, 2, 3]).next(), None);
    assert_eq!(Case::new(worker(catalog(3, 3), 3), &[1, 2, 3], &[1, 2, 3]).next(), None, "nobody in its place");
    assert_eq!(Case::new(worker(catalog(4, 3), 3), &[1, 2, 3], &[1, 2, 3, 4]).next(), voters(&[1, 2, 4]));
}

#[test]
fn a_voter_that_is_dead_for_long_is_replaced_if_there_is_somebody() {
    let case = || Case::new(catalog(4, 3), &[1, 2, 3], &[1, 2, 3, 4]);
    assert_eq!(case().dead(&[2]).next(), None, "not yet");
    assert_eq!(case().long_dead(&[2]).next(), voters(&[1, 3, 4]));
    assert_eq!(case().long_dead(&[2]).behind(&[4]).next(), None);
    assert_eq!(Case::new(catalog(3, 3), &[1, 2, 3], &[1, 2, 3]).long_dead(&[2]).next(), None, "never just shrinks");
}

#[test]
fn two_dead_voters_are_replaced_one_after_the_other() {
    let nodes: Vec<u64> = (1..=7).collect();
    let case = Case::new(catalog(7, 5), &[1, 2, 3, 4, 5], &nodes).long_dead(&[2, 3]);
    assert_eq!(case.next(), voters(&[1, 3, 4, 5, 6]));
}

#[test]
fn a_removed_voter_loses_its_vote_then_the_log() {
    let removed = without(catalog(3, 3), 3);
    assert_eq!(Case::new(removed.clone(), &[1, 2, 3], &[1, 2, 3]).next(), voters(&[1, 2]));
    assert_eq!(Case::new(removed, &[1, 2], &[1, 2, 3]).next(), Some(Change::Remove(ids(&[3]))));
    let spare = without(catalog(4, 3), 3);
    assert_eq!(Case::new(spare, &[1, 2, 3], &[1, 2, 3, 4]).next(), voters(&[1, 2, 4]), "replaced in one step");
}

#[test]
fn a_removed_leader_hands_its_vote_over() {
    let removed = without(catalog(4, 3), 1);
    assert_eq!(Case::new(removed, &[1, 2, 3], &[1, 2, 3, 4]).next(), voters(&[2, 3, 4]));
}

#[test]
fn no_change_is_begun_that_could_not_be_completed() {
    let removed = without(catalog(3, 3), 3);
    assert_eq!(Case::new(removed, &[1, 2, 3], &[1, 2, 3]).dead(&[2]).next(), None, "{{1, 2}} needs both");
    let alone = without(catalog(2, 1), 1);
    assert_eq!(Case::new(alone, &[1], &[1, 2]).behind(&[2]).next(), None, "nobody could take over");
}

#[test]
fn fewer_wanted_voters_shrink_at_once_and_the_dead_go_first() {
    let mut fewer = catalog(5, 5);
    apply(&mut fewer, Command::SetVoters { wanted: 3 });
    let all = [1, 2, 3, 4, 5];
    assert_eq!(Case::new(fewer.clone(), &all, &all).next(), voters(&[1, 2, 3]));
    assert_eq!(Case::new(fewer, &all, &all).dead(&[2]).next(), voters(&[1, 3, 4]));
}

#[test]
fn a_change_that_was_interrupted_is_completed_first() {
    let mut case = Case::new(catalog(4, 3), &[1, 2, 3], &[1, 2, 3]);
    case.voters.push(ids(&[1, 2]));
    assert_eq!(case.next(), voters(&[1, 2]));
}

#[test]
fn the_number_of_voters_at_formation_is_odd() {
    let cases = [(3, 1, 1), (3, 2, 1), (3, 3, 3), (3, 4, 3), (5, 4, 3), (1, 9, 1), (7, 7, 7)];
    for (wanted, seeds, voters) in cases {
        assert_eq!(formation_voters(wanted, seeds), voters, "{wanted} of {seeds}");
    }
}

#[test]
fn the_death_watch_starts_again_when_a_node_was_seen() {
    let (members, start) = (ids(&[1, 2]), Instant::now());
    let at = |secs| start + Duration::from_secs(secs);
    let mut watch = DeathWatch::default();
    watch.update(&members, &ids(&[1]), at(0));
    watch.update(&members, &ids(&[1]), at(200));
    assert_eq!(watch.dead_for(Duration::from_secs(200), at(200)), ids(&[2]));
    watch.update(&members, &ids(&[1, 2]), at(201));
    watch.update(&members, &ids(&[1]), at(202));
    assert_eq!(watch.dead_for(Duration::from_secs(200), at(400)), ids(&[]));
}
