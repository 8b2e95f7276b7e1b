//! Which route a request takes: by host, path and method. Pure; made anew when the catalog's routes change.
//!
//! A host that is spelled out goes before `*.`, that before routes for every host; where a host has nothing for a path, or
//! not for its method, the next one is asked. In a path, what is spelled out goes before `{name}` and `{*name}`.

use std::{borrow::Cow, collections::HashMap, sync::Arc};

use http::{HeaderValue, Method};
use imbl::OrdMap;
use matchit::Params;
use onrush_catalog::Route;
use onrush_filters::{Gateways, Stack};
use onrush_types::{FunctionName, FunctionRef, Qualifier, RouteName, Segment, segments};

type Routes = OrdMap<RouteName, Arc<Route>>;

/// A route, ready for requests.
pub(crate) struct Entry {
    pub(crate) name: RouteName,
    route: Arc<Route>,
    function: FunctionName,
    methods: Vec<Method>,
    /// Or why this node cannot have its filters: without them it is not served.
    pub(crate) stack: Result<Arc<Stack>, String>,
    /// Its parameters, in the order of its path.
    parameters: Vec<String>,
}

/// Every route, findable.
#[derive(Default)]
pub(crate) struct Table {
    of: Routes,
    entries: HashMap<RouteName, Arc<Entry>>,
    exact: HashMap<String, Paths>,
    /// By what stands behind `*.`.
    wildcard: HashMap<String, Paths>,
    every: Paths,
}

/// The routes of a host.
#[derive(Default)]
struct Paths {
    tree: matchit::Router<usize>,
    /// By path in a form where names do not matter.
    places: HashMap<String, usize>,
    /// Routes of the same path, by method.
    slots: Vec<Vec<Arc<Entry>>>,
}

/// A route that was found.
pub(crate) struct Found<'t, 'p> {
    pub(crate) entry: &'t Arc<Entry>,
    values: Params<'t, 'p>,
}

/// Why none was.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Miss {
    /// Nothing is at this path.
    Path,
    /// Something is, for these methods.
    Method(HeaderValue),
}

impl Entry {
    fn new(route: &Arc<Route>, before: Option<&Arc<Self>>, gateways: &Gateways) -> Self {
        // Filters that did not change keep what they have counted.
        let same = before.filter(|before| before.route.spec.filters == route.spec.filters);
        let stack = match same {
            Some(before) => before.stack.clone(),
            None => Stack::compile(&route.spec.filters, gateways)
                .map(Arc::new)
                .map_err(|problems| problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")),
        };
        let parameters = segments(&route.spec.path).filter_map(|segment| match segment {
            Segment::Parameter(name) | Segment::Rest(name) => Some(name.to_owned()),
            Segment::Literal(_) => None,
        });
        Self {
            name: route.name.clone(),
            function: route.spec.target(&route.name.namespace),
            methods: route.spec.methods.iter().filter_map(|name| Method::from_bytes(name.as_bytes()).ok()).collect(),
            parameters: parameters.collect(),
            stack,
            route: Arc::clone(route),
        }
    }

    /// The version that its calls are for, unless a filter knows another.
    pub(crate) fn target(&self, qualifier: Option<&Qualifier>) -> FunctionRef {
        let qualifier = qualifier.unwrap_or(&self.route.spec.qualifier).clone();
        FunctionRef { function: self.function.clone(), qualifier }
    }

    /// A route without a word on methods takes all; one that takes GET takes HEAD.
    fn takes(&self, method: &Method) -> bool {
        let named = |wanted| self.route.spec.methods.is_empty() || self.methods.contains(wanted);
        named(method) || (*method == Method::HEAD && named(&Method::GET))
    }
}

/// A route's path with its parameters numbered, as the tree takes it.
fn numbered(path: &str) -> String {
    let numbered = segments(path).enumerate().map(|(at, segment)| match segment {
        Segment::Literal(text) => format!("/{}", text.replace('{', "{{").replace('}', "}}")),
        Segment::Parameter(_) => format!("/{{p{at}}}"),
        Segment::Rest(_) => format!("/{{*p{at}}}"),
    });
    numbered.collect()
}

impl Paths {
    fn insert(&mut self, entry: &Arc<Entry>) -> Result<(), String> {
        let path = numbered(&entry.route.spec.path);
        if let Some(at) = self.places.get(&path) {
            self.slots[*at].push(Arc::clone(entry));
            return Ok(());
        }
        self.tree.insert(path.clone(), self.slots.len()).map_err(|error| error.to_string())?;
        self.places.insert(path, self.slots.len());
        self.slots.push(vec![Arc::clone(entry)]);
        Ok(())
    }
}

impl Table {
    /// The table of these routes. What did not change since `before` is kept.
    pub(crate) fn build(routes: &Routes, before: &Self, gateways: &Gateways) -> Self {
        let mut table = Self { of: routes.clone(), ..Self::default() };
        for (name, route) in routes {
            let known = before.entries.get(name);
            let entry = match known.filter(|entry| entry.route == *route) {
                Some(entry) => Arc::clone(entry),
                None => Arc::new(Entry::new(route, known, gateways)),
            };
            if let Err(why) = &entry.stack {
                tracing::warn!(route = %name, why, "a route is not served: this node cannot have its filters");
            }
            if let Err(why) = table.paths_of(route.spec.host.as_deref()).insert(&entry) {
                tracing::warn!(route = %name, why, "a route is not served: its path clashes with another's");
            }
            table.entries.insert(name.clone(), entry);
        }
        table
    }

