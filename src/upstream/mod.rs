//! The apps behind the gateway: connections to them, and the one door that requests pass.

pub mod balance;
pub mod body;
pub mod client;
pub mod error;
mod exchange;
mod http1;
pub mod incoming;
pub mod outbound;
pub mod pool;
pub mod server;
mod stream;
pub mod tunnel;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use crate::config::settings::{ServerAddress, Upstream as Settings};
use server::{Server, ServerTls, Upstream};

/// Every upstream, in the order of `UpstreamId`.
#[derive(Debug, Default)]
pub struct Upstreams(Vec<Arc<Upstream>>);

/// Gives each server its own key for the pools.
static NEXT_KEY: AtomicU64 = AtomicU64::new(1);

impl Upstreams {
    /// Builds the upstreams. One whose settings did not change is carried over from `previous`,
    /// with its connections and counters. `tls` makes the TLS settings of an upstream with https
    /// servers.
    ///
    /// # Errors
    ///
    /// What `tls` said.
    pub fn assemble<E>(
        settings: &[Settings],
        previous: Option<&Self>,
        mut tls: impl FnMut(&Settings) -> Result<Arc<rustls::ClientConfig>, E>,
    ) -> Result<Self, Vec<E>> {
        let mut built = Vec::with_capacity(settings.len());
        let mut problems = Vec::new();
        for upstream in settings {
            let uses_files = upstream.servers.iter().any(|server| server.tls);
            let known = previous.and_then(|old| {
                old.0
                    .iter()
                    .find(|old| old.settings == *upstream && !uses_files)
            });
            if let Some(known) = known {
                built.push(Arc::clone(known));
                continue;
            }
            let config = if uses_files {
                tls(upstream).map(Some)
            } else {
                Ok(None)
            };
            match config {
                Ok(config) => built.push(Arc::new(assemble(upstream, config.as_ref()))),
                Err(problem) => problems.push(problem),
            }
        }
        if problems.is_empty() {
            Ok(Self(built))
        } else {
            Err(problems)
        }
    }

    /// The upstream at a place in the settings.
    #[must_use]
    pub fn get(&self, id: crate::policy::route::UpstreamId) -> Option<&Arc<Upstream>> {
        self.0.get(id.0)
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Upstream>> {
        self.0.iter()
    }
}

fn assemble(settings: &Settings, tls: Option<&Arc<rustls::ClientConfig>>) -> Upstream {
    let servers = settings.servers.iter().map(|server| {
        let tls = tls.filter(|_| server.tls).and_then(|config| {
            let host = match (&settings.tls.server_name, &server.address) {
                (Some(name), _) => name.clone(),
                (None, ServerAddress::Tcp { host, .. }) => host.to_string(),
                (None, ServerAddress::Unix(_)) => "localhost".to_owned(),
            };
            let name = rustls::pki_types::ServerName::try_from(host).ok()?;
            Some(ServerTls {
                config: Arc::clone(config),
                name,
            })
        });
        let key = NEXT_KEY.fetch_add(1, Ordering::Relaxed);
        Arc::new(Server::new(key, server.clone(), tls, settings.connections))
    });
    Upstream {
        name: Arc::clone(&settings.name),
        settings: settings.clone(),
        servers: servers.collect(),
        turn: AtomicUsize::new(0),
    }
}
