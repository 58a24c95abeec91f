//! All of `[auth.*]`, assembled, and asking a route's authenticators about a request.

use std::borrow::Cow;
use std::sync::Arc;

use smallvec::SmallVec;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::auth::Problem;
use crate::auth::api_key::ApiKeys;
use crate::auth::attempt::{Attempt, Request, Try};
use crate::auth::basic::{BasicReader, read_htpasswd};
use crate::auth::certificate::CertificateReader;
use crate::auth::claims::Rules;
use crate::auth::credential::{self, Found};
use crate::auth::inspect::in_words;
use crate::auth::jwks::{Jwks, JwksStatus};
use crate::auth::token::{Checked, Keys, Lack, TokenReader, fixed_keys};
use crate::auth::verdicts::{Epoch, VerdictKey, Verdicts, next_number};
use crate::clock::Timestamp;
use crate::config::settings::{self, AuthenticatorKind, KeySource, Settings, Source};
use crate::policy::denial::{Challenge, Code, Denial};
use crate::policy::identity::{Caller, IdentityNames};
use crate::policy::requirement::Admission;
use crate::policy::route::AuthenticatorId;

/// Every authenticator of the configuration, ready to ask.
#[derive(Debug)]
pub struct Authenticators {
    readers: Vec<Arc<Reader>>,
    names: IdentityNames,
    verdicts: Arc<Verdicts>,
}

/// One authenticator.
#[derive(Debug)]
pub(crate) struct Reader {
    pub(crate) name: Arc<str>,
    pub(crate) kind: Kind,
    settings: AuthenticatorKind,
}

/// What an authenticator reads.
#[derive(Debug)]
pub(crate) enum Kind {
    Token(Box<TokenReader>),
    ApiKey(ApiKeys),
    Basic(BasicReader),
    Certificate(Certificates),
}

