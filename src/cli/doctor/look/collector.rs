//! Asks the collector of traces whether it would take some.

use bytes::Bytes;
use tokio::time::timeout;

use super::super::collector::answers;
use super::super::round::Look;
use super::{QUESTION, Scene};
use crate::auth::web;
use crate::auth::words::chain;
use crate::telemetry::spans::{Untaken, carrying, taken};

/// One look where there is a `[tracing]`.
pub(super) fn look(scene: &Scene) -> Option<Look<'_>> {
    let tracing = scene.settings.tracing.as_ref()?;
    let about = tracing.otlp.to_string();
    Some(Look::new("collector.answers", about.clone(), async move {
        let posted = web::send(&tracing.otlp, carrying(Bytes::new()));
        let outcome = match timeout(QUESTION, posted).await {
            Ok(Ok(answer)) => taken(&answer),
            Ok(Err(error)) => Err(Untaken::for_now(chain(&error))),
            Err(_elapsed) => Err(Untaken::for_now(format!("no answer within {QUESTION:?}"))),
        };
        vec![answers(&about, outcome.map(drop))]
    }))
}
