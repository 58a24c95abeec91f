//! HTTP/2 on one connection, bounded in streams, windows and idle time.

use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::task::Poll;
use std::time::Duration;

use http::Request;
use hyper::body::Incoming;
use hyper::rt::Executor;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_util::task::TaskTracker;

use super::kept::Kept;
use super::stall::{self, Pulse};
use super::worker::Worker;
use crate::clock;
use crate::gateway::Snapshot;
use crate::pipeline::judge::Peer;
use crate::pipeline::serve::{Visitor, serve as answer};

/// Bytes that one stream may send before the app has taken them.
const STREAM_WINDOW: u32 = 128 * 1024;
/// Bytes that all streams of a connection may send before apps have taken them.
const CONNECTION_WINDOW: u32 = 1024 * 1024;
/// Bytes of an answer that wait for a client that does not read.
const SEND_BUFFER: usize = 64 * 1024;
/// Streams that a client may reset before they are served (CVE-2023-44487).
const RESETS: usize = 32;
/// Streams that may be reset for a client's own mistakes (CVE-2025-8671).
const LOCAL_RESETS: usize = 64;
/// How often a silent client is asked whether it is there, and how long it may take to say so.
const PING: (Duration, Duration) = (Duration::from_secs(30), Duration::from_secs(20));

/// A client that is told to go away answers by a ping. One that has no stream open and stays
/// silent for this long during a drain is not waited for: it is idle and does not even read.
const FAREWELL: Duration = Duration::from_secs(2);

/// Spawns streams as tasks that the worker owns.
#[derive(Clone, Debug)]
struct Streams {
    tasks: TaskTracker,
    /// How long a client may take nothing of an answer.
    stall: Duration,
}

impl<F> Executor<F> for Streams
where
    F: Future<Output = ()> + Send + 'static,
{
    fn execute(&self, stream: F) {
        self.tasks.spawn(stall::watched(stream, self.stall));
    }
}

/// When the connection was last in use.
#[derive(Debug)]
struct Activity {
    open: AtomicUsize,
    /// Milliseconds after `since`.
    last: AtomicU64,
    since: std::time::Instant,
}

impl Activity {
    fn touch(&self) {
        let now = clock::monotonic()
            .saturating_duration_since(self.since)
            .as_millis();
        self.last
            .store(u64::try_from(now).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// How long nothing was open; zero while something is.
    fn idle(&self) -> Duration {
        if self.open.load(Ordering::Relaxed) > 0 {
            return Duration::ZERO;
        }
        let last = Duration::from_millis(self.last.load(Ordering::Relaxed));
        clock::monotonic()
            .saturating_duration_since(self.since)
            .saturating_sub(last)
    }
}

/// Counts one request, its answer's body included.
struct Busy(Arc<Activity>);

impl Busy {
    fn begin(activity: &Arc<Activity>) -> Self {
        activity.open.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(activity))
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::Relaxed);
        self.0.touch();
    }
}

fn after(wait: Duration) -> tokio::time::Instant {
    tokio::time::Instant::from_std(clock::monotonic()) + wait
}

/// Serves a connection to its end.
pub(super) async fn serve<IO>(worker: Arc<Worker>, gate: &Snapshot, stream: IO, peer: Peer)
where
    IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let settings = &gate.settings.server;
    let mut builder = http2::Builder::new(Streams {
        tasks: worker.tasks.clone(),
        stall: settings.timeouts.response_body,
    });
    builder
        .timer(TokioTimer::new())
        .max_concurrent_streams(settings.limits.http2_streams)
        .max_header_list_size(u32::try_from(settings.limits.headers).unwrap_or(u32::MAX))
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_send_buf_size(SEND_BUFFER)
        .max_pending_accept_reset_streams(RESETS)
        .max_local_error_reset_streams(LOCAL_RESETS)
        .keep_alive_interval(PING.0)
        .keep_alive_timeout(PING.1);
    let visitor = Arc::new(Visitor::new(
        Arc::clone(&worker.gateway),
        Arc::clone(&worker.pool),
        peer,
    ));
    let activity = Arc::new(Activity {
        open: AtomicUsize::new(0),
        last: AtomicU64::new(0),
        since: clock::monotonic(),
    });
    let seen = Arc::clone(&activity);
    let service = service_fn(move |request: Request<Incoming>| {
        let (visitor, busy) = (Arc::clone(&visitor), Busy::begin(&seen));
        async move {
            let answer = answer(&visitor, request, None, None).await;
            let pulse = Pulse::current();
            Ok::<_, Infallible>(answer.map(|body| Kept::new(body, busy).felt_by(pulse)))
        }
    });
    let keep_alive = settings.timeouts.keep_alive;
    let mut connection = pin!(builder.serve_connection(TokioIo::new(stream), service));
    let mut begins = pin!(worker.drain.begins());
    let mut timer = pin!(tokio::time::sleep(keep_alive));
    let (mut watching, mut told, mut over) = (false, false, false);
    let served = poll_fn(|cx| {
        if !over && (!watching || worker.drain.has_begun()) {
            watching = true;
            if begins.as_mut().poll(cx).is_ready() {
                over = true;
                told = true;
                connection.as_mut().graceful_shutdown();
                timer.as_mut().reset(after(FAREWELL));
            }
        }
        let allowed = if over { FAREWELL } else { keep_alive };
        while (over || !told) && timer.as_mut().poll(cx).is_ready() {
            let left = allowed.saturating_sub(activity.idle());
            if !left.is_zero() {
                timer.as_mut().reset(after(left));
            } else if over {
                return Poll::Ready(Ok(()));
            } else {
                told = true;
                connection.as_mut().graceful_shutdown();
            }
        }
        connection.as_mut().poll(cx)
    });
    if let Err(error) = served.await {
        tracing::trace!(%error, "an HTTP/2 connection ended");
    }
}
