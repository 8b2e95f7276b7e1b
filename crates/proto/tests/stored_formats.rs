//! What is kept on disk: it reads back, old files stay readable, and no bytes make reading panic.

use std::{collections::BTreeMap, path::PathBuf, time::Duration};

use onrush_catalog::{Catalog, Command, Committed, Outcome, Proposal, Refusal};
use onrush_proto::{
    FormatError,
    catalog::{FORMAT, decode_catalog, decode_stored, encode_catalog, encode_stored},
    internal,
};
use onrush_types::{
    ArtifactRef, ClusterId, Code, Digest, FilterUse, FunctionName, FunctionSpec, Label, Limits, NodeId, Qualifier,
    RequestId, Revision, Roles, RouteName, RouteSpec, RuntimeKind, VersionNumber,
};
use proptest::prelude::*;
use uuid::Uuid;

fn label(text: &str) -> Label {
    text.parse().expect("a label")
}

fn spec(seed: u8) -> FunctionSpec {
    FunctionSpec {
        runtime: RuntimeKind::Process,
        artifact: ArtifactRef { digest: Digest([seed; 32]), size: 1 << 20 },
        limits: Limits {
            timeout: Duration::from_millis(1_500),
            memory: 64 << 20,
            concurrency: Some(64),
            reuse: 3,
            streaming: true,
        },
        environment: BTreeMap::from([("QUALITY".to_owned(), "80".to_owned()), ("EMPTY".to_owned(), String::new())]),
        secrets: vec!["s3-key".to_owned()],
        egress: vec!["https://images.example.com".to_owned()],
        idempotent: true,
    }
}

/// One of each command of format 1, in an order in which they make sense. The golden files are of these.
fn first_proposals() -> Vec<Proposal> {
    let thumbnail = FunctionName::new(label("shop"), label("thumbnail"));
    let plain = FunctionSpec::new(RuntimeKind::Wasm, ArtifactRef { digest: Digest([7; 32]), size: 1 });
    let worker = Roles { gateway: false, worker: true, control: false };
    let peer = "10.0.0.1:7071".to_owned();
    let commands = [
        Command::FormCluster {
            cluster: ClusterId(Uuid::from_u128(0xc1)),
            voters: 3,
            name: label("one"),
            peer: peer.clone(),
            roles: Roles::default(),
        },
        Command::AllocateNode { name: label("two"), peer: peer.clone(), roles: worker },
        Command::AllocateNode { name: label("three"), peer, roles: worker },
        Command::UpdateNode { node: NodeId(2), peer: "[::1]:7071".to_owned(), roles: Roles::default() },
        Command::SetCordoned { node: NodeId(2), cordoned: true },
        Command::RemoveNode { node: NodeId(3) },
        Command::SetVoters { wanted: 5 },
        Command::PutFunction { name: thumbnail.clone(), spec: spec(1), expected: Some(Revision(0)) },
        Command::PutFunction { name: thumbnail, spec: spec(2), expected: None },
        Command::PutFunction { name: FunctionName::new(label("default"), label("old")), spec: plain, expected: None },
        Command::RemoveFunction { name: FunctionName::new(label("default"), label("old")), with_routes: false },
        Command::RemoveFunction { name: FunctionName::new(label("default"), label("missing")), with_routes: false },
    ];
    numbered(1, commands.into())
}

/// The same and what format 2 brought.
fn proposals() -> Vec<Proposal> {
    let route = |name: &str| RouteName::new(label("shop"), label(name));
    let thumb = RouteSpec {
        host: Some("*.example.com".to_owned()),
        path: "/thumb/{size}/{*rest}".to_owned(),
        methods: vec!["GET".to_owned(), "POST".to_owned()],
        function: label("thumbnail"),
        qualifier: Qualifier::Version(VersionNumber(2)),
        filters: serde_json::from_value(serde_json::json!([
            { "use": "rate-limit", "rate": "100/s", "burst": 7, "share": 0.25, "per": ["ip", null] },
            { "use": "coalesce" },
        ]))
        .expect("filters"),
    };
    let plain = RouteSpec {
        host: None,
        path: "/".to_owned(),
        methods: vec![],
        function: label("thumbnail"),
        qualifier: Qualifier::Latest,
        filters: vec![],
    };
    let set = |name: &str, spec: &RouteSpec, needs_idempotence, expected| Command::SetRoute {
        name: route(name),
        spec: spec.clone(),
        needs_idempotence,
        expected,
    };
    let old = FunctionName::new(label("default"), label("old"));
    let commands = vec![
        set("thumb", &thumb, true, Some(Revision(0))),
        set("plain", &plain, false, None),
        set("plain", &plain, false, None),
        set("gone", &RouteSpec { path: "/gone".to_owned(), ..plain.clone() }, false, None),
        Command::RemoveRoute { name: route("gone") },
        Command::RemoveFunction { name: old, with_routes: true },
    ];
    [first_proposals(), numbered(100, commands)].concat()
}

