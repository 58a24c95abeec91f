//! What is recorded of one sampled request while it is under way.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use http::HeaderValue;

use super::context::{TraceContext, new_span};
use crate::clock;
use crate::config::settings::UpstreamServer;
use crate::policy::denial::Code;

/// Steps kept of one request; those beyond are left out.
const MOST_STEPS: usize = 64;
/// The longest `tracestate` that stands in spans, in bytes (W3C Trace Context §3.3.1.5). A longer one
/// goes to the app all the same.
const MOST_STATE: usize = 512;

tokio::task_local! {
    /// Where what the request under way asks of stores is recorded.
    static CURRENT: Current;
}

/// A sampled request.
#[derive(Debug)]
pub struct Recording {
    pub(super) trace: u128,
    /// The span of whoever sent the request.
    pub(super) parent: Option<u64>,
    pub(super) span: u64,
    pub(super) flags: u8,
    pub(super) state: Option<Box<str>>,
    authentication: u64,
    pub(super) steps: Arc<Steps>,
}

/// The steps of one request.
#[derive(Debug, Default)]
pub(super) struct Steps(Mutex<Vec<Step>>);

/// One step of a request: a span.
#[derive(Debug)]
pub struct Step {
    pub(super) id: u64,
    pub(super) parent: u64,
    pub(super) began: Instant,
    pub(super) ended: Instant,
    pub(super) what: What,
}

/// What a step did.
#[derive(Debug)]
pub enum What {
    /// The route's authenticators were asked.
    Authentication {
        /// The name of the one that decided.
        authenticator: Option<Arc<str>>,
        /// Its refusal; `None` where it held.
        code: Option<Code>,
        /// Whether its verdict was known from before.
        reused: bool,
    },
    /// A store was asked.
    Store {
        /// Which, without credentials: `PostgreSQL at db:5432/shop`.
        shown: Arc<str>,
        /// Whether there was no answer.
        failed: bool,
    },
    /// The request was sent to a server of an app.
    Upstream(Box<Try>),
}

/// One server that was tried.
#[derive(Debug)]
pub struct Try {
    /// The upstream's name.
    pub upstream: Arc<str>,
    /// The server.
    pub server: UpstreamServer,
    /// The path that it was asked for, without the query.
    pub path: Box<str>,
    /// Servers tried before it.
    pub before: u32,
    /// The status of its answer, or the code of what went wrong.
    pub outcome: Result<u16, Code>,
}

/// Where steps are recorded, and under which span.
#[derive(Clone, Debug)]
pub struct Current {
    steps: Arc<Steps>,
    parent: u64,
}

impl Recording {
    /// Records a request that begins a trace, as `context` says; its span is the trace's first.
    #[must_use]
    pub fn root(context: TraceContext) -> Self {
        Self::new(context, None, context.span, None)
    }

    /// Records a request that belongs to the sender's trace.
    #[must_use]
    pub fn child(context: TraceContext, state: Option<&HeaderValue>) -> Self {
        let state = state.filter(|state| state.len() <= MOST_STATE);
        let state = state.and_then(|state| state.to_str().ok()).map(Box::from);
        Self::new(context, Some(context.span), new_span(), state)
    }

    fn new(context: TraceContext, parent: Option<u64>, span: u64, state: Option<Box<str>>) -> Self {
        Self {
            trace: context.trace,
            parent,
            span,
            flags: context.flags,
            state,
            authentication: new_span(),
            steps: Arc::default(),
        }
    }

    /// The context of a child of the request's own span.
    #[must_use]
    pub const fn context(&self) -> TraceContext {
        self.context_of(self.span)
    }

    const fn context_of(&self, span: u64) -> TraceContext {
        TraceContext {
            trace: self.trace,
            span,
            flags: self.flags,
        }
    }

    /// An id for a try at a server, and the `traceparent` that the server gets with it.
    #[must_use]
    pub fn next(&self) -> (u64, HeaderValue) {
        let id = new_span();
        (id, self.context_of(id).header())
    }

    /// A try that ends now, under the id that [`Self::next`] gave.
    pub fn tried(&self, id: u64, began: Instant, one: Try) {
        self.add(id, began, What::Upstream(Box::new(one)));
    }

