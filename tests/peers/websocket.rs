//! A WebSocket peer by tokio-tungstenite, for the end-to-end tests: they put it before and behind the
//! gateway, against itself and against Python's.
//!
//! `websocket-peer serve` listens on a free port of 127.0.0.1, and says `listening PORT`, then
//! `closed CODE REASON` or `failed WORDS` of each socket. `websocket-peer visit URL CODE…` is a client
//! that goes through every check and says `ok NAME`; the codes are those that are sent to close.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a program of the tests may stop with an error, and says what it saw"
)]

use std::time::Duration;

use futures_util::{SinkExt as _, StreamExt as _};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::handshake::server::{ErrorResponse, Request, Response};
use tokio_tungstenite::tungstenite::protocol::frame::Frame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{Data, OpCode};
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{
    MaybeTlsStream, WebSocketStream, accept_hdr_async_with_config, connect_async_with_config,
};

/// The longest message that is sent.
const LONGEST: usize = 16 << 20;
const PROTOCOL: &str = "Sec-WebSocket-Protocol";
/// The subprotocol that a server takes when it is offered.
const WANTED: &str = "chat.v2";
const PATIENCE: Duration = Duration::from_secs(20);

type Socket = WebSocketStream<MaybeTlsStream<tokio::net::TcpStream>>;

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["serve"] => serve().await,
        ["visit", url, codes @ ..] => visit(url, codes).await,
        _ => panic!("usage: websocket-peer serve | visit URL CODE…"),
    }
}

fn config() -> WebSocketConfig {
    WebSocketConfig::default()
        .max_message_size(Some(4 * LONGEST))
        .max_frame_size(Some(2 * LONGEST))
}

// ---- the server ----

async fn serve() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    println!("listening {}", listener.local_addr().unwrap().port());
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        tokio::spawn(async move {
            let config = Some(config());
            let Ok(socket) = accept_hdr_async_with_config(stream, agree, config).await else {
                return println!("failed handshake");
            };
            if let Err(error) = answer(socket).await {
                println!("failed {error}");
            }
        });
    }
}

#[expect(
    clippy::result_large_err,
    clippy::unnecessary_wraps,
    reason = "the library wants it so"
)]
fn agree(request: &Request, mut response: Response) -> Result<Response, ErrorResponse> {
    let offered = request.headers().get_all(PROTOCOL).iter();
    let mut offered = offered
        .filter_map(|line| line.to_str().ok())
        .flat_map(|line| line.split(','));
    if offered.any(|name| name.trim() == WANTED) {
        let wanted = WANTED.parse().unwrap();
        response.headers_mut().insert(PROTOCOL, wanted);
    }
    Ok(response)
}

/// Sends back what comes; `fragments` and `close CODE REASON` are orders.
async fn answer<S>(mut socket: WebSocketStream<S>) -> Result<(), Error>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    while let Some(message) = socket.next().await {
        match message? {
            Message::Text(text) if text == "fragments" => {
                for frame in fragments() {
                    socket.send(frame).await?;
                }
            }
            Message::Text(text) if text.starts_with("close ") => {
                let mut words = text.splitn(3, ' ').skip(1);
                let code: u16 = words.next().unwrap().parse().unwrap();
                let frame = closing(code, words.next().unwrap_or_default());
                socket.close(Some(frame)).await?;
            }
            message @ (Message::Text(_) | Message::Binary(_)) => socket.send(message).await?,
            Message::Close(Some(frame)) => println!("closed {} {}", frame.code, frame.reason),
            Message::Close(None) => println!("closed 1005 "),
            Message::Ping(_) | Message::Pong(_) | Message::Frame(_) => {}
        }
    }
    Ok(())
}

