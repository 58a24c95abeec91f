//! `portcullis run`: serves until it is told to stop, or until another process has taken over.

mod channel;
mod heir;
mod keep;
mod successor;
mod supervisor;

use std::io::Write;
use std::path::Path;
use std::process::ExitCode;
use std::sync::{Arc, Weak};
use std::time::Duration;

use crate::clock;
use crate::config::{Loaded, Problem};
use crate::gateway::Gateway;
use crate::reload;
use crate::server::{self, Inheritance};
use crate::store::ledger::Opening;
use crate::telemetry::{LogGuard, Metrics, Probe, log};
use heir::Heir;
pub(super) use successor::Again;

/// What a run is about.
#[derive(Clone, Copy, Debug)]
pub(super) struct Run<'a> {
    /// The configuration.
    pub(super) file: &'a Path,
    /// How this process was started, so that SIGUSR2 starts the next one so; `None` where it does not.
    pub(super) again: Option<&'a Again>,
}

/// Why it does not serve, or serves no longer.
#[derive(Debug)]
enum Failure {
    /// Mistakes in the configuration.
    Mistakes(Vec<Problem>),
    /// Anything else.
    Words(String),
}

impl<E: std::error::Error> From<E> for Failure {
    fn from(error: E) -> Self {
        Self::Words(error.to_string())
    }
}

impl Failure {
    /// On one line, for the process that waits for this one.
    fn line(&self) -> String {
        match self {
            Self::Mistakes(problems) => {
                let lines: Vec<_> = problems.iter().map(ToString::to_string).collect();
                lines.join("; ")
            }
            Self::Words(words) => words.clone(),
        }
    }

    fn tell(&self, err: &mut dyn Write) -> ExitCode {
        match self {
            Self::Mistakes(problems) => super::problems(problems, err),
            Self::Words(words) => {
                super::complain(err, words);
                ExitCode::FAILURE
            }
        }
    }
}

/// Serves the configuration. `ready` is called once everything listens.
///
/// Exit 0 after a drain; 1 when the configuration has mistakes or an address is taken.
pub(super) fn run(run: Run<'_>, err: &mut dyn Write, ready: &mut dyn FnMut()) -> ExitCode {
    // First of all: it changes the environment, which nobody else may read meanwhile.
    let passed = Inheritance::from_manager();
    let mut heir = None;
    let began = match (passed, Heir::take()) {
        (Err(unfit), _) => Err(unfit.into()),
        (_, Err(broken)) => Err(broken.into()),
        (Ok(passed), Ok(None)) => begin(run, passed, &mut heir, ready),
        (Ok(_), Ok(Some((found, inheritance)))) => {
            heir = Some(found);
            begin(run, inheritance, &mut heir, ready)
        }
    };
    match began {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            if let Some(heir) = heir {
                heir.fails(&failure.line());
            }
            failure.tell(err)
        }
    }
}

fn begin(
    run: Run<'_>,
    inheritance: Inheritance,
    heir: &mut Option<Heir>,
    ready: &mut dyn FnMut(),
) -> Result<(), Failure> {
    let loaded = reload::load(run.file).map_err(Failure::Mistakes)?;
    let log = log::init(&loaded.settings.log);
    let log = log.map_err(|error| Failure::Words(format!("the log cannot be started: {error}")))?;
    let log = Arc::new(log);
    let served = serve(run, loaded, inheritance, (&log, heir), ready);
    if let Err(failure @ Failure::Words(_)) = &served {
        // While there is a log.
        tracing::error!("{}", failure.line());
    }
    served
}

fn serve(
    run: Run<'_>,
    mut loaded: Loaded,
    inheritance: Inheritance,
    (log, heir): (&Arc<LogGuard>, &mut Option<Heir>),
    ready: &mut dyn FnMut(),
) -> Result<(), Failure> {
    let metrics = Arc::new(Metrics::new(log.log(), clock::now()));
    let warnings = std::mem::take(&mut loaded.warnings);
    let opening = heir.as_ref().map_or(Opening::AtOnce, Heir::opening);
    let first = reload::build_when(loaded, None, &metrics, opening).map_err(Failure::Mistakes)?;
    for warning in warnings {
        tracing::warn!("{warning}");
    }
    let bound = server::bind(&first.settings.server, inheritance)?;
    for (door, address) in bound.addresses() {
        tracing::info!(door = door.as_str(), %address, "listening");
    }
    first.report_certificates();
    let gateway = Arc::new(Gateway::new(first, Arc::clone(&metrics)));
    let probe: Weak<dyn Probe> = Arc::downgrade(&(Arc::clone(&gateway) as Arc<dyn Probe>));
    metrics.ask(probe);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let keeper = keep::Keeper {
        run,
        gateway: &gateway,
        log,
    };
    let ended = runtime.block_on(keeper.keep(bound, heir, ready));
    runtime.shutdown_timeout(Duration::from_secs(1));
    ended
}
