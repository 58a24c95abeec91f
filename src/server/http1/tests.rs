//! One connection, seen by its client.

use std::future::poll_fn;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONNECTION, CONTENT_LENGTH, TRAILER};
use http::{HeaderMap, Method, Request, Response, StatusCode, Version};
use http_body::SizeHint;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

use super::answer::Answer;
use super::connection::once;
use super::head::{self, Asked, Framing};
use super::held::Held;
use super::interim::Interim;
use super::wire::{Came, Wire};
use crate::pipeline::body::Body;
use crate::policy::denial::{Code, Denial};
use crate::server::framing::{Limits, MAX_INTERIM, Timeouts};

const LIMITS: Limits = Limits {
    request_line: 8192,
    headers: 65_536,
    header_count: 100,
};

const PATIENT: Timeouts = Timeouts {
    request_headers: Duration::from_secs(10),
    keep_alive: Duration::from_secs(10),
    response_body: Duration::from_secs(10),
};

const SHORT: Duration = Duration::from_millis(60);
const POST: &str = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n";

fn wire(timeouts: Timeouts, room: usize) -> (DuplexStream, Wire<DuplexStream>) {
    let (client, io) = duplex(room);
    (client, Wire::new(io, LIMITS, timeouts))
}

async fn came(wire: &mut Wire<DuplexStream>) -> Came {
    poll_fn(|cx| wire.poll_head(cx)).await
}

fn refused(came: &Came) -> Option<Code> {
    match came {
        Came::Refused(denial) => Some(denial.code()),
        Came::Request(..) | Came::Nothing => None,
    }
}

// ---- heads and waits ----

#[tokio::test]
async fn half_a_head_is_refused_in_time_and_none_at_all_is_just_closed() {
    let short = Timeouts {
        request_headers: SHORT,
        ..PATIENT
    };
    let (mut client, mut half) = wire(short, 1024);
    client.write_all(b"GET / HTT").await.unwrap();
    assert_eq!(refused(&came(&mut half).await), Some(Code::RequestTimeout));
    for nothing in ["", "\r\n"] {
        let (mut client, mut quiet) = wire(short, 1024);
        client.write_all(nothing.as_bytes()).await.unwrap();
        assert!(
            matches!(came(&mut quiet).await, Came::Nothing),
            "{nothing:?}"
        );
    }
}

#[tokio::test]
async fn an_idle_connection_is_closed_after_keep_alive_and_half_a_head_has_its_own_time() {
    let short = Timeouts {
        keep_alive: SHORT,
        ..PATIENT
    };
    let (mut client, mut wire) = wire(short, 1024);
    client
        .write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        .await
        .unwrap();
    assert!(matches!(came(&mut wire).await, Came::Request(..)));
    wire.rest();
    client.write_all(b"GET").await.unwrap();
    let waits = tokio::time::timeout(2 * SHORT, came(&mut wire));
    assert!(waits.await.is_err(), "the head's own time holds");
    client
        .write_all(b" / HTTP/1.1\r\nHost: a\r\n\r\n")
        .await
        .unwrap();
    assert!(matches!(came(&mut wire).await, Came::Request(..)));
    wire.rest();
    assert!(matches!(came(&mut wire).await, Came::Nothing));
}

#[tokio::test]
async fn a_client_that_accepts_nothing_is_let_go() {
    let short = Timeouts {
        response_body: SHORT,
        ..PATIENT
    };
    let (_client, mut wire) = wire(short, 16);
    wire.put(Bytes::from_static(&[b'x'; 100]));
    let written = poll_fn(|cx| wire.poll_sent(cx)).await;
    assert_eq!(written.unwrap_err().kind(), std::io::ErrorKind::TimedOut);
}

#[tokio::test]
async fn a_client_that_leaves_is_noticed_and_one_that_sends_more_is_not_gone() {
    let (client, mut left) = wire(PATIENT, 1024);
    drop(client);
    poll_fn(|cx| left.poll_gone(cx)).await;
    let (mut client, mut busy) = wire(PATIENT, 1024);
    client.write_all(b"GET").await.unwrap();
    client.shutdown().await.unwrap();
    let gone = tokio::time::timeout(SHORT, poll_fn(|cx| busy.poll_gone(cx)));
    assert!(gone.await.is_err());
}

// ---- bodies ----

async fn body(wire: &mut Wire<DuplexStream>) -> Result<Option<Bytes>, std::io::Error> {
    let frame = poll_fn(|cx| wire.poll_body(cx)).await.transpose()?;
    Ok(frame.and_then(|frame| frame.into_data().ok()))
}

