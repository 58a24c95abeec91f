//! Follows what other gateways put into the store: answers for a CA that looks, and certificates.
//! One loop beside the one that orders; every question to the store is bounded by the store.

use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::digest::{self, SHA256};
use zeroize::Zeroizing;

use super::challenges::Standing;
use super::error::AcmeError;
use super::home::covered;
use super::shared::{Answer, Found, Shared};
use super::{Acme, schedule};
use crate::clock::{self, Timestamp};
use crate::config::settings::AcmeChallenge;
use crate::tls::pair::Pair;

/// Between two looks for answers.
const LOOK: Duration = Duration::from_secs(1);
/// Certificates are looked for at every so many of them.
const CERTIFICATES: u32 = 3;

/// What was seen at the last look.
#[derive(Debug, Default)]
struct Seen {
    turns: u32,
    failures: u32,
    certificate: Option<Stored>,
    answers: Option<Vec<u8>>,
    standing: Vec<Standing>,
}

/// A certificate in the store.
#[derive(Debug, PartialEq, Eq)]
struct Stored {
    /// Of the sealed bytes.
    hash: Vec<u8>,
    /// `None` where it is spoilt.
    not_after: Option<Timestamp>,
}

impl Acme {
    /// Follows the store until dropped. `took` is called when another certificate is held.
    pub(super) async fn follow(self: &Arc<Self>, shared: &Shared, took: &impl Fn()) {
        let mut seen = Seen::default();
        loop {
            let looked = self.look_there(shared, &mut seen, took).await;
            self.hear(shared, looked.as_ref().err());
            let wait = match looked {
                Ok(()) => {
                    seen.failures = 0;
                    LOOK
                }
                Err(_told) => {
                    seen.failures = seen.failures.saturating_add(1);
                    schedule::store_backoff(seen.failures)
                }
            };
            tokio::time::sleep(wait).await;
        }
    }

    /// Notes whether the store answers.
    pub(super) fn hear(&self, shared: &Shared, error: Option<&AcmeError>) {
        shared.note("store", error);
        self.lock().store = error.map(AcmeError::line);
    }

    async fn look_there(
        self: &Arc<Self>,
        shared: &Shared,
        seen: &mut Seen,
        took: &impl Fn(),
    ) -> Result<(), AcmeError> {
        self.look_for_answers(shared, seen).await?;
        let is_due = seen.turns.is_multiple_of(CERTIFICATES);
        if is_due {
            let found = shared.certificate().await?;
            if self.see(shared, seen, found.as_deref()).await {
                took();
            }
            self.offer(shared, seen, found.is_some()).await?;
        }
        // Counted where it came off: what failed is looked at again at once.
        seen.turns = seen.turns.wrapping_add(1);
        Ok(())
    }

    async fn look_for_answers(&self, shared: &Shared, seen: &mut Seen) -> Result<(), AcmeError> {
        // Its own are answered already.
        let found = if shared.holds() {
            None
        } else {
            shared.answers().await?
        };
        if found == seen.answers {
            return Ok(());
        }
        seen.standing.clear();
        seen.standing = self.answer_for(shared, &found);
        seen.answers = found;
        Ok(())
    }

    /// Answers a CA as the gateway that orders would.
    fn answer_for(&self, shared: &Shared, found: &Found) -> Vec<Standing> {
        let Some(sealed) = found else {
            shared.note("answers", None);
            return Vec::new();
        };
        let opened = shared.open_answers(sealed);
        shared.note("answers", opened.as_ref().err());
        let answers = opened.unwrap_or_default();
        let ours = answers.iter().filter(|answer| self.orders(&answer.name));
        ours.filter_map(|answer| self.stand(answer)).collect()
    }

    /// Answers a CA that looks at one name.
    pub(super) fn stand(&self, answer: &Answer) -> Option<Standing> {
        match self.settings.challenge {
            AcmeChallenge::TlsAlpn01 => {
                let digest = digest::digest(&SHA256, answer.proof.as_bytes());
                let made = self.challenges.in_handshake(&answer.name, digest.as_ref());
                made.ok()
            }
            AcmeChallenge::Http01 => Some(self.challenges.in_request(&answer.token, &answer.proof)),
        }
    }

