//! The log of the process: requests and events of the operator, same format, same writer.
//!
//! Events go through `tracing`. Other crates' events show from `warn` up only: their `debug` and
//! `trace` may hold headers.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};

use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Registry, reload};

use crate::clock::{self, Timestamp};
use crate::config::settings;
use crate::telemetry::line::{self, Format, Line};
use crate::telemetry::sink::{Closer, Sink};

pub(super) use tracing::Level as TracingLevel;

/// How much a line matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Level {
    /// Something failed.
    Error,
    /// Something was refused, or needs attention.
    Warn,
    /// Everything else of a request.
    Info,
}

impl Level {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warn => "warn",
            Self::Info => "info",
        }
    }
}

/// The way into the log. Cheap to clone; [`Log::none`] writes nothing.
#[derive(Clone, Debug, Default)]
pub struct Log(Option<Arc<Output>>);

#[derive(Debug)]
struct Output {
    sink: Arc<Sink>,
    text: AtomicBool,
    access: AtomicBool,
    /// Highest rank written; see [`rank`].
    level: AtomicU8,
}

const fn rank(level: settings::LogLevel) -> u8 {
    match level {
        settings::LogLevel::Error => 0,
        settings::LogLevel::Warn => 1,
        settings::LogLevel::Info => 2,
        settings::LogLevel::Debug => 3,
        settings::LogLevel::Trace => 4,
    }
}

impl Log {
    /// Writes nothing.
    #[must_use]
    pub const fn none() -> Self {
        Self(None)
    }

    pub(super) fn start(
        settings: &settings::Log,
        out: impl io::Write + Send + 'static,
    ) -> io::Result<(Self, Closer)> {
        let (sink, closer) = Sink::start(out)?;
        let log = Self(Some(Arc::new(Output {
            sink,
            text: AtomicBool::default(),
            access: AtomicBool::default(),
            level: AtomicU8::default(),
        })));
        log.set(settings);
        Ok((log, closer))
    }

    fn set(&self, settings: &settings::Log) {
        if let Some(output) = &self.0 {
            output.text.store(!settings.json, Ordering::Relaxed);
            output.access.store(settings.access, Ordering::Relaxed);
            output.level.store(rank(settings.level), Ordering::Relaxed);
        }
    }

    /// Lines that were not written.
    pub(super) fn dropped_lines(&self) -> u64 {
        self.0.as_ref().map_or(0, |output| output.sink.dropped())
    }

    /// Whether requests of this level have their line.
    pub(super) fn writes_access(&self, level: Level) -> bool {
        self.0.as_ref().is_some_and(|output| {
            output.access.load(Ordering::Relaxed)
                && level as u8 <= output.level.load(Ordering::Relaxed)
        })
    }

    /// Writes one line.
    pub(super) fn line(&self, level: Level, at: Timestamp, fill: impl FnOnce(&mut Line<'_>)) {
        self.write(level.as_str(), at, fill);
    }

    fn write(&self, level: &'static str, at: Timestamp, fill: impl FnOnce(&mut Line<'_>)) {
        let Some(output) = &self.0 else { return };
        let format = if output.text.load(Ordering::Relaxed) {
            Format::Text
        } else {
            Format::Json
        };
        line::write(format, at, level, fill, |bytes| output.sink.push(bytes));
    }
}

/// Keeps the log going. Dropped at the very end, it waits up to a second for the last lines.
#[derive(Debug)]
#[must_use = "the log ends when this is dropped"]
pub struct LogGuard {
    log: Log,
    filter: Option<reload::Handle<Targets, Registry>>,
    _closer: Closer,
}

impl LogGuard {
    /// The way into the log.
    #[must_use]
    pub fn log(&self) -> Log {
        self.log.clone()
    }

    /// Takes up format, level and access of a reloaded configuration.
    pub fn apply(&self, settings: &settings::Log) {
        self.log.set(settings);
        if let Some(filter) = &self.filter
            && let Err(error) = filter.reload(targets(settings.level))
        {
            tracing::warn!(%error, "the log's level stays as it was");
        }
    }
}

/// Starts the log of the process on standard output and takes `tracing`'s events into it.
///
/// # Errors
///
/// When the system gives no thread, or a log was started before.
pub fn init(settings: &settings::Log) -> io::Result<LogGuard> {
    let (log, closer) = Log::start(settings, io::stdout())?;
    let (filter, handle) = reload::Layer::new(targets(settings.level));
    tracing_subscriber::registry()
        .with(filter)
        .with(Events(log.clone()))
        .try_init()
        .map_err(io::Error::other)?;
    Ok(LogGuard {
        log,
        filter: Some(handle),
        _closer: closer,
    })
}

