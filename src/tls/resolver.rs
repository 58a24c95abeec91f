//! Chooses the certificate for a handshake by the name that the client asks for.
//!
//! A name of the certificate wins over a wildcard's one label; a name that no certificate has, and
//! no name at all, get the first certificate. Several certificates with one name (RSA and ECDSA)
//! are told apart by what the client can verify. The whole choice is swapped at once.

use std::sync::Arc;

use ahash::HashMap;
use arc_swap::ArcSwap;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use super::names::{after_first_label, lower};
use super::pair::Pair;

/// Certificates that one name could be served with; at least one.
type Choice = Arc<[Arc<Pair>]>;

/// What a connection was served with, to be asked whether a request's host belongs there.
///
/// Taken once a connection; stays true for it when certificates are swapped.
#[derive(Clone, Debug)]
pub struct Served(Option<Choice>);

impl Served {
    /// Whether the certificate vouches for `host` (a name or address without a port). Where the
    /// client could have got one of several certificates, all of them must.
    #[must_use]
    pub fn covers(&self, host: &str) -> bool {
        self.0
            .as_ref()
            .is_some_and(|choice| choice.iter().all(|pair| pair.names.covers(host)))
    }
}

/// All certificates, by name.
#[derive(Debug, Default)]
pub(super) struct Certificates {
    pairs: Vec<Arc<Pair>>,
    exact: HashMap<Box<str>, Choice>,
    wildcards: HashMap<Box<str>, Choice>,
    default: Option<Choice>,
}

impl Certificates {
    /// The first of `pairs` is the default.
    pub(super) fn new(pairs: Vec<Arc<Pair>>) -> Self {
        Self {
            exact: by_name(&pairs, |pair| Box::new(pair.names.exact())),
            wildcards: by_name(&pairs, |pair| Box::new(pair.names.wildcards())),
            default: pairs.first().map(|first| Arc::from([Arc::clone(first)])),
            pairs,
        }
    }

    /// In the order of the configuration.
    pub(super) fn pairs(&self) -> &[Arc<Pair>] {
        &self.pairs
    }

    fn choose(&self, name: Option<&str>) -> Option<&Choice> {
        name.and_then(|name| {
            let name = lower(name.strip_suffix('.').unwrap_or(name));
            self.exact
                .get(&*name)
                .or_else(|| self.wildcards.get(after_first_label(&name)?))
        })
        .or(self.default.as_ref())
    }
}

type Names<'a> = Box<dyn Iterator<Item = &'a str> + 'a>;

fn by_name<'a>(
    pairs: &'a [Arc<Pair>],
    names: impl Fn(&'a Pair) -> Names<'a>,
) -> HashMap<Box<str>, Choice> {
    let mut found: HashMap<Box<str>, Vec<Arc<Pair>>> = HashMap::default();
    for pair in pairs {
        for name in names(pair) {
            found.entry(name.into()).or_default().push(Arc::clone(pair));
        }
    }
    found
        .into_iter()
        .map(|(name, pairs)| (name, pairs.into()))
        .collect()
}

/// The cell that rustls asks in each handshake.
#[derive(Debug)]
pub(super) struct Resolver(ArcSwap<Certificates>);

impl Resolver {
    pub(super) fn new(certificates: Certificates) -> Self {
        Self(ArcSwap::from_pointee(certificates))
    }

    pub(super) fn current(&self) -> Arc<Certificates> {
        self.0.load_full()
    }

    pub(super) fn swap(&self, certificates: Certificates) {
        self.0.store(Arc::new(certificates));
    }

    pub(super) fn served(&self, name: Option<&str>) -> Served {
        Served(self.0.load().choose(name).cloned())
    }
}

impl ResolvesServerCert for Resolver {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let certificates = self.0.load();
        let choice = certificates.choose(hello.server_name())?;
        choice
            .iter()
            .find(|pair| {
                let key = &pair.certified.key;
                key.choose_scheme(hello.signature_schemes()).is_some()
            })
            .or(choice.first())
            .map(|pair| Arc::clone(&pair.certified))
    }
}