fn numbered(first: u128, commands: Vec<Command>) -> Vec<Proposal> {
    let request = |n: u128| RequestId(Uuid::from_u128(n));
    (first..)
        .zip(commands)
        .map(|(n, command)| Proposal { request: request(n), at_ms: 1_700_000_000_000, command })
        .collect()
}

fn catalog_of(proposals: &[Proposal]) -> Catalog {
    let mut catalog = Catalog::default();
    for proposal in proposals {
        catalog.apply(proposal);
    }
    catalog
}

fn catalog() -> Catalog {
    let catalog = catalog_of(&proposals());
    assert_eq!(catalog.routes.len(), 2);
    catalog
}

fn batch(proposals: &[Proposal]) -> internal::Batch {
    internal::Batch { proposals: proposals.iter().map(Into::into).collect() }
}

fn read_batch(bytes: &[u8]) -> Result<Vec<Proposal>, FormatError> {
    decode_stored::<internal::Batch>("Batch", bytes)?.proposals.into_iter().map(TryInto::try_into).collect()
}

fn golden(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name)
}

#[test]
fn files_of_format_1_are_read_as_they_were_meant() {
    let read = |name: &str| std::fs::read(golden(name)).unwrap();
    assert_eq!(read_batch(&read("format-1/proposals.bin")).unwrap(), first_proposals());
    assert_eq!(decode_catalog(&read("format-1/catalog.bin")).unwrap(), catalog_of(&first_proposals()));
}

#[test]
fn files_of_format_2_are_read_as_they_were_meant() {
    let read = |name: &str| std::fs::read(golden(name)).unwrap();
    assert_eq!(read_batch(&read("format-2/proposals.bin")).unwrap(), proposals());
    assert_eq!(decode_catalog(&read("format-2/catalog.bin")).unwrap(), catalog());
    // As long as 2 is what is written, it is written in just this way.
    if FORMAT == 2 {
        assert_eq!(encode_stored(&batch(&proposals())), read("format-2/proposals.bin"));
        assert_eq!(encode_catalog(&catalog()), read("format-2/catalog.bin"));
    }
}

/// Run by hand, once for each new format: `cargo test -p onrush-proto --test stored_formats -- --ignored`.
#[test]
#[ignore = "writes the golden files of the current format"]
fn write_golden_files() {
    let dir = golden(&format!("format-{FORMAT}"));
    std::fs::create_dir_all(&dir).unwrap();
    std::fs::write(dir.join("proposals.bin"), encode_stored(&batch(&proposals()))).unwrap();
    std::fs::write(dir.join("catalog.bin"), encode_catalog(&catalog())).unwrap();
}

#[test]
fn a_newer_format_is_named_and_no_format_is_none() {
    let mut bytes = encode_catalog(&catalog());
    bytes[0] = FORMAT + 1;
    let newer = FormatError::Newer { what: "CatalogSnapshot", found: u32::from(FORMAT) + 1, known: u32::from(FORMAT) };
    assert_eq!(decode_catalog(&bytes), Err(newer));
    bytes[0] = 0;
    assert!(matches!(decode_catalog(&bytes), Err(FormatError::Malformed { .. })));
    assert!(matches!(decode_catalog(&[]), Err(FormatError::Malformed { .. })));
}