#[tokio::test]
async fn a_client_that_waits_is_told_to_go_on_when_its_body_is_asked_for() {
    for answers in [false, true] {
        let (mut client, mut wire) = wire(PATIENT, 1024);
        let head = format!("{POST}Expect: 100-continue\r\n\r\n");
        client.write_all(head.as_bytes()).await.unwrap();
        assert!(matches!(came(&mut wire).await, Came::Request(..)));
        wire.answers(answers);
        let asked = tokio::time::timeout(SHORT, body(&mut wire)).await;
        assert!(asked.is_err(), "the body has not come");
        client.write_all(b"abc").await.unwrap();
        assert_eq!(body(&mut wire).await.unwrap().unwrap(), "abc");
        drop(wire);
        let mut told = String::new();
        client.read_to_string(&mut told).await.unwrap();
        let expected = if answers {
            ""
        } else {
            "HTTP/1.1 100 Continue\r\n\r\n"
        };
        assert_eq!(told, expected, "none may stand in the midst of an answer");
    }
}

#[tokio::test]
async fn a_body_that_breaks_or_is_cut_off_is_never_complete() {
    let (mut client, mut cut) = wire(PATIENT, 1024);
    client
        .write_all(format!("{POST}\r\nab").as_bytes())
        .await
        .unwrap();
    client.shutdown().await.unwrap();
    assert!(matches!(came(&mut cut).await, Came::Request(..)));
    assert_eq!(body(&mut cut).await.unwrap().unwrap(), "ab");
    let error = body(&mut cut).await.unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::UnexpectedEof);

    let (mut client, mut broken) = wire(PATIENT, 1024);
    let head = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
    client
        .write_all(format!("{head}3\r\nabcX").as_bytes())
        .await
        .unwrap();
    assert!(matches!(came(&mut broken).await, Came::Request(..)));
    assert_eq!(body(&mut broken).await.unwrap().unwrap(), "abc");
    let error = body(&mut broken).await.unwrap_err();
    let denial = Denial::among_causes(&error).unwrap();
    assert_eq!(denial.code(), Code::BadRequest);
    assert!(!broken.body_is_over());
}

// ---- answers ----

/// Head and framing of an answer, and whether it is the last.
fn headed(
    (method, version): (Method, Version),
    (status, headers): (u16, &[(http::HeaderName, &str)]),
    size: Option<u64>,
) -> (String, Framing, bool) {
    let headers: HeaderMap = headers
        .iter()
        .map(|(name, value)| (name.clone(), value.parse().unwrap()))
        .collect();
    let status = StatusCode::from_u16(status).unwrap();
    let size = size.map_or_else(SizeHint::default, SizeHint::with_exact);
    let (mut lines, mut last) = (Vec::new(), false);
    let asked = Asked::of(&method, version);
    let framing = head::last(&mut lines, asked, (status, &headers), &size, &mut last);
    let text = String::from_utf8(lines.clone()).unwrap();
    assert!(
        text.ends_with("\r\n\r\n") && text.matches("\r\ndate: ").count() == 1,
        "{text}"
    );
    (text, framing, last)
}

#[test]
fn the_body_of_an_answer_is_framed_by_its_length_by_chunks_or_by_the_end() {
    let get = |version| (Method::GET, version);
    let (text, framing, last) = headed(get(Version::HTTP_11), (200, &[]), Some(5));
    assert!(text.starts_with("HTTP/1.1 200 OK\r\n") && text.contains("\r\ncontent-length: 5\r\n"));
    assert_eq!((framing, last), (Framing::Length(5), false));
    let (text, framing, _) = headed(get(Version::HTTP_11), (200, &[(CONTENT_LENGTH, "7")]), None);
    assert_eq!(framing, Framing::Length(7));
    assert_eq!(text.matches("content-length").count(), 1);
    let (text, framing, last) =
        headed(get(Version::HTTP_11), (200, &[(TRAILER, "X-Sum, y")]), None);
    assert!(text.contains("\r\ntransfer-encoding: chunked\r\n") && !last);
    assert_eq!(
        framing,
        Framing::Chunked(vec!["x-sum".parse().unwrap(), "y".parse().unwrap()])
    );
    let (text, framing, last) = headed(get(Version::HTTP_10), (200, &[]), None);
    assert!(text.starts_with("HTTP/1.0 ") && text.contains("\r\nconnection: close\r\n"));
    assert_eq!((framing, last), (Framing::Close, true));
    let closing = (400, [(CONNECTION, "close")]);
    let (text, _, last) = headed(get(Version::HTTP_11), (closing.0, &closing.1), Some(0));
    assert!(last && text.matches("connection: close").count() == 1);
    let (text, _, last) = headed(get(Version::HTTP_10), (200, &[]), Some(0));
    assert!(text.contains("\r\nconnection: keep-alive\r\n") && !last);
}

