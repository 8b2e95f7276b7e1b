use onrush_types::{ArtifactRef, Digest, RequestId, RuntimeKind, VersionNumber};
use proptest::prelude::*;

use super::*;

mod routes;

const fn version(number: u64) -> VersionNumber {
    VersionNumber(number)
}

fn label(text: &str) -> Label {
    text.parse().unwrap()
}

fn thumbnail() -> FunctionName {
    FunctionName::new(label("default"), label("thumbnail"))
}

fn spec(seed: u8) -> FunctionSpec {
    FunctionSpec::new(RuntimeKind::Wasm, ArtifactRef { digest: Digest([seed; 32]), size: 1 })
}

fn propose(command: Command) -> Proposal {
    Proposal { request: RequestId::new(), at_ms: 1, command }
}

fn put(seed: u8, expected: Option<Revision>) -> Command {
    Command::PutFunction { name: thumbnail(), spec: spec(seed), expected }
}

fn form() -> Command {
    Command::FormCluster {
        cluster: ClusterId::new(),
        voters: 3,
        name: label("a"),
        peer: "127.0.0.1:7071".into(),
        roles: Roles::default(),
    }
}

fn allocate(name: &str) -> Command {
    Command::AllocateNode { name: label(name), peer: "127.0.0.1:7072".into(), roles: Roles::default() }
}

fn formed() -> Catalog {
    let mut catalog = Catalog::default();
    let committed = catalog.apply(&propose(form()));
    assert_eq!(committed.outcome, Outcome::NodeAllocated(NodeId(1)));
    catalog
}

fn refusal(committed: Committed) -> Refusal {
    committed.accepted().unwrap_err()
}

#[test]
fn nothing_happens_before_the_cluster_is_formed_and_it_is_formed_once() {
    let mut catalog = Catalog::default();
    assert_eq!(refusal(catalog.apply(&propose(put(1, None)))).code, Code::Unavailable);
    let mut catalog = formed();
    assert_eq!(refusal(catalog.apply(&propose(form()))).code, Code::Conflict);
}

#[test]
fn a_repeated_request_returns_its_first_outcome_and_changes_nothing() {
    let mut catalog = formed();
    let first = propose(allocate("b"));
    let outcome = catalog.apply(&first);
    let after = catalog.clone();
    assert_eq!(catalog.apply(&first), outcome);
    assert_eq!(catalog, after);
}

#[test]
fn node_ids_are_never_used_again() {
    let mut catalog = formed();
    assert_eq!(catalog.apply(&propose(allocate("b"))).outcome, Outcome::NodeAllocated(NodeId(2)));
    catalog.apply(&propose(Command::RemoveNode { node: NodeId(2) }));
    assert_eq!(catalog.apply(&propose(allocate("b"))).outcome, Outcome::NodeAllocated(NodeId(3)));
}

#[test]
fn a_node_that_comes_back_under_its_name_without_its_data_is_told_what_to_do() {
    let mut catalog = formed();
    let refusal = refusal(catalog.apply(&propose(allocate("a"))));
    assert_eq!(refusal.code, Code::Conflict);
    assert!(refusal.why.contains("onrush node remove a"), "{refusal}");
}

#[test]
fn the_last_node_stays() {
    let mut catalog = formed();
    assert_eq!(refusal(catalog.apply(&propose(Command::RemoveNode { node: NodeId(1) }))).code, Code::Conflict);
    assert_eq!(refusal(catalog.apply(&propose(Command::RemoveNode { node: NodeId(9) }))).code, Code::NotFound);
}

#[test]
fn versions_count_up_and_an_equal_deploy_changes_nothing() {
    let mut catalog = formed();
    let made = |version, changed| Outcome::FunctionPut { version, changed };
    assert_eq!(catalog.apply(&propose(put(1, None))).outcome, made(version(1), true));
    let revision = catalog.revision;
    assert_eq!(catalog.apply(&propose(put(1, None))).outcome, made(version(1), false));
    assert_eq!(catalog.revision, revision);
    assert_eq!(catalog.apply(&propose(put(2, None))).outcome, made(version(2), true));
}

#[test]
fn a_removed_function_comes_back_under_new_version_numbers() {
    let mut catalog = formed();
    catalog.apply(&propose(put(1, None)));
    catalog.apply(&propose(Command::RemoveFunction { name: thumbnail(), with_routes: false }));
    assert!(catalog.functions.is_empty());
    let again = catalog.apply(&propose(put(1, None))).outcome;
    assert_eq!(again, Outcome::FunctionPut { version: version(2), changed: true });
}

