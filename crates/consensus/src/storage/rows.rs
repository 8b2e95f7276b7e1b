//! The catalog as rows: one per node, function, removed name, route and remembered request, and one for each single fact.
//! A batch writes the rows that it changed and no other.

use std::{ops::Range, sync::Arc};

use imbl::ordmap::DiffItem;
use onrush_catalog::Catalog;
use onrush_proto::{
    catalog::{decode_stored, encode_stored, fill_catalog, head_row, request_row, retired_row},
    internal,
};
use onrush_types::{FunctionName, Label, NodeId, RouteName};

use super::{
    disk::{Change, Disk, Table},
    error::Fault,
};
use crate::{
    convert::{Wire, count},
    types::{LogId, StoredMembership},
};

const APPLIED: u8 = b'a';
const HEAD: u8 = b'h';
const MEMBERSHIP: u8 = b'm';
const NODE: u8 = b'n';
const FUNCTION: u8 = b'f';
const RETIRED: u8 = b'r';
const REQUEST: u8 = b'q';
const ROUTE: u8 = b't';

/// The catalog together with how far it is applied. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub(crate) struct State {
    pub(crate) catalog: Arc<Catalog>,
    pub(crate) applied: Option<LogId>,
    pub(crate) membership: StoredMembership,
    /// The numbers of the remembered requests' rows, in the order of `request_order`.
    pub(crate) requests: Range<u64>,
}

impl State {
    /// The state that a snapshot stands for.
    pub(crate) fn restored(catalog: Catalog, applied: Option<LogId>, membership: StoredMembership) -> Self {
        let requests = 0..count(catalog.request_order.len());
        Self { catalog: Arc::new(catalog), applied, membership, requests }
    }

    /// Every row of it, after none of what was there before.
    pub(crate) fn replace_all(&self) -> Vec<Change> {
        let empty = Self { requests: self.requests.start..self.requests.start, ..Self::default() };
        let mut changes = vec![Change::DeleteRange(Table::Catalog, vec![0], vec![0xff])];
        changes.extend(self.changes_since(&empty));
        changes
    }

    /// What turns the rows of `before` into those of this state.
    pub(crate) fn changes_since(&self, before: &Self) -> Vec<Change> {
        let (old, new) = (&before.catalog, &self.catalog);
        let mut changes = Vec::new();
        if let Some(applied) = &self.applied {
            changes.push(put(vec![APPLIED], &applied.to_wire()));
        }
        if self.membership != before.membership {
            changes.push(put(vec![MEMBERSHIP], &self.membership.to_wire()));
        }
        if head_row(old) != head_row(new) {
            changes.push(put(vec![HEAD], &head_row(new)));
        }
        changes.extend(old.nodes.diff(&new.nodes).map(|item| match item {
            DiffItem::Add(id, node) | DiffItem::Update { new: (id, node), .. } => {
                put(node_key(*id), &internal::NodeRow::from(&**node))
            }
            DiffItem::Remove(id, _) => Change::Delete(Table::Catalog, node_key(*id)),
        }));
        changes.extend(old.functions.diff(&new.functions).map(|item| match item {
            DiffItem::Add(name, function) | DiffItem::Update { new: (name, function), .. } => {
                put(name_key(FUNCTION, name), &internal::FunctionRow::from(&**function))
            }
            DiffItem::Remove(name, _) => Change::Delete(Table::Catalog, name_key(FUNCTION, name)),
        }));
        changes.extend(old.retired.diff(&new.retired).map(|item| match item {
            DiffItem::Add(name, version) | DiffItem::Update { new: (name, version), .. } => {
                put(name_key(RETIRED, name), &retired_row(name, *version))
            }
            DiffItem::Remove(name, _) => Change::Delete(Table::Catalog, name_key(RETIRED, name)),
        }));
        changes.extend(old.routes.diff(&new.routes).map(|item| match item {
            DiffItem::Add(name, route) | DiffItem::Update { new: (name, route), .. } => {
                put(route_key(name), &internal::RouteRow::from(&**route))
            }
            DiffItem::Remove(name, _) => Change::Delete(Table::Catalog, route_key(name)),
        }));
        changes.extend(self.request_changes(before));
        changes
    }

