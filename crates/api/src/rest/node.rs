//! What the node says of itself.

use std::sync::Arc;

use axum::{Json, extract::State, response::IntoResponse};
use http::header;
use onrush_types::Code;
use serde_json::Value;

use crate::{Api, ApiError};

pub(super) async fn openapi() -> Json<Value> {
    Json(crate::openapi::document())
}

pub(super) async fn metrics(State(api): State<Arc<Api>>) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], (api.parts.metrics)())
}

pub(super) async fn healthz() -> &'static str {
    "ok\n"
}

pub(super) async fn readyz(State(api): State<Arc<Api>>) -> Result<&'static str, ApiError> {
    (api.parts.ready)().map(|()| "ready\n").map_err(|why| ApiError::new(Code::Unavailable, why))
}
