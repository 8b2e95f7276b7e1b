//! Reading documents, queries and paths, with errors that name what is wrong.

use std::{collections::BTreeMap, time::Duration};

use axum::{
    body::Body,
    extract::{FromRequestParts, Path, Query, Request},
};
use bytesize::ByteSize;
use http::request::Parts;
use onrush_types::{ArtifactRef, Code, FunctionSpec, Limits, Revision};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Map, Value};

use crate::{
    Api, ApiError,
    convert::{self, RouteText},
    operations::{DeployWish, RouteWish},
};

/// How long a client may take to send a document.
const PATIENCE: Duration = Duration::from_secs(30);

/// A query, or a refusal in our words.
pub(super) struct Asked<T>(pub(super) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Asked<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, ApiError> {
        let query = Query::try_from_uri(&parts.uri);
        query
            .map(|Query(query)| Self(query))
            .map_err(|error| ApiError::bad_request(format!("query: {}", error.body_text())))
    }
}

/// The parts of a path, or a refusal in our words.
pub(super) struct Named<T>(pub(super) T);

impl<T: DeserializeOwned + Send, S: Send + Sync> FromRequestParts<S> for Named<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let path = Path::from_request_parts(parts, state).await;
        path.map(|Path(path)| Self(path)).map_err(|error| ApiError::bad_request(format!("path: {}", error.body_text())))
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct ReadQuery {
    pub(super) fresh: bool,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct ChangeQuery {
    pub(super) request_id: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct RemoveQuery {
    pub(super) request_id: String,
    pub(super) with_routes: bool,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct LogQuery {
    pub(super) tail: Option<u32>,
    pub(super) follow: bool,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct CallQuery {
    pub(super) path: String,
    pub(super) method: String,
    pub(super) qualifier: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct VotersDocument {
    pub(super) wanted: u32,
    #[serde(default)]
    pub(super) request_id: String,
}

/// A function's new version as JSON. What is left out has the default that the manifest has.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct DeployDocument {
    #[serde(default)]
    runtime: String,
    digest: String,
    #[serde(default)]
    size: u64,
    #[serde(default, with = "humantime_serde")]
    timeout: Option<Duration>,
    #[serde(default)]
    memory: Option<ByteSize>,
    #[serde(default)]
    concurrency: Option<u32>,
    #[serde(default)]
    reuse: u32,
    #[serde(default)]
    streaming: bool,
    #[serde(default)]
    idempotent: bool,
    #[serde(default)]
    environment: BTreeMap<String, String>,
    #[serde(default)]
    secrets: Vec<String>,
    #[serde(default)]
    egress: Vec<String>,
    #[serde(default)]
    expected_revision: Option<u64>,
    #[serde(default)]
    request_id: String,
}

impl DeployDocument {
    /// What it asks for.
    pub(super) fn wish(self, namespace: &str, name: &str) -> Result<DeployWish, ApiError> {
        let defaults = Limits::default();
        let spec = FunctionSpec {
            runtime: convert::runtime(&self.runtime)?,
            artifact: ArtifactRef { digest: convert::field("digest", &self.digest)?, size: self.size },
            limits: Limits {
                timeout: self.timeout.unwrap_or(defaults.timeout),
                memory: self.memory.map_or(defaults.memory, |memory| memory.as_u64()),
                concurrency: self.concurrency,
                reuse: self.reuse,
                streaming: self.streaming,
            },
            environment: self.environment,
            secrets: self.secrets,
            egress: self.egress,
            idempotent: self.idempotent,
        };
        Ok(DeployWish {
            name: convert::function_name(namespace, name)?,
            spec,
            expected: self.expected_revision.map(Revision),
            request: convert::request_id(&self.request_id)?,
        })
    }
}

/// A route as JSON; the same fields as in the manifest, but for the function's version, which is `qualifier`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RouteDocument {
    #[serde(default)]
    host: Option<String>,
    path: String,
    #[serde(default)]
    methods: Vec<String>,
    function: String,
    #[serde(default)]
    qualifier: String,
    #[serde(default)]
    filters: Vec<Map<String, Value>>,
    #[serde(default)]
    expected_revision: Option<u64>,
    #[serde(default)]
    request_id: String,
}

impl RouteDocument {
    /// What it asks for.
    pub(super) fn wish(self, namespace: &str, name: &str) -> Result<RouteWish, ApiError> {
        let name = convert::route_name(namespace, name)?;
        let text = RouteText {
            host: self.host,
            path: self.path,
            methods: self.methods,
            function: self.function,
            qualifier: self.qualifier,
            filters: self.filters,
        };
        let spec = convert::route_spec(&name, text)?;
        let expected = self.expected_revision.map(Revision);
        Ok(RouteWish { name, spec, expected, request: convert::request_id(&self.request_id)? })
    }
}

impl Api {
    /// Reads a JSON document up to the limit.
    pub(super) async fn document<T: DeserializeOwned>(&self, request: Request<Body>) -> Result<T, ApiError> {
        let limit = self.config.max_json;
        let reading = axum::body::to_bytes(request.into_body(), limit);
        let bytes = tokio::time::timeout(PATIENCE, reading).await;
        let bytes =
            bytes.map_err(|_| ApiError::bad_request(format!("the document did not come within {PATIENCE:?}")))?;
        let bytes = bytes.map_err(|error| {
            let limited =
                std::error::Error::source(&error).is_some_and(|source| source.is::<http_body_util::LengthLimitError>());
            if limited {
                return ApiError::new(Code::TooLarge, format!("a document has at most {limit} bytes"));
            }
            ApiError::bad_request(format!("the document broke off: {error}"))
        })?;
        serde_json::from_slice(&bytes).map_err(|error| ApiError::bad_request(format!("document: {error}")))
    }
}
