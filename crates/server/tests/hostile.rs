//! Clients that mean harm or know no better: each costs a bounded amount and hurts nobody else.

#![allow(missing_docs, clippy::unwrap_used, reason = "helpers of tests fail by panicking")]

#[path = "hostile/crowd.rs"]
mod crowd;
#[path = "hostile/fixture.rs"]
mod fixture;
#[path = "hostile/floods.rs"]
mod floods;
#[path = "hostile/frames.rs"]
mod frames;
#[path = "hostile/slow.rs"]
mod slow;