    /// Takes up a certificate that was not seen before, where it is better than what is held.
    async fn see(self: &Arc<Self>, shared: &Shared, seen: &mut Seen, found: Option<&[u8]>) -> bool {
        let Some(sealed) = found else {
            seen.certificate = None;
            shared.note("certificate", None);
            return false;
        };
        let hash = digest::digest(&SHA256, sealed).as_ref().to_vec();
        if seen
            .certificate
            .as_ref()
            .is_some_and(|known| known.hash == hash)
        {
            return false;
        }
        let taken = self.take(shared, sealed).await;
        shared.note("certificate", taken.as_ref().err());
        let (is_new, not_after) = match taken {
            Ok((is_new, not_after)) => (is_new, Some(not_after)),
            Err(_told) => (false, None),
        };
        seen.certificate = Some(Stored { hash, not_after });
        is_new
    }

    /// Looks for a certificate once, before anything is ordered.
    pub(super) async fn take_stored(self: &Arc<Self>, shared: &Shared) -> Result<(), AcmeError> {
        if let Some(sealed) = shared.certificate().await? {
            // One that is spoilt is told at the next look; it is ordered anew.
            let _told = self.take(shared, &sealed).await;
        }
        Ok(())
    }

    /// Opens a certificate, and holds it where it is sound, ours, and better than what is held; a copy
    /// goes to the folder. Whether it is held now, and its end.
    async fn take(
        self: &Arc<Self>,
        shared: &Shared,
        sealed: &[u8],
    ) -> Result<(bool, Timestamp), AcmeError> {
        let text = shared.open_certificate(sealed)?;
        self.on_files(move |acme| {
            let pair = acme.read(&text)?;
            let not_after = pair.info.not_after;
            let is_new = acme.hold(pair);
            if is_new {
                acme.copy(&text);
            }
            Ok((is_new, not_after))
        })
        .await
    }

    /// A certificate that serves all the names, with its key.
    fn read(&self, text: &[u8]) -> Result<Pair, AcmeError> {
        let useless = |why: String| AcmeError::Useless(super::error::told(&why));
        let read = self.home.read(text);
        let pair = read.map_err(|error| useless(error.line()))?;
        if covered(&pair, &self.settings.domains) < self.settings.domains.len() {
            return Err(useless(format!("it is for {}", pair.names)));
        }
        if pair.info.not_after <= clock::now() {
            return Err(useless(format!("it ended at {}", pair.info.not_after)));
        }
        Ok(pair)
    }

    /// It serves even where it cannot be kept; the store has it.
    fn copy(&self, text: &[u8]) {
        if let Err(error) = self.home.copy(text) {
            let problem = AcmeError::from(error).line();
            tracing::warn!(problem, "no copy of the certificate can be kept here");
        }
    }

    /// Puts what is held into the store where there is none, or one that ends sooner: after the store
    /// lost it, or where this gateway had it before they ordered together.
    async fn offer(
        self: &Arc<Self>,
        shared: &Shared,
        seen: &Seen,
        is_there: bool,
    ) -> Result<(), AcmeError> {
        let Some(held) = self.held().filter(|held| self.is_final(held)) else {
            return Ok(());
        };
        let is_better = match &seen.certificate {
            Some(stored) => (stored.not_after).is_some_and(|end| end < held.info.not_after),
            None => !is_there,
        };
        if !is_better || held.info.not_after <= clock::now() || shared.holds() {
            return Ok(());
        }
        let text = self.on_files(|acme| Ok(acme.home.text()?)).await;
        let text: Zeroizing<Vec<u8>> = match text {
            Ok(text) => text,
            // It is not in the folder: the next order puts it there.
            Err(_unkept) => return Ok(()),
        };
        // Of another certificate than the one that is held, as another process may have put there.
        let is_held = self.read(&text).is_ok_and(|pair| pair.same_chain(&held));
        if !is_held || !shared.enter().await? {
            return Ok(());
        }
        let kept = shared.keep_certificate(&text).await;
        shared.leave().await;
        kept
    }
}
