//! HTTP in and out: requests become calls, replies and errors become responses.
//!
//! Knows: which path means which function (from the local catalog, without I/O), what of a request a function may see,
//! how long a call may take, how each failure looks to a client.
//! Does not know: where a call runs, how a function runs, how the catalog is agreed on.
mod address; // whom a request is from
mod call; // from a request to its reply's head
mod config;
mod connection; // what is known of a client before it asks
mod download; // replies' bodies
mod error; // failures -> responses
mod follow; // keeps the routes in step with the catalog
mod gateway; // construction, serving
mod headers; // what crosses the gateway, and what does not
mod health;
mod metrics;
mod path; // `/function/...`
mod routed; // a request that takes a route
mod routes; // which route a request takes
mod stack; // a request's way, in order
mod target; // names -> versions
mod upload; // requests' bodies

pub use self::{
    config::{Cidr, Config},
    gateway::{Gateway, Parts, Standalone},
    health::Health,
};
