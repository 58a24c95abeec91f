//! What all gateways have in the store of `[session]`: whose turn it is to order, the account, the
//! certificate with its key, the answers for a CA that looks, and how long a CA that said no is left
//! alone.
//!
//! All of it is sealed: who reads the store gets no key, and who writes there gets no certificate
//! for our names, as one could who made every gateway answer for an order of theirs.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use aws_lc_rs::digest::{self, SHA256};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::error::AcmeError;
use super::home::Account;
use super::seal::Sealer;
use crate::auth::ledger::{Holder, Lease, MOST_ON_SHELF, SharedShelf, ShelfKey};
use crate::config::settings::Acme as Settings;
use crate::tls::error::TlsError;

/// How long a turn holds that is not renewed: so long after the gateway died that had it, another may
/// order.
pub(super) const TURN: Duration = Duration::from_secs(30);
/// From the moment that answers are shown until the CA is told to look: each gateway looks for them
/// every second.
pub(super) const SPREAD: Duration = Duration::from_secs(3);
/// Answers are gone by then, whatever became of the gateway that showed them.
const SHOWN: Duration = Duration::from_mins(10);
/// How long it is known after a pause how often a CA said no.
const REMEMBERED: Duration = Duration::from_hours(24);
/// Most answers at a time: one for each name.
const MOST_ANSWERS: usize = 100;

/// One `[tls.acme]` in the store.
#[derive(Debug)]
pub(super) struct Shared {
    shelf: SharedShelf,
    sealer: Sealer,
    holder: Holder,
    turn: Place,
    account: Place,
    certificate: Place,
    answers: Place,
    pause: Place,
    /// Whether this process asks for the turn, has it, or gives it back.
    busy: AtomicBool,
    /// Whether it has it.
    holds: AtomicBool,
    /// What was told of each thing that is wrong, so that it is told once.
    told: Mutex<BTreeMap<&'static str, String>>,
}

/// Where a thing stands, and what it is sealed as.
#[derive(Debug)]
struct Place {
    what: &'static str,
    key: ShelfKey,
    about: Vec<u8>,
}

/// What a CA is answered that looks at a name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Answer {
    pub(super) name: String,
    pub(super) token: String,
    /// The key authorization (RFC 8555 §8.1).
    pub(super) proof: String,
}

/// After a CA said no to one gateway, all of them leave it alone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Pause {
    /// In a row.
    pub(super) failures: u32,
    /// Until then, in seconds since 1970.
    pub(super) until: i64,
    /// Why, as the log has it.
    pub(super) problem: String,
}

/// Bytes that stand in the store, and what they are for.
pub(super) type Found = Option<Vec<u8>>;

impl Place {
    /// For a CA, and names where it is about some.
    fn of(what: &'static str, parts: &[&str]) -> Self {
        let mut about = Vec::from(b"portcullis acme\0".as_slice());
        for part in [what].iter().chain(parts) {
            about.extend_from_slice(part.as_bytes());
            about.push(0);
        }
        let hash = digest::digest(&SHA256, &about);
        let key = std::array::from_fn(|at| hash.as_ref().get(at).copied().unwrap_or(0));
        Self { what, key, about }
    }
}

impl Shared {
    /// # Errors
    ///
    /// [`TlsError`] where the cryptographic library fails.
    pub(super) fn new(
        settings: &Settings,
        shelf: Option<&SharedShelf>,
    ) -> Result<Option<Self>, TlsError> {
        let (Some(shared), Some(shelf)) = (&settings.shared, shelf) else {
            return Ok(None);
        };
        let failed = || TlsError::Tls(rustls::Error::FailedToGetRandomBytes);
        let mut holder = Holder::default();
        aws_lc_rs::rand::fill(&mut holder).map_err(|_failed| failed())?;
        let ca = settings.directory.as_str();
        let mut names: Vec<&str> = settings.domains.iter().map(String::as_str).collect();
        // In whatever order they stand in the file.
        names.sort_unstable();
        names.insert(0, ca);
        Ok(Some(Self {
            shelf: SharedShelf::clone(shelf),
            sealer: Sealer::new(&shared.secrets).map_err(|_failed| failed())?,
            holder,
            turn: Place::of("turn", &[ca]),
            account: Place::of("account", &[ca]),
            certificate: Place::of("certificate", &names),
            answers: Place::of("answers", &names),
            pause: Place::of("pause", &names),
            busy: AtomicBool::new(false),
            holds: AtomicBool::new(false),
            told: Mutex::default(),
        }))
    }

    /// Asks for the turn to change what is there; `false` where another gateway has it, or another
    /// part of this one. Whoever has it calls [`Shared::leave`].
    pub(super) async fn enter(&self) -> Result<bool, AcmeError> {
        if self.busy.swap(true, Ordering::AcqRel) {
            return Ok(false);
        }
        let lease = self.shelf.lease(self.turn.key, self.holder, TURN).await;
        let is_ours = matches!(lease, Ok(Lease::Yours));
        self.holds.store(is_ours, Ordering::Release);
        self.busy.store(is_ours, Ordering::Release);
        lease.map_err(AcmeError::Store)?;
        Ok(is_ours)
    }

    /// Keeps the turn as long as this is waited for; ends where it was lost.
    pub(super) async fn stay(&self) -> AcmeError {
        loop {
            tokio::time::sleep(TURN / 3).await;
            let lease = self.shelf.lease(self.turn.key, self.holder, TURN);
            // A store that does not answer gives the turn to nobody else either.
            if let Ok(Lease::Held) = lease.await {
                self.holds.store(false, Ordering::Release);
                return AcmeError::TurnLost;
            }
        }
    }

