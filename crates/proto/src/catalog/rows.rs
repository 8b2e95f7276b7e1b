//! The catalog as rows, one message each, and as one snapshot of all of them.

use std::sync::Arc;

use onrush_catalog::{Catalog, ClusterIdentity, Committed, Function, FunctionVersion, NodeRecord, Route};
use onrush_types::{FunctionName, NodeId, RequestId, Revision, VersionNumber};

use super::{
    command::{cluster_id, label, request_id, roles, voters},
    decode_stored, encode_stored, wrong,
};
use crate::{FormatError, internal};

const SNAPSHOT: &str = "CatalogSnapshot";

/// A whole catalog as it is kept on disk and sent to peers.
pub fn encode_catalog(catalog: &Catalog) -> Vec<u8> {
    let mut wire = head_row(catalog);
    wire.nodes = catalog.nodes.values().map(|node| (&**node).into()).collect();
    wire.functions = catalog.functions.values().map(|function| (&**function).into()).collect();
    wire.retired = catalog.retired.iter().map(|(name, version)| retired_row(name, *version)).collect();
    let known = catalog.request_order.iter().filter_map(|id| Some((id, catalog.requests.get(id)?)));
    wire.routes = catalog.routes.values().map(|route| (&**route).into()).collect();
    wire.requests = known.map(|(id, committed)| request_row(*id, committed)).collect();
    encode_stored(&wire)
}

/// Reads what [`encode_catalog`] wrote.
///
/// # Errors
/// Bytes that no writer writes, or a newer format.
pub fn decode_catalog(bytes: &[u8]) -> Result<Catalog, FormatError> {
    decode_stored::<internal::CatalogSnapshot>(SNAPSHOT, bytes)?.try_into()
}

/// What a catalog holds beside its maps: a snapshot with every list empty.
pub fn head_row(catalog: &Catalog) -> internal::CatalogSnapshot {
    let cluster = catalog.cluster.as_ref().map(|cluster| internal::ClusterRow {
        cluster: cluster.id.0.as_bytes().to_vec().into(),
        voters: u32::from(cluster.voters),
    });
    internal::CatalogSnapshot {
        revision: catalog.revision.0,
        last_node: catalog.last_node.0,
        cluster,
        nodes: Vec::new(),
        functions: Vec::new(),
        retired: Vec::new(),
        requests: Vec::new(),
        routes: Vec::new(),
    }
}

/// The row of a removed function's highest version.
pub fn retired_row(name: &FunctionName, version: VersionNumber) -> internal::RetiredRow {
    internal::RetiredRow { name: Some(name.into()), version: version.0 }
}

/// The row of a remembered request.
pub fn request_row(request: RequestId, committed: &Committed) -> internal::RequestRow {
    let request = request.0.as_bytes().to_vec().into();
    internal::RequestRow { request, committed: Some(committed.into()) }
}

impl From<&NodeRecord> for internal::NodeRow {
    fn from(node: &NodeRecord) -> Self {
        Self {
            id: node.id.0,
            name: node.name.to_string(),
            peer: node.peer.clone(),
            roles: node.roles.to_string(),
            cordoned: node.cordoned,
        }
    }
}

impl TryFrom<internal::NodeRow> for NodeRecord {
    type Error = FormatError;

    fn try_from(row: internal::NodeRow) -> Result<Self, FormatError> {
        let name = label("NodeRow", &row.name)?;
        let roles = roles("NodeRow", &row.roles)?;
        Ok(Self { id: NodeId(row.id), name, peer: row.peer, roles, cordoned: row.cordoned })
    }
}

impl From<&Function> for internal::FunctionRow {
    fn from(function: &Function) -> Self {
        let version = |version: &Arc<FunctionVersion>| internal::VersionRow {
            number: version.number.0,
            revision: version.revision.0,
            created_ms: version.created_ms,
            spec: Some((&version.spec).into()),
        };
        Self {
            name: Some((&function.name).into()),
            changed: function.changed.0,
            versions: function.versions.values().map(version).collect(),
        }
    }
}

impl TryFrom<internal::FunctionRow> for Function {
    type Error = FormatError;

