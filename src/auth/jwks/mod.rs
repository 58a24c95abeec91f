//! The keys that an issuer publishes: parsed here, fetched and kept fresh in `store` and `fetch`.

mod fetch;
mod parse;
mod store;
#[cfg(test)]
mod tests;

pub use fetch::Document;
pub(crate) use parse::parse;
pub(crate) use store::Jwks;
pub use store::JwksStatus;

use crate::config::settings::Algorithm;

/// How many keys of a JWK Set would be used with these algorithms, and why the others would not.
///
/// # Errors
///
/// Why none would be, as a phrase that follows the document's name.
pub fn usable_keys(text: &[u8], algorithms: &[Algorithm]) -> Result<(usize, Vec<String>), String> {
    parse(text, algorithms)
        .map(|parsed| (parsed.keys.len(), parsed.ignored))
        .map_err(|bad| bad.to_string())
}
