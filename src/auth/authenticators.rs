//! All of `[auth.*]`, assembled from the settings and from what was there before.

use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::auth::Problem;
use crate::auth::api_key::ApiKeys;
use crate::auth::ask::{Carried, Endpoint};
use crate::auth::basic::{BasicReader, read_htpasswd};
use crate::auth::certificate::CertificateReader;
use crate::auth::claims::Rules;
use crate::auth::flights::Flights;
use crate::auth::forward::ForwardReader;
use crate::auth::gateway_session::{GatewayReader, Reads};
use crate::auth::jwks::{Jwks, JwksStatus};
use crate::auth::jwt::{jti_of, signed_part};
use crate::auth::ledger::TokenMark;
use crate::auth::people::{self, Directory};
use crate::auth::ports::{NoStores, OwnSessions, StoreError, StoreStatus, Stores};
use crate::auth::revoked::Revoked;
use crate::auth::session_reader::SessionReader;
use crate::auth::token::{Keys, TokenReader, fixed_keys};
use crate::auth::verdicts::{VerdictKey, Verdicts, next_number};
use crate::auth::words::chain;
use crate::clock::Timestamp;
use crate::config::settings::{
    self, AuthenticatorKind, DirectoryId, DirectoryKind, KeySource, Settings,
};
use crate::policy::denial::{Code, Denial};
use crate::policy::identity::{Caller, IdentityNames};
use crate::policy::route::AuthenticatorId;
use crate::policy::sign_in::HandlerId;

/// Every authenticator of the configuration, ready to ask.
#[derive(Debug)]
pub struct Authenticators {
    readers: Vec<Arc<Reader>>,
    names: Arc<IdentityNames>,
    verdicts: Arc<Verdicts>,
    flights: Arc<Lookups>,
}

/// Questions that others may join at most; what comes then is asked by itself.
const QUESTIONS: usize = 4_096;

/// Questions under way, so that all who wait for the same answer ask once.
pub(crate) type Lookups = Flights<VerdictKey, Result<Arc<Caller>, Denial>>;

/// One authenticator.
#[derive(Debug)]
pub(crate) struct Reader {
    pub(crate) name: Arc<str>,
    pub(crate) kind: Kind,
    /// Where the user that a credential names is looked up.
    pub(crate) directory: Option<Directory>,
    settings: AuthenticatorKind,
    /// What the directory was made of.
    looked_up_in: Option<settings::Directory>,
}

/// What an authenticator reads.
#[derive(Debug)]
pub(crate) enum Kind {
    Token(Box<TokenReader>),
    ApiKey(ApiKeys),
    Basic(BasicReader),
    Certificate(Certificates),
    Session(Box<SessionReader>),
    Forward(Box<ForwardReader>),
    Gateway(Box<GatewayReader>),
}

