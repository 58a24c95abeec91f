//! Everything a reload can change, as one value that is swapped whole.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio_util::sync::CancellationToken;

use crate::auth::{Assertions, Authenticators};
use crate::clock;
use crate::config::settings::{Settings, TokenHandler};
use crate::config::{Loaded, Shown};
use crate::limiter::Limiters;
use crate::policy::Policy;
use crate::policy::cors::CorsRule;
use crate::signin::{App, SignIn, Tallied};
use crate::store::ledger::Opening;
use crate::store::{self, Stores};
use crate::telemetry::spans::Tracer;
use crate::telemetry::{
    AcmeReading, Bound, CertificateReading, JwksReading, Metrics, Probe, Reading, ServerReading,
    SessionsReading, StoreReading,
};
use crate::tls::{Progress, TlsState};
use crate::upstream::Upstreams;

/// One generation of the configuration, running. A request takes one and sees no other.
#[derive(Debug)]
pub struct Snapshot {
    /// Tells it from every other snapshot of the process.
    pub serial: u64,
    /// What requests are judged by.
    pub policy: Policy,
    /// What the gateway was built from.
    pub settings: Settings,
    /// The apps' own databases and caches.
    pub stores: Stores,
    /// Who reads credentials.
    pub authenticators: Arc<Authenticators>,
    /// Signs what the app is told, where configured.
    pub assertions: Option<Assertions>,
    /// What requests are counted against.
    pub limiters: Limiters,
    /// The apps.
    pub upstreams: Upstreams,
    /// The gateway's own sessions, where configured.
    pub sign_in: Option<SignIn>,
    /// Certificates.
    pub tls: Arc<TlsState>,
    /// Metrics with this generation's labels.
    pub metrics: Bound,
    /// Who samples requests, where configured.
    pub traces: Option<Arc<Tracer>>,
    /// Every cross-origin rule that a route uses, for refusals that no route was found for.
    pub cors_rules: Vec<Arc<CorsRule>>,
    /// The configuration, as it may be shown.
    pub shown: Shown,
}

/// How often a store that is out is asked whether it is back.
const ASK_AGAIN: Duration = Duration::from_secs(2);

/// Numbers the snapshots of the process.
static NEXT_SERIAL: AtomicU64 = AtomicU64::new(1);

/// A mistake found while building what the configuration asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BuildProblem {
    /// The key it stands under, such as `tls.certificate[0].cert`.
    pub key: String,
    /// What was found, what was expected, and what to do.
    pub message: String,
}

impl BuildProblem {
    fn new(key: &str, message: String) -> Self {
        Self {
            key: key.to_owned(),
            message,
        }
    }
}

impl Snapshot {
    /// Builds a generation. What did not change is carried over from `previous`.
    ///
    /// # Errors
    ///
    /// Every problem with a file or key that the configuration names.
    pub fn assemble(
        loaded: Loaded,
        previous: Option<&Self>,
        metrics: &Metrics,
    ) -> Result<Self, Vec<BuildProblem>> {
        Self::assemble_when(loaded, previous, metrics, Opening::AtOnce)
    }