    /// Whether this gateway has the turn.
    pub(super) fn holds(&self) -> bool {
        self.holds.load(Ordering::Acquire)
    }

    /// Gives the turn back, and takes down what was shown.
    pub(super) async fn leave(&self) {
        if self.holds.swap(false, Ordering::AcqRel) {
            // What is left goes by itself.
            let _ = self.shelf.remove(self.answers.key).await;
            let _ = self.shelf.release(self.turn.key, self.holder).await;
        }
        self.busy.store(false, Ordering::Release);
    }

    /// The account; `None` too where it is spoilt, which is told.
    pub(super) async fn account(&self) -> Result<Option<Account>, AcmeError> {
        let found = self.load(&self.account).await?;
        let Some(sealed) = found else {
            return Ok(None);
        };
        let opened = self.open(&self.account, &sealed).and_then(|text| {
            let read = serde_json::from_slice(&text);
            read.map_err(|_closed| AcmeError::Spoilt(self.account.what))
        });
        self.note(self.account.what, opened.as_ref().err());
        Ok(opened.ok())
    }

    pub(super) async fn keep_account(&self, account: &Account) -> Result<(), AcmeError> {
        let text = Zeroizing::new(serde_json::to_vec(account).unwrap_or_default());
        self.put(&self.account, &text, None).await
    }

    /// The certificate as it stands there, sealed.
    pub(super) async fn certificate(&self) -> Result<Found, AcmeError> {
        self.load(&self.certificate).await
    }

    /// Its text: the chain with its key.
    pub(super) fn open_certificate(&self, sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, AcmeError> {
        self.open(&self.certificate, sealed)
    }

    pub(super) async fn keep_certificate(&self, text: &[u8]) -> Result<(), AcmeError> {
        self.put(&self.certificate, text, None).await
    }

    /// The answers as they stand there, sealed.
    pub(super) async fn answers(&self) -> Result<Found, AcmeError> {
        self.load(&self.answers).await
    }

    /// What they are.
    pub(super) fn open_answers(&self, sealed: &[u8]) -> Result<Vec<Answer>, AcmeError> {
        let text = self.open(&self.answers, sealed)?;
        let read = serde_json::from_slice::<Vec<Answer>>(&text).ok();
        let read = read.filter(|answers| answers.len() <= MOST_ANSWERS);
        read.ok_or(AcmeError::Spoilt(self.answers.what))
    }

    /// Shows every gateway what a CA is to be answered, and waits until they have seen it.
    pub(super) async fn show(&self, answers: &[Answer]) -> Result<(), AcmeError> {
        let text = serde_json::to_vec(answers).unwrap_or_default();
        self.put(&self.answers, &text, Some(SHOWN)).await?;
        tokio::time::sleep(SPREAD).await;
        Ok(())
    }

    /// How long the CA is left alone, where it said no; `None` too where that does not open.
    pub(super) async fn pause(&self) -> Result<Option<Pause>, AcmeError> {
        let Some(sealed) = self.load(&self.pause).await? else {
            return Ok(None);
        };
        let text = self.open(&self.pause, &sealed).ok();
        Ok(text.and_then(|text| serde_json::from_slice(&text).ok()))
    }

    /// Has all gateways leave the CA alone. The count goes on where it says no once more within a day.
    pub(super) async fn keep_pause(&self, pause: &Pause, wait: Duration) -> Result<(), AcmeError> {
        let text = serde_json::to_vec(pause).unwrap_or_default();
        let life = wait.saturating_add(REMEMBERED);
        self.put(&self.pause, &text, Some(life)).await
    }

    /// Nothing is to be waited for any more.
    pub(super) async fn end_pause(&self) -> Result<(), AcmeError> {
        let removed = self.shelf.remove(self.pause.key);
        removed.await.map_err(AcmeError::Store)
    }

    /// Tells the log what is wrong with something, once until it is another thing or well again.
    pub(super) fn note(&self, what: &'static str, error: Option<&AcmeError>) {
        let line = error.map(AcmeError::line);
        let before = {
            let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
            match &line {
                Some(line) => told.insert(what, line.clone()),
                None => told.remove(what),
            }
        };
        match (line, before) {
            (Some(problem), before) if before.as_ref() != Some(&problem) => tracing::warn!(
                problem,
                "what all gateways have by ACME cannot be had; this one goes on with what it has"
            ),
            (None, Some(_)) => {
                tracing::info!(what, "what all gateways have by ACME is there again");
            }
            (Some(_) | None, _) => {}
        }
    }

    async fn load(&self, place: &Place) -> Result<Found, AcmeError> {
        self.shelf.load(place.key).await.map_err(AcmeError::Store)
    }

    fn open(&self, place: &Place, sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, AcmeError> {
        let opened = self.sealer.open(&place.about, sealed);
        opened.map_err(|_closed| AcmeError::Spoilt(place.what))
    }

    async fn put(
        &self,
        place: &Place,
        plain: &[u8],
        life: Option<Duration>,
    ) -> Result<(), AcmeError> {
        let sealed = self.sealer.seal(&place.about, plain);
        let sealed = sealed.map_err(|_closed| AcmeError::CutOff)?;
        if sealed.len() > MOST_ON_SHELF {
            let (what, found) = (place.what, sealed.len());
            let why =
                format!("the {what} has {found} bytes, gateways share {MOST_ON_SHELF} at most");
            return Err(AcmeError::Useless(why));
        }
        let put = self.shelf.put(place.key, sealed, life);
        put.await.map_err(AcmeError::Store)
    }
}