    fn paths_of(&mut self, host: Option<&str>) -> &mut Paths {
        match (host, host.and_then(|host| host.strip_prefix("*."))) {
            (None, _) => &mut self.every,
            (_, Some(behind)) => self.wildcard.entry(behind.to_owned()).or_default(),
            (Some(host), None) => self.exact.entry(host.to_owned()).or_default(),
        }
    }

    /// Whether this is the table of these routes.
    pub(crate) fn is_of(&self, routes: &Routes) -> bool {
        self.of.ptr_eq(routes) || (self.of.is_empty() && routes.is_empty())
    }

    /// Whether hosts matter to any route.
    pub(crate) fn knows_hosts(&self) -> bool {
        !(self.exact.is_empty() && self.wildcard.is_empty())
    }

    /// The route for this. The host is without a port, the path in its normal form.
    pub(crate) fn find<'p>(&self, host: &str, path: &'p str, method: &Method) -> Result<Found<'_, 'p>, Miss> {
        let host = if host.ends_with('.') || host.bytes().any(|byte| byte.is_ascii_uppercase()) {
            Cow::Owned(host.trim_end_matches('.').to_ascii_lowercase())
        } else {
            Cow::Borrowed(host)
        };
        let behind = host.split_once('.').filter(|(label, _)| !label.is_empty()).map(|(_, behind)| behind);
        let exact = self.exact.get(&*host);
        let wildcard = behind.and_then(|behind| self.wildcard.get(behind));
        let mut others: Vec<&Arc<Entry>> = Vec::new();
        for paths in exact.into_iter().chain(wildcard).chain([&self.every]) {
            let Ok(matched) = paths.tree.at(path) else { continue };
            let slot = &paths.slots[*matched.value];
            let named = slot.iter().find(|entry| entry.methods.contains(method));
            match named.or_else(|| slot.iter().find(|entry| entry.takes(method))) {
                Some(entry) => return Ok(Found { entry, values: matched.params }),
                None => others.extend(slot),
            }
        }
        if others.is_empty() { Err(Miss::Path) } else { Err(Miss::Method(allowed(&others))) }
    }
}

impl<'p> Found<'_, 'p> {
    /// What stood in the path at this parameter's place.
    pub(crate) fn parameter(&self, name: &str) -> Option<&'p str> {
        let at = self.entry.parameters.iter().position(|known| known == name)?;
        self.values.iter().nth(at).map(|(_, value)| value)
    }
}

/// The methods that are there, for `Allow`.
fn allowed(entries: &[&Arc<Entry>]) -> HeaderValue {
    let mut names: Vec<&str> = entries.iter().flat_map(|entry| &entry.methods).map(Method::as_str).collect();
    if names.contains(&"GET") {
        names.push("HEAD");
    }
    names.sort_unstable();
    names.dedup();
    HeaderValue::try_from(names.join(", ")).unwrap_or(HeaderValue::from_static("GET"))
}

/// A path as routes are compared with it: what needs no percent-encoding has none, and encoding is in upper case. None
/// where it has `.` or `..`, which mean another path to some and themselves to others: whoever checks one reading
/// must not be passed by the other.
pub(crate) fn normal(path: &str) -> Option<Cow<'_, str>> {
    let decoded = if path.contains('%') { Cow::Owned(decode(path)) } else { Cow::Borrowed(path) };
    let dots = decoded.contains("/.") && decoded.split('/').any(|segment| matches!(segment, "." | ".."));
    (!dots).then_some(decoded)
}

fn decode(path: &str) -> String {
    let mut decoded = String::with_capacity(path.len());
    let mut rest = path;
    while let Some((before, after)) = rest.split_once('%') {
        decoded.push_str(before);
        let digits = after.get(..2).filter(|digits| digits.bytes().all(|digit| digit.is_ascii_hexdigit()));
        let byte = digits.and_then(|digits| u8::from_str_radix(digits, 16).ok());
        match (byte, digits) {
            (Some(byte), _) if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) => decoded.push(byte.into()),
            (_, Some(digits)) => {
                decoded.push('%');
                decoded.push_str(&digits.to_ascii_uppercase());
            }
            (_, None) => decoded.push('%'),
        }
        rest = digits.map_or(after, |_| &after[2..]);
    }
    decoded.push_str(rest);
    decoded
}

#[cfg(test)]
mod tests;