    /// The same, where a process that hands over may have the file of the gateway's own sessions.
    ///
    /// # Errors
    ///
    /// Every problem with a file or key that the configuration names.
    pub fn assemble_when(
        loaded: Loaded,
        previous: Option<&Self>,
        metrics: &Metrics,
        opening: Opening,
    ) -> Result<Self, Vec<BuildProblem>> {
        let Loaded {
            policy,
            settings,
            shown,
            ..
        } = loaded;
        let mut problems: Vec<BuildProblem> = Vec::new();
        let no_stores = Stores::default();
        let before = previous.map(|old| &old.stores);
        let stores = store::assemble_when(&settings, before, opening).map_err(|found| {
            problems.extend(
                found
                    .into_iter()
                    .map(|problem| BuildProblem::new(&problem.key, problem.message)),
            );
        });
        let shelf = stores.as_ref().ok().and_then(Stores::shelf);
        let before = previous.map(|old| &*old.tls);
        let tls = TlsState::load_with(&settings.tls, before, shelf, clock::now());
        let tls = tls.map_err(|found| {
            problems.extend(
                found
                    .iter()
                    .map(|problem| BuildProblem::new(&problem.key, problem.message())),
            );
        });
        let upstreams = Upstreams::assemble(
            &settings.upstreams,
            previous.map(|old| &old.upstreams),
            |upstream| {
                let key = format!("upstream.{}.tls", upstream.name);
                crate::tls::client_config(&upstream.tls)
                    .map_err(|error| BuildProblem::new(&key, error.line()))
            },
        )
        .map_err(|found| problems.extend(found));
        let sign_in = match (&stores, &upstreams) {
            (Ok(stores), Ok(upstreams)) => sign_in(&settings, stores, upstreams, previous),
            (Err(()), _) | (_, Err(())) => None,
        };
        let own = sign_in.as_ref().map(SignIn::own);
        let authenticators = Authenticators::assemble(
            &settings,
            &policy.identity,
            stores.as_ref().unwrap_or(&no_stores),
            own.as_ref(),
            previous.map(|old| &*old.authenticators),
        )
        .map_err(|found| {
            problems.extend(
                found
                    .into_iter()
                    .map(|problem| BuildProblem::new(&problem.key, problem.message)),
            );
        });
        let assertions = settings
            .assertion
            .as_ref()
            .map(Assertions::load)
            .transpose()
            .map_err(|found| {
                problems.push(BuildProblem::new(&found.key, found.message));
            });
        let (Ok(tls), Ok(stores), Ok(authenticators), Ok(assertions), Ok(upstreams)) =
            (tls, stores, authenticators, assertions, upstreams)
        else {
            return Err(problems);
        };
        let before = previous.and_then(|old| old.traces.as_ref());
        let traces = tracer(&settings, before, metrics);
        let metrics = metrics.bind(&settings, &policy);
        let cors_rules = distinct_rules(&policy);
        let before = previous.map(|old| &old.limiters);
        let limiters =
            Limiters::assemble(&policy.limits, stores.counts(), before, clock::monotonic());
        Ok(Self {
            serial: NEXT_SERIAL.fetch_add(1, Ordering::Relaxed),
            policy,
            settings,
            stores,
            authenticators: Arc::new(authenticators),
            assertions,
            limiters,
            upstreams,
            sign_in,
            tls: Arc::new(tls),
            metrics,
            traces,
            cors_rules,
            shown,
        })
    }
}

impl Snapshot {
    /// Whether the plain http door leads to a host: to one that a certificate covers, or is going to,
    /// so that nobody is sent to where someone else's `Host` says. Without an https door TLS ends elsewhere, and
    /// which hosts are served there is not known here.
    #[must_use]
    pub fn redirects_to(&self, host: &str) -> bool {
        let name = host.parse::<IpAddr>().is_err().then_some(host);
        let is_ordered = || (self.tls.acme()).is_some_and(|acme| acme.orders(host));
        self.settings.server.https.is_empty() || self.tls.covers(name, host) || is_ordered()
    }

    /// Looks after stores and endpoints that are out until cancelled, so that `/ready` sees them come
    /// back though it has sent the requests elsewhere.
    pub async fn ask_again(self: Arc<Self>, cancel: CancellationToken) {
        loop {
            tokio::select! {
                () = cancel.cancelled() => return,
                () = tokio::time::sleep(ASK_AGAIN) => {}
            }
            let asked = async {
                self.stores.ask_again().await;
                self.authenticators.ask_again().await;
            };
            tokio::select! {
                () = cancel.cancelled() => return,
                () = asked => {}
            }
        }
    }

    /// Checks the apps' servers until cancelled, where the configuration says how.
    pub async fn check_servers(self: Arc<Self>, cancel: CancellationToken) {
        self.upstreams.check(cancel).await;
    }

    /// Follows the names of the apps' servers until cancelled.
    pub async fn follow_names(self: Arc<Self>, cancel: CancellationToken) {
        self.upstreams.follow_names(cancel).await;
    }

    /// Tells the log and the metrics about the certificates that serve.
    pub fn report_certificates(&self) {
        for warning in self.tls.warnings(clock::now()) {
            tracing::warn!("{warning}");
        }
    }
}

/// The tracer of `[tracing]`: the one before, with what waits in it, where nothing changed.
fn tracer(
    settings: &Settings,
    before: Option<&Arc<Tracer>>,
    metrics: &Metrics,
) -> Option<Arc<Tracer>> {
    let wanted = settings.tracing.as_ref()?;
    let same = before.filter(|before| before.settings() == wanted);
    let new = || Arc::new(Tracer::new(wanted.clone(), Arc::clone(metrics.spans())));
    Some(same.map_or_else(new, Arc::clone))
}

/// The gateway's own sessions, over the stores and apps that are there.
fn sign_in(
    settings: &Settings,
    stores: &Stores,
    upstreams: &Upstreams,
    previous: Option<&Snapshot>,
) -> Option<SignIn> {
    let app = |handler: &TokenHandler| {
        let app = upstreams.get(handler.upstream)?;
        Some(Arc::clone(app) as Arc<dyn App>)
    };
    let previous = previous.and_then(|old| old.sign_in.as_ref());
    SignIn::assemble(settings, stores.ledger()?, stores.handle()?, app, previous)
}

