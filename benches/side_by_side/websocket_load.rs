//! WebSockets for `benches/compare`, by tokio-tungstenite: the app that sends every message back, and the
//! clients before the proxy.
//!
//! `serve` says `listening PORT`. `idle URL CERTIFICATE TOKEN` opens as many sockets as each line of its
//! input says, sends one message on each, and says `open TOTAL`; it ends with its input.
//! `messages URL CERTIFICATE TOKEN SOCKETS SECONDS` has one message of 128 bytes under way on each socket,
//! and writes what it counted as JSON.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a program of the comparison may stop with an error, reads the clock and says what it counted"
)]

use std::io::BufRead as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use futures_util::{SinkExt as _, StreamExt as _};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, ServerName};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::client::Resumption;
use tokio_rustls::rustls::{ClientConfig, RootCertStore};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::{WebSocketStream, accept_async_with_config, client_async_with_config};

/// Bytes of a message.
const SIZE: usize = 128;
const PATIENCE: Duration = Duration::from_secs(10);
/// Handshakes under way at one time.
const AT_ONCE: usize = 32;

type Socket = WebSocketStream<TlsStream<TcpStream>>;

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["serve"] => serve().await,
        ["idle", url, certificate, token] => idle(&Door::new(url, certificate, token)).await,
        ["messages", url, certificate, token, sockets, seconds] => {
            let door = Door::new(url, certificate, token);
            let time = Duration::from_secs(seconds.parse().unwrap());
            messages(&door, sockets.parse().unwrap(), time).await;
        }
        _ => panic!("usage: websocket-load serve | idle … | messages …"),
    }
}

/// Small buffers: there are thousands of sockets, and their messages are small.
fn config() -> WebSocketConfig {
    WebSocketConfig::default()
        .read_buffer_size(1024)
        .write_buffer_size(0)
}

async fn serve() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    println!("listening {}", listener.local_addr().unwrap().port());
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        stream.set_nodelay(true).unwrap();
        tokio::spawn(async move {
            let accepting = accept_async_with_config(stream, Some(config()));
            let Ok(mut socket) = accepting.await else {
                return;
            };
            while let Some(Ok(message)) = socket.next().await {
                if (message.is_text() || message.is_binary()) && socket.send(message).await.is_err()
                {
                    return;
                }
            }
        });
    }
}

/// Where the sockets are opened, and with which token.
struct Door {
    url: String,
    bearer: String,
    address: String,
    tls: TlsConnector,
}

impl Door {
    fn new(url: &str, certificate: &str, token: &str) -> Self {
        let mut roots = RootCertStore::empty();
        roots
            .add(CertificateDer::from_pem_file(certificate).unwrap())
            .unwrap();
        let mut tls = ClientConfig::builder()
            .with_root_certificates(roots)
            .with_no_client_auth();
        tls.alpn_protocols = vec![b"http/1.1".to_vec()];
        tls.resumption = Resumption::disabled();
        let request = url.into_client_request().unwrap();
        let port = request.uri().port_u16().unwrap();
        Self {
            url: url.to_owned(),
            bearer: format!("Bearer {token}"),
            address: format!("127.0.0.1:{port}"),
            tls: TlsConnector::from(Arc::new(tls)),
        }
    }

    /// Opens a socket.
    async fn open(&self) -> Socket {
        tokio::time::timeout(PATIENCE, async {
            let stream = TcpStream::connect(&self.address).await.unwrap();
            stream.set_nodelay(true).unwrap();
            let name = ServerName::try_from("localhost").unwrap();
            let stream = self.tls.connect(name, stream).await.unwrap();
            let mut request = self.url.as_str().into_client_request().unwrap();
            let bearer = self.bearer.parse().unwrap();
            request.headers_mut().insert("authorization", bearer);
            let opening = client_async_with_config(request, stream, Some(config()));
            opening.await.unwrap().0
        })
        .await
        .unwrap()
    }

    async fn open_many(&self, count: usize) -> Vec<Socket> {
        let mut sockets = Vec::with_capacity(count);
        while sockets.len() < count {
            let few = (count - sockets.len()).min(AT_ONCE);
            sockets.extend(join_all((0..few).map(|_| self.open())).await);
        }
        sockets
    }
}

/// Sends a message and waits until it is back.
async fn echo(socket: &mut Socket, message: &Message) {
    socket.send(message.clone()).await.unwrap();
    let back = tokio::time::timeout(PATIENCE, socket.next()).await;
    assert!(back.unwrap().unwrap().unwrap() == *message);
}

async fn idle(door: &Door) {
    let message = Message::binary(vec![b'x'; SIZE]);
    let mut sockets = Vec::new();
    // Nothing else is under way while the next line is waited for: the sockets are idle.
    for line in std::io::stdin().lock().lines() {
        let mut more = door.open_many(line.unwrap().trim().parse().unwrap()).await;
        for socket in &mut more {
            echo(socket, &message).await;
        }
        sockets.append(&mut more);
        println!("open {}", sockets.len());
    }
}

async fn messages(door: &Door, count: usize, time: Duration) {
    let message = Message::binary(vec![b'x'; SIZE]);
    let sockets = door.open_many(count).await;
    let began = Instant::now();
    let all = sockets.into_iter().map(|mut socket| {
        let message = message.clone();
        tokio::spawn(async move {
            let mut took = Vec::new();
            while began.elapsed() < time {
                let sent = Instant::now();
                echo(&mut socket, &message).await;
                took.push(u64::try_from(sent.elapsed().as_micros()).unwrap());
            }
            took
        })
    });
    let took = join_all(all).await;
    let seconds = began.elapsed().as_secs_f64();
    let mut took: Vec<u64> = took.into_iter().flat_map(Result::unwrap).collect();
    took.sort_unstable();
    let at = |percent: usize| took.get(took.len() * percent / 100).copied().unwrap();
    println!(
        r#"{{"requests": {}, "seconds": {seconds}, "p50": {}, "p99": {}}}"#,
        took.len(),
        at(50),
        at(99)
    );
}
