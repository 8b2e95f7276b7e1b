//! One execution, or one stored reply, for many identical calls.
//!
//! Knows: which replies may be kept and for how long (RFC 9111, RFC 5861), who waits for whom, who owns a key.
//! Does not know: routes, filters, how a call runs.
