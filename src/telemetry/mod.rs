//! What can be seen: metrics, the log, and why a request was refused.
//!
//! [`Metrics`] is there once per process. [`Metrics::bind`] resolves every counter that a
//! configuration needs into a [`Bound`], and [`Bound::record`] ends a request: counters, log line
//! and, for a refusal, an entry in the ring that `why` asks. Labels come from the configuration,
//! never from a request. Nothing here waits: a log that cannot be written is dropped and counted.

mod access_log;
mod bound;
mod cells;
mod collect;
mod completed;
mod doors;
mod history;
mod last_reload;
mod line;
pub mod log;
mod metrics;
pub mod names;
mod process;
mod reading;
mod refusals;
pub mod secret_change;
mod secret_watch;
mod sink;
pub mod spans;
mod tables;
#[cfg(test)]
mod testing;
pub mod trace;

pub use bound::Bound;
pub use cells::{CodeCounters, Counter, Gauge, Histogram};
pub use completed::Completed;
pub use doors::{Door, Refused};
pub use history::{Durations, History, Tally};
pub use last_reload::LastReload;
pub use log::{Log, LogGuard};
pub use metrics::{Held, Metrics, OpenNow, RouteCounts};
pub use reading::{
    AcmeReading, CertificateReading, JwksReading, LimitReading, NameReading, Probe, Reading,
    ServerCounters, ServerCounts, ServerReading, SessionsReading, StoreReading,
};
pub use refusals::{Refusal, Refusals};
pub use secret_watch::{SecretChange, SecretWatch};
pub use tables::{
    AuthenticatorMetrics, ByStatus, ELSEWHERE, MethodClass, PreflightMetrics, RouteMetrics,
};
pub use trace::{Step, StepVerdict, Trace};
