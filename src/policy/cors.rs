//! Cross-origin rules (Fetch standard §3.2): who may read answers, and what preflights say.

/// `[cors.NAME]`, compiled.
#[derive(Clone, Debug)]
pub struct CorsRule {
    /// NAME.
    pub name: std::sync::Arc<str>,
}
