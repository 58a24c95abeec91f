//! From a credential to an identity.
//!
//! [`Authenticators`] is what was assembled from `[auth.*]`; [`Authenticators::identify`] tries a
//! route's authenticators in order. The parts that decide are pure: `credential` (where one may
//! sit), `jwt` and `claims` (token, keys, rules, now), `jwks` (parsing). Input and output are at
//! the edges: key files when assembling, JWKS fetches in [`Authenticators::keep_fresh`].
//!
//! Could not find out is `auth_unavailable`; it is never a refusal of the caller and never a pass.

mod answer;
mod api_key;
mod ask;
mod assertion;
mod attempt;
mod authenticators;
mod basic;
pub(crate) mod bounded;
mod certificate;
mod claims;
mod cookie;
mod credential;
pub mod flights;
mod forgetting;
mod forward;
mod gateway_session;
mod identify;
mod inspect;
mod issuer;
pub(crate) mod json;
mod jwks;
mod jwt;
mod keys;
pub mod ledger;
mod people;
pub mod ports;
mod question;
pub mod revoked;
mod session;
mod session_reader;
mod session_reading;
mod settle;
mod shown;
mod token;
mod verdicts;
mod watch;
pub(crate) mod web;
pub(crate) mod words;

pub use assertion::Assertions;
pub use attempt::{Attempt, Request, Try};
pub use authenticators::Authenticators;
pub use certificate::{BadCertificate, PeerCertificate};
pub use forgetting::Carrying;
pub use gateway_session::own_session;
pub use inspect::Finding;
pub use issuer::{Expected, Gone, Issuer, LOGOUT_LIFE, identity_of};
pub use jwks::{Document, JwksStatus, Published, published, usable_keys};
pub use jwt::{expiry_of, jti_of};
pub use session::{RowCheck, SampleFormat, read_sample};
pub use watch::Watch;

/// A mistake that shows only when what the configuration names is read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{key}: {message}")]
pub struct Problem {
    /// The key's path in the file, such as `auth.edms-token.secret`.
    pub key: String,
    /// What is wrong and what to do; never the secret itself.
    pub message: String,
}

impl Problem {
    fn new(key: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            key: key.into(),
            message: message.into(),
        }
    }
}

#[cfg(test)]
mod authenticators_tests;
#[cfg(test)]
mod jose_vectors;
#[cfg(test)]
mod testing;
