//! Spans: what a sampled request did and when, for a collector of traces.
//!
//! A request that is not sampled has no [`Recording`] and costs a look whether there is one. What is
//! recorded are plain values; the one task that exports them makes OTLP of them. Nobody else waits
//! for the collector: what finds no room in the queue, and what the collector does not take after a
//! few tries, is lost and counted. No credential, cookie or query stands in a span.

mod context;
mod export;
mod finished;
mod otlp;
mod recording;
#[cfg(test)]
mod testing;
mod tracer;

pub use context::TraceContext;
pub use export::{Exporter, Post, Posted, Untaken, carrying, taken};
pub use finished::Finished;
pub use recording::{Current, Recording, Step, Try, What, current, under};
pub use tracer::{SpanCounts, Tracer};