/// Client certificates, with the number that their verdicts stand under.
#[derive(Debug)]
pub(crate) struct Certificates {
    pub(crate) reader: CertificateReader,
    pub(crate) epoch: u64,
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
        stores: &dyn Stores,
        own: Option<&Arc<dyn OwnSessions>>,
        previous: Option<&Self>,
    ) -> Result<Self, Vec<Problem>> {
        let around = Surroundings {
            own,
            directories: &settings.directories,
            upstreams: &settings.upstreams,
            stores,
        };
        Self::put_together(&settings.authenticators, &around, names, previous)
    }

    /// The same from the authenticators alone, of which none asks a store or an app.
    ///
    /// # Errors
    ///
    /// Every problem with the keys and files that the configuration names, all at once.
    pub fn assemble_all(
        settings: &[settings::Authenticator],
        names: &IdentityNames,
        previous: Option<&Self>,
    ) -> Result<Self, Vec<Problem>> {
        let around = Surroundings {
            directories: &[],
            upstreams: &[],
            own: None,
            stores: &NoStores,
        };
        Self::put_together(settings, &around, names, previous)
    }

    fn put_together(
        settings: &[settings::Authenticator],
        around: &Surroundings<'_>,
        names: &IdentityNames,
        previous: Option<&Self>,
    ) -> Result<Self, Vec<Problem>> {
        let mut problems = Vec::new();
        let mut readers = Vec::with_capacity(settings.len());
        for (place, one) in settings.iter().enumerate() {
            let before = previous.and_then(|all| all.named(&one.name));
            let same_names = previous.is_some_and(|all| *all.names == *names);
            let kept = before.filter(|_| same_names);
            let had = Had { before, kept };
            let reader = Reader::assemble(one, place, names, around, &had, &mut problems);
            readers.extend(reader);
        }
        if !problems.is_empty() {
            return Err(problems);
        }
        Ok(Self {
            readers,
            names: Arc::new(names.clone()),
            flights: previous.map_or_else(
                || Arc::new(Flights::new(QUESTIONS)),
                |all| Arc::clone(&all.flights),
            ),
            verdicts: previous.map_or_else(Arc::default, |all| Arc::clone(&all.verdicts)),
        })
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
        let readers = self.readers.iter();
        readers.filter_map(|reader| Some((&reader.name, reader.jwks()?)))
    }

    pub(crate) fn readers(&self) -> &[Arc<Reader>] {
        &self.readers
    }

    pub(crate) fn names(&self) -> &Arc<IdentityNames> {
        &self.names
    }

    pub(crate) fn verdicts(&self) -> &Arc<Verdicts> {
        &self.verdicts
    }

    pub(crate) fn flights(&self) -> &Lookups {
        &self.flights
    }

    /// Asks the endpoints whose last question failed once more, without a credential.
    pub async fn ask_again(&self) {
        for reader in &self.readers {
            for endpoint in reader.endpoints() {
                if endpoint.status().problem.is_some() {
                    // How it went stands in its status.
                    let _ = endpoint.ask(&Carried::nothing()).await;
                }
            }
        }
    }

    /// Asks every endpoint once, without a credential: which one, and the status of its answer.
    pub async fn ask_endpoints(&self) -> Vec<(Arc<str>, Result<StatusCode, StoreError>)> {
        let mut answers = Vec::new();
        for endpoint in self.readers.iter().flat_map(|reader| reader.endpoints()) {
            let answer = endpoint.ask(&Carried::nothing()).await;
            let name = endpoint.status().name;
            answers.push((name, answer.map(|reply| reply.status)));
        }
        answers
    }

    /// How the endpoints stand that are asked.
    pub fn endpoints(&self) -> impl Iterator<Item = StoreStatus> {
        let endpoints = self.readers.iter().flat_map(|reader| reader.endpoints());
        endpoints.map(Endpoint::status)
    }

    /// Checks a token as one authenticator would, waiting for its keys.
    ///
    /// # Errors
    ///
    /// The `token_…` codes, and `auth_unavailable`.
    pub async fn vouch(
        &self,
        id: AuthenticatorId,
        token: &str,
        now: Timestamp,
    ) -> Result<Arc<Caller>, Denial> {
        let Some(reader) = self.readers.get(id.0).and_then(|reader| reader.token()) else {
            let detail = "the token cannot be checked";
            return Err(Denial::new(Code::AuthUnavailable, detail));
        };
        reader.verify(token, &self.verdicts, &self.names, now).await
    }

    /// What names a token at every authenticator whose tokens may be revoked.
    #[must_use]
    pub fn marks_of_token(&self, token: &str) -> Vec<TokenMark> {
        match jti_of(token) {
            Some(jti) => self.marks_of(&jti),
            None if self.can_revoke() => vec![TokenMark::of_token(signed_part(token))],
            None => Vec::new(),
        }
    }

    /// Whether any authenticator minds what was revoked.
    #[must_use]
    pub fn can_revoke(&self) -> bool {
        self.revocable().next().is_some()
    }

    /// What names a token of this `jti`, at every authenticator whose tokens may be revoked.
    #[must_use]
    pub fn marks_of(&self, jti: &str) -> Vec<TokenMark> {
        let issuers = self.revocable().flat_map(TokenReader::issuers);
        issuers
            .map(|issuer| TokenMark::of_jti(issuer, jti))
            .collect()
    }

    /// Those whose tokens may be revoked.
    fn revocable(&self) -> impl Iterator<Item = &TokenReader> {
        let tokens = self.readers.iter().filter_map(|reader| reader.token());
        tokens.filter(|token| token.revoked.is_some())
    }

    fn named(&self, name: &str) -> Option<&Arc<Reader>> {
        self.readers.iter().find(|reader| *reader.name == *name)
    }
}

