//! Routes, and the filters that they may have.

use std::sync::Arc;

use axum::{
    Json,
    extract::{Request, State},
};
use serde_json::{Value, json};

use super::input::{Asked, ChangeQuery, Named, ReadQuery, RouteDocument};
use crate::{
    Api, ApiError, convert,
    shapes::{FilterShape, RouteSetShape, RouteShape},
};

type Answer<T> = Result<Json<T>, ApiError>;

pub(super) async fn list_all(State(api): State<Arc<Api>>, Asked(query): Asked<ReadQuery>) -> Answer<Vec<RouteShape>> {
    listed(&api, None, query.fresh).await
}

pub(super) async fn list(
    State(api): State<Arc<Api>>,
    Named(namespace): Named<String>,
    Asked(query): Asked<ReadQuery>,
) -> Answer<Vec<RouteShape>> {
    listed(&api, Some(&namespace), query.fresh).await
}

async fn listed(api: &Api, namespace: Option<&str>, fresh: bool) -> Answer<Vec<RouteShape>> {
    let namespace = namespace.map(convert::namespace).transpose()?;
    let routes = api.routes(namespace, fresh).await?;
    Ok(Json(routes.iter().map(|route| convert::route_to(route).into()).collect()))
}

pub(super) async fn describe(
    State(api): State<Arc<Api>>,
    Named((namespace, name)): Named<(String, String)>,
    Asked(query): Asked<ReadQuery>,
) -> Answer<RouteShape> {
    let route = api.describe_route(&convert::route_name(&namespace, &name)?, query.fresh).await?;
    Ok(Json(convert::route_to(&route).into()))
}

pub(super) async fn set(
    State(api): State<Arc<Api>>,
    Named((namespace, name)): Named<(String, String)>,
    request: Request,
) -> Answer<RouteSetShape> {
    let document: RouteDocument = api.document(request).await?;
    let set = api.set_route(document.wish(&namespace, &name)?).await?;
    Ok(Json(convert::route_set(&set).into()))
}

pub(super) async fn remove(
    State(api): State<Arc<Api>>,
    Named((namespace, name)): Named<(String, String)>,
    Asked(query): Asked<ChangeQuery>,
) -> Answer<Value> {
    let name = convert::route_name(&namespace, &name)?;
    let revision = api.remove_route(name, convert::request_id(&query.request_id)?).await?;
    Ok(Json(json!({ "revision": revision })))
}

pub(super) async fn filters() -> Json<Vec<FilterShape>> {
    let filters = convert::filters_to(onrush_filters::documentation());
    Json(filters.into_iter().map(Into::into).collect())
}
