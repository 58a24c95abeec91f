//! Asking a route's authenticators about a request, in order.
//!
//! Everyone is asked in turn; what a store or the app has to say is waited for in turn too. Only when
//! nobody's credential was valid are those waited for who need keys or a slow hash, so that one hung
//! issuer holds up nobody who has another credential.

use std::borrow::Cow;
use std::sync::Arc;

use smallvec::SmallVec;

use crate::auth::answer::{Answer, Asked, Held, Pending, checked_token, held};
use crate::auth::ask::Carried;
use crate::auth::attempt::{Attempt, Request, Try};
use crate::auth::authenticators::{Authenticators, Certificates, Kind, Reader};
use crate::auth::credential::{self, Found};
use crate::auth::forward::ForwardReader;
use crate::auth::gateway_session::{GatewayReader, ended};
use crate::auth::inspect::in_words;
use crate::auth::question::Learned;
use crate::auth::revoked::Standing;
use crate::auth::session_reader::SessionReader;
use crate::auth::shown::Shown;
use crate::auth::verdicts::{Epoch, VerdictKey};
use crate::clock::Timestamp;
use crate::config::settings::Source;
use crate::policy::denial::{Challenge, Code, Denial};
use crate::policy::identity::Caller;
use crate::policy::requirement::Admission;
use crate::policy::route::AuthenticatorId;
use crate::telemetry::secret_change;

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
        let mut answers = SmallVec::<[Asked<'_, '_>; 2]>::new();
        for id in ids {
            let Some(reader) = self.readers().get(id.0) else {
                continue;
            };
            let mut answer = self.ask(reader, request, now);
            if let Answer::Waits(pending) = &answer
                && !pending.may_be_overtaken()
            {
                answer = self.settle(reader, answer, request, now).await;
            }
            let decided = matches!(answer, Answer::Valid(_));
            answers.push((*id, reader, answer));
            if decided {
                break;
            }
        }
        let decided = answers
            .last()
            .is_some_and(|(.., last)| matches!(last, Answer::Valid(_)));
        if !decided {
            for (_, reader, answer) in &mut answers {
                if matches!(answer, Answer::Waits(_)) {
                    let pending = std::mem::replace(answer, Answer::Absent);
                    *answer = self.settle(reader, pending, request, now).await;
                    if matches!(answer, Answer::Valid(_)) {
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
        answers: SmallVec<[Asked<'a, '_>; 2]>,
        ids: &[AuthenticatorId],
        admission: Admission,
        request: &Request<'_>,
    ) {
        let mut winner: Option<&[Source]> = None;
        let mut anonymous: &[Source] = &[];
        for (id, reader, answer) in answers {
            let (source, outcome, reused, words) = match answer {
                Answer::Absent => (
                    None,
                    Err(Code::CredentialsMissing),
                    false,
                    Cow::Borrowed("no credential where this authenticator looks"),
                ),
                // Another credential decided before this one's turn to be waited for came.
                Answer::Waits(pending) => (
                    pending.source(),
                    Err(Code::AuthUnavailable),
                    false,
                    Cow::Borrowed("not decided: another credential was valid at once"),
                ),
                Answer::Valid(held) => {
                    attempt.by_cookie = reader.is_by_cookie(held.source, request);
                    attempt.caller = Some(held.caller);
                    attempt.denial = None;
                    winner = Some(reader.passing(held.source));
                    let words = if held.reused {
                        "valid, known from before"
                    } else {
                        "valid"
                    };
                    (held.source, Ok(()), held.reused, Cow::Borrowed(words))
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
                    // A visitor whose session nobody is signed in to is a visitor.
                    let visitor =
                        code == Code::SessionAnonymous && matches!(admission, Admission::Optional);
                    if visitor {
                        anonymous = reader.passing(source);
                    } else if winner.is_none() && (first || outage) {
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
        let passes = winner.filter(|passes| !passes.is_empty());
        let passes = passes.unwrap_or(anonymous);
        attempt.refused_credentials = self.unchecked(ids, passes, request);
        if attempt.caller.is_none() && attempt.denial.is_none() && admission == Admission::Required
        {
            attempt.denial = Some(self.missing(ids, request));
        }
    }

    /// Asks one authenticator, and its directory about the user where it has one.
    fn ask<'a, 'r>(
        &self,
        reader: &'a Reader,
        request: &Request<'r>,
        now: Timestamp,
    ) -> Answer<'a, 'r> {
        let answer = self.ask_alone(reader, request, now);
        match answer {
            Answer::Valid(held) => self.with_user(reader, held, request, now),
            Answer::Absent | Answer::Refused(..) | Answer::Waits(_) => answer,
        }
    }

    fn ask_alone<'a, 'r>(
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
                    checked_token(token, checked, source, credential, request)
                }
            },
            Kind::ApiKey(keys) => match first_of(&keys.sources, request) {
                None => Answer::Absent,
                Some((source, Err(denial))) => Answer::Refused(denial, Some(source)),
                Some((source, Ok(key))) => match keys.bearer(&key) {
                    Ok(caller) => held(caller, Some(source), false),
                    Err(denial) => Answer::Refused(denial, Some(source)),
                },
            },
            Kind::Basic(basic) => match credential::basic(request.headers) {
                Ok(None) => Answer::Absent,
                Err(denial) => Answer::Refused(denial.challenge(Challenge::Basic), None),
                Ok(Some(credential)) => match basic.recall(&credential, self.verdicts(), now) {
                    Some(caller) => held(caller, None, true),
                    None => Answer::Waits(Pending::Hash(credential)),
                },
            },
            Kind::Certificate(certificates) => self.ask_certificate(certificates, request, now),
            Kind::Session(session) => self.ask_session(session, reader, request, now),
            Kind::Gateway(gateway) => self.ask_own(gateway, request, now),
            Kind::Forward(forward) => self.ask_app(forward, request, now),
        }
    }

    fn ask_session<'a, 'r>(
        &self,
        session: &'a SessionReader,
        reader: &Reader,
        request: &Request<'r>,
        now: Timestamp,
    ) -> Answer<'a, 'r> {
        let shown = match Shown::in_request(session, request) {
            Ok(None) => return Answer::Absent,
            Err(denial) => return Answer::Refused(denial, session.sources.first()),
            Ok(Some(shown)) => shown,
        };
        let source = session.source(&shown);
        let key = shown.key(reader.session_epoch(session));
        if let Some(caller) = self.verdicts().recall(&key, now) {
            return held(caller, source, true);
        }
        if reader.directory.is_some() || !session.answers_at_once() {
            return Answer::Waits(Pending::Session { source, shown, key });
        }
        match session.read_at_once(&shown, now) {
            Err(denial) => Answer::Refused(denial, source),
            Ok((identity, until)) => {
                let learned = Learned { key, now, until };
                let caller = learned.keep(identity, self.names(), self.verdicts());
                held(caller, source, false)
            }
        }
    }

    fn ask_own<'a, 'r>(
        &self,
        gateway: &'a GatewayReader,
        request: &Request<'r>,
        now: Timestamp,
    ) -> Answer<'a, 'r> {
        let [source] = &gateway.sources;
        let cookie = &gateway.cookie;
        let id = match credential::session_cookie(cookie, request.headers) {
            Ok(None) => return Answer::Absent,
            Ok(Some(cookie)) => GatewayReader::id(cookie),
            Err(denial) => Err(denial),
        };
        let id = match id {
            Ok(id) => id,
            Err(denial) => return Answer::Refused(denial, Some(source)),
        };
        let (session, revoked) = (id.key(), gateway.own.revoked());
        if revoked.has_ended(session) {
            return Answer::Refused(ended(), Some(source));
        }
        let key = gateway.verdict_key(session);
        // A revoked access token does not end its session, which may hold a new one by now.
        let holds = |caller: &Arc<Caller>| revoked.standing(caller) == Standing::Holds;
        match self.verdicts().recall(&key, now).filter(holds) {
            Some(caller) => held(caller, Some(source), true),
            None => Answer::Waits(Pending::Own { source, id, key }),
        }
    }

    fn ask_app<'a, 'r>(
        &self,
        forward: &ForwardReader,
        request: &Request<'r>,
        now: Timestamp,
    ) -> Answer<'a, 'r> {
        let carried = Carried::of(request, &forward.settings.send);
        if carried.is_empty() {
            return Answer::Absent;
        }
        let epoch = Epoch {
            settings: forward.epoch,
            keys: 0,
        };
        let key = VerdictKey::of(epoch, &carried.print());
        match self.verdicts().recall(&key, now) {
            Some(caller) => held(caller, None, true),
            None => Answer::Waits(Pending::App { carried, key }),
        }
    }

    /// A credential that holds by itself, and the user it names, where a directory knows more.
    pub(super) fn with_user<'a, 'r>(
        &self,
        reader: &'a Reader,
        held: Held<'a>,
        request: &Request<'_>,
        now: Timestamp,
    ) -> Answer<'a, 'r> {
        let Some(directory) = &reader.directory else {
            return Answer::Valid(held);
        };
        let print = match &reader.kind {
            // These have looked the user up themselves.
            Kind::Session(_) | Kind::Gateway(_) | Kind::Forward(_) => {
                return Answer::Valid(held);
            }
            Kind::Token(_) | Kind::ApiKey(_) => held.source.and_then(|source| {
                let found = credential::find(source, request).ok().flatten()?;
                Some(found.as_bytes().to_vec())
            }),
            Kind::Basic(_) => {
                let found = credential::basic(request.headers).ok().flatten();
                found.map(|found| found.as_bytes().to_vec())
            }
            Kind::Certificate(_) => request.peer_certificate.map(|peer| peer.print().to_vec()),
        };
        let epoch = Epoch {
            settings: directory.epoch,
            keys: match &reader.kind {
                Kind::Token(token) => token.epoch().keys,
                Kind::ApiKey(_)
                | Kind::Basic(_)
                | Kind::Certificate(_)
                | Kind::Session(_)
                | Kind::Gateway(_)
                | Kind::Forward(_) => 0,
            },
        };
        let key = VerdictKey::of(epoch, &print.unwrap_or_default());
        match self.verdicts().recall(&key, now) {
            Some(caller) => Answer::Valid(Held {
                caller,
                reused: true,
                ..held
            }),
            None => Answer::Waits(Pending::User { held, key }),
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
            return held(caller, None, true);
        }
        match certificates.reader.read(peer, self.names(), now) {
            Err(denial) => Answer::Refused(denial, None),
            Ok(caller) => {
                let caller = Arc::new(caller);
                self.verdicts()
                    .keep(key, Arc::clone(&caller), now, peer.not_after(), 2_000);
                held(caller, None, false)
            }
        }
    }

    /// The places that hold a credential other than those that made the caller.
    fn unchecked(
        &self,
        ids: &[AuthenticatorId],
        winner: &[Source],
        request: &Request<'_>,
    ) -> SmallVec<[&Source; 2]> {
        let mut places = SmallVec::<[&Source; 2]>::new();
        for source in self.sources_of(ids) {
            if !winner.contains(source)
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
                Kind::Session(session) => session.sources.as_slice(),
                Kind::Gateway(gateway) => gateway.sources.as_slice(),
                Kind::Basic(_) | Kind::Certificate(_) | Kind::Forward(_) => &[],
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
            Some(
                Kind::Token(_)
                | Kind::ApiKey(_)
                | Kind::Certificate(_)
                | Kind::Session(_)
                | Kind::Gateway(_)
                | Kind::Forward(_),
            )
            | None => Challenge::Bearer,
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
