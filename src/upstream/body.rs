//! Bodies on their way: the client's to the app with a limit and an idle time, the app's to the
//! client. No byte is copied, and nothing is read before the other side takes it.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::sync::{Mutex, OnceLock};
use std::task::{Context, Poll, Waker, ready};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tokio::time::Sleep;

use super::error::BodyFault;
use super::exchange::Exchange;
use super::incoming::ClientBody;
use crate::clock::{self, Deadline};
use crate::policy::denial::Denial;
use crate::policy::headers::{Hygiene, cleanse_trailers};

/// How long a body with `Expect: 100-continue` waits for the app's 100 (RFC 9110 §10.1.1).
const CONTINUE_WAIT: Duration = Duration::from_secs(1);

/// Bytes a second that a client must send on the whole, beyond one idle time: a body that dribbles
/// in would hold a connection to the app for ever.
const LEAST_RATE: u64 = 500;

/// The body of a request to an app.
#[derive(Debug)]
pub enum RequestBody {
    /// None.
    Empty,
    /// The client's, as it comes.
    Stream(Box<Inbound>),
    /// One that the gateway made.
    Whole(Bytes),
}

/// Why an [`Inbound`] body ended early, told to whoever waits for the answer.
#[derive(Debug, Default)]
pub struct Progress {
    fault: AtomicU8,
    bytes: AtomicU64,
    /// What the connection's reader found wrong with the body's framing.
    objection: OnceLock<Denial>,
}

impl Progress {
    /// Why the body was not taken to its end.
    #[must_use]
    pub fn fault(&self) -> Option<BodyFault> {
        match self.fault.load(Ordering::Relaxed) {
            1 => Some(BodyFault::TooLarge),
            2 => Some(BodyFault::Timeout),
            3 => Some(BodyFault::Broken),
            _ => None,
        }
    }

    /// Bytes taken so far.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// The refusal for how the body went; `None` where nothing was wrong with it.
    #[must_use]
    pub fn denial(&self) -> Option<Denial> {
        let fault = self.fault()?;
        Some(
            self.objection
                .get()
                .cloned()
                .unwrap_or_else(|| fault.denial()),
        )
    }

    fn set(&self, fault: BodyFault) {
        let number = match fault {
            BodyFault::TooLarge => 1,
            BodyFault::Timeout => 2,
            BodyFault::Broken => 3,
        };
        self.fault.store(number, Ordering::Relaxed);
    }
}

/// Holds a body back until the app has said `100 Continue`.
#[derive(Debug, Default)]
pub struct Gate {
    open: AtomicBool,
    waker: Mutex<Option<Waker>>,
}

impl Gate {
    /// Lets the body through.
    pub fn open(&self) {
        self.open.store(true, Ordering::Release);
        if let Ok(mut waker) = self.waker.lock()
            && let Some(waker) = waker.take()
        {
            waker.wake();
        }
    }
}

/// A client's body with its limits.
#[derive(Debug)]
pub struct Inbound {
    incoming: ClientBody,
    left: u64,
    idle: Duration,
    /// Since when the client is waited for.
    waits_since: Option<Instant>,
    /// When that has been too long. Never runs while the app is waited for.
    patience: Deadline,
    /// How long the client was waited for so far; the app's own slowness does not count.
    waited: Duration,
    gate: Option<(Arc<Gate>, Pin<Box<Sleep>>)>,
    hygiene: Arc<Hygiene>,
    progress: Arc<Progress>,
}

impl Inbound {
    /// Takes the client's body: at most `limit` bytes, at most `idle` between two reads.
    #[must_use]
    pub fn new(incoming: ClientBody, limit: u64, idle: Duration, hygiene: Arc<Hygiene>) -> Self {
        let progress = Arc::default();
        Self {
            incoming,
            left: limit,
            idle,
            waits_since: None,
            patience: Deadline::default(),
            waited: Duration::ZERO,
            gate: None,
            hygiene,
            progress,
        }
    }

    /// Holds the body back until the app asks for it.
    pub fn expect_continue(&mut self) -> Arc<Gate> {
        let gate = Arc::<Gate>::default();
        self.gate = Some((
            Arc::clone(&gate),
            Box::pin(tokio::time::sleep(CONTINUE_WAIT)),
        ));
        gate
    }

    /// Where to read how the body went.
    #[must_use]
    pub fn progress(&self) -> Arc<Progress> {
        Arc::clone(&self.progress)
    }

    /// Whether the gate still holds the body back.
    fn is_held(&mut self, cx: &mut Context<'_>) -> bool {
        let Some((gate, wait)) = &mut self.gate else {
            return false;
        };
        if let Ok(mut waker) = gate.waker.lock() {
            *waker = Some(cx.waker().clone());
        }
        if !gate.open.load(Ordering::Acquire) && wait.as_mut().poll(cx).is_pending() {
            return true;
        }
        self.gate = None;
        false
    }

