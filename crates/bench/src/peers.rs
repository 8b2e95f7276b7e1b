//! Whom Onrush is compared with.

pub(crate) mod etcd;
pub(crate) mod nginx;
pub(crate) mod wasmtime;
