//! Everything that is not a request: admin, reloads, background work, signals, handing over, drain.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::heir::Heir;
use super::successor::{NotTaken, Ready, Successor};
use super::{Failure, Run, supervisor};
use crate::admin;
use crate::auth::ledger::SharedLedger;
use crate::clock;
use crate::gateway::Gateway;
use crate::reload::watch::FileWatch;
use crate::reload::{self, Reloader};
use crate::server::drain::GRACE;
use crate::server::{Bound, Door, Serving};
use crate::telemetry::{LogGuard, Probe, SecretWatch};

/// How long the admin address stays up after the last request, so that a probe sees the 503.
const ADMIN_LINGER: Duration = Duration::from_millis(50);
/// What Ctrl-C means while the gateway is stopping. Another SIGTERM means nothing new: supervisors
/// send it twice, to the process and to its group.
const CUT_OFF: &str = "interrupted while stopping: what was in flight is cut off";
/// How often the workers are looked after.
const WATCHDOG: Duration = Duration::from_secs(1);
/// How long stores may take to answer before this process takes over from another.
const STORES_WITHIN: Duration = Duration::from_secs(10);
/// How long new connections wait for the file of the gateway's own sessions, which the process before
/// has still. It goes on without, and says so, where that takes longer.
const FILE_WITHIN: Duration = Duration::from_secs(20);
/// How long renewals that are under way may keep that file.
const RENEWALS_WITHIN: Duration = Duration::from_secs(5);
/// How long the last traces may take, out of the time of the drain.
const TRACES_WITHIN: Duration = Duration::from_secs(5);
/// The same where the drain took all of its time.
const TRACES_AT_LEAST: Duration = Duration::from_secs(1);
/// Between two looks at the stores.
const LOOK_AGAIN: Duration = Duration::from_millis(10);

/// Who keeps the gateway going.
#[derive(Clone, Copy, Debug)]
pub(super) struct Keeper<'a> {
    pub(super) run: Run<'a>,
    pub(super) gateway: &'a Arc<Gateway>,
    pub(super) log: &'a Arc<LogGuard>,
}

/// The signals that mean something.
struct Signals {
    hangup: Signal,
    terminate: Signal,
    interrupt: Signal,
    upgrade: Signal,
}

/// What runs.
struct Running {
    reloader: Arc<Reloader>,
    serving: Serving,
    desk: JoinHandle<()>,
    /// Ends the admin address.
    cancel: CancellationToken,
}

/// Why the gateway stops.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// It was told to.
    Told,
    /// Another process is the gateway.
    HandedOver,
}