/// What authenticators are assembled with.
struct Surroundings<'a> {
    directories: &'a [settings::Directory],
    upstreams: &'a [settings::Upstream],
    stores: &'a dyn Stores,
    own: Option<&'a Arc<dyn OwnSessions>>,
}

/// What an authenticator was before: the one of the same name, and the same if identity names did
/// not change either.
struct Had<'a> {
    before: Option<&'a Arc<Reader>>,
    kept: Option<&'a Arc<Reader>>,
}

/// What could be made, or a note of why not.
fn noted<T>(
    made: Result<T, impl std::fmt::Display>,
    at: &str,
    problems: &mut Vec<Problem>,
) -> Option<T> {
    made.map_err(|why| problems.push(Problem::new(at, why.to_string())))
        .ok()
}

impl Surroundings<'_> {
    fn endpoint(
        &self,
        name: Arc<str>,
        url: &url::Url,
        limit: Duration,
    ) -> Result<Endpoint, String> {
        let runtime = self.stores.runtime();
        let runtime = runtime.ok_or("nothing here can be asked: the stores are not running")?;
        Endpoint::new(name, url, self.is_app(url), limit, runtime).map_err(|bad| chain(&bad))
    }

    /// Whether an address is that of a configured app, which is then asked as it is always asked.
    fn is_app(&self, url: &url::Url) -> bool {
        let servers = self.upstreams.iter().flat_map(|upstream| {
            let preserves = upstream.host == settings::UpstreamHost::Preserve;
            upstream.servers.iter().filter(move |_| preserves)
        });
        let (host, port) = (url.host_str(), url.port_or_known_default());
        let host = host.map(|host| host.trim_matches(['[', ']']));
        servers.into_iter().any(|server| match &server.address {
            settings::ServerAddress::Tcp { host: of, port: at } => {
                host == Some(of) && port == Some(*at)
            }
            settings::ServerAddress::Unix(_) => false,
        })
    }

    fn directory(
        &self,
        id: DirectoryId,
        settings: &settings::Directory,
        epoch: u64,
        problems: &mut Vec<Problem>,
    ) -> Option<Directory> {
        let at = format!("directory.{}", settings.name);
        let source = match &settings.kind {
            DirectoryKind::Endpoint(asked) => {
                let at = format!("{at}.url");
                let endpoint = self.endpoint(at.as_str().into(), &asked.url, asked.timeout);
                let endpoint = noted(endpoint, &at, problems)?;
                people::Source::Endpoint(Box::new(asked.clone()), Box::new(endpoint))
            }
            DirectoryKind::Django(_) | DirectoryKind::Sql(_) => {
                let store = self.stores.directory(id);
                let store = store.ok_or("its database is not open: the stores are not running");
                people::Source::Store(noted(store, &at, problems)?)
            }
        };
        Some(Directory {
            name: Arc::clone(&settings.name),
            source,
            cache: settings.cache,
            epoch,
        })
    }
}

