//! Builds everything a node consists of, in one readable order, and owns every task.
//!
//! Knows: every component's constructor, settings, the sequence of starting and stopping.
//! Does not know: how any of them works inside.
mod advertise;
mod assemble;
mod book;
mod control;
mod formation;
mod guests;
mod health;
mod house;
mod name;
mod peer_server;
pub mod settings;
mod supervisor;
pub mod telemetry;
mod waiting_room;

pub use self::{
    assemble::{Addresses, Node},
    settings::{Problem, Raw, Settings},
};
