//! One HTTP/2 stream: a request, its interim answers, its answer.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use h2::server::SendResponse;
use h2::{Reason, RecvStream};
use http::header::EXPECT;
use http::{HeaderMap, Request, Response, StatusCode};
use http_body::Body as _;

use super::early::Early;
use super::idle::Busy;
use super::socket::H2Socket;
use super::{Desk, body, head, opening};
use crate::pipeline::body::Body;
use crate::pipeline::serve::{Brought, serve as answer};
use crate::pipeline::socket::Becomes;
use crate::policy::websocket::Opening;
use crate::server::tunnel;
use crate::upstream::incoming::{ClientBody, Http2Body, Wanted};

/// Answers one request. A client may take nothing of the answer for `stall` at most; `busy` counts
/// the request until the answer is over.
///
/// Whatever ends it early resets the stream: h2 does when the last handle is dropped, with
/// `NO_ERROR` where the answer is whole and only the request's body was not read to its end
/// (RFC 9113 §8.1).
pub(super) async fn serve(
    desk: Arc<Desk>,
    request: Request<RecvStream>,
    mut respond: SendResponse<Bytes>,
    (stall, busy): (Duration, Busy),
) {
    let (mut head, stream) = request.into_parts();
    let opening = opening::read(&mut head);
    let method = head.method.clone();
    let (incoming, wanted, socket) = match opening {
        Opening::ExtendedConnect => (ClientBody::None, None, Some(stream)),
        Opening::Upgrade => {
            let expects = !stream.is_end_stream() && head.headers.contains_key(EXPECT);
            let wanted = expects.then(Wanted::default);
            let body = Http2Body::new(stream, &head.headers, wanted.clone());
            (ClientBody::Http2(body), wanted, None)
        }
    };
    let early = Early::default();
    let answered = {
        let pass = |status, headers: &HeaderMap| early.push(status, headers);
        let brought = Brought {
            head: Box::new(head),
            body: incoming,
            opening,
        };
        let mut answer = pin!(answer(&desk.visitor, brought, None, Some(&pass)));
        poll_fn(|cx| {
            let answered = answer.as_mut().poll(cx);
            if wanted.as_ref().is_some_and(Wanted::take) {
                early.push(StatusCode::CONTINUE, &HeaderMap::new());
            }
            if (answered.is_pending() || early.waits()) && is_reset(&mut respond, cx) {
                return Poll::Ready(None);
            }
            if early.waits() {
                early.send(&mut respond);
            }
            answered.map(Some)
        })
        .await
    };
    let Some((answer, becomes)) = answered else {
        return tracing::trace!("a client reset its stream before it was answered");
    };
    if let (Some(becomes), Some(receive)) = (becomes, socket) {
        return open(&desk, answer, (*becomes, receive), &mut respond, busy);
    }
    let (parts, body) = answer.into_parts();
    let is_bodiless = head::is_bodiless(&method, parts.status);
    let answer = Response::from_parts(parts, ());
    send(answer, (body, is_bodiless), &mut respond, stall).await;
    drop(busy);
}

/// Takes a handshake, and goes on with its stream in a task of its own.
fn open(
    desk: &Desk,
    answer: Response<Body>,
    (becomes, receive): (Becomes, RecvStream),
    respond: &mut SendResponse<Bytes>,
    busy: Busy,
) {
    let (parts, body) = answer.into_parts();
    let mut head = Response::from_parts(parts, ());
    head::open(&mut head);
    let answered = respond.send_response(head, false);
    // Whoever counts and logs requests hears of this one now.
    drop(body);
    match answered {
        Ok(stream) => {
            let worker = &desk.worker;
            let client = H2Socket::new(stream, receive);
            let rest = tunnel::go_on(becomes, client, Bytes::new(), &worker.sockets);
            worker.tasks.spawn(async move {
                rest.await;
                drop(busy);
            });
        }
        Err(error) => {
            tracing::trace!(%error, "an answer could not be sent over HTTP/2");
            respond.send_reset(Reason::INTERNAL_ERROR);
        }
    }
}

/// Whether the client has gone; if not, the task is woken when it does.
fn is_reset(respond: &mut SendResponse<Bytes>, cx: &mut Context<'_>) -> bool {
    respond.poll_reset(cx).is_ready()
}

/// Sends an answer, its body as the client takes it.
async fn send(
    mut head: Response<()>,
    (body, is_bodiless): (Body, bool),
    respond: &mut SendResponse<Bytes>,
    stall: Duration,
) {
    let has_body = !body.is_end_stream();
    let length = body.size_hint().exact().filter(|_| has_body);
    head::dress(&mut head, length);
    let is_whole = is_bodiless || !has_body;
    match respond.send_response(head, is_whole) {
        Ok(_) if is_whole => {}
        Ok(stream) => {
            if let Err(why) = body::send(body, stream, stall).await {
                tracing::trace!(%why, "an HTTP/2 stream ended early");
            }
        }
        Err(error) => {
            tracing::trace!(%error, "an answer could not be sent over HTTP/2");
            respond.send_reset(Reason::INTERNAL_ERROR);
        }
    }
}
