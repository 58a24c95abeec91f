//! The apps behind the gateway: connections to them, and the one door that requests pass.

mod addresses;
pub mod balance;
pub mod body;
mod budget;
mod check;
mod choose;
pub mod client;
mod errand;
pub mod error;
mod exchange;
mod follow;
pub mod health;
mod http1;
pub mod incoming;
pub mod look;
mod name;
pub mod outbound;
mod outcome;
pub mod pool;
pub mod server;
mod standing;
mod stream;
pub mod tunnel;

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use crate::clock;
use crate::config::settings::{CookieRepair, SameSite, ServerAddress, Upstream as Settings};
use crate::policy::set_cookie::{Repairs, Wanted};
use budget::Budget;
use name::Name;
use server::{Place, Server, ServerTls, Upstream};
use standing::Standing;

pub(crate) use http1::chunk_size;

/// Every upstream, in the order of `UpstreamId`.
#[derive(Debug, Default)]
pub struct Upstreams(Vec<Arc<Upstream>>);

/// Gives each server its own key for the pools.
static NEXT_KEY: AtomicU64 = AtomicU64::new(1);

impl Upstreams {
    /// Builds the upstreams. One whose settings did not change is carried over from `previous`,
    /// with its connections and counters; of others, what is known of the health of servers that
    /// stay is. What is known of a name's addresses stays in any case, and all servers of a name share
    /// it. Who builds them has [`Upstreams::follow_names`] run, or asks by `Server::addresses`:
    /// without, servers of names take no connections. `tls` makes the TLS settings of an upstream with https servers.
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
            let old = previous.and_then(|old| {
                let mut all = old.0.iter();
                all.find(|old| old.name == upstream.name)
            });
            if let Some(known) = old.filter(|old| old.settings == *upstream && !uses_files) {
                built.push(Arc::clone(known));
                continue;
            }
            let config = if uses_files {
                tls(upstream).map(Some)
            } else {
                Ok(None)
            };
            match config {
                Ok(config) => {
                    let old = old.map(|old| &**old);
                    let there = (previous.iter().flat_map(|old| &old.0)).chain(&built);
                    let places = places(upstream, there);
                    let made = assemble(upstream, config.as_ref(), places, old);
                    built.push(Arc::new(made));
                }
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

/// Where the servers of an upstream are; a name that is `there` is taken from there.
fn places<'a>(settings: &Settings, there: impl Iterator<Item = &'a Arc<Upstream>>) -> Vec<Place> {
    let servers = there.flat_map(|upstream| &upstream.servers);
    let mut names: Vec<Arc<Name>> = servers.filter_map(|one| one.name()).cloned().collect();
    let mut place = |address: &ServerAddress| {
        let ServerAddress::Tcp { host, port } = address else {
            return Place::Unix;
        };
        if let Ok(address) = host.parse() {
            return Place::At(SocketAddr::new(address, *port));
        }
        let mut known = names.iter();
        let known = known.find(|name| name.host == *host && name.port == *port);
        let name = known.map_or_else(|| Arc::new(Name::new(Arc::clone(host), *port)), Arc::clone);
        names.push(Arc::clone(&name));
        Place::Named(name)
    };
    let servers = settings.servers.iter();
    servers.map(|server| place(&server.address)).collect()
}

fn assemble(
    settings: &Settings,
    tls: Option<&Arc<rustls::ClientConfig>>,
    places: Vec<Place>,
    old: Option<&Upstream>,
) -> Upstream {
    let judged_alike = |old: &&Upstream| {
        old.settings.health == settings.health && old.settings.eject == settings.eject
    };
    let old = old.filter(judged_alike);
    let servers = settings.servers.iter().zip(places);
    let servers = servers.map(|(server, place)| {
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
        let mut known = old.iter().flat_map(|old| &old.servers);
        let known = known.find(|old| old.settings.address == server.address);
        let standing = known.map_or_else(
            || Arc::new(Standing::new(settings.eject, settings.health.as_ref())),
            |known| Arc::clone(&known.standing),
        );
        let limit = settings.connections;
        let server = server.clone();
        Arc::new(Server::new(key, server, place, (tls, standing), limit))
    });
    Upstream {
        name: Arc::clone(&settings.name),
        settings: settings.clone(),
        servers: servers.collect(),
        cookies: Repairs::compile(settings.cookies.iter().map(wanted)),
        turn: AtomicUsize::new(0),
        born: clock::monotonic(),
        budget: Mutex::new(Budget::new()),
    }
}

/// A repair as the policy takes it.
fn wanted(repair: &CookieRepair) -> Wanted {
    Wanted {
        name: repair.name.clone(),
        secure: repair.secure,
        http_only: repair.http_only,
        same_site: repair.same_site.map(|value| match value {
            SameSite::Strict => "Strict",
            SameSite::Lax => "Lax",
            SameSite::None => "None",
        }),
        // Less than a second would read as a deletion.
        max_age: repair.max_age.map(|age| age.as_secs().max(1)),
        domain: repair.domain.clone(),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::clock::Timestamp;

    const NOW: Timestamp = Timestamp::from_unix_seconds(1_767_323_045);

    fn repaired(repair: &CookieRepair, line: &str) -> String {
        let repairs = Repairs::compile([wanted(repair)]);
        let made = repairs.repair(line.as_bytes(), NOW);
        made.map_or_else(|| line.to_owned(), |made| String::from_utf8(made).unwrap())
    }

    #[test]
    fn a_repair_is_made_as_it_is_configured() {
        let repair = CookieRepair {
            name: Some("session".into()),
            secure: Some(true),
            http_only: Some(false),
            same_site: Some(SameSite::Strict),
            max_age: Some(Duration::from_hours(1)),
            domain: Some("".into()),
        };
        let line = "session=x; Domain=app; Path=/; HttpOnly";
        assert_eq!(
            repaired(&repair, line),
            "session=x; Path=/; Max-Age=3600; Secure; SameSite=Strict"
        );
        assert_eq!(repaired(&repair, "other=x"), "other=x");
    }

    #[test]
    fn a_lifetime_below_a_second_deletes_no_cookie() {
        let repair = CookieRepair {
            max_age: Some(Duration::from_millis(500)),
            ..CookieRepair::default()
        };
        assert_eq!(repaired(&repair, "a=b"), "a=b; Max-Age=1");
    }
}
