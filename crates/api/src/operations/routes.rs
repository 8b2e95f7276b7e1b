//! Routes: everything that is wrong with one is said at once, before anything is proposed.

use std::sync::Arc;

use onrush_catalog::{Catalog, Command, Function, Outcome, Route};
use onrush_filters::check_route;
use onrush_types::{Code, FunctionName, Label, Qualifier, RequestId, Revision, RouteName, RouteSpec};

use crate::{Api, ApiError};

/// What is wanted.
#[derive(Debug, Clone)]
pub(crate) struct RouteWish {
    pub(crate) name: RouteName,
    pub(crate) spec: RouteSpec,
    pub(crate) expected: Option<Revision>,
    pub(crate) request: RequestId,
}

/// How it ended.
#[derive(Debug, Clone)]
pub(crate) struct RouteSet {
    pub(crate) route: Arc<Route>,
    pub(crate) revision: Revision,
    pub(crate) changed: bool,
}

impl Api {
    /// Adds a route, or replaces the one of this name.
    pub(crate) async fn set_route(self: &Arc<Self>, wish: RouteWish) -> Result<RouteSet, ApiError> {
        let api = Arc::clone(self);
        self.owned(async move { api.carry_out_route(wish).await }).await
    }

    async fn carry_out_route(&self, wish: RouteWish) -> Result<RouteSet, ApiError> {
        let RouteWish { name, spec, expected, request } = wish;
        let known = self.catalog(false).await?;
        if !known.requests.contains_key(&request) && check(&known, &name, &spec).is_err() {
            // Fresh: the function may have been deployed through another node a moment ago. Where this node's catalog has
            // no objection, whoever applies the change has the last word anyway.
            check(&*self.catalog(true).await?, &name, &spec)?;
        }
        let needs_idempotence = !check_route(&spec, false).is_empty();
        let command = Command::SetRoute { name: name.clone(), spec, needs_idempotence, expected };
        let (revision, outcome) = self.commit(request, command).await?;
        let Outcome::RoutePut { changed } = outcome else {
            let why = format!("request id {request} was used for another change already");
            return Err(ApiError::new(Code::Conflict, why));
        };
        let route = self.describe_route(&name, false).await.map_err(|_| {
            ApiError::new(Code::Conflict, format!("route {name} was set and then removed by somebody else"))
        })?;
        Ok(RouteSet { route, revision, changed })
    }

    /// Routes of one namespace, or of all, by name.
    pub(crate) async fn routes(&self, namespace: Option<Label>, fresh: bool) -> Result<Vec<Arc<Route>>, ApiError> {
        let catalog = self.catalog(fresh).await?;
        Ok(match &namespace {
            Some(namespace) => catalog.routes_in(namespace).cloned().collect(),
            None => catalog.routes.values().cloned().collect(),
        })
    }

    /// One route.
    pub(crate) async fn describe_route(&self, name: &RouteName, fresh: bool) -> Result<Arc<Route>, ApiError> {
        self.catalog(fresh).await?.routes.get(name).cloned().ok_or_else(|| {
            let why = format!("there is no route {name}; `onrush route list` shows those there are");
            ApiError::new(Code::NotFound, why)
        })
    }

    /// Removes a route.
    pub(crate) async fn remove_route(
        self: &Arc<Self>,
        name: RouteName,
        request: RequestId,
    ) -> Result<Revision, ApiError> {
        self.change(request, Command::RemoveRoute { name }).await
    }
}

/// Refuses a route with everything that is wrong with it.
fn check(catalog: &Catalog, name: &RouteName, spec: &RouteSpec) -> Result<(), ApiError> {
    let mut problems: Vec<_> = spec.problems().into_iter().map(|problem| (problem.place, problem.why)).collect();
    let target = spec.target(&name.namespace);
    let function = catalog.functions.get(&target);
    let version = function.and_then(|function| function.resolve(&spec.qualifier));
    // What its function is like is not known where there is none; that is then the only thing to say about it.
    let idempotent = version.is_none_or(|version| version.spec.idempotent);
    for problem in check_route(spec, idempotent) {
        if problems.iter().all(|(place, _)| *place != problem.place) {
            problems.push((problem.place, problem.why));
        }
    }
    let code = if problems.is_empty() { Code::NotFound } else { Code::BadRequest };
    let named = function.is_some() && problems.iter().any(|(place, _)| place == "qualifier");
    if version.is_none() && !named {
        problems.push(missing(&target, function, &spec.qualifier));
    }
    if problems.is_empty() {
        return Ok(());
    }
    let problems: Vec<_> = problems.iter().map(|(place, why)| format!("{place}: {why}")).collect();
    Err(ApiError::new(code, format!("route \"{}\": {}", name.name, problems.join("; "))))
}

fn missing(target: &FunctionName, function: Option<&Arc<Function>>, qualifier: &Qualifier) -> (String, String) {
    match function {
        None => {
            let why = format!("there is no function {target}; deploy it first, `onrush list` shows those there are");
            ("function".to_owned(), why)
        }
        Some(function) => {
            let newest = function.latest.number;
            ("qualifier".to_owned(), format!("{target} has no version {qualifier}; its newest is {newest}"))
        }
    }
}

/// Refuses a newest version that may not be called twice where filters of routes that follow it need that, and says
/// which.
pub(super) fn check_followers(catalog: &Catalog, function: &FunctionName, idempotent: bool) -> Result<(), ApiError> {
    if idempotent {
        return Ok(());
    }
    let followers = catalog.routes_to(function).filter(|route| route.spec.qualifier == Qualifier::Latest);
    let problems = followers.flat_map(|route| {
        let problems = check_route(&route.spec, false);
        problems.into_iter().map(move |problem| format!("route \"{}\": {problem}", route.name.name))
    });
    let problems: Vec<_> = problems.take(MOST_NAMED).collect();
    if problems.is_empty() {
        return Ok(());
    }
    let why = format!(
        "{function} cannot be deployed without idempotent = true, because filters of its routes need it: {}. Set those \
         routes without them first (`onrush route set`)",
        problems.join("; ")
    );
    Err(ApiError::new(Code::Conflict, why))
}

/// Most problems that one refusal names; a function may have a thousand routes.
const MOST_NAMED: usize = 20;

#[cfg(test)]
mod tests;
