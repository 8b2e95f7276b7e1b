//! The API that people and tools talk to: gRPC and REST over the same operations, metrics, health.
//!
//! Knows: what may be asked, in which order a deploy happens, how answers look.
//! Does not know: how agreement is reached, how functions run, which socket it is served on.
mod api;
mod config;
mod convert;
mod error;
mod grpc;
mod openapi;
mod operations;
mod rest;
pub mod shapes;
#[cfg(test)]
mod testing;

pub use self::{
    api::{Api, Parts},
    config::Config,
    error::ApiError,
};
