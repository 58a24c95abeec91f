//! What one configuration makes of `[tls]`, and how it takes up renewed files.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use rustls::ServerConfig;

use super::acme::{Acme, Challenges};
use super::development;
use super::error::{Problem, TlsError};
use super::pair::{CertificateInfo, Pair, Warning};
use super::resolver::{Certificates, Resolver, Served};
use super::server::{self, ClientTrust};
use crate::auth::ledger::SharedShelf;
use crate::clock::Timestamp;
use crate::config::settings::{CertificateFiles, ClientAuth, Tls};

/// TLS of the public door.
#[derive(Debug)]
pub struct TlsState {
    settings: Tls,
    resolver: Arc<Resolver>,
    config: ArcSwap<ServerConfig>,
    /// Orders one more certificate, which stands behind the configured ones.
    acme: Option<Arc<Acme>>,
    /// What the current `config` trusts; held while files are taken up, so that two refreshes
    /// cannot undo each other.
    trust: Mutex<ClientTrust>,
}

/// What became of one file, or pair of files.
#[derive(Debug)]
pub struct Refreshed {
    /// Path of the configuration's key, such as `tls.certificate[0]`.
    pub key: String,
    /// The certificate's file.
    pub file: PathBuf,
    /// What became of it.
    pub outcome: Outcome,
}

/// What became of a file that may have been renewed.
#[derive(Debug)]
pub enum Outcome {
    /// The same as before.
    Unchanged,
    /// New connections are served with it from now on.
    Renewed,
    /// Not sound; what was there before goes on.
    Refused(TlsError),
}

impl TlsState {
    /// Reads every file that `settings` names, and makes the development CA where asked for.
    ///
    /// The keys of session tickets are taken over from `previous`, so that clients can resume
    /// after a reload, unless other client certificates are trusted now. Blocks on files.
    ///
    /// # Errors
    ///
    /// Every [`Problem`] found. An expired certificate is none; see [`TlsState::warnings`].
    pub fn load(
        settings: &Tls,
        previous: Option<&Self>,
        now: Timestamp,
    ) -> Result<Self, Vec<Problem>> {
        Self::load_with(settings, previous, None, now)
    }

    /// The same, with where gateways have the certificates together that a CA issues.
    ///
    /// # Errors
    ///
    /// Every [`Problem`] found.
    pub fn load_with(
        settings: &Tls,
        previous: Option<&Self>,
        shelf: Option<&SharedShelf>,
        now: Timestamp,
    ) -> Result<Self, Vec<Problem>> {
        let mut problems = Vec::new();
        let pairs = match pair_files(settings, now) {
            Ok(files) => load_pairs(&files, &mut problems),
            Err(problem) => {
                problems.push(problem);
                Vec::new()
            }
        };
        let trust = ClientTrust::load(&settings.client_auth)
            .map_err(|problem| problems.push(problem))
            .unwrap_or(ClientTrust::None);
        let acme = settings.acme.as_ref().and_then(|acme| {
            let previous = previous.and_then(Self::acme);
            Acme::open(acme, previous, shelf, now)
                .map_err(|problem| problems.push(problem))
                .ok()
        });
        if !problems.is_empty() {
            return Err(problems);
        }
        Self::assemble(settings, previous, (pairs, acme), trust)
            .map_err(|error| vec![Problem::new("tls", error)])
    }

    fn assemble(
        settings: &Tls,
        previous: Option<&Self>,
        (mut pairs, acme): (Vec<Arc<Pair>>, Option<Arc<Acme>>),
        trust: ClientTrust,
    ) -> Result<Self, TlsError> {
        let ticketer = match previous {
            Some(previous) if previous.trusts(&trust) => {
                Arc::clone(&previous.config.load().ticketer)
            }
            Some(_) | None => server::new_ticketer()?,
        };
        pairs.extend(acme.as_deref().and_then(Acme::held));
        let resolver = Arc::new(Resolver::new(Certificates::new(pairs)));
        let config = server::config(settings.only_tls13, &trust, Arc::clone(&resolver), ticketer)?;
        Ok(Self {
            settings: settings.clone(),
            resolver,
            config: ArcSwap::from_pointee(config),
            acme,
            trust: Mutex::new(trust),
        })
    }

    fn trusts(&self, trust: &ClientTrust) -> bool {
        *self.trust.lock().unwrap_or_else(PoisonError::into_inner) == *trust
    }

