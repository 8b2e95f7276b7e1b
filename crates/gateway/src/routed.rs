//! A request that takes a route: host, path and method find it, its filters let it pass.

use std::{borrow::Cow, sync::Arc};

use http::{HeaderValue, Method, StatusCode, header::ALLOW, request::Parts, uri::PathAndQuery};
use hyper::body::Incoming;
use onrush_filters::{Notes, Passing, Stack, Stop, preflight_of};
use onrush_invoke::InvokeError;
use onrush_seams::Entropy;
use onrush_types::{Code, InvocationId};

use crate::{
    address,
    call::{Call, Done, Filtered, call},
    connection::Client,
    gateway::{Cluster, Gateway},
    headers,
    metrics::InFlight,
    routes::{Entry, Found, Miss, Table, normal},
    target::{Resolved, find},
};

/// A route that a request takes.
pub(crate) struct Way {
    entry: Arc<Entry>,
    stack: Arc<Stack>,
    /// The path and query that the function sees.
    inner: PathAndQuery,
    notes: Notes,
}

/// Why there is none.
pub(crate) struct Lost {
    pub(crate) error: InvokeError,
    /// The methods that are there, where it is the method that is wrong: the answer is 405.
    pub(crate) allow: Option<HeaderValue>,
}

impl From<InvokeError> for Lost {
    fn from(error: InvokeError) -> Self {
        Self { error, allow: None }
    }
}

impl Lost {
    /// What the answer says besides the error.
    pub(crate) fn mark(self, headers: &mut http::HeaderMap, status: &mut StatusCode) {
        if let Some(allow) = self.allow {
            headers.insert(ALLOW, allow);
            *status = StatusCode::METHOD_NOT_ALLOWED;
        }
    }
}

/// Finds the route of a request.
pub(crate) async fn way(cluster: &Cluster, parts: &Parts) -> Result<Way, Lost> {
    let table = cluster.routing.table().await;
    let whole = parts.uri.path_and_query().map_or_else(|| Cow::Owned(PathAndQuery::from_static("/")), Cow::Borrowed);
    let dots = || InvokeError::refused(Code::BadRequest, "the path has . or .. in it; write the path that is meant");
    let path = normal(whole.path()).ok_or_else(dots)?;
    let authority = if table.knows_hosts() { Some(headers::authority(parts)?) } else { None };
    let host = authority.as_ref().map_or("", http::uri::Authority::host);
    let found = look_up(&table, host, &path, parts)?;
    let stack = found.entry.stack.as_ref().map_err(|why| {
        let name = &found.entry.name;
        InvokeError::refused(Code::Unavailable, format!("this node cannot serve the route {name}: {why}"))
    })?;
    let changed = stack.path(&whole, |name| found.parameter(name))?;
    let (entry, stack) = (Arc::clone(found.entry), Arc::clone(stack));
    let notes = stack.note(parts);
    Ok(Way { entry, stack, inner: changed.unwrap_or_else(|| whole.into_owned()), notes })
}

fn look_up<'t, 'p>(table: &'t Table, host: &str, path: &'p str, parts: &Parts) -> Result<Found<'t, 'p>, Lost> {
    let allow = match table.find(host, path, &parts.method) {
        Ok(found) => return Ok(found),
        Err(Miss::Path) => {
            let message = "nothing is served at this path; functions are called at \
                /function/NAME[.NAMESPACE][@QUALIFIER], and `onrush route list` shows the other paths";
            return Err(InvokeError::refused(Code::NotFound, message).into());
        }
        Err(Miss::Method(allow)) => allow,
    };
    // A browser asks with OPTIONS before it sends something else: the route for that answers, if it has `cors`.
    let asked = preflight_of(parts).and_then(|asked| Method::from_bytes(asked.as_bytes()).ok());
    if let Some(Ok(found)) = asked.map(|asked| table.find(host, path, &asked))
        && found.entry.stack.as_ref().is_ok_and(|stack| stack.answers_preflight())
    {
        return Ok(found);
    }
    let names = String::from_utf8_lossy(allow.as_bytes());
    let message = format!("{} is not served at this path; these are: {names}", parts.method);
    Err(Lost { error: InvokeError::refused(Code::BadRequest, message), allow: Some(allow) })
}

impl Way {
    /// Lets the request through the route's filters and calls its function.
    pub(crate) async fn pass(
        &mut self,
        (gateway, cluster, client): (&Gateway, &Cluster, &Client),
        id: InvocationId,
        (parts, body): (Parts, Incoming),
        in_flight: &mut InFlight,
    ) -> Result<(http::response::Parts, Done), Stop> {
        let from = address::client(&gateway.config, client, &parts.headers);
        let passing = Passing { parts: &parts, client: from, chance: onrush_seams::OsEntropy.next_u64() };
        let mut passage = self.stack.admit(passing)?;
        in_flight.permit = passage.permit.take();
        let resolved = resolve(cluster, &self.entry, passage.qualifier)?;
        let filtered = Some(Filtered { stack: &self.stack, notes: &mut self.notes, passage });
        let inner = self.inner.clone();
        Ok(call(gateway, client, Call { id, resolved, inner, parts, body, filtered }).await?)
    }

    /// The filters' last word on the answer.
    pub(crate) fn seal(&self, headers: &mut http::HeaderMap) {
        self.stack.seal(&self.notes, headers);
    }
}

/// The version that a call is for: a canary's, if there is such a one, else the route's own.
fn resolve(
    cluster: &Cluster,
    entry: &Entry,
    canary: Option<&onrush_types::Qualifier>,
) -> Result<Resolved, InvokeError> {
    let catalog = cluster.catalog.borrow();
    let other = canary.and_then(|canary| find(&catalog, &entry.target(Some(canary))).ok());
    other.map_or_else(|| find(&catalog, &entry.target(None)), Ok)
}
