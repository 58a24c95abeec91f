//! The edge of `doctor`: whoever goes and looks. What is seen is judged by the pure files beside
//! this folder.
//!
//! Nothing here writes. Apps get GET, HEAD and OPTIONS without a credential; databases and caches
//! get what authenticators ask, read only; a collector of traces gets a message without spans; a port
//! is bound for a moment and never listened on.

mod apps;
mod collector;
mod credentials;
mod doors;
mod files;
mod stores;

use std::sync::Arc;
use std::time::Duration;

use super::credentials::Credentials;
use super::finding::Finding;
use super::round::{self, Bounds, Look};
use crate::clock::Timestamp;
use crate::config::settings::Settings;
use crate::gateway::Snapshot;
use crate::policy::Policy;
use crate::policy::host::HostPattern;
use crate::store::Stores;
use crate::tls::{CertificateNames, Known, Looked};
use crate::upstream::server::Upstream;

/// For one question.
const QUESTION: Duration = Duration::from_secs(5);
/// Looks under way, and their time.
const BOUNDS: Bounds = Bounds {
    at_once: 16,
    each: Duration::from_secs(20),
    all: Duration::from_secs(45),
};

/// All that is looked at.
#[derive(Debug)]
pub(super) struct Scene {
    /// What requests are judged by.
    pub(super) policy: Policy,
    /// Everything else of the file.
    pub(super) settings: Settings,
    /// The apps' databases and caches, where they could be made ready.
    pub(super) stores: Option<Stores>,
    /// The apps, each by its place, where it could be made ready.
    pub(super) upstreams: Vec<Option<Arc<Upstream>>>,
    /// The certificates, looked at.
    pub(super) pairs: Vec<(Known, Result<Looked, String>)>,
    /// A gateway that serves nothing, where one could be made.
    pub(super) gate: Option<Snapshot>,
    /// What was given to be tried.
    pub(super) credentials: Credentials,
    /// When the round began.
    pub(super) now: Timestamp,
}

impl Scene {
    /// Hosts that the certificates have, for routes that take any.
    fn known_hosts(&self) -> Vec<String> {
        let looked = self
            .pairs
            .iter()
            .filter_map(|(_, looked)| looked.as_ref().ok());
        let names = looked.flat_map(|one| CertificateNames::list(&one.names));
        names
            .filter(|name| !name.starts_with('*') && name.parse::<std::net::IpAddr>().is_err())
            .collect()
    }

    /// Hosts that routes take, as they are written.
    pub(super) fn route_hosts(&self) -> Vec<String> {
        let routes = self.policy.routes.all().iter();
        let mut hosts: Vec<_> = routes
            .flat_map(|route| &route.hosts)
            .map(HostPattern::to_string)
            .collect();
        hosts.sort_unstable();
        hosts.dedup();
        hosts
    }
}

/// Looks at everything, side by side, and gives what was found.
pub(super) async fn everything(scene: &Scene) -> Vec<Finding> {
    let (runs, mut found) = doors::gateway(&scene.settings).await;
    let mut looks = vec![files::look(scene)];
    looks.extend(doors::looks(scene, runs));
    looks.extend(apps::looks(scene));
    looks.extend(stores::looks(scene));
    looks.extend(credentials::looks(scene));
    looks.extend(collector::look(scene));
    found.extend(round::take(looks, BOUNDS).await);
    found
}

/// A look that is there at once.
fn known<'a>(findings: Vec<Finding>) -> Option<Look<'a>> {
    let first = findings.first()?;
    let (check, about) = (first.check, first.about.clone());
    Some(Look::new(check, about, std::future::ready(findings)))
}
