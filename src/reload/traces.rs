//! The tasks that export traces: one for each `[tracing]` that requests under way began with.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::auth::web;
use crate::auth::words::chain;
use crate::telemetry::spans::{Post, Tracer};

/// The tasks that export, and what tells them to come to an end.
#[derive(Debug, Default)]
pub(super) struct Exporting {
    tasks: Mutex<JoinSet<()>>,
    stop: CancellationToken,
}

impl Exporting {
    /// Starts the task of a tracer that has none. One that nobody samples for any more ends by
    /// itself, when it has exported what waits.
    pub(super) fn start(&self, tracer: Option<&Tracer>) {
        let mut tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner);
        while tasks.try_join_next().is_some() {}
        if let Some(exporter) = tracer.and_then(Tracer::exporter) {
            tasks.spawn(exporter.run(post(), self.stop.clone()));
        }
    }

    /// Has what waits exported, and ends what is not done within `limit`.
    pub(super) async fn flush(&self, limit: Duration) {
        self.stop.cancel();
        let mut tasks = {
            let mut tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner);
            std::mem::take(&mut *tasks)
        };
        let all = async { while tasks.join_next().await.is_some() {} };
        if tokio::time::timeout(limit, all).await.is_err() {
            tracing::warn!(
                ?limit,
                "the last traces are lost: the collector takes too long"
            );
        }
    }
}

/// How a collector is asked: over a connection of its own, in bounds.
fn post() -> Post {
    Box::new(|url, request| {
        Box::pin(async move {
            let answer = web::send(&url, request).await;
            answer.map_err(|error| chain(&error))
        })
    })
}