/// A jwt authenticator with its keys, and the one before where it is the same.
fn token<'a>(
    one: &settings::Authenticator,
    jwt: &settings::Jwt,
    around: &Surroundings<'_>,
    (before, same): (Option<&Arc<Reader>>, Option<&'a Arc<Reader>>),
    problems: &mut Vec<Problem>,
) -> Option<(TokenReader, Option<&'a Arc<Reader>>)> {
    let at = format!("auth.{}", one.name);
    let keys = match &jwt.keys {
        KeySource::JwksUrl(url) => {
            let known = before.and_then(|reader| reader.jwks_for(jwt));
            Keys::Fetched(
                known.unwrap_or_else(|| Arc::new(Jwks::new(url.clone(), &jwt.algorithms))),
            )
        }
        KeySource::Secrets(_) | KeySource::PublicKeys(_) | KeySource::JwksFile(_) => {
            Keys::Fixed(fixed_keys(jwt, &at, problems)?)
        }
    };
    let revoked = if jwt.revocable {
        let own = around.own.ok_or("the store of [session] is not open");
        let own = noted(own, &format!("{at}.revocable"), problems)?;
        Some(Arc::clone(own.revoked()))
    } else {
        None
    };
    let same = same.filter(|same| same.has_keys(&keys) && same.minds(revoked.as_ref()));
    let reader = TokenReader {
        rules: Rules::new(jwt, Arc::clone(&one.name)),
        settings: jwt.clone(),
        keys,
        epoch: next_number(),
        revoked,
        name: Arc::clone(&one.name),
    };
    Some((reader, same))
}

/// A reader of the gateway's own sessions.
fn own_sessions(
    one: &settings::Authenticator,
    around: &Surroundings<'_>,
    (handler, reads): (HandlerId, Reads),
    cookie: &str,
    cache: Duration,
) -> Result<GatewayReader, &'static str> {
    let own = around.own.ok_or("the store of [session] is not open")?;
    Ok(GatewayReader {
        handler,
        reads,
        cookie: cookie.into(),
        sources: [settings::Source::Cookie(cookie.into())],
        cache,
        own: Arc::clone(own),
        authenticator: Arc::clone(&one.name),
        epoch: next_number(),
    })
}

