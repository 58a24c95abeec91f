//! All of `[auth.*]`, assembled from the settings and from what was there before.

use std::sync::Arc;

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::auth::Problem;
use crate::auth::api_key::ApiKeys;
use crate::auth::basic::{BasicReader, read_htpasswd};
use crate::auth::certificate::CertificateReader;
use crate::auth::claims::Rules;
use crate::auth::jwks::{Jwks, JwksStatus};
use crate::auth::token::{Keys, TokenReader, fixed_keys};
use crate::auth::verdicts::{Verdicts, next_number};
use crate::config::settings::{self, AuthenticatorKind, KeySource, Settings};
use crate::policy::identity::IdentityNames;

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
            AuthenticatorKind::DjangoSession(_)
            | AuthenticatorKind::FlaskSession(_)
            | AuthenticatorKind::FlaskCookie(_)
            | AuthenticatorKind::Forward(_) => {
                problems.push(Problem::new(at, "is not in this version"));
                return None;
            }
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