fn targets(level: settings::LogLevel) -> Targets {
    let own = match level {
        settings::LogLevel::Error => LevelFilter::ERROR,
        settings::LogLevel::Warn => LevelFilter::WARN,
        settings::LogLevel::Info => LevelFilter::INFO,
        settings::LogLevel::Debug => LevelFilter::DEBUG,
        settings::LogLevel::Trace => LevelFilter::TRACE,
    };
    Targets::new()
        .with_target(env!("CARGO_CRATE_NAME"), own)
        .with_default(own.min(LevelFilter::WARN))
}

/// Takes `tracing`'s events.
struct Events(Log);

impl<S: tracing::Subscriber> Layer<S> for Events {
    fn on_event(&self, event: &tracing::Event<'_>, _: Context<'_, S>) {
        let metadata = event.metadata();
        let level = match *metadata.level() {
            TracingLevel::ERROR => "error",
            TracingLevel::WARN => "warn",
            TracingLevel::INFO => "info",
            TracingLevel::DEBUG => "debug",
            TracingLevel::TRACE => "trace",
        };
        self.0.write(level, clock::now(), |line| {
            event.record(&mut Message(line));
            event.record(&mut Fields(line));
            if metadata.target().split("::").next() != Some(env!("CARGO_CRATE_NAME")) {
                line.text("target", metadata.target());
            }
        });
    }
}

const MESSAGE: &str = "message";

/// Writes the message of an event.
struct Message<'l, 'a>(&'l mut Line<'a>);

impl Visit for Message<'_, '_> {
    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == MESSAGE {
            self.0.headline(MESSAGE, value);
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if field.name() == MESSAGE {
            self.0.headline(MESSAGE, &format!("{value:?}"));
        }
    }
}

/// Writes everything but the message of an event.
struct Fields<'l, 'a>(&'l mut Line<'a>);

impl Visit for Fields<'_, '_> {
    fn record_u64(&mut self, field: &Field, value: u64) {
        self.0.number(field.name(), value);
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.0.bare(field.name(), value);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.0.bare(field.name(), value);
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() != MESSAGE {
            self.0.text(field.name(), value);
        }
    }

    fn record_error(&mut self, field: &Field, value: &(dyn std::error::Error + 'static)) {
        let mut text = value.to_string();
        let mut cause = value.source();
        while let Some(error) = cause {
            text.push_str(": ");
            text.push_str(&error.to_string());
            cause = error.source();
        }
        self.0.text(field.name(), &text);
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if field.name() != MESSAGE {
            self.0.display(field.name(), format_args!("{value:?}"));
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;
    use settings::LogLevel;

    use super::*;
    use crate::telemetry::testing::Kept;

    const SETTINGS: settings::Log = settings::Log {
        json: true,
        level: LogLevel::Info,
        access: true,
    };

    #[test]
    fn events_of_the_operator_have_the_format_of_requests() {
        let kept = Kept::default();
        let (log, closer) = Log::start(&SETTINGS, kept.clone()).unwrap();
        let (filter, handle) = reload::Layer::new(targets(LogLevel::Info));
        let subscriber = tracing_subscriber::registry()
            .with(filter)
            .with(Events(log));
        tracing::subscriber::with_default(subscriber, || {
            let error = io::Error::other("file\nis gone");
            tracing::info!(
                routes = 3,
                error = &error as &dyn std::error::Error,
                "took up {}",
                "it"
            );
            tracing::debug!("not shown yet");
            handle.reload(targets(LogLevel::Debug)).unwrap();
            tracing::debug!(good = true, "shown now");
            tracing::debug!(target: "h2::codec", "headers of others are never shown");
            tracing::warn!(target: "rustls::conn", "theirs");
        });
        drop(closer);
        let lines: Vec<Value> = (kept.text().lines())
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        assert_eq!(lines.len(), 3, "{lines:?}");
        assert_eq!(lines[0]["message"], "took up it");
        assert_eq!(lines[0]["routes"], 3);
        assert_eq!(lines[0]["error"], "file\nis gone");
        assert_eq!(lines[0]["level"], "info");
        assert_eq!(lines[1]["good"], true);
        assert_eq!(lines[2]["target"], "rustls::conn");
    }

    #[test]
    fn a_log_that_is_nowhere_takes_lines() {
        let log = Log::none();
        log.line(Level::Error, Timestamp::MAX, |line| line.text("a", "b"));
        assert_eq!(
            (log.dropped_lines(), log.writes_access(Level::Error)),
            (0, false)
        );
    }
}
