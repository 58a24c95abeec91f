//! One HTTP/1.1 connection to a server, driven by the request that uses it.
//!
//! The connection is not a task of its own: whoever waits for the answer polls it. That saves two
//! wake-ups a request, and a connection cannot outlive its owner.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use http::{Request, Response};
use hyper::body::Incoming;
use hyper::client::conn::http1::{Builder, Connection, Parts, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::sync::OwnedSemaphorePermit;

use super::body::RequestBody;
use super::server::InFlight;
use super::stream::Stream;

/// Answers with more fields than this are refused.
const MAX_FIELDS: usize = 256;
/// Answers with a larger head than this are refused, in bytes.
const MAX_HEAD: usize = 128 * 1024;

/// An open connection that may carry a request.
#[derive(Debug)]
pub(super) struct Link {
    sender: SendRequest<RequestBody>,
    connection: Connection<TokioIo<Stream>, RequestBody>,
    /// Whether the connection future has ended; it must not be polled again.
    over: bool,
    /// Whether it carried a request before.
    pub(super) used: bool,
    slot: OwnedSemaphorePermit,
}

/// Why a request got no answer.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) error: hyper::Error,
    /// The request, where not a byte of it was written.
    pub(super) unsent: Option<Request<RequestBody>>,
}

impl Link {
    /// Starts HTTP on a fresh connection.
    pub(super) async fn open(stream: Stream, slot: OwnedSemaphorePermit) -> hyper::Result<Self> {
        let (sender, connection) = Builder::new()
            .max_headers(MAX_FIELDS)
            .max_buf_size(MAX_HEAD)
            .handshake(TokioIo::new(stream))
            .await?;
        Ok(Self {
            sender,
            connection,
            over: false,
            used: false,
            slot,
        })
    }

    /// Moves the connection on. `false` once it has ended.
    fn drive(&mut self, cx: &mut Context<'_>) -> bool {
        if !self.over && self.connection.poll_without_shutdown(cx).is_ready() {
            self.over = true;
        }
        !self.over
    }

    /// Whether a request can be sent now: the last one is done and the server has not hung up.
    pub(super) fn is_ready(&mut self, cx: &mut Context<'_>) -> bool {
        self.drive(cx) && self.sender.is_ready()
    }

    /// [`Link::is_ready`] without a task to wake.
    pub(super) fn is_idle(&mut self) -> bool {
        self.is_ready(&mut Context::from_waker(Waker::noop()))
    }

    /// Sends a request and waits for the answer's head.
    pub(super) async fn send(
        &mut self,
        request: Request<RequestBody>,
    ) -> Result<Response<Incoming>, Failure> {
        self.used = true;
        let mut answer = pin!(self.sender.try_send_request(request));
        let (connection, over) = (&mut self.connection, &mut self.over);
        poll_fn(|cx| {
            if !*over && connection.poll_without_shutdown(cx).is_ready() {
                *over = true;
            }
            answer.as_mut().poll(cx)
        })
        .await
        .map_err(|mut failed| Failure {
            unsent: failed.take_message(),
            error: failed.into_error(),
        })
    }

    /// Takes the stream back after a 101, with what was read of it beyond the answer's head.
    pub(super) fn into_stream(self) -> (Stream, bytes::Bytes, OwnedSemaphorePermit) {
        let Parts { io, read_buf, .. } = self.connection.into_parts();
        (io.into_inner(), read_buf, self.slot)
    }

    /// Waits until the connection has handed over after a 101.
    pub(super) async fn handed_over(&mut self) {
        poll_fn(|cx| {
            if self.drive(cx) {
                Poll::Pending
            } else {
                Poll::Ready(())
            }
        })
        .await;
    }
}

/// A link that is carrying a request, and where it goes when it is done.
#[derive(Debug)]
pub(super) struct Exchange {
    pub(super) link: Box<Link>,
    pub(super) in_flight: InFlight,
    pub(super) home: Arc<super::pool::Pool>,
}

impl Exchange {
    /// Moves the connection on while the answer's body is read.
    pub(super) fn drive(&mut self, cx: &mut Context<'_>) -> bool {
        self.link.drive(cx)
    }

    /// Gives the connection back where it can carry another request; closes it otherwise.
    pub(super) fn finish(self, cx: &mut Context<'_>) {
        let Self {
            mut link,
            in_flight,
            home,
        } = self;
        if link.is_ready(cx) {
            home.put(in_flight.server(), link);
        }
    }
}

impl Unpin for Link {}

/// Polls a body once, driving its connection where the body has nothing yet.
pub(super) fn poll_frame(
    body: &mut Incoming,
    exchange: &mut Exchange,
    cx: &mut Context<'_>,
) -> Poll<Option<Result<hyper::body::Frame<bytes::Bytes>, hyper::Error>>> {
    use http_body::Body as _;
    if let Poll::Ready(frame) = Pin::new(&mut *body).poll_frame(cx) {
        return Poll::Ready(frame);
    }
    exchange.drive(cx);
    Pin::new(body).poll_frame(cx)
}
