//! Artifacts between nodes.