/// `one two three` in three fragments, with control frames between them.
fn fragments() -> [Message; 5] {
    let part = |text: &'static str, kind, last| {
        Message::Frame(Frame::message(text, OpCode::Data(kind), last))
    };
    [
        part("one ", Data::Text, false),
        Message::Ping("between".into()),
        part("two ", Data::Continue, false),
        Message::Pong("unasked".into()),
        part("three", Data::Continue, true),
    ]
}

fn closing(code: u16, reason: &str) -> CloseFrame {
    CloseFrame {
        code: code.into(),
        reason: reason.into(),
    }
}

// ---- the client ----

async fn visit(url: &str, codes: &[&str]) {
    echoes(url).await;
    fragmented(url).await;
    agreed(url).await;
    for code in codes {
        let code: u16 = code.parse().unwrap();
        for by_server in [true, false] {
            closes(url, code, &format!("{code} \u{2713}"), by_server).await;
        }
    }
}

async fn connect(url: &str) -> Socket {
    let config = Some(config());
    let connecting = connect_async_with_config(url, config, true);
    let (socket, _) = patiently(connecting).await.unwrap();
    socket
}

async fn patiently<F: Future>(what: F) -> F::Output {
    tokio::time::timeout(PATIENCE, what).await.unwrap()
}

async fn next(socket: &mut Socket) -> Message {
    patiently(socket.next()).await.unwrap().unwrap()
}

/// Texts and binary messages of every length that is written in another way.
async fn echoes(url: &str) {
    let mut socket = connect(url).await;
    for length in [0, 1, 125, 126, 127, 65_535, 65_536, 1_000_003, LONGEST] {
        let bytes: Vec<u8> = (0..=u8::MAX).cycle().take(length).collect();
        let mut text = "a\u{e9}\u{2713}\u{1f642}".repeat(length / 10);
        text.push_str(&"x".repeat(length - text.len()));
        for message in [Message::binary(bytes), Message::text(text)] {
            socket.send(message.clone()).await.unwrap();
            assert!(next(&mut socket).await == message, "{length} bytes");
        }
    }
    println!("ok echoes");
}

/// Messages in fragments with control frames between them, of either side.
async fn fragmented(url: &str) {
    let mut socket = connect(url).await;
    for frame in fragments() {
        socket.send(frame).await.unwrap();
    }
    assert_eq!(next(&mut socket).await, Message::Pong("between".into()));
    assert_eq!(next(&mut socket).await, Message::text("one two three"));
    socket.send(Message::text("fragments")).await.unwrap();
    assert_eq!(next(&mut socket).await, Message::Ping("between".into()));
    assert_eq!(next(&mut socket).await, Message::Pong("unasked".into()));
    assert_eq!(next(&mut socket).await, Message::text("one two three"));
    println!("ok fragments");
}

/// The subprotocol that the server chose.
async fn agreed(url: &str) {
    let mut request = url.into_client_request().unwrap();
    let offered = "chat.v1, chat.v2".parse().unwrap();
    request.headers_mut().insert(PROTOCOL, offered);
    let connecting = connect_async_with_config(request, Some(config()), true);
    let (_, response) = patiently(connecting).await.unwrap();
    assert_eq!(response.headers().get(PROTOCOL).unwrap(), WANTED);
    println!("ok subprotocol");
}

/// A close with a code and a reason, by either side; the other one answers with the code.
async fn closes(url: &str, code: u16, reason: &str, by_server: bool) {
    let mut socket = connect(url).await;
    if by_server {
        let order = format!("close {code} {reason}");
        socket.send(Message::text(order)).await.unwrap();
    } else {
        let frame = closing(code, reason);
        patiently(socket.close(Some(frame))).await.unwrap();
    }
    let Message::Close(Some(frame)) = next(&mut socket).await else {
        panic!("{code}: no close");
    };
    assert_eq!(u16::from(frame.code), code);
    assert!(!by_server || frame.reason == reason, "{code}");
    assert!(patiently(socket.next()).await.is_none(), "{code}");
    let side = if by_server { "server" } else { "client" };
    println!("ok {code} by the {side}");
}