#[test]
fn what_no_writer_writes_is_refused_by_field() {
    let name = || Some(internal::FunctionName { namespace: "default".into(), name: "a".into() });
    let refusal = internal::Refusal { code: "no_such_code".into(), why: String::new() };
    assert_eq!(Refusal::try_from(refusal), Err(FormatError::Field { what: "Refusal", field: "code" }));
    let artifact = internal::ArtifactRef { digest: vec![1; 31].into(), size: 1 };
    assert_eq!(ArtifactRef::try_from(artifact), Err(FormatError::Field { what: "ArtifactRef", field: "digest" }));
    let mut wire = internal::FunctionSpec::from(&spec(1));
    wire.runtime = "coal".into();
    assert_eq!(FunctionSpec::try_from(wire), Err(FormatError::Field { what: "FunctionSpec", field: "runtime" }));
    let bad = internal::FunctionName { namespace: "Default".into(), name: "a".into() };
    assert_eq!(FunctionName::try_from(bad), Err(FormatError::Field { what: "FunctionName", field: "namespace" }));
    let mut wire = internal::Proposal::from(&proposals()[0]);
    wire.command = None;
    assert_eq!(Proposal::try_from(wire), Err(FormatError::Field { what: "Proposal", field: "command" }));
    let mut wire = internal::Proposal::from(&proposals()[0]);
    wire.request = vec![0; 15].into();
    assert_eq!(Proposal::try_from(wire), Err(FormatError::Field { what: "Proposal", field: "request" }));

    let version = |number| internal::VersionRow { number, revision: 1, created_ms: 1, spec: Some((&spec(1)).into()) };
    for versions in [vec![], vec![version(2), version(1)], vec![version(1), version(1)]] {
        let row = internal::FunctionRow { name: name(), changed: 1, versions };
        let snapshot = internal::CatalogSnapshot { functions: vec![row], ..Default::default() };
        assert_eq!(Catalog::try_from(snapshot), Err(FormatError::Field { what: "FunctionRow", field: "versions" }));
    }
    let used = internal::FilterUse { filter: "cache".into(), parameters: "[]".into() };
    assert_eq!(FilterUse::try_from(used), Err(FormatError::Field { what: "FilterUse", field: "parameters" }));
    let route = catalog().routes.values().next().map(|route| internal::RouteRow::from(&**route)).unwrap();
    let mut nowhere = route.clone();
    nowhere.spec.as_mut().unwrap().function = "No_Name".into();
    let snapshot = internal::CatalogSnapshot { routes: vec![nowhere], ..Default::default() };
    assert_eq!(Catalog::try_from(snapshot), Err(FormatError::Field { what: "RouteSpec", field: "function" }));
    let snapshot = internal::CatalogSnapshot { routes: vec![route.clone(), route], ..Default::default() };
    assert_eq!(Catalog::try_from(snapshot), Err(FormatError::Field { what: "CatalogSnapshot", field: "routes" }));
    let retired = internal::RetiredRow { name: name(), version: 1 };
    let snapshot = internal::CatalogSnapshot { retired: vec![retired.clone(), retired], ..Default::default() };
    assert_eq!(Catalog::try_from(snapshot), Err(FormatError::Field { what: "CatalogSnapshot", field: "retired" }));
}

fn labels() -> impl Strategy<Value = Label> {
    "[a-z0-9]([a-z0-9-]{0,8}[a-z0-9])?".prop_map(|text| label(&text))
}

fn names() -> impl Strategy<Value = FunctionName> {
    (labels(), labels()).prop_map(|(namespace, name)| FunctionName::new(namespace, name))
}

fn roles() -> impl Strategy<Value = Roles> {
    any::<(bool, bool, bool)>().prop_map(|(gateway, worker, control)| Roles { gateway, worker, control })
}

fn limits() -> impl Strategy<Value = Limits> {
    (0..u64::from(u32::MAX), any::<u64>(), prop::option::of(1..u32::MAX), any::<u32>(), any::<bool>()).prop_map(
        |(timeout, memory, concurrency, reuse, streaming)| Limits {
            timeout: Duration::from_millis(timeout),
            memory,
            concurrency,
            reuse,
            streaming,
        },
    )
}

fn specs() -> impl Strategy<Value = FunctionSpec> {
    let artifact = any::<([u8; 32], u64)>().prop_map(|(digest, size)| ArtifactRef { digest: Digest(digest), size });
    let texts = || prop::collection::vec(".{0,12}", 0..3);
    let environment = prop::collection::btree_map(".{1,8}", ".{0,8}", 0..3);
    (any::<bool>(), artifact, limits(), environment, (texts(), texts()), any::<bool>()).prop_map(
        |(wasm, artifact, limits, environment, (secrets, egress), idempotent)| FunctionSpec {
            runtime: if wasm { RuntimeKind::Wasm } else { RuntimeKind::Process },
            artifact,
            limits,
            environment,
            secrets,
            egress,
            idempotent,
        },
    )
}

fn commands() -> impl Strategy<Value = Command> {
    let node = || any::<u64>().prop_map(NodeId);
    let peer = || ".{0,20}";
    prop_oneof![
        (any::<u128>(), any::<u8>(), labels(), peer(), roles()).prop_map(|(cluster, voters, name, peer, roles)| {
            Command::FormCluster { cluster: ClusterId(Uuid::from_u128(cluster)), voters, name, peer, roles }
        }),
        (labels(), peer(), roles()).prop_map(|(name, peer, roles)| Command::AllocateNode { name, peer, roles }),
        (node(), peer(), roles()).prop_map(|(node, peer, roles)| Command::UpdateNode { node, peer, roles }),
        (node(), any::<bool>()).prop_map(|(node, cordoned)| Command::SetCordoned { node, cordoned }),
        node().prop_map(|node| Command::RemoveNode { node }),
        any::<u8>().prop_map(|wanted| Command::SetVoters { wanted }),
        (names(), specs(), prop::option::of(any::<u64>().prop_map(Revision)))
            .prop_map(|(name, spec, expected)| Command::PutFunction { name, spec, expected }),
        (names(), any::<bool>()).prop_map(|(name, with_routes)| Command::RemoveFunction { name, with_routes }),
        (names(), routes(), any::<bool>(), prop::option::of(any::<u64>().prop_map(Revision))).prop_map(
            |(name, spec, needs_idempotence, expected)| Command::SetRoute {
                name: RouteName::new(name.namespace, name.name),
                spec,
                needs_idempotence,
                expected,
            }
        ),
        names().prop_map(|name| Command::RemoveRoute { name: RouteName::new(name.namespace, name.name) }),
    ]
}

