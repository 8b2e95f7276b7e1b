//! The rules, in one place: what each request may do, in which order, and how it is refused. gRPC and REST only
//! translate.
//!
//! Reads answer from this node's own catalog and need no quorum, unless they ask to be fresh. Changes run in tasks of
//! their own: a client that hangs up does not cancel half of one.

mod artifact;
mod call;
mod cluster;
mod deploy;
pub(crate) mod logs;
mod routes;

use std::sync::Arc;

use onrush_catalog::{Catalog, Command, Function, Outcome, Proposal};
use onrush_types::{Code, FunctionName, Label, RequestId, Revision};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

pub(crate) use self::{
    artifact::Announced,
    call::{Call, CallReply},
    deploy::{DeployWish, Deployed, Progress, Step},
    routes::{RouteSet, RouteWish},
};
use crate::{Api, ApiError};

impl Api {
    /// Functions of one namespace, or of all, by name.
    pub(crate) async fn list(&self, namespace: Option<Label>, fresh: bool) -> Result<Vec<Arc<Function>>, ApiError> {
        let catalog = self.catalog(fresh).await?;
        Ok(match &namespace {
            Some(namespace) => catalog.functions_in(namespace).cloned().collect(),
            None => catalog.functions.values().cloned().collect(),
        })
    }

    /// One function with its versions.
    pub(crate) async fn describe(&self, name: &FunctionName, fresh: bool) -> Result<Arc<Function>, ApiError> {
        self.catalog(fresh).await?.functions.get(name).cloned().ok_or_else(|| no_function(name))
    }

    /// Removes a function with all its versions, and `with_routes` the routes that point to it. Answers their names.
    pub(crate) async fn remove(
        self: &Arc<Self>,
        name: FunctionName,
        with_routes: bool,
        request: RequestId,
    ) -> Result<(Revision, Vec<String>), ApiError> {
        let catalog = self.catalog(false).await?;
        let routes = catalog.routes_to(&name).filter(|_| with_routes).map(|route| route.name.to_string()).collect();
        let revision = self.change(request, Command::RemoveFunction { name, with_routes }).await?;
        Ok((revision, routes))
    }

    /// This node's catalog; with `fresh`, once it holds every write that was acknowledged before.
    pub(crate) async fn catalog(&self, fresh: bool) -> Result<Arc<Catalog>, ApiError> {
        if fresh {
            return Ok(self.parts.store.fresh(self.config.fresh_timeout).await?);
        }
        Ok(self.parts.store.watch().borrow().clone())
    }

    /// Commits a command whose outcome says nothing more than that it took effect.
    async fn change(self: &Arc<Self>, request: RequestId, command: Command) -> Result<Revision, ApiError> {
        let api = Arc::clone(self);
        self.owned(async move { api.commit(request, command).await.map(|(revision, _)| revision) }).await
    }

    async fn commit(&self, request: RequestId, command: Command) -> Result<(Revision, Outcome), ApiError> {
        let proposal = Proposal { request, at_ms: self.parts.clock.now_ms(), command };
        Ok(self.parts.store.commit(proposal, self.config.commit_timeout).await?.accepted()?)
    }

    /// Runs a change to its end, whatever becomes of the client that asked for it.
    async fn owned<T: Send + 'static>(
        &self,
        work: impl Future<Output = Result<T, ApiError>> + Send + 'static,
    ) -> Result<T, ApiError> {
        let permit = enter(&self.changes, "changes")?;
        let task = self.tasks.spawn(async move {
            let outcome = work.await;
            drop(permit);
            outcome
        });
        task.await.unwrap_or_else(|error| Err(broken(&error)))
    }
}

/// A place among a bounded number of requests of one kind.
fn enter(places: &Arc<Semaphore>, what: &str) -> Result<OwnedSemaphorePermit, ApiError> {
    Arc::clone(places)
        .try_acquire_owned()
        .map_err(|_| ApiError::new(Code::Overloaded, format!("this node handles as many {what} as it may; try again")))
}

fn broken(error: &tokio::task::JoinError) -> ApiError {
    tracing::error!(%error, "a change ended without an outcome");
    ApiError::new(Code::OutcomeUnknown, "the change ended without an outcome; look whether it took effect")
}

fn no_function(name: &FunctionName) -> ApiError {
    ApiError::new(Code::NotFound, format!("there is no function {name}; `onrush list` shows those there are"))
}
