//! One canonical reading of a request's path, and the patterns that routes match.

/// A route's `path`, parsed: literal segments, `{id}`, and a final `{*rest}`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct PathPattern {
    /// As configured.
    pub text: Box<str>,
}
