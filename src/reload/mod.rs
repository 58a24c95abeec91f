//! Takes up a changed configuration: all of it, or nothing.
//!
//! SIGHUP and a change of any file that the configuration names lead here. A configuration with an
//! error changes nothing and is reported; requests under way keep the snapshot they began with.

mod traces;
pub mod watch;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::clock;
use crate::config::settings::Settings;
use crate::config::{self, Loaded, Problem, ProcessEnvironment};
use crate::gateway::{BuildProblem, Gateway, Snapshot};
use crate::store::ledger::Opening;
use crate::telemetry::{LastReload, LogGuard, Metrics};
use crate::tls::{Acme, Outcome, Refreshed};
use traces::Exporting;

/// Why certificates were read again.
const RENEWAL: &str = "a certificate changed";

/// What a reload came to.
#[derive(Debug)]
pub enum Reloaded {
    /// The new configuration is in force.
    Taken,
    /// It has mistakes; the old one stays.
    Refused(Vec<Problem>),
}

/// Builds and swaps snapshots, one at a time.
#[derive(Debug)]
pub struct Reloader {
    file: PathBuf,
    gateway: Arc<Gateway>,
    log: Arc<LogGuard>,
    /// Ends the background work of the snapshot in force.
    background: Mutex<CancellationToken>,
    /// What orders certificates now, and ends it. It goes on over reloads that leave it as it is.
    ordering: Mutex<Option<(Arc<Acme>, CancellationToken)>>,
    /// What exports traces. Each goes on until nobody samples for it.
    exporting: Exporting,
    /// One reload at a time.
    turn: tokio::sync::Mutex<()>,
}

/// Reads and compiles the file. Blocks on files.
///
/// # Errors
///
/// Every mistake, with its place.
pub fn load(file: &Path) -> Result<Loaded, Vec<Problem>> {
    config::load(file, &ProcessEnvironment).map_err(|report| report.problems)
}

/// Builds what a configuration asks for, from everything that it names. Blocks on files.
///
/// # Errors
///
/// Every mistake, with its place.
pub fn build(
    loaded: Loaded,
    previous: Option<&Snapshot>,
    metrics: &Metrics,
) -> Result<Snapshot, Vec<Problem>> {
    build_when(loaded, previous, metrics, Opening::AtOnce)
}

/// The same, where a process that hands over may have the file of the gateway's own sessions.
///
/// # Errors
///
/// Every mistake, with its place.
pub fn build_when(
    loaded: Loaded,
    previous: Option<&Snapshot>,
    metrics: &Metrics,
    opening: Opening,
) -> Result<Snapshot, Vec<Problem>> {
    let places = loaded.places.clone();
    Snapshot::assemble_when(loaded, previous, metrics, opening).map_err(|problems| {
        let place = |problem: BuildProblem| Problem::at_key(&places, &problem.key, problem.message);
        problems.into_iter().map(place).collect()
    })
}

/// Every file that a snapshot of the configuration in `file` was made from.
#[must_use]
pub fn watched(file: &Path, gate: &Snapshot) -> Vec<PathBuf> {
    let mut files = gate.settings.watched.clone();
    files.extend(gate.tls.files());
    files.push(file.to_owned());
    files.sort_unstable();
    files.dedup();
    files
}

impl Reloader {
    /// Looks after the snapshot that is in force.
    #[must_use]
    pub fn new(file: PathBuf, gateway: Arc<Gateway>, log: Arc<LogGuard>) -> Self {
        let reloader = Self {
            file,
            gateway,
            log,
            background: Mutex::default(),
            ordering: Mutex::default(),
            exporting: Exporting::default(),
            turn: tokio::sync::Mutex::default(),
        };
        reloader.start_background();
        reloader
    }

    /// The files to watch now.
    #[must_use]
    pub fn watched(&self) -> Vec<PathBuf> {
        watched(&self.file, &self.gateway.snapshot())
    }

    /// Takes up what changed in these files: certificates without a reload, anything else with one.
    pub async fn files_changed(&self, files: &[PathBuf]) {
        let tls = Arc::clone(&self.gateway.snapshot().tls);
        if !files.iter().all(|file| tls.owns(file)) {
            self.reload("a file changed").await;
            return;
        }
        let _turn = self.turn.lock().await;
        let refreshed = tokio::task::spawn_blocking(move || tls.refresh(clock::now())).await;
        let refreshed = refreshed.unwrap_or_default();
        let refused = |one: &Refreshed| matches!(one.outcome, Outcome::Refused(_));
        let metrics = &self.gateway.metrics;
        if refreshed.iter().any(refused) {
            metrics.reload_failed();
            let problems: Vec<_> = refreshed.iter().filter_map(refusal).collect();
            let problems = problems.into_iter();
            metrics.tell_reload(LastReload::refused(RENEWAL, clock::now(), problems));
        } else if refreshed.iter().any(Refreshed::is_renewed) {
            metrics.reload_succeeded(clock::now());
            metrics.tell_reload(LastReload::taken(RENEWAL, clock::now()));
        }
        for one in refreshed {
            match one.outcome {
                Outcome::Unchanged => {}
                Outcome::Renewed => {
                    tracing::info!(key = one.key, file = %one.file.display(), "took up a renewed certificate");
                }
                Outcome::Refused(error) => {
                    tracing::error!(
                        key = one.key,
                        file = %one.file.display(),
                        problem = error.line(),
                        "refused a renewed certificate; the old one stays"
                    );
                }
            }
        }
        self.gateway.snapshot().report_certificates();
    }

