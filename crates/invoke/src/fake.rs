//! A scripted [`Invoke`] for unit tests.

use std::{collections::VecDeque, sync::Arc};

use async_trait::async_trait;
use tokio::sync::Mutex;

use crate::{Body, Invocation, Invoke, InvokeError, LoadReport, Reply};

/// Answers calls from a script, then with an echo of the body; remembers what it was asked.
#[derive(Default)]
pub struct FakeInvoke {
    script: Mutex<VecDeque<Result<http::Response<Body>, InvokeError>>>,
    seen: Mutex<Vec<(onrush_types::InvocationId, u8, http::Method, http::Uri)>>,
    load: std::sync::Mutex<LoadReport>,
}

impl FakeInvoke {
    /// One that echoes.
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    /// Puts an answer at the end of the script.
    pub async fn then(&self, answer: Result<http::Response<Body>, InvokeError>) {
        self.script.lock().await.push_back(answer);
    }

    /// What later answers say of their load.
    pub fn set_load(&self, load: LoadReport) {
        *self.load.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = load;
    }

    /// Id, attempt, method and URI of each call, in order.
    pub async fn seen(&self) -> Vec<(onrush_types::InvocationId, u8, http::Method, http::Uri)> {
        self.seen.lock().await.clone()
    }
}

#[async_trait]
impl Invoke for FakeInvoke {
    async fn invoke(&self, call: Invocation) -> Result<Reply, InvokeError> {
        let (parts, body) = call.request.into_parts();
        self.seen.lock().await.push((call.id, call.attempt, parts.method, parts.uri));
        let answer = self.script.lock().await.pop_front();
        let load = *self.load.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let response = answer.unwrap_or_else(|| Ok(http::Response::new(body)))?;
        Ok(Reply { response, node: "fake".into(), load })
    }
}
