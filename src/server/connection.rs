//! One client connection: PROXY protocol, TLS, then HTTP/1.1 or HTTP/2 until its end.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use rustls::server::Acceptor;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;
use tokio_rustls::{LazyConfigAcceptor, TlsAcceptor};

use super::http1::Wire;
use super::socket::{Secured, Socket};
use super::tunnel::{self, Rest};
use super::worker::Worker;
use super::{Door, framing, h2, proxy_protocol, redirect};
use crate::auth::PeerCertificate;
use crate::clock;
use crate::gateway::Snapshot;
use crate::pipeline::judge::{Peer, PeerTls};
use crate::pipeline::serve::Visitor;
use crate::telemetry::Refused;
use crate::tls::Challenges;

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
        Door::Plain => http1(worker, wire(&gate, Socket(stream)), peer).await,
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
        http1(worker, wire(gate, Secured::new(stream)), peer).await
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

/// What HTTP/1 runs over. Made here and put away: in a future it would have room at each step.
fn wire<IO>(gate: &Snapshot, stream: IO) -> Box<Wire<IO>> {
    let settings = &gate.settings.server;
    let limits = framing::Limits::from(&settings.limits);
    let timeouts = framing::Timeouts::from(&settings.timeouts);
    Box::new(Wire::new(stream, limits, timeouts))
}

async fn http1<IO>(worker: Arc<Worker>, wire: Box<Wire<IO>>, peer: Peer) -> Option<Rest>
where
    IO: AsyncRead + AsyncWrite + Unpin + Send + fmt::Debug + 'static,
{
    let visitor = Visitor::new(Arc::clone(&worker.gateway), Arc::clone(&worker.pool), peer);
    let served = super::http1::serve(&visitor, &worker.drain, wire).await;
    let (wire, becomes) = served?;
    let (client, early) = wire.into_parts();
    Some(tunnel::go_on(
        *becomes,
        client,
        early.freeze(),
        &worker.sockets,
    ))
}

async fn redirects(worker: Arc<Worker>, gate: &Snapshot, stream: TcpStream) {
    let settings = &gate.settings.server;
    let port = worker.https_port;
    let served = super::http1::once(wire(gate, stream), |request| match request {
        Ok(request) => redirect::proof(request, |host, token| gate.tls.proof(host, token))
            .unwrap_or_else(|| redirect::answer(request, port, |host| gate.redirects_to(host))),
        Err(denial) => redirect::refuse(denial.status()),
    });
    let limit = settings.timeouts.request_headers + settings.timeouts.response_body;
    let _ended = tokio::time::timeout(limit, served).await;
}