    /// Requests come at the end and go at the front, so their row numbers tell which ones are new.
    fn request_changes(&self, before: &Self) -> impl Iterator<Item = Change> {
        let forgotten = before.requests.start..self.requests.start.min(before.requests.end);
        let forgotten = forgotten.map(|number| Change::Delete(Table::Catalog, request_key(number)));
        let fresh = before.requests.end.max(self.requests.start)..self.requests.end;
        // By number: to walk there would cost a step for each request that is remembered, with every batch.
        let added = fresh.filter_map(|number| {
            let id = self.catalog.request_order.get(usize::try_from(number - self.requests.start).ok()?)?;
            let committed = self.catalog.requests.get(id)?;
            Some(put(request_key(number), &request_row(*id, committed)))
        });
        forgotten.chain(added)
    }

    /// Reads all rows.
    pub(crate) fn load(disk: &Disk) -> Result<Self, Fault> {
        let mut state = Self::default();
        let mut rows = internal::CatalogSnapshot::default();
        let mut numbers: Option<Range<u64>> = None;
        disk.rows.scan(Table::Catalog, &[], &mut |key, row| {
            match key.first().copied() {
                Some(APPLIED) => state.applied = Some(LogId::from_wire(decode_stored("LogId", row)?)?),
                Some(MEMBERSHIP) => {
                    state.membership = StoredMembership::from_wire(decode_stored("StoredMembership", row)?)?;
                }
                Some(HEAD) => {
                    let head: internal::CatalogSnapshot = decode_stored("CatalogSnapshot", row)?;
                    (rows.revision, rows.last_node, rows.cluster) = (head.revision, head.last_node, head.cluster);
                }
                Some(NODE) => rows.nodes.push(decode_stored("NodeRow", row)?),
                Some(FUNCTION) => rows.functions.push(decode_stored("FunctionRow", row)?),
                Some(RETIRED) => rows.retired.push(decode_stored("RetiredRow", row)?),
                Some(ROUTE) => rows.routes.push(decode_stored("RouteRow", row)?),
                Some(REQUEST) => {
                    let number = key.get(1..).and_then(|rest| Some(u64::from_be_bytes(rest.try_into().ok()?)));
                    let number = number.ok_or_else(|| unknown(key))?;
                    let first = match &numbers {
                        Some(range) if range.end != number => return Err(hole(range.end, number)),
                        Some(range) => range.start,
                        None => number,
                    };
                    numbers = Some(first..number + 1);
                    rows.requests.push(decode_stored("RequestRow", row)?);
                }
                Some(_) | None => return Err(unknown(key)),
            }
            Ok(true)
        })?;
        let mut catalog: Catalog = head_only(&mut rows).try_into()?;
        fill_catalog(&mut catalog, rows)?;
        state.catalog = Arc::new(catalog);
        state.requests = numbers.unwrap_or_default();
        Ok(state)
    }
}

fn head_only(rows: &mut internal::CatalogSnapshot) -> internal::CatalogSnapshot {
    let (revision, last_node, cluster) = (rows.revision, rows.last_node, rows.cluster.take());
    internal::CatalogSnapshot { revision, last_node, cluster, ..internal::CatalogSnapshot::default() }
}

fn unknown(key: &[u8]) -> Fault {
    Fault::damaged(format!("the catalog has a row with the key {key:02x?}"))
}

fn hole(expected: u64, found: u64) -> Fault {
    Fault::damaged(format!("the catalog's remembered requests go on with {found}, not with {expected}"))
}

fn put(key: Vec<u8>, message: &impl prost::Message) -> Change {
    Change::Put(Table::Catalog, key, encode_stored(message))
}

fn node_key(id: NodeId) -> Vec<u8> {
    [&[NODE], &id.0.to_be_bytes()[..]].concat()
}

fn request_key(number: u64) -> Vec<u8> {
    [&[REQUEST], &number.to_be_bytes()[..]].concat()
}

fn name_key(kind: u8, name: &FunctionName) -> Vec<u8> {
    labels_key(kind, &name.namespace, &name.name)
}

fn route_key(name: &RouteName) -> Vec<u8> {
    labels_key(ROUTE, &name.namespace, &name.name)
}

/// Labels hold no NUL, so two names never share a key.
fn labels_key(kind: u8, namespace: &Label, name: &Label) -> Vec<u8> {
    [&[kind], namespace.as_str().as_bytes(), &[0], name.as_str().as_bytes()].concat()
}
