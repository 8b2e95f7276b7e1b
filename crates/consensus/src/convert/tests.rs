use onrush_catalog::{Command, Proposal};
use onrush_types::{NodeId, RequestId};
use openraft::entry::RaftEntry as _;
use proptest::prelude::*;
use prost::Message as _;

use super::*;

fn ids() -> impl Strategy<Value = LogId> {
    any::<(u64, u64, u64)>().prop_map(|(term, node, index)| LogId::new(LeaderId::new(term, node), index))
}

fn votes() -> impl Strategy<Value = Vote> {
    any::<(u64, u64, bool)>().prop_map(|(term, node, committed)| match committed {
        true => Vote::new_committed(term, node),
        false => Vote::new(term, node),
    })
}

fn memberships() -> impl Strategy<Value = Membership> {
    let voters = prop::collection::btree_set(any::<u64>(), 1..6);
    let learners = prop::collection::btree_set(any::<u64>(), 0..4);
    (prop::collection::vec(voters, 0..3), learners).prop_map(|(sets, learners)| Membership::new(sets, learners))
}

fn stored() -> impl Strategy<Value = StoredMembership> {
    (prop::option::of(ids()), memberships()).prop_map(|(id, membership)| StoredMembership::new(id, membership))
}

fn batches() -> impl Strategy<Value = Batch> {
    let proposal = any::<(u128, u64, u64)>().prop_map(|(request, at_ms, node)| Proposal {
        request: RequestId(uuid::Uuid::from_u128(request)),
        at_ms,
        command: Command::SetCordoned { node: NodeId(node), cordoned: node % 2 == 0 },
    });
    prop::collection::vec(proposal, 0..4).prop_map(Batch)
}

fn payloads() -> impl Strategy<Value = EntryPayload> {
    prop_oneof![
        Just(EntryPayload::Blank),
        batches().prop_map(EntryPayload::Normal),
        memberships().prop_map(EntryPayload::Membership),
    ]
}

fn there_and_back<T: Wire>(value: &T) -> T
where
    T::Message: prost::Message + Default,
{
    let bytes = value.to_wire().encode_to_vec();
    T::from_wire(T::Message::decode(bytes.as_slice()).unwrap()).unwrap()
}

proptest! {
    #[test]
    fn records_read_back(id in ids(), vote in votes(), membership in stored(), payload in payloads()) {
        prop_assert_eq!(there_and_back(&id), id);
        prop_assert_eq!(there_and_back(&vote), vote);
        prop_assert_eq!(&there_and_back(&membership), &membership);
        let entry = Entry { log_id: id, payload };
        prop_assert_eq!(there_and_back(&entry), entry);
        let meta = SnapshotMeta { last_log_id: Some(id), last_membership: membership, snapshot_id: "x".to_owned() };
        prop_assert_eq!(read_snapshot_meta(bare_snapshot_meta(&meta)).unwrap(), meta);
    }

    #[test]
    fn requests_and_replies_read_back(vote in votes(), last in prop::option::of(ids()), granted: bool) {
        let request = VoteRequest::new(vote, last);
        prop_assert_eq!(there_and_back(&request), request);
        let reply = VoteReply::new(vote, last, granted);
        prop_assert_eq!(there_and_back(&reply), reply);
        let replies = [AppendReply::Success, AppendReply::Conflict, AppendReply::HigherVote(vote)];
        for reply in replies.into_iter().chain([AppendReply::PartialSuccess(last)]) {
            prop_assert_eq!(there_and_back(&reply), reply);
        }
    }

    #[test]
    fn append_requests_read_back(vote in votes(), prev in 0..9_u64, payloads in prop::collection::vec(payloads(), 0..4)) {
        let at = |index| LogId::new(LeaderId::new(1, 1), index);
        let entries = (prev + 1..).zip(payloads).map(|(index, payload)| Entry { log_id: at(index), payload }).collect();
        let request = AppendRequest { vote, prev_log_id: Some(at(prev)), entries, leader_commit: Some(at(prev)) };
        let back = there_and_back(&request);
        prop_assert_eq!(back.entries, request.entries);
        prop_assert_eq!((back.vote, back.prev_log_id), (vote, Some(at(prev))));
        prop_assert_eq!(back.leader_commit, Some(at(prev)));
    }

    #[test]
    fn no_bytes_make_reading_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        internal::AppendRequest::decode(bytes.as_slice()).map(AppendRequest::from_wire).ok();
        internal::AppendReply::decode(bytes.as_slice()).map(AppendReply::from_wire).ok();
        internal::VoteRequest::decode(bytes.as_slice()).map(VoteRequest::from_wire).ok();
        internal::SnapshotMeta::decode(bytes.as_slice()).map(read_snapshot_meta).ok();
    }
}

#[test]
fn a_gap_in_a_request_is_refused() {
    let at = |index| LogId::new(LeaderId::new(1, 1), index);
    for (prev, indexes) in [(Some(3), vec![5]), (Some(3), vec![4, 6]), (None, vec![1]), (Some(3), vec![3])] {
        let entries = indexes.into_iter().map(|index| Entry::new_blank(at(index))).collect();
        let request = AppendRequest { vote: Vote::new(1, 1), prev_log_id: prev.map(at), entries, leader_commit: None };
        assert_eq!(AppendRequest::from_wire(request.to_wire()).unwrap_err(), wrong("AppendRequest", "entries"));
    }
}

#[test]
fn an_empty_set_of_voters_is_refused() {
    let message = internal::Membership { configs: vec![internal::VoterSet { voters: vec![] }], nodes: vec![1] };
    assert_eq!(Membership::from_wire(message).unwrap_err(), wrong("Membership", "configs"));
}