impl Keeper<'_> {
    /// Serves until the end.
    pub(super) async fn keep(
        self,
        bound: Bound,
        heir: &mut Option<Heir>,
        ready: &mut dyn FnMut(),
    ) -> Result<(), Failure> {
        let mut signals = Signals::new()?;
        let doors = Arc::new(bound.copies()?);
        let admin = TcpListener::from_std(bound.admin()?)?;
        // Before another process hands over: whatever can fail has not failed then.
        let watched = reload::watched(self.run.file, &self.gateway.snapshot());
        let mut files = FileWatch::start(watched)?;
        let (reloader, serving) = self.begin(bound, heir).await?;
        let cancel = CancellationToken::new();
        let state = admin::AdminState::new(Arc::clone(self.gateway));
        let desk = tokio::spawn(admin::serve(admin, state, cancel.clone()));
        let running = Running {
            reloader,
            serving,
            desk,
            cancel,
        };
        let process = std::process::id();
        tracing::info!(version = env!("CARGO_PKG_VERSION"), process, "ready");
        supervisor::ready();
        let beating = CancellationToken::new();
        let stops_beating = beating.clone().drop_guard();
        tokio::spawn(supervisor::beat(beating));
        ready();
        let end = self
            .watch(&running, &mut signals, &mut files, doors)
            .await?;
        if end == End::HandedOver {
            // The service manager listens to the next process alone.
            drop(stops_beating);
        }
        self.end(running, end, &mut signals.interrupt).await
    }

    /// Starts the workers, once this process is the gateway: at once, or when the one before hands
    /// over. Connections that come meanwhile wait in the sockets.
    async fn begin(
        &self,
        bound: Bound,
        heir: &mut Option<Heir>,
    ) -> Result<(Arc<Reloader>, Serving), Failure> {
        let gate = self.gateway.snapshot();
        let settings = &gate.settings.server;
        let ledger = self.ledger();
        let opening = ledger.as_ref().and_then(|ledger| ledger.opening());
        if let Some(opening) = opening {
            // Only the other process's end of work makes room for this one's beginning.
            say_ready(heir).await?;
            if tokio::time::timeout(FILE_WITHIN, opening).await.is_err() {
                tracing::error!(
                    "the sessions' file is not open yet; sessions are not known until then"
                );
            }
            let reloader = self.reloader();
            if let Some(out) = self.await_stores().await {
                tracing::error!("taken over without stores that do not answer: {out}");
            }
            return Ok((reloader, bound.serve(self.gateway, settings.workers)?));
        }
        let reloader = self.reloader();
        if heir.is_some()
            && let Some(out) = self.await_stores().await
        {
            let words = format!("stores do not answer: {out}");
            return Err(Failure::Words(words));
        }
        let serving = bound.serve(self.gateway, settings.workers)?;
        if let Err(failure) = say_ready(heir).await {
            let limit = settings.timeouts.drain;
            // What it took in is answered.
            let _ = tokio::task::spawn_blocking(move || serving.stop(limit)).await;
            return Err(failure);
        }
        Ok((reloader, serving))
    }

    /// Waits until all stores answer; their names where they do not in time.
    async fn await_stores(&self) -> Option<String> {
        let began = clock::monotonic();
        loop {
            let stores = self.gateway.read().stores;
            let out = stores.iter().filter(|store| store.problem.is_some());
            let out: Vec<_> = out.map(|store| store.name.to_string()).collect();
            if out.is_empty() {
                return None;
            }
            if clock::monotonic().saturating_duration_since(began) > STORES_WITHIN {
                return Some(out.join(", "));
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }

    fn reloader(&self) -> Arc<Reloader> {
        let (gateway, log) = (Arc::clone(self.gateway), Arc::clone(self.log));
        Arc::new(Reloader::new(self.run.file.to_owned(), gateway, log))
    }

    fn ledger(&self) -> Option<SharedLedger> {
        self.gateway.snapshot().stores.ledger().cloned()
    }

    /// Until the gateway is to stop. `doors` are closed with the end of this.
    async fn watch(
        &self,
        running: &Running,
        signals: &mut Signals,
        files: &mut FileWatch,
        doors: Arc<Vec<(Door, OwnedFd)>>,
    ) -> Result<End, Failure> {
        let reloader = &running.reloader;
        let mut watchdog = tokio::time::interval(WATCHDOG);
        let mut secrets = SecretWatch::new(clock::monotonic());
        let mut successor: Option<Successor> = None;
        let end = loop {
            tokio::select! {
                _ = signals.terminate.recv() => break End::Told,
                _ = signals.interrupt.recv() => break End::Told,
                _ = signals.hangup.recv() => {
                    supervisor::reloading();
                    reloader.reload("SIGHUP").await;
                    files.replace(reloader.watched());
                    supervisor::ready();
                }
                _ = signals.upgrade.recv() => self.upgrade(&mut successor, &doors),
                waited = ready_of(&mut successor) => {
                    successor = None;
                    if waited.and_then(hand_over).is_ok() {
                        break End::HandedOver;
                    }
                }
                Some(changed) = files.changed() => {
                    reloader.files_changed(&changed).await;
                    files.replace(reloader.watched());
                }
                _ = watchdog.tick() => {
                    secrets.look(&self.gateway.metrics, clock::monotonic(), clock::now());
                    if running.serving.is_broken() {
                        return Err(Failure::Words("a worker ended; see the log".to_owned()));
                    }
                }
            }
        };
        if let Some(mut successor) = successor {
            successor.give_up();
            // It has its own bounds; its copies of the sockets are closed then.
            let _ = tokio::time::timeout(WATCHDOG, successor.ready()).await;
        }
        Ok(end)
    }

    /// SIGUSR2: starts the process that is to take over.
    fn upgrade(&self, successor: &mut Option<Successor>, doors: &Arc<Vec<(Door, OwnedFd)>>) {
        let Some(again) = self.run.again else {
            tracing::warn!("SIGUSR2: this command does not hand over");
            return;
        };
        if successor.is_some() {
            tracing::warn!("SIGUSR2: a process that is to take over is starting already");
            return;
        }
        tracing::info!("SIGUSR2: starting the process that is to take over");
        match Successor::start(again, Arc::clone(doors)) {
            Ok(started) => *successor = Some(started),
            Err(error) => not_taken(&error),
        }
    }

    /// The drain.
    async fn end(self, running: Running, end: End, interrupt: &mut Signal) -> Result<(), Failure> {
        let limit = self.gateway.snapshot().settings.server.timeouts.drain;
        tracing::info!(?limit, "draining");
        let Running {
            reloader,
            serving,
            desk,
            cancel,
        } = running;
        match end {
            End::Told => supervisor::stopping(),
            // The next process has the admin address.
            End::HandedOver => cancel.cancel(),
        }
        reloader.stop_ordering();
        self.gateway.begin_drain();
        let began = clock::monotonic();
        let mut stopping = tokio::task::spawn_blocking(move || serving.stop(limit));
        let stopped = async {
            if end == End::HandedOver {
                // Idle connections are gone then, so that hardly anybody asks for a session.
                let _ = tokio::time::timeout(GRACE, &mut stopping).await;
                self.give_up_file().await;
            }
            if stopping.is_finished() {
                return Ok(());
            }
            stopping.await
        };
        tokio::select! {
            stopped = stopped => stopped?,
            _ = interrupt.recv() => return Err(Failure::Words(CUT_OFF.to_owned())),
        }
        let left = limit.saturating_sub(clock::monotonic().saturating_duration_since(began));
        let flush = reloader.flush_traces(left.clamp(TRACES_AT_LEAST, TRACES_WITHIN));
        tokio::select! {
            () = flush => {}
            _ = interrupt.recv() => return Err(Failure::Words(CUT_OFF.to_owned())),
        }
        if end == End::Told {
            tokio::time::sleep(ADMIN_LINGER).await;
        }
        reloader.stop();
        cancel.cancel();
        let _ended = desk.await;
        tracing::info!("stopped");
        Ok(())
    }

    /// Leaves what only one process may have to the next one.
    async fn give_up_file(&self) {
        if let Some(ledger) = self.ledger()
            && let Err(error) = ledger.give_up(RENEWALS_WITHIN).await
        {
            tracing::error!(%error, "the sessions' file is not given up");
        }
    }
}

impl Signals {
    fn new() -> std::io::Result<Self> {
        Ok(Self {
            hangup: signal(SignalKind::hangup())?,
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            upgrade: signal(SignalKind::user_defined2())?,
        })
    }
}

/// Tells the process that hands over that this one is ready, where there is one, and waits for it.
async fn say_ready(heir: &mut Option<Heir>) -> Result<(), Failure> {
    let Some(heir) = heir.take() else {
        return Ok(());
    };
    let waited = tokio::task::spawn_blocking(move || heir.say_ready()).await;
    Ok(waited??)
}

/// Waits for the process that is to take over, where there is one.
async fn ready_of(successor: &mut Option<Successor>) -> Result<Ready, NotTaken> {
    match successor {
        Some(successor) => successor.ready().await.inspect_err(not_taken),
        None => std::future::pending().await,
    }
}

/// From here on the other process is the gateway.
fn hand_over(next: Ready) -> Result<(), NotTaken> {
    let process = next.process();
    // Before it is told, because it may not speak to the service manager before that.
    supervisor::main_process(process);
    match next.go() {
        Ok(()) => {
            tracing::info!(process, "handed over");
            Ok(())
        }
        Err(error) => {
            supervisor::main_process(std::process::id());
            not_taken(&error);
            Err(error)
        }
    }
}

fn not_taken(error: &NotTaken) {
    tracing::error!(problem = %error, "not handed over; this process goes on");
}
