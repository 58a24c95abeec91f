//! One connection of HTTP/1, in the order of things: a head, its answer, the next one.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::Poll;

use http::header::HOST;
use http::{HeaderValue, Method, Request, Response, StatusCode, Version, request};
use http_body::Body as _;

use super::answer::Answer;
use super::head::{self, Asked};
use super::held::{Held, Stream};
use super::interim::Interim;
use super::wire::{Came, Wire};
use crate::pipeline::body::Body;
use crate::pipeline::serve::{Brought, PassInterim, Visitor, serve as answer};
use crate::pipeline::socket::Becomes;
use crate::policy::denial::Denial;
use crate::policy::websocket::Opening;
use crate::server::drain::Drain;
use crate::server::framing::{CleanHead, Expects, Framing};
use crate::upstream::incoming::ClientBody;

/// Bytes of a body that nobody asked for and that are read so that the next request can be.
const MOST_UNREAD: usize = 64 * 1024;

/// Serves requests until the connection ends, or has become a WebSocket: then gives the wire back, and
/// what it becomes.
pub(in super::super) async fn serve<IO: Stream>(
    visitor: &Visitor,
    drain: &Drain,
    wire: Box<Wire<IO>>,
) -> Option<(Box<Wire<IO>>, Box<Becomes>)> {
    let mut connection = Connection {
        visitor,
        drain,
        held: Held::Own(wire),
    };
    let mut idle_ends = pin!(drain.idle_ends());
    let (mut watching, mut told) = (false, false);
    loop {
        let came = poll_fn(|cx| {
            // The drain is asked once, to be woken by it, and again only when it has come so far: its
            // lock is not taken each time that the connection is woken.
            if !told && (!watching || drain.is_idle_over()) {
                watching = true;
                told = idle_ends.as_mut().poll(cx).is_ready();
            }
            let came = connection.held.with(|wire| {
                let came = wire.poll_head(cx);
                let is_idle = came.is_pending() && !wire.head_begun();
                if told && is_idle {
                    Poll::Ready(Came::Nothing)
                } else {
                    came
                }
            });
            came.unwrap_or(Poll::Ready(Came::Nothing))
        });
        let goes_on = match came.await {
            Came::Nothing => Next::Close,
            Came::Refused(denial) => connection.refuse(denial).await,
            Came::Request(parts, clean) => connection.request(parts, &clean).await,
        };
        match goes_on {
            Next::Request => {}
            Next::Close => {
                close(&mut connection.held).await;
                return None;
            }
            Next::Broken => return None,
            Next::Tunnel(becomes) => {
                return Some((connection.held.into_inner()?, becomes));
            }
        }
    }
}

/// Answers the one request that a connection may bring, or what it brought in the place of one.
pub(in super::super) async fn once<IO: Stream>(
    wire: Box<Wire<IO>>,
    answer: impl FnOnce(Result<&Request<()>, Denial>) -> Response<Body>,
) {
    let mut held = Held::Own(wire);
    let came = poll_fn(|cx| {
        let came = held.with(|wire| wire.poll_head(cx));
        came.unwrap_or(Poll::Ready(Came::Nothing))
    });
    let (asked, answer) = match came.await {
        Came::Nothing => return close(&mut held).await,
        Came::Refused(denial) => {
            let asked = Asked::of(&Method::GET, Version::HTTP_11);
            (asked, answer(Err(denial)))
        }
        Came::Request(parts, _clean) => {
            let asked = Asked::of(&parts.method, parts.version);
            (asked, answer(Ok(&Request::from_parts(*parts, ()))))
        }
    };
    if write(&mut held, asked, answer, true).await.is_some() {
        close(&mut held).await;
    }
}

/// What comes after a request.
enum Next {
    /// Another one.
    Request,
    /// The end, when all is written.
    Close,
    /// The end at once.
    Broken,
    /// A WebSocket.
    Tunnel(Box<Becomes>),
}

struct Connection<'c, IO> {
    visitor: &'c Visitor,
    drain: &'c Drain,
    held: Held<IO>,
}

