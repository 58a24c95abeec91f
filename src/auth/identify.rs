//! Asking a route's authenticators about a request, in order.
//!
//! First everyone is asked who can answer at once. Only when nobody's credential is valid at once
//! are those waited for who need keys or a slow hash, so that one hung issuer holds up nobody else.

use std::borrow::Cow;
use std::sync::Arc;

use smallvec::SmallVec;

use crate::auth::attempt::{Attempt, Request, Try};
use crate::auth::authenticators::{Authenticators, Certificates, Kind, Reader};
use crate::auth::credential::{self, Found};
use crate::auth::inspect::in_words;
use crate::auth::token::{Checked, Keys, Lack, TokenReader};
use crate::auth::verdicts::{Epoch, VerdictKey};
use crate::clock::Timestamp;
use crate::config::settings::Source;
use crate::policy::denial::{Challenge, Code, Denial};
use crate::policy::identity::Caller;
use crate::policy::requirement::Admission;
use crate::policy::route::AuthenticatorId;
use crate::telemetry::secret_change;

/// One authenticator's answer, before anything is waited for.
enum Answer<'a, 'r> {
    Absent,
    Valid(Arc<Caller>, Option<&'a Source>, bool),
    Refused(Denial, Option<&'a Source>),
    /// Only waiting will tell: for keys, or for a slow hash.
    Waits(Pending<'a, 'r>),
}

/// A credential whose verdict takes time.
struct Pending<'a, 'r> {
    source: Option<&'a Source>,
    credential: Cow<'r, str>,
    lack: Lack,
}

impl Authenticators {
    /// Tries authenticators in order; the first with a valid credential gives the caller.
    ///
    /// Where none is valid the refusal is of the first credential that was present, but one that
    /// could not be asked (`auth_unavailable`) comes before all. Suspends only for keys that have
    /// to be fetched and for password hashes, and only when no other credential is valid at once.
    pub async fn identify<'a>(
        &'a self,
        ids: &[AuthenticatorId],
        admission: Admission,
        request: &Request<'_>,
        now: Timestamp,
    ) -> Attempt<'a> {
        let mut attempt = Attempt {
            caller: None,
            denial: None,
            by_cookie: false,
            tries: SmallVec::new(),
            refused_credentials: SmallVec::new(),
        };
        if admission == Admission::Public {
            return attempt;
        }
        let mut answers = SmallVec::<[(AuthenticatorId, &Reader, Answer<'_, '_>); 2]>::new();
        for id in ids {
            let Some(reader) = self.readers().get(id.0) else {
                continue;
            };
            let answer = self.ask(reader, request, now);
            let decided = matches!(answer, Answer::Valid(..));
            answers.push((*id, reader, answer));
            if decided {
                break;
            }
        }
        let decided = answers
            .last()
            .is_some_and(|(.., last)| matches!(last, Answer::Valid(..)));
        if !decided {
            for (_, reader, answer) in &mut answers {
                if let Answer::Waits(pending) = answer {
                    *answer = self.wait(reader, pending, request, now).await;
                    if matches!(answer, Answer::Valid(..)) {
                        break;
                    }
                }
            }
        }
        self.conclude(&mut attempt, answers, ids, admission, request);
        attempt
    }

