//! One client connection: PROXY protocol, TLS, then HTTP/1.1 or HTTP/2 until its end.

use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::{Arc, Mutex};

use bytes::BytesMut;
use http::header::CONNECTION;
use http::{HeaderValue, Request, Response, StatusCode, Version};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::upgrade::{OnUpgrade, Upgraded};
use rustls::server::Acceptor;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;
use tokio_rustls::{LazyConfigAcceptor, TlsAcceptor};

use super::kept::Kept;
use super::socket::{Secured, Socket};
use super::tunnel::{self, Rest};
use super::worker::Worker;
use super::{Door, framing, h2, proxy_protocol, redirect};
use crate::auth::PeerCertificate;
use crate::clock;
use crate::gateway::Snapshot;
use crate::pipeline::judge::{Peer, PeerTls};
use crate::pipeline::serve::{Brought, PassInterim, Visitor, serve as answer};
use crate::pipeline::socket::Becomes;
use crate::policy::websocket::Opening;
use crate::telemetry::Refused;
use crate::tls::Challenges;
use crate::upstream::incoming::ClientBody;

/// Serves a connection to its end, or until it has become a WebSocket: then gives what is left.
pub(super) async fn serve(
    worker: Arc<Worker>,
    door: Door,
    mut stream: TcpStream,
    address: SocketAddr,
) -> Option<Rest> {
    let gate = worker.gateway.snapshot();
    // Answers are written whole; waiting to fill a segment only adds latency.
    let _unimportant = stream.set_nodelay(true);
    let address = match real_address(&gate, &mut stream, address).await {
        Ok(address) => address,
        Err(error) => {
            worker
                .gateway
                .metrics
                .refused_connection(Refused::ProxyProtocol);
            tracing::debug!(%address, %error, "closed: no valid PROXY protocol header");
            return None;
        }
    };
    let peer = Peer { address, tls: None };
    match door {
        Door::Http | Door::Admin => {
            redirects(worker, &gate, stream).await;
            None
        }
        Door::Plain => http1(worker, &gate, Socket(stream), peer).await,
        Door::Https => tls(worker, &gate, stream, peer).await,
    }
}

/// What the PROXY protocol says the client's address is, where the peer is trusted to say so.
async fn real_address(
    gate: &Snapshot,
    stream: &mut TcpStream,
    address: SocketAddr,
) -> Result<SocketAddr, proxy_protocol::ProxyError> {
    let settings = &gate.settings.server;
    if !settings.proxy_protocol || !gate.policy.trusted_proxies.trusts(address.ip()) {
        return Ok(address);
    }
    let deadline = clock::monotonic() + settings.timeouts.request_headers;
    match proxy_protocol::read(stream, deadline).await? {
        proxy_protocol::Speaker::Client { source, .. } => Ok(source),
        proxy_protocol::Speaker::Peer => Ok(address),
    }
}

async fn tls(
    worker: Arc<Worker>,
    gate: &Snapshot,
    stream: TcpStream,
    mut peer: Peer,
) -> Option<Rest> {
    let limit = gate.settings.server.timeouts.tls_handshake;
    let shaken = async {
        match gate.tls.looks() {
            None => {
                let acceptor = TlsAcceptor::from(gate.tls.server_config());
                acceptor.accept(Socket(stream)).await.map(Some)
            }
            Some(challenges) => Box::pin(looked_at(gate, challenges, stream)).await,
        }
    };
    let stream = match tokio::time::timeout(limit, shaken).await {
        Ok(Ok(Some(stream))) => stream,
        Ok(Ok(None)) => return None,
        Ok(Err(error)) => {
            worker.gateway.metrics.refused_connection(Refused::Tls);
            tracing::debug!(address = %peer.address, %error, "the TLS handshake failed");
            return None;
        }
        Err(_elapsed) => {
            worker.gateway.metrics.refused_connection(Refused::Timeout);
            return None;
        }
    };
    let session = stream.get_ref().1;
    let server_name = session.server_name().map(Box::from);
    let certificate = session.peer_certificates().and_then(<[_]>::first);
    let certificate = match certificate
        .map(|der| PeerCertificate::parse(der))
        .transpose()
    {
        Ok(certificate) => certificate.map(Arc::new),
        Err(error) => {
            tracing::debug!(address = %peer.address, %error, "the client's certificate cannot be read");
            return None;
        }
    };
    let is_h2 = session.alpn_protocol() == Some(b"h2");
    peer.tls = Some(PeerTls {
        served: gate.tls.served(server_name.as_deref()),
        server_name,
        version: match session.protocol_version() {
            Some(rustls::ProtocolVersion::TLSv1_3) => "TLSv1.3",
            _ => "TLSv1.2",
        },
        certificate,
    });
    if is_h2 {
        h2::serve(worker, gate, stream, peer).await;
        None
    } else {
        http1(worker, gate, Secured::new(stream), peer).await
    }
}

/// A handshake while a CA is expected to look at a name: its own is answered with what it wants to
/// see and is over then, every other one goes on as ever.
async fn looked_at(
    gate: &Snapshot,
    challenges: &Challenges,
    stream: TcpStream,
) -> io::Result<Option<TlsStream<Socket>>> {
    let start = LazyConfigAcceptor::new(Acceptor::default(), Socket(stream)).await?;
    let Some(config) = challenges.handshake(&start.client_hello()) else {
        let config = gate.tls.server_config();
        return start.into_stream(config).await.map(Some);
    };
    start.into_stream(config).await?.shutdown().await?;
    tracing::debug!("showed a CA that a name leads here");
    Ok(None)
}

