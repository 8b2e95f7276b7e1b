//! Whether this node is alive and whether it should get traffic.

/// What the node says of itself.
pub trait Health: Send + Sync {
    /// Whether it should get traffic; `/readyz`.
    ///
    /// # Errors
    /// Why not, for people.
    fn ready(&self) -> Result<(), String>;

    /// Whether it works at all; `/healthz`. A node that says no wants to be restarted.
    ///
    /// # Errors
    /// What is broken, for people.
    fn live(&self) -> Result<(), String>;
}
