//! Rules of routes: what they point to exists and may be called as they need, and no two of them want the same requests.

use std::sync::Arc;

use onrush_types::{Code, FunctionName, Qualifier, Revision, RouteName, RouteSpec};

use super::{Effect, refuse};
use crate::{Catalog, Outcome, ROUTES_IN_ALL, ROUTES_PER_NAMESPACE, Refusal, Route};

/// Most routes that a refusal names; there may be a thousand.
const NAMED: usize = 10;

impl Catalog {
    pub(super) fn set_route(
        &mut self,
        name: &RouteName,
        spec: &RouteSpec,
        needs_idempotence: bool,
        expected: Option<Revision>,
    ) -> Result<Effect, Refusal> {
        let at = |what: &str| format!("route \"{}\": {what}", name.name);
        let problems: Vec<_> = spec.problems().iter().map(ToString::to_string).collect();
        if !problems.is_empty() {
            return Err(refuse(Code::BadRequest, at(&problems.join("; "))));
        }
        self.check_target(name, spec, needs_idempotence).map_err(|why| refuse(why.code, at(&why.why)))?;
        let known = self.routes.get(name);
        let changed = known.map_or(Revision(0), |route| route.changed);
        if expected.is_some_and(|expected| expected != changed) {
            let why = format!("was changed by revision {changed} in the meantime; look at it and try again");
            return Err(refuse(Code::Conflict, at(&why)));
        }
        if known.is_some_and(|route| route.spec == *spec && route.needs_idempotence == needs_idempotence) {
            return Ok(Effect::Nothing(Outcome::RoutePut { changed: false }));
        }
        if known.is_none() {
            self.check_room(name).map_err(|why| refuse(Code::Conflict, at(&why)))?;
        }
        self.check_clashes(name, spec).map_err(|why| refuse(Code::Conflict, at(&why)))?;
        let route = Route { name: name.clone(), changed: self.revision.next(), spec: spec.clone(), needs_idempotence };
        self.routes.insert(name.clone(), Arc::new(route));
        Ok(Effect::Changed(Outcome::RoutePut { changed: true }))
    }

    pub(super) fn remove_route(&mut self, name: &RouteName) -> Result<Effect, Refusal> {
        self.routes.remove(name).ok_or_else(|| {
            refuse(Code::NotFound, format!("there is no route {name}; `onrush route list` shows those there are"))
        })?;
        Ok(Effect::Changed(Outcome::Done))
    }

    /// Refuses to leave routes without their function, or takes them along.
    pub(super) fn release_routes(&mut self, function: &FunctionName, with_routes: bool) -> Result<(), Refusal> {
        let routes: Vec<_> = self.routes_to(function).map(|route| route.name.clone()).collect();
        if !routes.is_empty() && !with_routes {
            let why = format!(
                "routes point to {function}: {}. Remove them first (`onrush route remove NAME`), or together with it \
                 (`onrush remove {} --with-routes`)",
                listed(&routes),
                function.name,
            );
            return Err(refuse(Code::Conflict, why));
        }
        for route in &routes {
            self.routes.remove(route);
        }
        Ok(())
    }

    /// Refuses a newest version that may not be called twice where routes that follow it need that.
    pub(super) fn check_idempotence(&self, function: &FunctionName, idempotent: bool) -> Result<(), Refusal> {
        if idempotent {
            return Ok(());
        }
        let needing = |route: &&Arc<Route>| route.needs_idempotence && route.spec.qualifier == Qualifier::Latest;
        let routes: Vec<_> = self.routes_to(function).filter(needing).map(|route| route.name.clone()).collect();
        if routes.is_empty() {
            return Ok(());
        }
        let why = format!(
            "{function} cannot be deployed: idempotent: filters of its routes need it: {}. Set those routes without the \
             filters first, or leave the function idempotent",
            listed(&routes)
        );
        Err(refuse(Code::Conflict, why))
    }

    fn check_target(&self, name: &RouteName, spec: &RouteSpec, needs_idempotence: bool) -> Result<(), Refusal> {
        let target = spec.target(&name.namespace);
        let Some(function) = self.functions.get(&target) else {
            let why = format!(
                "function: there is no function {target}; deploy it first, `onrush list` shows those there are"
            );
            return Err(refuse(Code::NotFound, why));
        };
        let Some(version) = function.resolve(&spec.qualifier) else {
            let why = format!(
                "qualifier: {target} has no version {}; its newest is {}",
                spec.qualifier, function.latest.number
            );
            return Err(refuse(Code::NotFound, why));
        };
        if needs_idempotence && !version.spec.idempotent {
            let why = format!("filters: they need a function that may be called twice, and {target} is not idempotent");
            return Err(refuse(Code::Conflict, why));
        }
        Ok(())
    }

    fn check_room(&self, name: &RouteName) -> Result<(), String> {
        let advice = "remove one first";
        if self.routes.len() >= ROUTES_IN_ALL {
            return Err(format!("the cluster has {ROUTES_IN_ALL} routes, as many as it may; {advice}"));
        }
        if self.routes_in(&name.namespace).count() >= ROUTES_PER_NAMESPACE {
            let namespace = &name.namespace;
            return Err(format!(
                "namespace {namespace} has {ROUTES_PER_NAMESPACE} routes, as many as it may; {advice}"
            ));
        }
        Ok(())
    }

    fn check_clashes(&self, name: &RouteName, spec: &RouteSpec) -> Result<(), String> {
        let others = self.routes.values().filter(|route| route.name != *name);
        let clashing = others.filter_map(|other| Some((other, spec.clash(&other.spec)?)));
        let clashing = clashing.map(|(other, why)| format!("clashes with route {}: {why}", other.name));
        let clashing: Vec<_> = clashing.take(NAMED).collect();
        if clashing.is_empty() { Ok(()) } else { Err(clashing.join("; ")) }
    }
}

fn listed(routes: &[RouteName]) -> String {
    let mut names: Vec<_> = routes.iter().take(NAMED).map(ToString::to_string).collect();
    if routes.len() > NAMED {
        names.push(format!("and {} more", routes.len() - NAMED));
    }
    names.join(", ")
}