    /// Loads, builds and swaps. On a mistake the old configuration stays.
    pub async fn reload(&self, why: &'static str) -> Reloaded {
        let _turn = self.turn.lock().await;
        let (file, gateway) = (self.file.clone(), Arc::clone(&self.gateway));
        let built = tokio::task::spawn_blocking(move || {
            let old = gateway.snapshot();
            let mut loaded = load(&file)?;
            let stuck = needs_restart(&old.settings, &loaded.settings);
            if !stuck.is_empty() {
                return Err(stuck);
            }
            let warnings = std::mem::take(&mut loaded.warnings);
            Ok((build(loaded, Some(&old), &gateway.metrics)?, warnings))
        })
        .await
        .unwrap_or_else(|failed| {
            Err(vec![Problem::new(
                "",
                format!("the reload failed: {failed}"),
            )])
        });
        match built {
            Ok((next, warnings)) => {
                for warning in warnings {
                    tracing::warn!("{warning}");
                }
                next.report_certificates();
                self.log.apply(&next.settings.log);
                self.gateway.swap(next);
                self.start_background();
                // Told last: who waits for it finds the new rules in force.
                let metrics = &self.gateway.metrics;
                metrics.tell_reload(LastReload::taken(why, clock::now()));
                metrics.reload_succeeded(clock::now());
                tracing::info!(
                    why,
                    generation = self.gateway.generation(),
                    "the configuration was reloaded"
                );
                Reloaded::Taken
            }
            Err(problems) => {
                for problem in &problems {
                    tracing::error!(why, "{problem}");
                }
                tracing::error!(
                    why,
                    mistakes = problems.len(),
                    "the configuration was not taken; the old one stays"
                );
                let told = problems.iter().map(Problem::to_string);
                let told = LastReload::refused(why, clock::now(), told);
                self.gateway.metrics.tell_reload(told);
                self.gateway.metrics.reload_failed();
                Reloaded::Refused(problems)
            }
        }
    }

    /// Starts the background work of the snapshot in force and ends that of the one before.
    fn start_background(&self) {
        let cancel = CancellationToken::new();
        let gate = self.gateway.snapshot();
        tokio::spawn(Arc::clone(&gate.authenticators).keep_fresh(cancel.clone()));
        if let Some(sign_in) = gate.sign_in.clone() {
            tokio::spawn(sign_in.clone().keep_fresh(cancel.clone()));
            tokio::spawn(sign_in.follow(cancel.clone()));
        }
        self.start_ordering(&gate);
        tokio::spawn(Arc::clone(&gate).follow_names(cancel.clone()));
        self.exporting.start(gate.traces.as_deref());
        tokio::spawn(Arc::clone(&gate).check_servers(cancel.clone()));
        tokio::spawn(gate.ask_again(cancel.clone()));
        let mut current = self
            .background
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        std::mem::replace(&mut *current, cancel).cancel();
    }

    /// Has certificates ordered, unless the same is under way already.
    fn start_ordering(&self, gate: &Snapshot) {
        // What was issued while the snapshot was built.
        gate.tls.take_ordered();
        let wanted = gate.tls.acme();
        let mut ordering = self.ordering.lock().unwrap_or_else(PoisonError::into_inner);
        let is_same = match (&*ordering, wanted) {
            (Some((now, _)), Some(wanted)) => Arc::ptr_eq(now, wanted),
            (None, None) => true,
            (Some(_), None) | (None, Some(_)) => false,
        };
        if is_same {
            return;
        }
        if let Some((_, cancel)) = ordering.take() {
            cancel.cancel();
        }
        *ordering = wanted.map(|acme| {
            let (cancel, gateway) = (CancellationToken::new(), Arc::clone(&self.gateway));
            // With whatever snapshot is in force when a certificate comes.
            let took = move || gateway.snapshot().tls.take_ordered();
            tokio::spawn(Arc::clone(acme).keep(cancel.clone(), took));
            (Arc::clone(acme), cancel)
        });
    }

    /// Orders no certificate any more: a CA that looks does not come to this process from now on.
    pub fn stop_ordering(&self) {
        let mut ordering = self.ordering.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, cancel)) = ordering.take() {
            cancel.cancel();
        }
    }

    /// Has what waits of traces exported, for as long as `limit`. Nothing is exported after.
    pub async fn flush_traces(&self, limit: Duration) {
        self.exporting.flush(limit).await;
    }

    /// Ends the background work.
    pub fn stop(&self) {
        self.stop_ordering();
        self.background
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .cancel();
    }
}

/// What a renewed certificate that was refused is told as.
fn refusal(one: &Refreshed) -> Option<String> {
    let Outcome::Refused(error) = &one.outcome else {
        return None;
    };
    Some(format!(
        "{}: {}: {}",
        one.key,
        one.file.display(),
        error.line()
    ))
}

/// What cannot change while the gateway runs: addresses are bound and threads are there.
fn needs_restart(old: &Settings, new: &Settings) -> Vec<Problem> {
    let changed = [
        ("server.https", old.server.https != new.server.https),
        ("server.http", old.server.http != new.server.http),
        ("server.plain", old.server.plain != new.server.plain),
        ("server.admin", old.server.admin != new.server.admin),
        ("server.workers", old.server.workers != new.server.workers),
    ];
    let stuck = changed.into_iter().filter(|(_, changed)| *changed);
    stuck
        .map(|(key, _)| {
            Problem::new(
                key,
                "changed, which a reload cannot take up: restart the gateway",
            )
        })
        .collect()
}