#[test]
fn an_outdated_expectation_is_a_conflict() {
    let mut catalog = formed();
    assert!(catalog.apply(&propose(put(1, Some(Revision(0))))).accepted().is_ok());
    assert_eq!(refusal(catalog.apply(&propose(put(2, Some(Revision(0)))))).code, Code::Conflict);
    let changed = catalog.functions[&thumbnail()].changed;
    assert!(catalog.apply(&propose(put(2, Some(changed)))).accepted().is_ok());
}

#[test]
fn old_versions_and_old_requests_are_bounded() {
    let mut catalog = formed();
    for seed in 0..=u8::MAX {
        catalog.apply(&propose(put(seed, None)));
    }
    let function = &catalog.functions[&thumbnail()];
    assert_eq!(function.versions.len(), VERSIONS_KEPT);
    assert!(function.versions.contains_key(&function.latest.number));
    for _ in 0..REQUESTS_REMEMBERED {
        catalog.apply(&propose(Command::SetVoters { wanted: 3 }));
    }
    assert_eq!(catalog.requests.len(), REQUESTS_REMEMBERED);
    assert_eq!(catalog.request_order.len(), REQUESTS_REMEMBERED);
}

#[test]
fn wrong_values_are_named() {
    let mut catalog = formed();
    assert!(refusal(catalog.apply(&propose(Command::SetVoters { wanted: 2 }))).why.contains("voters"));
    let mut bad = spec(1);
    bad.limits.timeout = std::time::Duration::ZERO;
    let command = Command::PutFunction { name: thumbnail(), spec: bad, expected: None };
    assert!(refusal(catalog.apply(&propose(command))).why.contains("timeout"));
    let nowhere = Command::AllocateNode { name: label("n"), peer: "nowhere".into(), roles: Roles::default() };
    assert_eq!(refusal(catalog.apply(&propose(nowhere))).code, Code::BadRequest);
}

fn any_command() -> impl Strategy<Value = Command> {
    let names = prop_oneof![Just("a"), Just("b"), Just("c")];
    prop_oneof![
        Just(form()),
        names.clone().prop_map(allocate),
        ((0u64..6), any::<bool>()).prop_map(|(id, cordoned)| Command::SetCordoned { node: NodeId(id), cordoned }),
        (0u64..6).prop_map(|id| Command::RemoveNode { node: NodeId(id) }),
        any::<u8>().prop_map(|wanted| Command::SetVoters { wanted }),
        (0u8..3, proptest::option::of(0u64..9)).prop_map(|(seed, at)| put(seed, at.map(Revision))),
        (0u8..3, any::<bool>()).prop_map(|(seed, idempotent)| routes::put_idempotent(seed, idempotent)),
        names.prop_map(|name| Command::RemoveFunction {
            name: FunctionName::new(label("default"), label(name)),
            with_routes: true,
        }),
        Just(Command::RemoveFunction { name: thumbnail(), with_routes: false }),
        routes::any_set(),
        (0u8..3).prop_map(|n| Command::RemoveRoute { name: routes::name("default", &format!("r{n}")) }),
        any::<String>().prop_map(|peer| Command::UpdateNode { node: NodeId(1), peer, roles: Roles::default() }),
    ]
}

proptest! {
    #[test]
    fn replicas_that_apply_the_same_commands_are_equal(commands in prop::collection::vec(any_command(), 0..60)) {
        let proposals: Vec<_> = commands.into_iter().map(propose).collect();
        let (mut one, mut other) = (Catalog::default(), Catalog::default());
        for proposal in &proposals {
            let preview = one.preview(proposal);
            prop_assert_eq!(one.apply(proposal), other.apply(proposal));
            prop_assert_eq!(Some(&preview), one.requests.get(&proposal.request));
        }
        prop_assert_eq!(&one, &other);
    }

    #[test]
    fn refusals_change_nothing_and_ids_only_grow(commands in prop::collection::vec(any_command(), 0..60)) {
        let mut catalog = formed();
        for command in commands {
            let before = catalog.clone();
            let committed = catalog.apply(&propose(command));
            prop_assert!(catalog.last_node >= before.last_node);
            if matches!(committed.outcome, Outcome::Refused(_)) {
                prop_assert_eq!(&catalog.nodes, &before.nodes);
                prop_assert_eq!(&catalog.functions, &before.functions);
                prop_assert_eq!(&catalog.routes, &before.routes);
                prop_assert_eq!(catalog.revision, before.revision);
            }
            for function in catalog.functions.values() {
                prop_assert_eq!(function.versions.get_max().map(|(n, _)| *n), Some(function.latest.number));
            }
            routes::check(&catalog)?;
        }
    }
}
