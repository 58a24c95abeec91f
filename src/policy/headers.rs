//! What is removed from requests and answers: hop-by-hop fields, forged identity, aliases.

/// What is removed from every request before forwarding, compiled.
#[derive(Clone, Debug, Default)]
pub struct Hygiene {}