    fn fail(&self, fault: BodyFault) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        self.progress.set(fault);
        Poll::Ready(Some(Err(BodyError(fault))))
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if self.is_held(cx) {
            return Poll::Pending;
        }
        let frame = match Pin::new(&mut self.incoming).poll_frame(cx) {
            Poll::Ready(None) => return Poll::Ready(None),
            Poll::Ready(Some(Ok(frame))) => frame,
            Poll::Ready(Some(Err(error))) => {
                if let Some(denial) = Denial::among_causes(&error) {
                    let _first = self.progress.objection.set(denial.clone());
                }
                return self.fail(BodyFault::Broken);
            }
            Poll::Pending => {
                if self.waits_since.is_none() {
                    let now = clock::monotonic();
                    self.waits_since = Some(now);
                    self.patience.start_at(now.checked_add(self.idle));
                }
                ready!(self.patience.poll(cx));
                return self.fail(BodyFault::Timeout);
            }
        };
        if let Some(since) = self.waits_since.take() {
            self.patience.clear();
            self.waited += clock::monotonic().saturating_duration_since(since);
            if self.waited > self.idle + Duration::from_secs(self.progress.bytes() / LEAST_RATE) {
                return self.fail(BodyFault::Timeout);
            }
        }
        self.take(frame)
    }

    fn take(&mut self, frame: Frame<Bytes>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match frame.into_data() {
            Ok(data) => {
                let size = data.len() as u64;
                let Some(left) = self.left.checked_sub(size) else {
                    return self.fail(BodyFault::TooLarge);
                };
                self.left = left;
                self.progress.bytes.fetch_add(size, Ordering::Relaxed);
                Poll::Ready(Some(Ok(Frame::data(data))))
            }
            Err(frame) => match frame.into_trailers() {
                Ok(mut trailers) => {
                    cleanse_trailers(&self.hygiene, &mut trailers);
                    Poll::Ready(Some(Ok(Frame::trailers(trailers))))
                }
                Err(_unknown) => Poll::Ready(Some(Ok(Frame::data(Bytes::new())))),
            },
        }
    }
}

/// A request's body ended early.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("the request's body failed: {0:?}")]
pub struct BodyError(pub BodyFault);

impl Body for RequestBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match self.get_mut() {
            Self::Empty => Poll::Ready(None),
            Self::Stream(inbound) => inbound.poll(cx),
            Self::Whole(bytes) if bytes.is_empty() => Poll::Ready(None),
            Self::Whole(bytes) => Poll::Ready(Some(Ok(Frame::data(std::mem::take(bytes))))),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Empty => true,
            Self::Stream(inbound) => inbound.incoming.is_end_stream(),
            Self::Whole(bytes) => bytes.is_empty(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Empty => SizeHint::with_exact(0),
            Self::Stream(inbound) => inbound.incoming.size_hint(),
            Self::Whole(bytes) => SizeHint::with_exact(bytes.len() as u64),
        }
    }
}

/// The body of an app's answer. It moves the connection on that it comes from, and gives it back
/// at its end.
#[derive(Debug)]
pub struct AnswerBody {
    exchange: Option<Exchange>,
    /// Where there may be trailers.
    hygiene: Option<Arc<Hygiene>>,
}

impl AnswerBody {
    pub(super) fn new(exchange: Exchange, hygiene: &Arc<Hygiene>) -> Self {
        let may_trail = exchange.link.body_left().is_none();
        Self {
            exchange: Some(exchange),
            hygiene: may_trail.then(|| Arc::clone(hygiene)),
        }
    }
}

impl Body for AnswerBody {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, std::io::Error>>> {
        let this = self.get_mut();
        let Some(exchange) = &mut this.exchange else {
            return Poll::Ready(None);
        };
        let mut frame = ready!(exchange.link.poll_frame(cx));
        if let Some(Ok(frame)) = &mut frame
            && let Some(trailers) = frame.trailers_mut()
        {
            match &this.hygiene {
                Some(hygiene) => cleanse_trailers(hygiene, trailers),
                None => trailers.clear(),
            }
        }
        let is_over = exchange.link.is_end_of_body();
        match &frame {
            // A broken answer leaves a connection that nobody else may use.
            Some(Err(_)) => this.exchange = None,
            Some(Ok(_)) if !is_over => {}
            Some(Ok(_)) | None => {
                if let Some(exchange) = this.exchange.take() {
                    exchange.finish();
                }
            }
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.exchange
            .as_ref()
            .is_none_or(|exchange| exchange.link.is_end_of_body())
    }

    fn size_hint(&self) -> SizeHint {
        match &self.exchange {
            None => SizeHint::with_exact(0),
            Some(exchange) => exchange
                .link
                .body_left()
                .map_or_else(SizeHint::default, SizeHint::with_exact),
        }
    }
}

#[cfg(test)]
#[path = "body_tests.rs"]
mod tests;