impl Reader {
    fn assemble(
        one: &settings::Authenticator,
        place: usize,
        names: &IdentityNames,
        around: &Surroundings<'_>,
        had: &Had<'_>,
        problems: &mut Vec<Problem>,
    ) -> Option<Arc<Self>> {
        let at = format!("auth.{}", one.name);
        let looked_up_in = (one.directory)
            .and_then(|id| around.directories.get(id.0))
            .cloned();
        let same = (had.kept)
            .filter(|kept| kept.settings == one.kind && kept.looked_up_in == looked_up_in);
        // One that asks nobody is kept whole; one that asks is made anew with the connections of
        // now, and its verdicts go on under the numbers that it had.
        let asks_nobody = one.directory.is_none();
        let had_epoch = same.map(|same| same.epoch());
        let epoch = had_epoch.unwrap_or_else(next_number);
        let kind = match &one.kind {
            AuthenticatorKind::Jwt(jwt) => {
                let (mut reader, same) = token(one, jwt, around, (had.before, same), problems)?;
                if let Some(same) = same.filter(|_| asks_nobody) {
                    return Some(Arc::clone(same));
                }
                if same.is_some() {
                    reader.epoch = epoch;
                }
                Kind::Token(Box::new(reader))
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
                ) && asks_nobody
                {
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
            AuthenticatorKind::DjangoSession(_)
            | AuthenticatorKind::FlaskSession(_)
            | AuthenticatorKind::FlaskCookie(_) => {
                let kept = around.stores.sessions(place);
                let reader = SessionReader::new(&one.kind, kept, &one.name, epoch);
                Kind::Session(Box::new(noted(reader, &at, problems)?))
            }
            AuthenticatorKind::GatewaySession(gateway) => {
                let (handler, cache) = (gateway.handler, gateway.cache);
                let reads = Reads::Token(gateway.auth);
                let reader = own_sessions(one, around, (handler, reads), &gateway.cookie, cache);
                Kind::Gateway(Box::new(noted(reader, &at, problems)?))
            }
            AuthenticatorKind::Oidc(oidc) => {
                let (handler, cache) = (oidc.handler, oidc.cache);
                let reads = Reads::Claims(Box::new(oidc.identity.clone()));
                let reader = own_sessions(one, around, (handler, reads), &oidc.cookie, cache);
                Kind::Gateway(Box::new(noted(reader, &at, problems)?))
            }
            AuthenticatorKind::Forward(forward) => {
                let at = format!("{at}.url");
                let (url, limit) = (&forward.url, forward.timeout);
                let endpoint = around.endpoint(at.as_str().into(), url, limit);
                Kind::Forward(Box::new(ForwardReader {
                    settings: forward.as_ref().clone(),
                    endpoint: noted(endpoint, &at, problems)?,
                    authenticator: Arc::clone(&one.name),
                    epoch,
                }))
            }
        };
        let directory = match (one.directory, &looked_up_in) {
            (Some(id), Some(settings)) => {
                let epoch = same
                    .and_then(|same| same.directory.as_ref())
                    .map_or_else(next_number, |had| had.epoch);
                Some(around.directory(id, settings, epoch, problems)?)
            }
            (None, _) | (_, None) => None,
        };
        Some(Arc::new(Self {
            name: Arc::clone(&one.name),
            kind,
            directory,
            settings: one.kind.clone(),
            looked_up_in,
        }))
    }

    /// The endpoints that it asks.
    fn endpoints(&self) -> impl Iterator<Item = &Endpoint> {
        let own = match &self.kind {
            Kind::Forward(forward) => Some(&forward.endpoint),
            Kind::Token(_)
            | Kind::ApiKey(_)
            | Kind::Basic(_)
            | Kind::Certificate(_)
            | Kind::Session(_)
            | Kind::Gateway(_) => None,
        };
        let asked = self.directory.as_ref().and_then(|one| match &one.source {
            people::Source::Endpoint(_, endpoint) => Some(&**endpoint),
            people::Source::Store(_) => None,
        });
        own.into_iter().chain(asked)
    }

    /// The number that its verdicts stand under, where it has one.
    fn epoch(&self) -> u64 {
        match &self.kind {
            Kind::Token(token) => token.epoch,
            Kind::Session(session) => session.epoch,
            Kind::Forward(forward) => forward.epoch,
            Kind::Gateway(gateway) => gateway.epoch,
            Kind::Certificate(certificates) => certificates.epoch,
            Kind::ApiKey(_) | Kind::Basic(_) => next_number(),
        }
    }

    fn has_keys(&self, keys: &Keys) -> bool {
        let Some(token) = self.token() else {
            return false;
        };
        match (&token.keys, keys) {
            (Keys::Fixed(ours), Keys::Fixed(theirs)) => ours == theirs,
            (Keys::Fetched(ours), Keys::Fetched(theirs)) => Arc::ptr_eq(ours, theirs),
            (Keys::Fixed(_), Keys::Fetched(_)) | (Keys::Fetched(_), Keys::Fixed(_)) => false,
        }
    }

    /// The jwt authenticator, where it is one.
    pub(crate) fn token(&self) -> Option<&TokenReader> {
        match &self.kind {
            Kind::Token(token) => Some(token),
            Kind::ApiKey(_)
            | Kind::Basic(_)
            | Kind::Certificate(_)
            | Kind::Session(_)
            | Kind::Gateway(_)
            | Kind::Forward(_) => None,
        }
    }

    /// The JWKS, where it is fetched.
    fn jwks(&self) -> Option<&Arc<Jwks>> {
        match &self.token()?.keys {
            Keys::Fetched(jwks) => Some(jwks),
            Keys::Fixed(_) => None,
        }
    }

    /// Whether it asks the same list of what was revoked.
    fn minds(&self, revoked: Option<&Arc<Revoked>>) -> bool {
        let ours = self.token().and_then(|token| token.revoked.as_ref());
        match (ours, revoked) {
            (Some(ours), Some(theirs)) => Arc::ptr_eq(ours, theirs),
            (None, None) => true,
            (Some(_), None) | (None, Some(_)) => false,
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
        self.jwks().cloned()
    }
}

#[cfg(test)]
#[path = "revocable_tests.rs"]
mod revocable_tests;