    fn conclude<'a>(
        &'a self,
        attempt: &mut Attempt<'a>,
        answers: SmallVec<[(AuthenticatorId, &'a Reader, Answer<'a, '_>); 2]>,
        ids: &[AuthenticatorId],
        admission: Admission,
        request: &Request<'_>,
    ) {
        let mut winner = None;
        for (id, _, answer) in answers {
            let (source, outcome, reused, words) = match answer {
                Answer::Absent => (
                    None,
                    Err(Code::CredentialsMissing),
                    false,
                    Cow::Borrowed("no credential where this authenticator looks"),
                ),
                // Another credential decided before this one's turn to be waited for came.
                Answer::Waits(pending) => (
                    pending.source,
                    Err(Code::AuthUnavailable),
                    false,
                    Cow::Borrowed("not decided: another credential was valid at once"),
                ),
                Answer::Valid(caller, source, reused) => {
                    attempt.by_cookie = matches!(source, Some(Source::Cookie(_)));
                    attempt.caller = Some(caller);
                    attempt.denial = None;
                    winner = Some(source);
                    let words = if reused {
                        "valid, known from before"
                    } else {
                        "valid"
                    };
                    (source, Ok(()), reused, Cow::Borrowed(words))
                }
                Answer::Refused(denial, source) => {
                    let code = denial.code();
                    let words = in_words(&denial);
                    let first = attempt.denial.is_none();
                    let outage = code == Code::AuthUnavailable
                        && attempt
                            .denial
                            .as_ref()
                            .is_none_or(|before| before.code() != code);
                    if winner.is_none() && (first || outage) {
                        attempt.denial = Some(denial);
                    }
                    (source, Err(code), false, Cow::Owned(words))
                }
            };
            let mark = mark_of(outcome, source, request);
            attempt.tries.push(Try {
                authenticator: id,
                source,
                outcome,
                reused,
                mark,
                words,
            });
        }
        attempt.refused_credentials = self.unchecked(ids, winner.flatten(), request);
        if attempt.caller.is_none() && attempt.denial.is_none() && admission == Admission::Required
        {
            attempt.denial = Some(self.missing(ids, request));
        }
    }

    fn ask<'a, 'r>(
        &self,
        reader: &'a Reader,
        request: &Request<'r>,
        now: Timestamp,
    ) -> Answer<'a, 'r> {
        match &reader.kind {
            Kind::Token(token) => match first_of(&token.settings.sources, request) {
                None => Answer::Absent,
                Some((source, Err(denial))) => Answer::Refused(denial, Some(source)),
                Some((source, Ok(credential))) => {
                    let checked = token.check(&credential, self.verdicts(), self.names(), now);
                    answer(token, checked, source, credential, request)
                }
            },
            Kind::ApiKey(keys) => match first_of(&keys.sources, request) {
                None => Answer::Absent,
                Some((source, Err(denial))) => Answer::Refused(denial, Some(source)),
                Some((source, Ok(key))) => match keys.bearer(&key) {
                    Ok(caller) => Answer::Valid(caller, Some(source), false),
                    Err(denial) => Answer::Refused(denial, Some(source)),
                },
            },
            Kind::Basic(basic) => match credential::basic(request.headers) {
                Ok(None) => Answer::Absent,
                Err(denial) => Answer::Refused(denial.challenge(Challenge::Basic), None),
                Ok(Some(credential)) => match basic.recall(&credential, self.verdicts(), now) {
                    Some(caller) => Answer::Valid(caller, None, true),
                    None => Answer::Waits(Pending {
                        source: None,
                        credential,
                        lack: Lack::Key,
                    }),
                },
            },
            Kind::Certificate(certificates) => self.ask_certificate(certificates, request, now),
        }
    }

    fn ask_certificate<'a, 'r>(
        &self,
        certificates: &Certificates,
        request: &Request<'r>,
        now: Timestamp,
    ) -> Answer<'a, 'r> {
        let Some(peer) = request.peer_certificate else {
            return Answer::Absent;
        };
        let epoch = Epoch {
            settings: certificates.epoch,
            keys: 0,
        };
        let key = VerdictKey::of(epoch, peer.print());
        if let Some(caller) = self.verdicts().recall(&key, now) {
            return Answer::Valid(caller, None, true);
        }
        match certificates.reader.read(peer, self.names(), now) {
            Err(denial) => Answer::Refused(denial, None),
            Ok(caller) => {
                let caller = Arc::new(caller);
                self.verdicts()
                    .keep(key, Arc::clone(&caller), now, peer.not_after(), 2_000);
                Answer::Valid(caller, None, false)
            }
        }
    }

    async fn wait<'a, 'r>(
        &self,
        reader: &'a Reader,
        pending: &Pending<'a, 'r>,
        request: &Request<'_>,
        now: Timestamp,
    ) -> Answer<'a, 'r> {
        match (&reader.kind, pending.source) {
            (Kind::Token(token), Some(source)) => {
                let checked = self
                    .wait_for_keys(token, &pending.credential, pending.lack, now)
                    .await;
                answer(token, checked, source, Cow::Borrowed(""), request)
            }
            (Kind::Basic(basic), source) => {
                let verified =
                    basic.verify(&pending.credential, self.verdicts(), self.names(), now);
                match verified.await {
                    Ok(caller) => Answer::Valid(caller, source, false),
                    Err(denial) => Answer::Refused(denial, source),
                }
            }
            (Kind::Token(_) | Kind::ApiKey(_) | Kind::Certificate(_), _) => Answer::Absent,
        }
    }

    async fn wait_for_keys(
        &self,
        reader: &TokenReader,
        token: &str,
        lack: Lack,
        now: Timestamp,
    ) -> Checked {
        let Keys::Fetched(jwks) = &reader.keys else {
            return Checked::Refused(reader.key_unknown(token));
        };
        jwks.await_change(lack).await;
        match reader.check(token, self.verdicts(), self.names(), now) {
            Checked::Waits(Lack::Set) => Checked::Refused(jwks.unavailable()),
            Checked::Waits(Lack::Key) => Checked::Refused(reader.key_unknown(token)),
            decided @ (Checked::Valid { .. } | Checked::Refused(_)) => decided,
        }
    }

    /// The places that hold a credential other than the one that made the caller.
    fn unchecked(
        &self,
        ids: &[AuthenticatorId],
        winner: Option<&Source>,
        request: &Request<'_>,
    ) -> SmallVec<[&Source; 2]> {
        let mut places = SmallVec::<[&Source; 2]>::new();
        for source in self.sources_of(ids) {
            if Some(source) != winner
                && !places.contains(&source)
                && credential::is_occupied(source, request)
            {
                places.push(source);
            }
        }
        places
    }

    fn sources_of(&self, ids: &[AuthenticatorId]) -> impl Iterator<Item = &Source> {
        ids.iter()
            .filter_map(|id| self.readers().get(id.0))
            .flat_map(|reader| match &reader.kind {
                Kind::Token(token) => token.settings.sources.as_slice(),
                Kind::ApiKey(keys) => keys.sources.as_slice(),
                Kind::Basic(_) | Kind::Certificate(_) => &[],
            })
    }

    fn missing(&self, ids: &[AuthenticatorId], request: &Request<'_>) -> Denial {
        let kinds = || {
            ids.iter()
                .filter_map(|id| self.readers().get(id.0))
                .map(|one| &one.kind)
        };
        if kinds().all(|kind| matches!(kind, Kind::Certificate(_))) {
            let detail = "a client certificate is wanted here, and the connection has none";
            return Denial::new(Code::CertificateMissing, detail).challenge(Challenge::Bearer);
        }
        let challenge = match kinds().next() {
            Some(Kind::Basic(_)) => Challenge::Basic,
            Some(Kind::Token(_) | Kind::ApiKey(_) | Kind::Certificate(_)) | None => {
                Challenge::Bearer
            }
        };
        let denial = Denial::new(
            Code::CredentialsMissing,
            "no credential was found where this route looks for one",
        )
        .challenge(challenge);
        let sources: Vec<_> = self.sources_of(ids).collect();
        match credential::mix_up(&sources, request) {
            Some(note) => denial.note(note),
            None => denial,
        }
    }
}

/// The bit of a credential whose signature failed; 0 for every other.
fn mark_of(outcome: Result<(), Code>, source: Option<&Source>, request: &Request<'_>) -> u64 {
    if !outcome.is_err_and(secret_change::is_signature_failure) {
        return 0;
    }
    let found = source.map(|source| credential::find(source, request));
    match found {
        Some(Ok(Some(credential))) => secret_change::mark(credential.as_bytes()),
        Some(Ok(None) | Err(_)) | None => 0,
    }
}

/// The first source that holds something.
fn first_of<'a, 'r>(
    sources: &'a [Source],
    request: &Request<'r>,
) -> Option<(&'a Source, Result<Cow<'r, str>, Denial>)> {
    sources.iter().find_map(|source| {
        let found: Found<'r> = credential::find(source, request);
        found.transpose().map(|credential| (source, credential))
    })
}

fn answer<'a, 'r>(
    reader: &TokenReader,
    checked: Checked,
    source: &'a Source,
    credential: Cow<'r, str>,
    request: &Request<'_>,
) -> Answer<'a, 'r> {
    match checked {
        Checked::Valid { caller, reused } => {
            match reader.check_double_submit(source, &caller, request) {
                Ok(()) => Answer::Valid(caller, Some(source), reused),
                Err(denial) => Answer::Refused(denial, Some(source)),
            }
        }
        Checked::Refused(denial) => Answer::Refused(denial, Some(source)),
        Checked::Waits(lack) => Answer::Waits(Pending {
            source: Some(source),
            credential,
            lack,
        }),
    }
}