    fn try_from(row: internal::FunctionRow) -> Result<Self, FormatError> {
        const WHAT: &str = "FunctionRow";
        let name: FunctionName = row.name.ok_or_else(|| wrong(WHAT, "name"))?.try_into()?;
        let mut latest: Option<Arc<FunctionVersion>> = None;
        let mut versions = Vec::with_capacity(row.versions.len());
        for version in row.versions {
            let version = Arc::new(FunctionVersion {
                function: name.clone(),
                number: VersionNumber(version.number),
                revision: Revision(version.revision),
                created_ms: version.created_ms,
                spec: version.spec.ok_or_else(|| wrong("VersionRow", "spec"))?.try_into()?,
            });
            if latest.as_ref().is_some_and(|before| before.number >= version.number) {
                return Err(wrong(WHAT, "versions"));
            }
            versions.push((version.number, Arc::clone(&version)));
            latest = Some(version);
        }
        let latest = latest.ok_or_else(|| wrong(WHAT, "versions"))?;
        Ok(Self { name, changed: Revision(row.changed), versions: versions.into_iter().collect(), latest })
    }
}

impl From<&Route> for internal::RouteRow {
    fn from(route: &Route) -> Self {
        Self {
            name: Some((&route.name).into()),
            changed: route.changed.0,
            spec: Some((&route.spec).into()),
            needs_idempotence: route.needs_idempotence,
        }
    }
}

impl TryFrom<internal::RouteRow> for Route {
    type Error = FormatError;

    fn try_from(row: internal::RouteRow) -> Result<Self, FormatError> {
        const WHAT: &str = "RouteRow";
        Ok(Self {
            name: row.name.ok_or_else(|| wrong(WHAT, "name"))?.try_into()?,
            changed: Revision(row.changed),
            spec: row.spec.ok_or_else(|| wrong(WHAT, "spec"))?.try_into()?,
            needs_idempotence: row.needs_idempotence,
        })
    }
}

impl TryFrom<internal::CatalogSnapshot> for Catalog {
    type Error = FormatError;

    fn try_from(mut wire: internal::CatalogSnapshot) -> Result<Self, FormatError> {
        let mut catalog = Self {
            cluster: wire.cluster.take().map(TryInto::try_into).transpose()?,
            revision: Revision(wire.revision),
            last_node: NodeId(wire.last_node),
            ..Self::default()
        };
        fill_catalog(&mut catalog, wire)?;
        Ok(catalog)
    }
}

/// Adds a snapshot's rows to a catalog; those of its requests come after the ones that are there already.
///
/// # Errors
/// A row that no writer writes, or two rows for one thing.
pub fn fill_catalog(catalog: &mut Catalog, rows: internal::CatalogSnapshot) -> Result<(), FormatError> {
    let once = |fresh: bool, field| if fresh { Ok(()) } else { Err(wrong(SNAPSHOT, field)) };
    for row in rows.nodes {
        let node: NodeRecord = row.try_into()?;
        once(catalog.nodes.insert(node.id, Arc::new(node)).is_none(), "nodes")?;
    }
    for row in rows.functions {
        let function: Function = row.try_into()?;
        once(catalog.functions.insert(function.name.clone(), Arc::new(function)).is_none(), "functions")?;
    }
    for row in rows.retired {
        let name = row.name.ok_or_else(|| wrong("RetiredRow", "name"))?.try_into()?;
        once(catalog.retired.insert(name, VersionNumber(row.version)).is_none(), "retired")?;
    }
    for row in rows.routes {
        let route: Route = row.try_into()?;
        once(catalog.routes.insert(route.name.clone(), Arc::new(route)).is_none(), "routes")?;
    }
    for row in rows.requests {
        let request = request_id(&row.request).ok_or_else(|| wrong("RequestRow", "request"))?;
        let committed = row.committed.ok_or_else(|| wrong("RequestRow", "committed"))?.try_into()?;
        once(catalog.requests.insert(request, committed).is_none(), "requests")?;
        catalog.request_order.push_back(request);
    }
    Ok(())
}

impl TryFrom<internal::ClusterRow> for ClusterIdentity {
    type Error = FormatError;

    fn try_from(row: internal::ClusterRow) -> Result<Self, FormatError> {
        let id = cluster_id(&row.cluster).ok_or_else(|| wrong("ClusterRow", "cluster"))?;
        Ok(Self { id, voters: voters("ClusterRow", row.voters)? })
    }
}