async fn http1<IO>(worker: Arc<Worker>, gate: &Snapshot, stream: IO, peer: Peer) -> Option<Rest>
where
    IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let settings = &gate.settings.server;
    let limits = framing::Limits::from(&settings.limits);
    let mut builder = http1::Builder::new();
    framing::configure(&mut builder, &limits);
    let (io, guard) = framing::guard(stream, limits, framing::Timeouts::from(&settings.timeouts));
    let visitor = Visitor::new(Arc::clone(&worker.gateway), Arc::clone(&worker.pool), peer);
    let becomes = Mutex::new(None);
    let service = service_fn(async |request: Request<Incoming>| {
        let mut answer = one(&guard, &visitor, request, &becomes).await;
        if worker.drain.has_begun() && answer.status() != StatusCode::SWITCHING_PROTOCOLS {
            // So the client asks elsewhere next, and none of its requests meets a closed connection.
            let last = HeaderValue::from_static("close");
            answer.headers_mut().insert(CONNECTION, last);
        }
        Ok::<_, Infallible>(answer)
    });
    let mut connection = pin!(builder.serve_connection(io, service).with_upgrades());
    let mut idle_ends = pin!(worker.drain.idle_ends());
    let (mut watching, mut told) = (false, false);
    let served = poll_fn(|cx| {
        // The drain is asked once, to be woken by it, and again only when it has come so far: its
        // lock is not taken each time that the connection is woken.
        if !told && (!watching || worker.drain.is_idle_over()) {
            watching = true;
            if idle_ends.as_mut().poll(cx).is_ready() {
                told = true;
                connection.as_mut().graceful_shutdown();
            }
        }
        connection.as_mut().poll(cx)
    });
    if let Err(error) = served.await {
        tracing::trace!(%error, "a connection ended");
        return None;
    }
    let became = becomes.lock().ok().and_then(|mut slot| slot.take());
    let (upgrade, becomes) = became?;
    let upgraded = upgrade.await.map(Upgraded::downcast::<framing::Framed<IO>>);
    let Ok(Ok(upgraded)) = upgraded else {
        tracing::error!("a connection did not become a tunnel");
        return None;
    };
    let (client, unread) = upgraded.io.into_inner().into_parts();
    let mut early = BytesMut::from(upgraded.read_buf);
    early.unsplit(unread);
    Some(tunnel::go_on(
        *becomes,
        client,
        early.freeze(),
        &worker.sockets,
    ))
}

/// What a connection becomes after a 101, and how hyper gives it back.
type Became = Mutex<Option<(OnUpgrade, Box<Becomes>)>>;

/// Answers one request of a guarded connection.
async fn one(
    guard: &framing::GuardHandle,
    visitor: &Visitor,
    request: Request<Incoming>,
    became: &Became,
) -> Response<Kept<Option<framing::Exchange>>> {
    let (exchange, violation) = match guard.next_request() {
        Ok(exchange) => (Some(exchange), None),
        Err(denial) => (None, Some(denial)),
    };
    // RFC 9110 §15.2: a client of HTTP/1.0 is sent no interim answers.
    let takes_interim = exchange
        .as_ref()
        .filter(|_| request.version() == Version::HTTP_11);
    let pass = |status, headers: &http::HeaderMap| {
        if let Some(exchange) = takes_interim {
            let _too_late = !exchange.interim().send(status, headers);
        }
    };
    let interim: Option<PassInterim<'_>> = takes_interim.is_some().then_some(&pass);
    let (mut head, body) = request.into_parts();
    let upgrade = head.extensions.remove::<OnUpgrade>();
    let brought = Brought {
        head,
        body: ClientBody::Http1(body),
        opening: Opening::Upgrade,
    };
    let (answer, becomes) = answer(visitor, brought, violation, interim).await;
    if let (Some(upgrade), Some(becomes)) = (upgrade, becomes)
        && let Ok(mut slot) = became.lock()
    {
        *slot = Some((upgrade, becomes));
    }
    if let Some(exchange) = &exchange {
        exchange.answering(answer.status());
    }
    answer.map(|body| Kept::new(body, exchange))
}

async fn redirects(worker: Arc<Worker>, gate: &Snapshot, stream: TcpStream) {
    let settings = &gate.settings.server;
    let limits = framing::Limits::from(&settings.limits);
    let mut builder = http1::Builder::new();
    framing::configure(&mut builder, &limits);
    builder.keep_alive(false);
    let (io, guard) = framing::guard(stream, limits, framing::Timeouts::from(&settings.timeouts));
    let port = worker.https_port;
    let service = service_fn(move |request: Request<Incoming>| {
        let answered = match guard.next_request() {
            Ok(_) => match redirect::proof(&request, |host, token| gate.tls.proof(host, token)) {
                Some(proof) => Ok(proof),
                None => redirect::answer(&request, port, |host| gate.redirects_to(host)),
            },
            Err(denial) => redirect::refuse(denial.status()),
        };
        std::future::ready(answered)
    });
    let limit = settings.timeouts.request_headers + settings.timeouts.response_body;
    let _ended = tokio::time::timeout(limit, builder.serve_connection(io, service)).await;
}
