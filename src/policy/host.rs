//! Host names: one reading of `Host` and `:authority`, and the patterns that routes match.

/// A host that a route takes: `app.example.com` or `*.example.com`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum HostPattern {
    /// One name or address, lower case, without a port.
    Exact(Box<str>),
    /// One or more whole labels before this suffix (kept without `*.`), lower case.
    Wildcard(Box<str>),
}