    /// For the next connection to accept.
    #[must_use]
    pub fn server_config(&self) -> Arc<ServerConfig> {
        self.config.load_full()
    }

    /// What a connection that asked for `sni` is served with. Ask once a connection, when its
    /// handshake is done.
    #[must_use]
    pub fn served(&self, sni: Option<&str>) -> Served {
        self.resolver.served(sni)
    }

    /// Whether the certificate for `sni` vouches for `host`; where not, the answer is 421.
    #[must_use]
    pub fn covers(&self, sni: Option<&str>, host: &str) -> bool {
        self.served(sni).covers(host)
    }

    /// Every certificate that serves, in the order of the configuration.
    #[must_use]
    pub fn certificates(&self) -> Vec<CertificateInfo> {
        let certificates = self.resolver.current();
        let pairs = certificates.pairs().iter();
        pairs.map(|pair| pair.info.clone()).collect()
    }

    /// What is wrong with certificates that serve: expired ones above all. For a loud log line.
    #[must_use]
    pub fn warnings(&self, now: Timestamp) -> Vec<Warning> {
        let certificates = self.resolver.current();
        let pairs = certificates.pairs().iter();
        let awaited = (self.acme.as_ref())
            .filter(|acme| !acme.serves())
            .map(|acme| Warning::Awaited {
                names: acme.domains().join(", "),
                directory: acme.directory().to_owned(),
            });
        pairs
            .flat_map(|pair| pair.warnings(now))
            .chain(awaited)
            .collect()
    }

    /// What orders certificates, where configured.
    #[must_use]
    pub const fn acme(&self) -> Option<&Arc<Acme>> {
        self.acme.as_ref()
    }

    /// What a CA is answered that looks at a name in a handshake; `None` while none is expected, so
    /// that other handshakes cost a look at a flag.
    #[must_use]
    pub fn looks(&self) -> Option<&Challenges> {
        let challenges = self.acme.as_ref()?.challenges();
        challenges.in_handshakes().then_some(challenges)
    }

    /// What a CA is answered that asks `host` for a token over plain http; `None` where no such
    /// question is expected. May look at a file.
    #[must_use]
    pub fn proof(&self, host: &str, token: &str) -> Option<Arc<str>> {
        self.acme.as_ref().and_then(|acme| acme.proof(host, token))
    }

    /// Serves with what [`Acme`] holds now.
    pub fn take_ordered(&self) {
        let _turn = self.trust.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(held) = self.acme.as_deref().and_then(Acme::held) else {
            return;
        };
        let current = self.resolver.current();
        let configured = known_files(&self.settings).len();
        let mut pairs: Vec<_> = current.pairs().iter().take(configured).cloned().collect();
        pairs.push(held);
        self.resolver.swap(Certificates::new(pairs));
    }

    /// Whether `file` is one that [`TlsState::refresh`] takes up without a reload.
    #[must_use]
    pub fn owns(&self, file: &Path) -> bool {
        self.files().iter().any(|own| own == file)
    }

    /// Every file that [`TlsState::refresh`] reads.
    #[must_use]
    pub fn files(&self) -> Vec<PathBuf> {
        let mut files: Vec<PathBuf> = known_files(&self.settings)
            .into_iter()
            .flat_map(|(_, files)| [files.cert, files.key])
            .collect();
        if let ClientAuth::Optional(path) | ClientAuth::Required(path) = &self.settings.client_auth
        {
            files.push(path.clone());
        }
        files
    }

    /// Reads the files again. A renewed pair serves the next handshake, connections live on; a
    /// pair that is not sound is refused and the old one stays. Blocks on files.
    pub fn refresh(&self, now: Timestamp) -> Vec<Refreshed> {
        let mut trust = self.trust.lock().unwrap_or_else(PoisonError::into_inner);
        let mut report = self.refresh_pairs(now);
        report.extend(self.refresh_trust(&mut trust));
        report
    }

