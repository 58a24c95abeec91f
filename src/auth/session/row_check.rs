//! Whether what an app has stored was signed with the key that the gateway has. PURE.

use crate::auth::session::django::DjangoCodec;
use crate::config::settings::{DjangoBackend, DjangoSession};
use crate::policy::denial::Code;

/// Checks stored sessions of one Django app.
#[derive(Debug)]
pub struct RowCheck {
    codec: DjangoCodec,
}

impl RowCheck {
    /// For the sessions of these settings; `None` where what is stored is not signed, so that it
    /// tells nothing about the key.
    #[must_use]
    pub fn new(django: &DjangoSession) -> Option<Self> {
        match django.backend {
            DjangoBackend::Db { .. }
            | DjangoBackend::CachedDb { .. }
            | DjangoBackend::File { .. } => {}
            DjangoBackend::Cache { .. } | DjangoBackend::SignedCookies { .. } => return None,
        }
        let codec = DjangoCodec::new(&django.secrets);
        let codec = if django.legacy_sha1 {
            codec.with_sha1(&django.secrets)
        } else {
            codec
        };
        Some(Self { codec })
    }

    /// Whether one of the keys made the signature of a stored session.
    ///
    /// # Errors
    ///
    /// The code of the refusal: `session_signature` where none did, `session_malformed` where it
    /// is no session that can be read.
    pub fn holds(&self, stored: &[u8]) -> Result<(), Code> {
        let read = self.codec.read_row(stored);
        read.map(drop).map_err(|denial| denial.code())
    }
}
