//! What the gateway and the API answer while the node looks for its cluster: alive, not ready, and why.

use axum::{Json, Router, http::StatusCode, response::IntoResponse, routing::get};
use onrush_server::{BoundServer, tower};
use onrush_types::{Code, Origin};
use tokio_util::sync::CancellationToken;

use crate::health::Health;

/// Serves one listener until `done`.
pub(crate) async fn serve(listener: BoundServer, health: Health, done: CancellationToken) {
    let not_ready = move || {
        let why = health.ready().err().unwrap_or_else(|| "the node has just begun to serve; ask again".to_owned());
        let code = Code::Unavailable;
        let error = serde_json::json!({"code": code, "message": why, "origin": Origin::Platform});
        let headers = [("retry-after", "1"), ("x-onrush-error-origin", Origin::Platform.name())];
        (StatusCode::SERVICE_UNAVAILABLE, headers, Json(error)).into_response()
    };
    let router =
        Router::new().route("/healthz", get(|| async { "ok\n" })).fallback(move || std::future::ready(not_ready()));
    listener.serve(tower(router), done.clone(), CancellationToken::new()).await;
}
