//! The table of everything that REST serves. The router and `/openapi.json` are both made from it.

/// One method on one path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Endpoint {
    ListAll,
    List,
    Describe,
    Deploy,
    Remove,
    Logs,
    Upload,
    Invoke,
    ListAllRoutes,
    ListRoutes,
    DescribeRoute,
    SetRoute,
    RemoveRoute,
    Filters,
    Cluster,
    SetVoters,
    Drain,
    Undrain,
    Cordon,
    Uncordon,
    RemoveNode,
    OpenApi,
    Metrics,
    Healthz,
    Readyz,
}

/// What is said of it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Row {
    pub(crate) method: &'static str,
    pub(crate) path: &'static str,
    pub(crate) summary: &'static str,
    /// Query parameters with the names of their JSON types.
    pub(crate) query: &'static [(&'static str, &'static str)],
    /// What the request's body is.
    pub(crate) input: Input,
    /// What a success answers.
    pub(crate) output: Output,
    /// Statuses of refusals.
    pub(crate) refusals: &'static [u16],
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Input {
    Nothing,
    /// JSON of this schema.
    Json(&'static str),
    Bytes,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Output {
    /// JSON of this schema.
    Json(&'static str),
    /// An array of it.
    Array(&'static str),
    /// One JSON document a line.
    Lines(&'static str),
    Text,
    /// Whatever the function answers.
    Anything,
}

const READ: &[u16] = &[400, 503];
const READ_ONE: &[u16] = &[400, 404, 503];
const WRITE: &[u16] = &[400, 403, 404, 409, 502, 503];
const CHANGE: Output = Output::Json("Change");
const FRESH: (&str, &str) = ("fresh", "boolean");
const REQUEST_ID: (&str, &str) = ("request_id", "string");

impl Endpoint {
    pub(crate) const ALL: [Self; 25] = [
        Self::ListAll,
        Self::List,
        Self::Describe,
        Self::Deploy,
        Self::Remove,
        Self::Logs,
        Self::Upload,
        Self::Invoke,
        Self::ListAllRoutes,
        Self::ListRoutes,
        Self::DescribeRoute,
        Self::SetRoute,
        Self::RemoveRoute,
        Self::Filters,
        Self::Cluster,
        Self::SetVoters,
        Self::Drain,
        Self::Undrain,
        Self::Cordon,
        Self::Uncordon,
        Self::RemoveNode,
        Self::OpenApi,
        Self::Metrics,
        Self::Healthz,
        Self::Readyz,
    ];

    /// Its row of the table.
    pub(crate) const fn row(self) -> Row {
        match self {
            Self::ListAll | Self::List | Self::Describe | Self::Logs => self.reading(),
            Self::Deploy | Self::Remove | Self::Upload | Self::Invoke => self.writing(),
            Self::ListAllRoutes
            | Self::ListRoutes
            | Self::DescribeRoute
            | Self::SetRoute
            | Self::RemoveRoute
            | Self::Filters => self.route(),
            Self::Drain | Self::Undrain | Self::Cordon | Self::Uncordon => self.node(),
            Self::Cluster => {
                read("/v1/cluster", "The cluster as this node sees it; needs no quorum", Output::Json("Cluster"))
            }
            Self::SetVoters => Row {
                input: Input::Json("SetVoters"),
                refusals: &[400, 403, 409, 413, 502, 503],
                ..write("PUT", "/v1/cluster/voters", "How many nodes shall vote: 1, 3, 5 or 7")
            },
            Self::RemoveNode => Row {
                query: &[REQUEST_ID],
                ..write("DELETE", "/v1/nodes/{node}", "Takes a node out of the cluster for good")
            },
            Self::OpenApi => read("/openapi.json", "This document", Output::Json("Any")),
            Self::Metrics => read("/metrics", "Metrics in Prometheus' text format", Output::Text),
            Self::Healthz => read("/healthz", "The process answers", Output::Text),
            Self::Readyz => Row { refusals: &[503], ..read("/readyz", "The node serves", Output::Text) },
        }
    }

    const fn reading(self) -> Row {
        const ONE: &str = "/v1/namespaces/{namespace}/functions/{name}";
        match self {
            Self::List => Row {
                query: &[FRESH],
                refusals: READ,
                ..read(
                    "/v1/namespaces/{namespace}/functions",
                    "Functions of one namespace, by name",
                    Output::Array("Function"),
                )
            },
            Self::Describe => Row {
                query: &[FRESH],
                refusals: READ_ONE,
                ..read(ONE, "One function with its versions", Output::Json("Function"))
            },
            Self::Logs => Row {
                query: &[("tail", "integer"), ("follow", "boolean")],
                refusals: READ_ONE,
                ..read(
                    "/v1/namespaces/{namespace}/functions/{name}/logs",
                    "What it wrote, from every node, one JSON document a line",
                    Output::Lines("LogLine"),
                )
            },
            _ => Row {
                query: &[FRESH],
                refusals: READ,
                ..read("/v1/functions", "Functions of all namespaces, by name", Output::Array("Function"))
            },
        }
    }

    const fn writing(self) -> Row {
        const ONE: &str = "/v1/namespaces/{namespace}/functions/{name}";
        match self {
            Self::Deploy => Row {
                input: Input::Json("Deploy"),
                output: Output::Json("Deployed"),
                refusals: &[400, 403, 404, 409, 413, 500, 502, 503, 504],
                ..write("PUT", ONE, "Adds a version; its artifact was uploaded before")
            },
            Self::Upload => Row {
                input: Input::Bytes,
                output: Output::Json("Artifact"),
                refusals: &[400, 403, 413, 500, 503],
                ..write("PUT", "/v1/artifacts/{digest}", "Takes an artifact in; digest is the sha256 of its bytes")
            },
            Self::Invoke => Row {
                query: &[("path", "string"), ("method", "string"), ("qualifier", "string")],
                input: Input::Bytes,
                output: Output::Anything,
                refusals: &[400, 403, 404, 413, 429, 500, 502, 503, 504],
                ..write(
                    "POST",
                    "/v1/namespaces/{namespace}/functions/{name}/invoke",
                    "One call; answers what the function answers, whatever status that is",
                )
            },
            _ => Row {
                query: &[REQUEST_ID, ("with_routes", "boolean")],
                output: Output::Json("Removed"),
                ..write(
                    "DELETE",
                    ONE,
                    "Removes a function with all its versions, and its routes where they are meant too",
                )
            },
        }
    }

    const fn route(self) -> Row {
        const ONE: &str = "/v1/namespaces/{namespace}/routes/{name}";
        match self {
            Self::ListAllRoutes => Row {
                query: &[FRESH],
                refusals: READ,
                ..read("/v1/routes", "Routes of all namespaces, by name", Output::Array("Route"))
            },
            Self::ListRoutes => Row {
                query: &[FRESH],
                refusals: READ,
                ..read("/v1/namespaces/{namespace}/routes", "Routes of one namespace, by name", Output::Array("Route"))
            },
            Self::DescribeRoute => {
                Row { query: &[FRESH], refusals: READ_ONE, ..read(ONE, "One route", Output::Json("Route")) }
            }
            Self::SetRoute => Row {
                input: Input::Json("SetRoute"),
                output: Output::Json("RouteSet"),
                refusals: &[400, 403, 404, 409, 413, 502, 503],
                ..write("PUT", ONE, "Adds a route, or replaces the one of this name")
            },
            Self::Filters => read(
                "/v1/filters",
                "The filters that a route may have, in the order in which a request passes them",
                Output::Array("Filter"),
            ),
            _ => Row { query: &[REQUEST_ID], ..write("DELETE", ONE, "Removes a route") },
        }
    }

    const fn node(self) -> Row {
        match self {
            Self::Drain => write(
                "POST",
                "/v1/nodes/{node}/drain",
                "The node takes nothing new and finishes what it has, until it restarts",
            ),
            Self::Undrain => write("POST", "/v1/nodes/{node}/undrain", "The node serves again"),
            Self::Cordon => Row {
                query: &[REQUEST_ID],
                ..write("POST", "/v1/nodes/{node}/cordon", "Nobody uses the node, across restarts")
            },
            _ => {
                Row { query: &[REQUEST_ID], ..write("POST", "/v1/nodes/{node}/uncordon", "The node may be used again") }
            }
        }
    }
}

const fn read(path: &'static str, summary: &'static str, output: Output) -> Row {
    Row { method: "GET", path, summary, query: &[], input: Input::Nothing, output, refusals: &[] }
}

const fn write(method: &'static str, path: &'static str, summary: &'static str) -> Row {
    Row { method, path, summary, query: &[], input: Input::Nothing, output: CHANGE, refusals: WRITE }
}