#[test]
fn an_answer_that_has_no_body_says_a_length_only_where_it_may() {
    for (method, status, said, size, length) in [
        (Method::HEAD, 200, Some("9"), Some(0), Some("9")),
        (Method::HEAD, 200, None, Some(4), Some("4")),
        (Method::HEAD, 200, None, Some(0), None),
        (Method::HEAD, 200, None, None, None),
        (Method::GET, 204, Some("3"), Some(0), None),
        (Method::GET, 304, Some("3"), Some(0), Some("3")),
        (Method::GET, 304, None, Some(0), None),
        (Method::GET, 101, Some("3"), Some(0), None),
        (Method::CONNECT, 200, Some("3"), Some(0), None),
    ] {
        let said: Vec<_> = said
            .map(|said| (CONTENT_LENGTH, said))
            .into_iter()
            .collect();
        let case = format!("{method} {status} {said:?} {size:?}");
        let (text, framing, _) = headed((method, Version::HTTP_11), (status, &said), size);
        assert_eq!(framing, Framing::None, "{case}");
        let found = text
            .lines()
            .find_map(|line| line.strip_prefix("content-length: "));
        assert_eq!(found, length, "{case}");
        assert!(!text.contains("transfer-encoding"), "{case}");
    }
}

/// What a client gets of a body in this framing.
async fn framed(body: &'static str, framing: Framing) -> std::io::Result<String> {
    let (mut client, wire) = wire(PATIENT, 1024);
    let mut held = Held::Own(Box::new(wire));
    let mut answer = Answer::new(Body::full(Bytes::from_static(body.as_bytes())), framing);
    poll_fn(|cx| answer.poll(&mut held, cx)).await?;
    drop(held);
    let mut text = String::new();
    client.read_to_string(&mut text).await?;
    Ok(text)
}

#[tokio::test]
async fn a_body_is_what_its_head_says_or_the_answer_is_cut() {
    assert_eq!(framed("hello", Framing::Length(5)).await.unwrap(), "hello");
    assert_eq!(framed("hello", Framing::Close).await.unwrap(), "hello");
    assert_eq!(framed("hello", Framing::None).await.unwrap(), "");
    let chunks = framed("hello", Framing::Chunked(Vec::new())).await.unwrap();
    assert_eq!(chunks, "5\r\nhello\r\n0\r\n\r\n");
    assert_eq!(
        framed("", Framing::Chunked(Vec::new())).await.unwrap(),
        "0\r\n\r\n"
    );
    assert!(framed("hello", Framing::Length(4)).await.is_err());
    assert!(framed("hello", Framing::Length(6)).await.is_err());
}

#[test]
fn interim_answers_are_1xx_and_bounded() {
    let interim = Interim::default();
    let none = HeaderMap::new();
    interim.pass(StatusCode::OK, &none);
    interim.pass(StatusCode::SWITCHING_PROTOCOLS, &none);
    assert_eq!(interim.take(), None);
    for _ in 0..10_000 {
        interim.pass(StatusCode::EARLY_HINTS, &none);
    }
    let waiting = interim.take().unwrap();
    assert!(
        waiting.starts_with(b"HTTP/1.1 103 Early Hints\r\n\r\n") && waiting.len() <= MAX_INTERIM
    );
    assert_eq!(interim.take(), None);
}

// ---- one request ----

fn echo(request: Result<&Request<()>, Denial>) -> Response<Body> {
    let (status, said) = match request {
        Ok(request) => (StatusCode::OK, request.uri().to_string()),
        Err(denial) => (denial.status(), denial.code().to_string()),
    };
    let mut answer = Response::new(Body::full(said.into()));
    *answer.status_mut() = status;
    answer
}

#[tokio::test]
async fn one_request_is_answered_and_none_behind_it() {
    let (mut client, io) = duplex(4096);
    let served = tokio::spawn(once(Box::new(Wire::new(io, LIMITS, PATIENT)), echo));
    let both = "GET /one HTTP/1.1\r\nHost: a\r\n\r\nGET /two HTTP/1.1\r\nHost: a\r\n\r\n";
    client.write_all(both.as_bytes()).await.unwrap();
    let mut text = String::new();
    client.read_to_string(&mut text).await.unwrap();
    assert!(
        text.contains("connection: close") && text.ends_with("/one"),
        "{text}"
    );
    served.await.unwrap();
}

#[tokio::test]
async fn a_client_that_still_sends_can_read_why_it_was_refused() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut client = tokio::net::TcpStream::connect(listener.local_addr().unwrap())
        .await
        .unwrap();
    let (io, _) = listener.accept().await.unwrap();
    let served = tokio::spawn(once(Box::new(Wire::new(io, LIMITS, PATIENT)), echo));
    client
        .write_all(b"GET / HTTP/1.1\r\nHost : a\r\n\r\n")
        .await
        .unwrap();
    // More than the sockets hold: closed at once, its client would see a reset.
    for _ in 0..200 {
        client.write_all(&[b'x'; 10_000]).await.unwrap();
    }
    client.shutdown().await.unwrap();
    let mut text = String::new();
    client.read_to_string(&mut text).await.unwrap();
    assert!(text.starts_with("HTTP/1.1 400 "), "{text}");
    served.await.unwrap();
}