/// Client certificates, with the number that their verdicts stand under.
#[derive(Debug)]
pub(crate) struct Certificates {
    reader: CertificateReader,
    epoch: u64,
}

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
    /// Reads what the authenticators need and makes them ready.
    ///
    /// Authenticators whose settings and keys did not change keep what they had: their JWKS and
    /// their verdicts.
    ///
    /// # Errors
    ///
    /// Every problem with the keys and files that the configuration names, all at once.
    pub fn assemble(
        settings: &Settings,
        names: &IdentityNames,
        previous: Option<&Self>,
    ) -> Result<Self, Vec<Problem>> {
        Self::assemble_all(&settings.authenticators, names, previous)
    }

    /// The same from the authenticators alone.
    ///
    /// # Errors
    ///
    /// Every problem with the keys and files that the configuration names, all at once.
    pub fn assemble_all(
        settings: &[settings::Authenticator],
        names: &IdentityNames,
        previous: Option<&Self>,
    ) -> Result<Self, Vec<Problem>> {
        let mut problems = Vec::new();
        let mut readers = Vec::with_capacity(settings.len());
        for one in settings {
            let before = previous.and_then(|all| all.named(&one.name));
            let same_names = previous.is_some_and(|all| all.names == *names);
            let kept = before.filter(|_| same_names);
            if let Some(reader) = Reader::assemble(one, names, before, kept, &mut problems) {
                readers.push(reader);
            }
        }
        if !problems.is_empty() {
            return Err(problems);
        }
        Ok(Self {
            readers,
            names: names.clone(),
            verdicts: previous.map_or_else(Arc::default, |all| Arc::clone(&all.verdicts)),
        })
    }

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
            let Some(reader) = self.readers.get(id.0) else {
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
            attempt.tries.push(Try {
                authenticator: id,
                source,
                outcome,
                reused,
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
                    let checked = token.check(&credential, &self.verdicts, &self.names, now);
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
                Ok(Some(credential)) => match basic.recall(&credential, &self.verdicts, now) {
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
        if let Some(caller) = self.verdicts.recall(&key, now) {
            return Answer::Valid(caller, None, true);
        }
        match certificates.reader.read(peer, &self.names, now) {
            Err(denial) => Answer::Refused(denial, None),
            Ok(caller) => {
                let caller = Arc::new(caller);
                self.verdicts
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
                let verified = basic.verify(&pending.credential, &self.verdicts, &self.names, now);
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
        match reader.check(token, &self.verdicts, &self.names, now) {
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
            .filter_map(|id| self.readers.get(id.0))
            .flat_map(|reader| match &reader.kind {
                Kind::Token(token) => token.settings.sources.as_slice(),
                Kind::ApiKey(keys) => keys.sources.as_slice(),
                Kind::Basic(_) | Kind::Certificate(_) => &[],
            })
    }

    fn missing(&self, ids: &[AuthenticatorId], request: &Request<'_>) -> Denial {
        let kinds = || {
            ids.iter()
                .filter_map(|id| self.readers.get(id.0))
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

    /// Keeps every JWKS fresh until cancelled. Runs on the runtime that does the housekeeping;
    /// without it no JWKS by URL is ever loaded.
    pub async fn keep_fresh(self: Arc<Self>, cancel: CancellationToken) {
        let mut tasks = JoinSet::new();
        for (_, jwks) in self.fetched() {
            let (jwks, cancel) = (Arc::clone(jwks), cancel.clone());
            tasks.spawn(async move { jwks.keep_fresh(cancel).await });
        }
        drop(self);
        while tasks.join_next().await.is_some() {}
    }

    /// The state of every JWKS that is fetched.
    #[must_use]
    pub fn jwks(&self) -> Vec<JwksStatus> {
        self.fetched()
            .map(|(name, jwks)| jwks.status(name))
            .collect()
    }

    /// How many verdicts are remembered now.
    #[must_use]
    pub fn remembered(&self) -> usize {
        self.verdicts.len()
    }

    pub(crate) fn fetched(&self) -> impl Iterator<Item = (&Arc<str>, &Arc<Jwks>)> {
        self.readers.iter().filter_map(|reader| match &reader.kind {
            Kind::Token(token) => match &token.keys {
                Keys::Fetched(jwks) => Some((&reader.name, jwks)),
                Keys::Fixed(_) => None,
            },
            Kind::ApiKey(_) | Kind::Basic(_) | Kind::Certificate(_) => None,
        })
    }

    pub(crate) fn readers(&self) -> &[Arc<Reader>] {
        &self.readers
    }

    pub(crate) fn names(&self) -> &IdentityNames {
        &self.names
    }

    pub(crate) fn verdicts(&self) -> &Verdicts {
        &self.verdicts
    }

    fn named(&self, name: &str) -> Option<&Arc<Reader>> {
        self.readers.iter().find(|reader| *reader.name == *name)
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

impl Reader {
    /// `before` is the authenticator of the same name, `kept` the same if identity names did not
    /// change either.
    fn assemble(
        one: &settings::Authenticator,
        names: &IdentityNames,
        before: Option<&Arc<Self>>,
        kept: Option<&Arc<Self>>,
        problems: &mut Vec<Problem>,
    ) -> Option<Arc<Self>> {
        let at = format!("auth.{}", one.name);
        let same = kept.filter(|kept| kept.settings == one.kind);
        let kind = match &one.kind {
            AuthenticatorKind::Jwt(jwt) => {
                let keys =
                    match &jwt.keys {
                        KeySource::JwksUrl(url) => {
                            let known = before.and_then(|reader| reader.jwks_for(jwt));
                            Keys::Fetched(known.unwrap_or_else(|| {
                                Arc::new(Jwks::new(url.clone(), &jwt.algorithms))
                            }))
                        }
                        KeySource::Secrets(_)
                        | KeySource::PublicKeys(_)
                        | KeySource::JwksFile(_) => Keys::Fixed(fixed_keys(jwt, &at, problems)?),
                    };
                if let Some(same) = same.filter(|same| same.has_keys(&keys)) {
                    return Some(Arc::clone(same));
                }
                Kind::Token(Box::new(TokenReader {
                    rules: Rules::new(jwt, Arc::clone(&one.name)),
                    settings: jwt.as_ref().clone(),
                    keys,
                    epoch: next_number(),
                }))
            }
            AuthenticatorKind::ApiKey(keys) => Kind::ApiKey(ApiKeys::new(keys, &one.name, names)),
            AuthenticatorKind::Basic(basic) => {
                let users = match read_htpasswd(&basic.htpasswd) {
                    Ok(users) => users,
                    Err(wrong) => {
                        let file = basic.htpasswd.display();
                        problems.extend(wrong.into_iter().map(|what| {
                            Problem::new(format!("{at}.htpasswd"), format!("{file} {what}"))
                        }));
                        return None;
                    }
                };
                if let Some(same) = same.filter(
                    |same| matches!(&same.kind, Kind::Basic(basic) if basic.has_users(&users)),
                ) {
                    return Some(Arc::clone(same));
                }
                Kind::Basic(BasicReader::new(
                    users,
                    Arc::clone(&one.name),
                    next_number(),
                ))
            }
            AuthenticatorKind::ClientCertificate(certificate) => Kind::Certificate(Certificates {
                reader: CertificateReader::new(certificate.clone(), Arc::clone(&one.name)),
                epoch: next_number(),
            }),
        };
        Some(Arc::new(Self {
            name: Arc::clone(&one.name),
            kind,
            settings: one.kind.clone(),
        }))
    }

    fn has_keys(&self, keys: &Keys) -> bool {
        let Kind::Token(token) = &self.kind else {
            return false;
        };
        match (&token.keys, keys) {
            (Keys::Fixed(ours), Keys::Fixed(theirs)) => ours == theirs,
            (Keys::Fetched(ours), Keys::Fetched(theirs)) => Arc::ptr_eq(ours, theirs),
            (Keys::Fixed(_), Keys::Fetched(_)) | (Keys::Fetched(_), Keys::Fixed(_)) => false,
        }
    }

    /// The JWKS, where it is the same address and the same algorithms.
    fn jwks_for(&self, wanted: &settings::Jwt) -> Option<Arc<Jwks>> {
        let AuthenticatorKind::Jwt(had) = &self.settings else {
            return None;
        };
        if had.keys != wanted.keys || had.algorithms != wanted.algorithms {
            return None;
        }
        match &self.kind {
            Kind::Token(token) => match &token.keys {
                Keys::Fetched(jwks) => Some(Arc::clone(jwks)),
                Keys::Fixed(_) => None,
            },
            Kind::ApiKey(_) | Kind::Basic(_) | Kind::Certificate(_) => None,
        }
    }
}