fn routes() -> impl Strategy<Value = RouteSpec> {
    let text = || ".{0,12}";
    // A label of digits reads as a version, and "latest" is none either.
    let alias = "[a-z]{1,5}".prop_map(|text| Qualifier::Alias(label(&text)));
    let qualifier =
        prop_oneof![Just(Qualifier::Latest), any::<u64>().prop_map(|n| Qualifier::Version(VersionNumber(n))), alias];
    let value = prop_oneof![
        Just(serde_json::Value::Null),
        any::<i64>().prop_map(Into::into),
        any::<bool>().prop_map(Into::into),
        text().prop_map(Into::into),
        prop::collection::vec(text(), 0..3).prop_map(Into::into),
    ];
    let parameters = prop::collection::btree_map(text(), value, 0..3);
    let used = (text(), parameters)
        .prop_map(|(filter, parameters)| FilterUse { filter, parameters: parameters.into_iter().collect() });
    let methods = prop::collection::vec(text(), 0..3);
    let filters = prop::collection::vec(used, 0..3);
    (prop::option::of(text()), text(), methods, labels(), (qualifier, filters)).prop_map(
        |(host, path, methods, function, (qualifier, filters))| RouteSpec {
            host,
            path,
            methods,
            function,
            qualifier,
            filters,
        },
    )
}

fn outcomes() -> impl Strategy<Value = Outcome> {
    prop_oneof![
        Just(Outcome::Done),
        any::<u64>().prop_map(|node| Outcome::NodeAllocated(NodeId(node))),
        any::<(u64, bool)>()
            .prop_map(|(version, changed)| Outcome::FunctionPut { version: VersionNumber(version), changed }),
        any::<bool>().prop_map(|changed| Outcome::RoutePut { changed }),
        (prop::sample::select(Code::ALL.to_vec()), ".{0,30}")
            .prop_map(|(code, why)| Outcome::Refused(Refusal { code, why })),
    ]
}

proptest! {
    #[test]
    fn proposals_read_back(request: u128, at_ms: u64, command in commands()) {
        let proposal = Proposal { request: RequestId(Uuid::from_u128(request)), at_ms, command };
        let bytes = encode_stored(&batch(std::slice::from_ref(&proposal)));
        prop_assert_eq!(read_batch(&bytes), Ok(vec![proposal]));
    }

    #[test]
    fn outcomes_read_back(revision: u64, outcome in outcomes()) {
        let committed = Committed { revision: Revision(revision), outcome };
        let bytes = encode_stored(&internal::Committed::from(&committed));
        let back = decode_stored::<internal::Committed>("Committed", &bytes).and_then(Committed::try_from);
        prop_assert_eq!(back, Ok(committed));
    }

    #[test]
    fn catalogs_read_back(commands in prop::collection::vec(commands(), 0..12)) {
        let mut catalog = catalog();
        for (n, command) in (1_000..).zip(commands) {
            catalog.apply(&Proposal { request: RequestId(Uuid::from_u128(n)), at_ms: 1, command });
        }
        prop_assert_eq!(decode_catalog(&encode_catalog(&catalog)), Ok(catalog));
    }

    #[test]
    fn no_bytes_make_reading_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        read_batch(&bytes).ok();
        decode_catalog(&bytes).ok();
        let sealed = [&[FORMAT], bytes.as_slice()].concat();
        read_batch(&sealed).ok();
        decode_catalog(&sealed).ok();
    }

    #[test]
    fn no_change_of_good_bytes_makes_reading_panic(at: prop::sample::Index, to: u8, keep: prop::sample::Index) {
        let mut bytes = encode_catalog(&catalog());
        let place = at.index(bytes.len());
        bytes[place] = to;
        decode_catalog(&bytes).ok();
        bytes.truncate(keep.index(bytes.len()));
        decode_catalog(&bytes).ok();
    }
}
