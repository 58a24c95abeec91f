//! Certificates that a CA issues by ACME (RFC 8555): ordered, kept, renewed.
//!
//! One [`Acme`] looks after one set of names. It outlives reloads that leave `[tls.acme]` alone, so
//! that an order under way is not begun again. What it holds stands in a folder; a restart orders
//! nothing. Processes that share the folder order one after another, and the later ones find that
//! there is nothing left to do. Gateways that share a store do the same over it ([`shared`]), and each
//! answers a CA for the one that orders ([`together`]).
//!
//! The protocol is the library's (`instant-acme`); what is asked of it, kept, answered and waited
//! for is here. `rustls-acme`, the other choice, is an acceptor and a client in one: its cache hides
//! the files, its stream of events the reasons, and http-01 and a CA's `Retry-After` are not in it.

mod challenges;
mod error;
mod home;
mod keeper;
mod order;
mod schedule;
mod seal;
mod shared;
#[cfg(test)]
mod tests;
mod together;
mod turn;
mod wire;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::error::Problem;
use super::pair::Pair;
use super::{client_config, error::TlsError};
use crate::auth::ledger::SharedShelf;
use crate::clock::Timestamp;
use crate::config::settings::{Acme as Settings, AcmeChallenge, CertificateFiles, UpstreamTls};
pub use challenges::Challenges;
use home::Home;
use shared::Shared;

/// The certificate of one `[tls.acme]`.
#[derive(Debug)]
pub struct Acme {
    settings: Settings,
    home: Home,
    challenges: Arc<Challenges>,
    /// Where gateways order together.
    shared: Option<Shared>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    held: Option<Arc<Pair>>,
    told: Progress,
    /// Why the store that gateways share cannot be asked, until it can.
    store: Option<String>,
}

/// How it stands, for metrics and the admin address.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Certificates that were issued since the start.
    pub issued: u64,
    /// Orders that came to nothing since the start.
    pub failed: u64,
    /// Why the last order came to nothing, until one succeeds.
    pub problem: Option<String>,
    /// When the next one is due.
    pub next: Option<Timestamp>,
}

/// Where the certificate of these settings stands, with its key, once it was ordered.
pub(super) fn files(settings: &Settings) -> CertificateFiles {
    Home::of(settings).files()
}

impl Acme {
    /// Looks up what is kept; asks no CA and no store. `previous` goes on where it has the same
    /// settings. Without a `shelf` a gateway orders for itself. Blocks on files.
    ///
    /// # Errors
    ///
    /// [`Problem`] when the cache may not be read, or `ca` is no bundle of roots.
    pub(super) fn open(
        settings: &Settings,
        previous: Option<&Arc<Self>>,
        shelf: Option<&SharedShelf>,
        now: Timestamp,
    ) -> Result<Arc<Self>, Problem> {
        if settings.ca.is_some() {
            let wrong = |error: TlsError| Problem::new("tls.acme.ca", error);
            client_config(&trust(settings)).map_err(wrong)?;
        }
        if let Some(previous) = previous.filter(|previous| previous.settings == *settings) {
            return Ok(Arc::clone(previous));
        }
        let shared = Shared::new(settings, shelf);
        let shared = shared.map_err(|error| Problem::new("tls.acme.secret", error))?;
        let home = Home::of(settings);
        let found = home.certificate(&settings.domains, now);
        let found = found.map_err(|error| Problem::new("tls.acme.cache", error))?;
        if let Some(damage) = home.damage() {
            tracing::warn!(
                problem = damage.line(),
                "the certificate in the ACME cache is spoilt; it is ordered anew"
            );
        }
        // After a change of the CA what was served goes on until the new one has issued.
        let held = found.map(Arc::new).or_else(|| {
            let before = previous?.held()?;
            let is_of_use = home::covered(&before, &settings.domains) > 0;
            is_of_use.then_some(before)
        });
        Ok(Arc::new(Self {
            settings: settings.clone(),
            home,
            challenges: Arc::default(),
            shared,
            state: Mutex::new(State {
                held,
                ..State::default()
            }),
        }))
    }

    /// Answers for CAs that look whether the names lead here.
    #[must_use]
    pub fn challenges(&self) -> &Challenges {
        &self.challenges
    }

    /// What a CA is answered that asks `host` for `token`: by this gateway's order, or by that of
    /// another on the same folder. Looks at a file where this gateway has no such order.
    #[must_use]
    pub fn proof(&self, host: &str, token: &str) -> Option<Arc<str>> {
        if self.settings.challenge != AcmeChallenge::Http01 || !self.orders(host) {
            return None;
        }
        let own = self.challenges.request(token);
        own.or_else(|| self.home.see(token).map(Arc::from))
    }

    /// Whether a certificate for this name is ordered here.
    #[must_use]
    pub fn orders(&self, name: &str) -> bool {
        let mut names = self.settings.domains.iter();
        names.any(|own| own.eq_ignore_ascii_case(name))
    }

    /// The names that are ordered.
    #[must_use]
    pub fn domains(&self) -> &[String] {
        &self.settings.domains
    }

    /// The address of the CA's directory.
    #[must_use]
    pub fn directory(&self) -> &str {
        &self.settings.directory
    }

    /// Whether there is a certificate.
    #[must_use]
    pub fn serves(&self) -> bool {
        self.lock().held.is_some()
    }

    /// How it stands.
    #[must_use]
    pub fn progress(&self) -> Progress {
        let state = self.lock();
        let mut told = state.told.clone();
        told.problem = told.problem.or_else(|| state.store.clone());
        told
    }

    /// The certificate to serve with; `None` before the first is issued.
    pub(super) fn held(&self) -> Option<Arc<Pair>> {
        self.lock().held.clone()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whom the CA's own address is believed by.
fn trust(settings: &Settings) -> UpstreamTls {
    UpstreamTls {
        ca: settings.ca.clone(),
        ..UpstreamTls::default()
    }
}
