//! The cluster and its nodes.

use std::sync::Arc;

use axum::{
    Json,
    extract::{Request, State},
};
use onrush_types::Revision;
use serde_json::{Value, json};

use super::input::{Asked, ChangeQuery, Named, VotersDocument};
use crate::{Api, ApiError, convert, shapes::StatusShape};

type Changed = Result<Json<Value>, ApiError>;

fn changed(outcome: Result<Revision, ApiError>) -> Changed {
    Ok(Json(json!({ "revision": outcome? })))
}

pub(super) async fn status(State(api): State<Arc<Api>>) -> Json<StatusShape> {
    Json(convert::status_to(&api.status()).into())
}

pub(super) async fn set_voters(State(api): State<Arc<Api>>, request: Request) -> Changed {
    let VotersDocument { wanted, request_id } = api.document(request).await?;
    changed(api.set_voters(wanted, convert::request_id(&request_id)?).await)
}

pub(super) async fn drain(State(api): State<Arc<Api>>, Named(node): Named<String>) -> Changed {
    changed(api.drain(&node, true).await)
}

pub(super) async fn undrain(State(api): State<Arc<Api>>, Named(node): Named<String>) -> Changed {
    changed(api.drain(&node, false).await)
}

pub(super) async fn cordon(
    State(api): State<Arc<Api>>,
    Named(node): Named<String>,
    Asked(query): Asked<ChangeQuery>,
) -> Changed {
    changed(api.cordon(&node, true, convert::request_id(&query.request_id)?).await)
}

pub(super) async fn uncordon(
    State(api): State<Arc<Api>>,
    Named(node): Named<String>,
    Asked(query): Asked<ChangeQuery>,
) -> Changed {
    changed(api.cordon(&node, false, convert::request_id(&query.request_id)?).await)
}

pub(super) async fn remove_node(
    State(api): State<Arc<Api>>,
    Named(node): Named<String>,
    Asked(query): Asked<ChangeQuery>,
) -> Changed {
    changed(api.remove_node(&node, convert::request_id(&query.request_id)?).await)
}
