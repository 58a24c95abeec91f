//! The keys that an issuer publishes: parsed here, fetched and kept fresh in `store` and `fetch`.

mod fetch;
mod parse;
mod store;
#[cfg(test)]
mod tests;

pub(crate) use parse::parse;
pub(crate) use store::Jwks;
pub use store::JwksStatus;