fn distinct_rules(policy: &Policy) -> Vec<Arc<CorsRule>> {
    let mut rules: Vec<Arc<CorsRule>> = Vec::new();
    for rule in policy
        .routes
        .all()
        .iter()
        .filter_map(|route| route.cors.as_ref())
    {
        if !rules.iter().any(|have| have.name == rule.name) {
            rules.push(Arc::clone(rule));
        }
    }
    rules
}

/// The running gateway: the snapshot in force and what outlives it.
#[derive(Debug)]
pub struct Gateway {
    current: ArcSwap<Snapshot>,
    /// Metrics of the whole process.
    pub metrics: Arc<Metrics>,
    draining: AtomicBool,
    generation: AtomicU64,
}

impl Gateway {
    /// Starts with a first snapshot.
    #[must_use]
    pub fn new(first: Snapshot, metrics: Arc<Metrics>) -> Self {
        Self {
            current: ArcSwap::from_pointee(first),
            metrics,
            draining: AtomicBool::new(false),
            generation: AtomicU64::new(1),
        }
    }

    /// The snapshot in force.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.current.load_full()
    }

    /// Puts the next snapshot in force. Requests under way keep theirs.
    pub fn swap(&self, next: Snapshot) {
        self.current.store(Arc::new(next));
        self.generation.fetch_add(1, Ordering::Relaxed);
    }

    /// How many snapshots there were.
    pub fn generation(&self) -> u64 {
        self.generation.load(Ordering::Relaxed)
    }

    /// From now on the gateway is stopping.
    pub fn begin_drain(&self) {
        self.draining.store(true, Ordering::Release);
    }

    /// Whether the gateway is stopping.
    pub fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Acquire)
    }
}

impl Probe for Gateway {
    fn read(&self) -> Reading {
        let gate = self.snapshot();
        let servers = gate.upstreams.iter().flat_map(|upstream| {
            upstream.servers.iter().map(|server| {
                let state = server.state();
                ServerReading {
                    upstream: Arc::clone(&upstream.name),
                    server: Arc::clone(&server.settings.label),
                    up: state.is_in(),
                    state: state.as_str(),
                    check_problem: server.check_problem(),
                    name: server.name_reading(),
                    in_flight: server.in_flight(),
                    connections: server.connections(),
                    counts: server.counts.read(),
                }
            })
        });
        let certificates = gate
            .tls
            .certificates()
            .into_iter()
            .map(|known| CertificateReading {
                file: known.path.display().to_string(),
                names: known.names,
                not_after: known.not_after,
            });
        let of_providers = gate.sign_in.as_ref().map(SignIn::jwks);
        let acme = gate.tls.acme().map(|acme| {
            let Progress {
                issued,
                failed,
                problem,
                next,
            } = acme.progress();
            AcmeReading {
                domains: acme.domains().to_vec(),
                serves: acme.serves(),
                issued,
                failed,
                problem,
                next,
            }
        });
        let jwks = gate
            .authenticators
            .jwks()
            .into_iter()
            .chain(of_providers.unwrap_or_default())
            .map(|status| JwksReading {
                authenticator: status.authenticator,
                keys: status.keys,
                age: status.age,
                failures: status.failures,
                problem: status.problem,
            });
        let unread = (gate.sign_in.as_ref()).is_some_and(|sign_in| !sign_in.is_caught_up());
        let unread = unread && gate.authenticators.can_revoke();
        let stores = gate.stores.statuses().into_iter().map(|mut status| {
            if unread && &*status.name == "session" && status.problem.is_none() {
                status.problem = Some("what was revoked was not read yet".to_owned());
            }
            status
        });
        let stores = stores.chain(gate.authenticators.endpoints());
        let stores = stores.map(|status| StoreReading {
            name: status.name,
            kind: status.kind,
            answered: status.answered,
            failed: status.failed,
            spent: status.spent,
            problem: status.problem,
        });
        Reading {
            servers: servers.collect(),
            jwks: jwks.collect(),
            certificates: certificates.collect(),
            acme,
            stores: stores.collect(),
            sessions: gate.sign_in.as_ref().map(|sign_in| {
                let Tallied {
                    begun,
                    ended,
                    renewed,
                    refused,
                    failed,
                } = sign_in.counts();
                SessionsReading {
                    begun,
                    ended,
                    renewed,
                    refused,
                    failed,
                }
            }),
            limits: gate.limiters.readings(clock::monotonic()).collect(),
            cached_verdicts: gate.authenticators.remembered(),
        }
    }
}
