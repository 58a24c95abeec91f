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

use http::HeaderValue;

use crate::auth::words::chain;
use crate::config::settings::{Algorithm, JwksUrl};

/// A set as it is published now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Published {
    /// How many of its keys are of use; at least one.
    pub keys: usize,
    /// Why the others are not.
    pub ignored: Vec<String>,
    /// The `Date` of the answer.
    pub date: Option<HeaderValue>,
}

/// Fetches a JWK Set once, as the gateway does again and again, and keeps nothing of it.
///
/// # Errors
///
/// The first thing that went wrong, with its causes.
pub async fn published(settings: &JwksUrl, algorithms: &[Algorithm]) -> Result<Published, String> {
    let fetched = fetch::fetch(settings, algorithms).await;
    let fetched = fetched.map_err(|error| chain(&error))?;
    Ok(Published {
        keys: fetched.set.keys.len(),
        ignored: fetched.set.ignored,
        date: fetched.date,
    })
}

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