impl<IO: Stream> Connection<'_, IO> {
    /// Answers what was no request.
    async fn refuse(&mut self, denial: Denial) -> Next {
        let (mut parts, ()) = Request::new(()).into_parts();
        // The log has a host for every request.
        let nobody = HeaderValue::from_static("refused.invalid");
        parts.headers.insert(HOST, nobody);
        let asked = Asked::of(&parts.method, Version::HTTP_11);
        let brought = Brought {
            head: Box::new(parts),
            body: ClientBody::None,
            opening: Opening::Upgrade,
        };
        let (answer, _no_socket) = answer(self.visitor, brought, Some(denial), None).await;
        match write(&mut self.held, asked, answer, true).await {
            Some(_last) => Next::Close,
            None => Next::Broken,
        }
    }

    async fn request(&mut self, parts: Box<request::Parts>, clean: &CleanHead) -> Next {
        let asked = Asked::of(&parts.method, parts.version);
        let body = match clean.framing {
            Framing::Length(0) => None,
            Framing::Length(length) => self.held.lend(Some(length)),
            Framing::Chunked => self.held.lend(None),
        };
        let brought = Brought {
            head: parts,
            body: body.map_or(ClientBody::None, ClientBody::Http1),
            opening: Opening::Upgrade,
        };
        let Some((answer, becomes)) = self.serve(brought).await else {
            return Next::Broken;
        };
        let switches = answer.status() == StatusCode::SWITCHING_PROTOCOLS;
        let last = !switches && (!clean.persists || self.drain.has_begun());
        let Some(last) = write(&mut self.held, asked, answer, last).await else {
            return Next::Broken;
        };
        if switches {
            return becomes.map_or(Next::Broken, Next::Tunnel);
        }
        let unread = self.held.with(|wire| !wire.body_is_over()) != Some(false);
        if last || (unread && (clean.expects != Expects::Nothing || !self.skip_body().await)) {
            return Next::Close;
        }
        self.held.take_back();
        let rests = self.held.with(|wire| {
            wire.answers(false);
            wire.rest();
        });
        rests.map_or(Next::Broken, |()| Next::Request)
    }

    /// Has a request served, and writes interim answers meanwhile. `None`: the client is gone.
    async fn serve(&mut self, brought: Brought) -> Option<(Response<Body>, Option<Box<Becomes>>)> {
        let interim = Interim::default();
        let pass = |status, headers: &http::HeaderMap| interim.pass(status, headers);
        // RFC 9110 §15.2: a client of HTTP/1.0 is sent no interim answers.
        let takes_interim = brought.head.version == Version::HTTP_11;
        let passed: Option<PassInterim<'_>> = takes_interim.then_some(&pass);
        let mut served = pin!(answer(self.visitor, brought, None, passed));
        let held = &mut self.held;
        poll_fn(|cx| {
            let served = served.as_mut().poll(cx);
            let waiting = interim.take();
            if let Poll::Ready(served) = served {
                if let Some(waiting) = waiting {
                    held.with(|wire| wire.lines().extend_from_slice(&waiting));
                }
                return Poll::Ready(Some(served));
            }
            let goes_on = held.with(|wire| {
                if let Some(waiting) = waiting {
                    wire.lines().extend_from_slice(&waiting);
                }
                let is_written = wire.is_written() || {
                    let sent = wire.poll_sent(cx);
                    !matches!(sent, Poll::Ready(Err(_)))
                };
                is_written && wire.poll_gone(cx).is_pending()
            });
            if goes_on == Some(true) {
                Poll::Pending
            } else {
                Poll::Ready(None)
            }
        })
        .await
    }

    /// Throws away what is there of a body that nobody asked for. Whether that is all of it.
    async fn skip_body(&mut self) -> bool {
        let mut left = MOST_UNREAD;
        let held = &mut self.held;
        poll_fn(|cx| {
            let over = held.with(|wire| {
                while !wire.body_is_over() {
                    match wire.poll_body(cx) {
                        Poll::Ready(Some(Ok(frame))) => {
                            let size = frame.data_ref().map_or(0, bytes::Bytes::len);
                            match left.checked_sub(size) {
                                Some(rest) => left = rest,
                                None => return false,
                            }
                        }
                        Poll::Ready(None) => {}
                        Poll::Ready(Some(Err(_))) | Poll::Pending => return false,
                    }
                }
                true
            });
            Poll::Ready(over == Some(true))
        })
        .await
    }
}

/// Writes an answer. Whether the connection ends with it; `None` where it cannot be written.
async fn write<IO: Stream>(
    held: &mut Held<IO>,
    asked: Asked,
    answer: Response<Body>,
    mut last: bool,
) -> Option<bool> {
    let (parts, body) = answer.into_parts();
    let framing = held.with(|wire| {
        wire.answers(true);
        let says = (parts.status, &parts.headers);
        head::last(wire.lines(), asked, says, &body.size_hint(), &mut last)
    })?;
    drop(parts);
    let mut answer = Answer::new(body, framing);
    if let Err(error) = poll_fn(|cx| answer.poll(held, cx)).await {
        tracing::trace!(%error, "an answer was not written to its end");
        return None;
    }
    Some(last)
}

/// Closes a connection, after what is to be written.
async fn close<IO: Stream>(held: &mut Held<IO>) {
    let closed = poll_fn(|cx| {
        let closed = held.with(|wire| wire.poll_closed(cx));
        closed.unwrap_or(Poll::Ready(Ok(())))
    });
    if let Err(error) = closed.await {
        tracing::trace!(%error, "a connection ended");
    }
}