    /// The authentication, which ends now.
    pub fn authenticated(
        &self,
        began: Instant,
        authenticator: Option<Arc<str>>,
        (code, reused): (Option<Code>, bool),
    ) {
        let what = What::Authentication {
            authenticator,
            code,
            reused,
        };
        self.add(self.authentication, began, what);
    }

    fn add(&self, id: u64, began: Instant, what: What) {
        self.steps.add(Step {
            id,
            parent: self.span,
            began,
            ended: clock::monotonic(),
            what,
        });
    }

    /// Where steps of the request itself are recorded.
    #[must_use]
    pub fn here(&self) -> Current {
        self.under(self.span)
    }

    /// Where steps of the authentication are recorded.
    #[must_use]
    pub fn authenticating(&self) -> Current {
        self.under(self.authentication)
    }

    fn under(&self, parent: u64) -> Current {
        Current {
            steps: Arc::clone(&self.steps),
            parent,
        }
    }
}

impl Steps {
    fn add(&self, step: Step) {
        let mut steps = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if steps.len() < MOST_STEPS {
            steps.push(step);
        }
    }

    /// Takes out what was recorded.
    pub(super) fn take(&self) -> Vec<Step> {
        std::mem::take(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).len()
    }
}

impl Current {
    /// Records a question to a store that ends now.
    pub fn asked(&self, shown: &Arc<str>, began: Instant, failed: bool) {
        self.steps.add(Step {
            id: new_span(),
            parent: self.parent,
            began,
            ended: clock::monotonic(),
            what: What::Store {
                shown: Arc::clone(shown),
                failed,
            },
        });
    }
}

/// Where the request under way is recorded; `None` where it is not, or none is.
#[must_use]
pub fn current() -> Option<Current> {
    CURRENT.try_with(Clone::clone).ok()
}

/// Does `work`, with what it asks of stores recorded at `place`. Borrows the work, so that it does
/// not stand in the caller's future twice.
pub async fn under<F: Future>(place: Option<Current>, mut work: Pin<&mut F>) -> F::Output {
    poll_fn(|cx| match &place {
        None => work.as_mut().poll(cx),
        Some(place) => CURRENT.sync_scope(place.clone(), || work.as_mut().poll(cx)),
    })
    .await
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use super::*;

    fn recording() -> Recording {
        Recording::root(TraceContext::begin().sampled())
    }

    #[tokio::test]
    async fn a_store_is_recorded_under_the_step_that_asks_it() {
        let recording = recording();
        let shown: Arc<str> = "Redis at cache:6379".into();
        let ask = async || {
            let place = current().unwrap();
            tokio::task::yield_now().await;
            place.asked(&shown, clock::monotonic(), false);
        };
        let work = pin!(async {
            let inner = pin!(ask());
            under(Some(recording.authenticating()), inner).await;
            ask().await;
        });
        under(Some(recording.here()), work).await;
        let parents: Vec<_> = { recording.steps.take() }
            .iter()
            .map(|s| s.parent)
            .collect();
        assert_eq!(parents, [recording.authentication, recording.span]);
    }

    #[tokio::test]
    async fn outside_of_a_sampled_request_nothing_is_recorded() {
        assert!(current().is_none());
        assert!(under(None, pin!(async { current().is_none() })).await);
    }

    #[test]
    fn steps_without_end_are_cut() {
        let recording = recording();
        let place = recording.here();
        for _ in 0..2 * MOST_STEPS {
            place.asked(&"a store".into(), clock::monotonic(), true);
        }
        assert_eq!(recording.steps.len(), MOST_STEPS);
    }

    #[test]
    fn the_sender_is_the_parent_and_its_state_is_kept_within_bounds() {
        let sent = TraceContext::begin().sampled();
        let state = HeaderValue::from_static("vendor=1");
        let child = Recording::child(sent, Some(&state));
        assert_eq!((child.trace, child.parent), (sent.trace, Some(sent.span)));
        assert_ne!(child.span, sent.span);
        assert_eq!(child.state.as_deref(), Some("vendor=1"));
        let long = HeaderValue::try_from("v=".repeat(MOST_STATE)).unwrap();
        assert_eq!(Recording::child(sent, Some(&long)).state, None);
    }
}
