//! `portcullis run`: serves until it is told to stop.

use std::io::Write;
use std::path::Path;
use std::process::ExitCode;
use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::clock;
use crate::gateway::Gateway;
use crate::reload::watch::FileWatch;
use crate::reload::{self, Reloader};
use crate::telemetry::{LogGuard, Metrics, Probe, SecretWatch, log};
use crate::{admin, server};

/// How long the admin address stays up after the last request, so that a probe sees the 503.
const ADMIN_LINGER: Duration = Duration::from_millis(50);
/// What Ctrl-C means while the gateway is stopping. Another SIGTERM means nothing new: supervisors
/// send it twice, to the process and to its group.
const CUT_OFF: &str = "interrupted while stopping: what was in flight is cut off";
/// How often the workers are looked after.
const WATCHDOG: Duration = Duration::from_secs(1);

/// Serves the configuration in `file`. `ready` is called once everything listens.
///
/// Exit 0 after a drain; 1 when the configuration has mistakes or an address is taken.
pub(super) fn run(file: &Path, err: &mut dyn Write, ready: &mut dyn FnMut()) -> ExitCode {
    let mut loaded = match reload::load(file) {
        Ok(loaded) => loaded,
        Err(problems) => return super::problems(&problems, err),
    };
    let log = match log::init(&loaded.settings.log) {
        Ok(guard) => Arc::new(guard),
        Err(error) => {
            super::complain(err, &format_args!("the log cannot be started: {error}"));
            return ExitCode::FAILURE;
        }
    };
    let metrics = Arc::new(Metrics::new(log.log(), clock::now()));
    let warnings = std::mem::take(&mut loaded.warnings);
    let first = match reload::build(loaded, None, &metrics) {
        Ok(first) => first,
        Err(problems) => return super::problems(&problems, err),
    };
    for warning in warnings {
        tracing::warn!("{warning}");
    }
    match serve(file, first, &metrics, &log, ready) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error}");
            super::complain(err, &error);
            ExitCode::FAILURE
        }
    }
}

fn serve(
    file: &Path,
    first: crate::gateway::Snapshot,
    metrics: &Arc<Metrics>,
    log: &Arc<LogGuard>,
    ready: &mut dyn FnMut(),
) -> Result<(), Box<dyn std::error::Error>> {
    let settings = first.settings.server.clone();
    let bound = server::bind(&settings)?;
    let admin = server::listen(settings.admin).map_err(|error| {
        format!(
            "cannot listen on {} (server.admin): {error}",
            settings.admin
        )
    })?;
    for (door, address) in bound.addresses() {
        tracing::info!(door = door.as_str(), %address, "listening");
    }
    tracing::info!(door = "admin", address = %admin.local_addr()?, "listening");
    first.report_certificates();
    let gateway = Arc::new(Gateway::new(first, Arc::clone(metrics)));
    let probe: Weak<dyn Probe> = Arc::downgrade(&(Arc::clone(&gateway) as Arc<dyn Probe>));
    metrics.ask(probe);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let ended = runtime.block_on(keep(file, &gateway, log, (bound, admin), ready));
    runtime.shutdown_timeout(Duration::from_secs(1));
    ended
}

/// Everything that is not a request: admin, reloads, background work, signals, drain.
async fn keep(
    file: &Path,
    gateway: &Arc<Gateway>,
    log: &Arc<LogGuard>,
    (bound, admin): (server::Bound, std::net::TcpListener),
    ready: &mut dyn FnMut(),
) -> Result<(), Box<dyn std::error::Error>> {
    let mut hangup = signal(SignalKind::hangup())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let reloader = Arc::new(Reloader::new(
        file.to_owned(),
        Arc::clone(gateway),
        Arc::clone(log),
    ));
    let mut files = FileWatch::start(reloader.watched())?;
    let cancel = CancellationToken::new();
    let state = admin::AdminState::new(Arc::clone(gateway));
    let desk = tokio::spawn(admin::serve(
        TcpListener::from_std(admin)?,
        state,
        cancel.clone(),
    ));
    let serving = bound.serve(gateway, gateway.snapshot().settings.server.workers)?;
    let mut watchdog = tokio::time::interval(WATCHDOG);
    let mut secrets = SecretWatch::new(clock::monotonic());
    tracing::info!(version = env!("CARGO_PKG_VERSION"), "ready");
    ready();
    loop {
        tokio::select! {
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
            _ = hangup.recv() => {
                reloader.reload("SIGHUP").await;
                files.replace(reloader.watched());
            }
            Some(changed) = files.changed() => {
                reloader.files_changed(&changed).await;
                files.replace(reloader.watched());
            }
            _ = watchdog.tick() => {
                secrets.look(&gateway.metrics, clock::monotonic(), clock::now());
                if serving.is_broken() {
                    return Err("a worker ended; see the log".into());
                }
            }
        }
    }
    let limit = gateway.snapshot().settings.server.timeouts.drain;
    tracing::info!(?limit, "draining");
    gateway.begin_drain();
    let stopping = tokio::task::spawn_blocking(move || serving.stop(limit));
    tokio::select! {
        stopped = stopping => stopped?,
        _ = interrupt.recv() => return Err(CUT_OFF.into()),
    }
    tokio::time::sleep(ADMIN_LINGER).await;
    reloader.stop();
    cancel.cancel();
    let _ended = desk.await;
    tracing::info!("stopped");
    Ok(())
}
