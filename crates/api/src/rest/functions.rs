//! Functions, their artifacts and their logs.

use std::{io, sync::Arc};

use axum::{
    Json,
    body::Body,
    extract::{Request, State},
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use futures::StreamExt as _;
use http::{StatusCode, header};
use onrush_types::ArtifactRef;
use serde_json::{Value, json};

use super::input::{Asked, DeployDocument, LogQuery, Named, ReadQuery, RemoveQuery};
use crate::{
    Api, ApiError, convert,
    grpc::functions::done,
    operations::{Announced, Progress, logs::DEFAULT_TAIL},
    shapes::{DeployedShape, FunctionShape, LogShape},
};

type Answer<T> = Result<Json<T>, ApiError>;

pub(super) async fn list_all(
    State(api): State<Arc<Api>>,
    Asked(query): Asked<ReadQuery>,
) -> Answer<Vec<FunctionShape>> {
    listed(&api, None, query.fresh).await
}

pub(super) async fn list(
    State(api): State<Arc<Api>>,
    Named(namespace): Named<String>,
    Asked(query): Asked<ReadQuery>,
) -> Answer<Vec<FunctionShape>> {
    listed(&api, Some(&namespace), query.fresh).await
}

async fn listed(api: &Api, namespace: Option<&str>, fresh: bool) -> Answer<Vec<FunctionShape>> {
    let namespace = namespace.map(convert::namespace).transpose()?;
    let functions = api.list(namespace, fresh).await?;
    Ok(Json(functions.iter().map(|function| convert::function_to(function).into()).collect()))
}

pub(super) async fn describe(
    State(api): State<Arc<Api>>,
    Named((namespace, name)): Named<(String, String)>,
    Asked(query): Asked<ReadQuery>,
) -> Answer<FunctionShape> {
    let function = api.describe(&convert::function_name(&namespace, &name)?, query.fresh).await?;
    Ok(Json(convert::described(&function).into()))
}

pub(super) async fn deploy(
    State(api): State<Arc<Api>>,
    Named((namespace, name)): Named<(String, String)>,
    request: Request,
) -> Answer<DeployedShape> {
    let document: DeployDocument = api.document(request).await?;
    let deployed = api.deploy(document.wish(&namespace, &name)?, Progress(None)).await?;
    Ok(Json(done(&deployed).into()))
}

pub(super) async fn remove(
    State(api): State<Arc<Api>>,
    Named((namespace, name)): Named<(String, String)>,
    Asked(query): Asked<RemoveQuery>,
) -> Answer<Value> {
    let name = convert::function_name(&namespace, &name)?;
    let (revision, routes) = api.remove(name, query.with_routes, convert::request_id(&query.request_id)?).await?;
    Ok(Json(json!({ "revision": revision, "routes": routes })))
}

pub(super) async fn logs(
    State(api): State<Arc<Api>>,
    Named((namespace, name)): Named<(String, String)>,
    Asked(query): Asked<LogQuery>,
) -> Result<Response, ApiError> {
    let name = convert::function_name(&namespace, &name)?;
    let lines = api.logs(name, query.tail.unwrap_or(DEFAULT_TAIL), query.follow).await?;
    let clock = Arc::clone(&api.parts.clock);
    let lines = lines.map(move |line| {
        let mut text = serde_json::to_vec(&LogShape::from(convert::log_line(line, clock.now_ms())))?;
        text.push(b'\n');
        Ok::<_, serde_json::Error>(Bytes::from(text))
    });
    Ok(([(header::CONTENT_TYPE, "application/x-ndjson")], Body::from_stream(lines)).into_response())
}

pub(super) async fn upload(
    State(api): State<Arc<Api>>,
    Named(digest): Named<String>,
    request: Request,
) -> Result<(StatusCode, Json<ArtifactRef>), ApiError> {
    let size = request.headers().get(header::CONTENT_LENGTH).and_then(|size| size.to_str().ok()?.parse().ok());
    let said = Announced { digest: Some(convert::field("digest", &digest)?), size };
    let bytes = request.into_body().into_data_stream().map(|chunk| chunk.map_err(io::Error::other));
    let artifact = api.upload(said, Box::pin(bytes)).await?;
    Ok((StatusCode::OK, Json(artifact)))
}