    fn refresh_pairs(&self, now: Timestamp) -> Vec<Refreshed> {
        let files = match pair_files(&self.settings, now) {
            Ok(files) => files,
            Err(problem) => {
                return vec![Refreshed {
                    key: problem.key,
                    file: PathBuf::new(),
                    outcome: Outcome::Refused(problem.error),
                }];
            }
        };
        let current = self.resolver.current();
        let mut pairs = Vec::with_capacity(files.len());
        let mut report = Vec::with_capacity(files.len());
        for ((key, files), old) in files.into_iter().zip(current.pairs()) {
            let (pair, outcome) = match Pair::load(&files) {
                Ok(new) if new.same_chain(old) => (Arc::clone(old), Outcome::Unchanged),
                Ok(new) => (Arc::new(new), Outcome::Renewed),
                Err(error) => (Arc::clone(old), Outcome::Refused(error)),
            };
            pairs.push(pair);
            report.push(Refreshed {
                key,
                file: files.cert,
                outcome,
            });
        }
        if report.iter().any(Refreshed::is_renewed) {
            pairs.extend(self.acme.as_deref().and_then(Acme::held));
            self.resolver.swap(Certificates::new(pairs));
        }
        report
    }

    fn refresh_trust(&self, trust: &mut ClientTrust) -> Option<Refreshed> {
        let (ClientAuth::Optional(path) | ClientAuth::Required(path)) = &self.settings.client_auth
        else {
            return None;
        };
        let outcome = match ClientTrust::load(&self.settings.client_auth) {
            Ok(new) if new == *trust => Outcome::Unchanged,
            Ok(new) => match self.trust_anew(&new) {
                Ok(()) => {
                    *trust = new;
                    Outcome::Renewed
                }
                Err(error) => Outcome::Refused(error),
            },
            Err(problem) => Outcome::Refused(problem.error),
        };
        Some(Refreshed {
            key: "tls.client_ca".to_owned(),
            file: path.clone(),
            outcome,
        })
    }

    /// With new ticket keys: an old ticket carries a certificate that may not be trusted any more.
    fn trust_anew(&self, trust: &ClientTrust) -> Result<(), TlsError> {
        let config = server::config(
            self.settings.only_tls13,
            trust,
            Arc::clone(&self.resolver),
            server::new_ticketer()?,
        )?;
        self.config.store(Arc::new(config));
        Ok(())
    }
}

impl Refreshed {
    /// Whether something new serves.
    #[must_use]
    pub fn is_renewed(&self) -> bool {
        matches!(self.outcome, Outcome::Renewed)
    }
}

/// The files of each pair with their key in the configuration.
pub(super) fn known_files(settings: &Tls) -> Vec<(String, CertificateFiles)> {
    match &settings.development {
        Some(development) if settings.certificates.is_empty() => {
            vec![(
                "tls.development".to_owned(),
                development::files(development),
            )]
        }
        Some(_) | None => settings
            .certificates
            .iter()
            .enumerate()
            .map(|(index, files)| (format!("tls.certificate[{index}]"), files.clone()))
            .collect(),
    }
}

/// As [`known_files`], with the development CA made where it is asked for.
fn pair_files(settings: &Tls, now: Timestamp) -> Result<Vec<(String, CertificateFiles)>, Problem> {
    if let Some(development) = &settings.development
        && settings.certificates.is_empty()
    {
        development::ensure(development, now)
            .map_err(|error| Problem::new("tls.development", error))?;
    }
    Ok(known_files(settings))
}

fn load_pairs(files: &[(String, CertificateFiles)], problems: &mut Vec<Problem>) -> Vec<Arc<Pair>> {
    let mut pairs = Vec::with_capacity(files.len());
    for (key, files) in files {
        match Pair::load(files) {
            Ok(pair) => pairs.push(Arc::new(pair)),
            Err(error) => problems.push(Problem::new(blame(key, files, &error), error)),
        }
    }
    pairs
}

/// The key of the file that is at fault: the private key's or the certificate's.
fn blame(key: &str, files: &CertificateFiles, error: &TlsError) -> String {
    if key == "tls.development" {
        return key.to_owned();
    }
    let of_key = match error {
        TlsError::NoKey { .. } | TlsError::Key { .. } | TlsError::Mismatch { .. } => true,
        TlsError::File(file) => file.path() == files.key,
        TlsError::Pem { path, .. } => *path == files.key,
        TlsError::NoCertificate { .. }
        | TlsError::TooMany { .. }
        | TlsError::Certificate { .. }
        | TlsError::Root { .. }
        | TlsError::NoSystemRoots
        | TlsError::Verifier(_)
        | TlsError::ServerName { .. }
        | TlsError::Development(_)
        | TlsError::Made(_)
        | TlsError::Tls(_) => false,
    };
    format!("{key}.{}", if of_key { "key" } else { "cert" })
}
