//! One connection to a server: TCP, unix socket or TLS, opened within a time limit. Of a name's
//! addresses another is tried where one takes no connection.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::{Instant, timeout, timeout_at};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::addresses::TRIES;
use super::error::UpstreamError;
use super::name::{Known, Name, Peer};
use super::server::{Place, Server};
use crate::clock;
use crate::config::settings::ServerAddress;

/// A connection to a server.
#[derive(Debug)]
pub(super) enum Stream {
    /// Plain TCP.
    Tcp(TcpStream),
    /// A unix socket.
    Unix(UnixStream),
    /// TLS over TCP.
    Tls(Box<TlsStream<TcpStream>>),
}

/// A connection, and where it leads.
#[derive(Debug)]
pub(super) struct Reached {
    pub(super) stream: Stream,
    /// Of those to a name.
    pub(super) peer: Option<Peer>,
}

/// Opens a connection, TLS included, within `limit`.
///
/// # Errors
///
/// [`UpstreamError::Unresolved`], [`UpstreamError::Connect`], [`UpstreamError::Tls`] or
/// [`UpstreamError::ConnectTimeout`].
pub(super) async fn connect(server: &Server, limit: Duration) -> Result<Reached, UpstreamError> {
    let label = || Box::from(&*server.settings.label);
    let until = Instant::from_std(clock::monotonic()) + limit;
    let mut known = None;
    let opened = timeout_at(until, open(server, until, &mut known)).await;
    match (opened, server.name()) {
        (Ok(opened), _) => opened,
        (Err(_elapsed), Some(_)) if known.is_none() => {
            let words = format!("the resolver did not answer within {limit:?}");
            Err(UpstreamError::Unresolved {
                server: label(),
                source: io::Error::new(io::ErrorKind::TimedOut, words),
            })
        }
        (Err(_elapsed), _) => Err(UpstreamError::ConnectTimeout { server: label() }),
    }
}

async fn open(
    server: &Server,
    until: Instant,
    known: &mut Option<Arc<Known>>,
) -> Result<Reached, UpstreamError> {
    let label = || Box::from(&*server.settings.label);
    let refused = |source| UpstreamError::Connect {
        server: label(),
        source,
    };
    let (tcp, peer) = match (&server.place, &server.settings.address) {
        (Place::Unix, ServerAddress::Unix(path)) => {
            let stream = UnixStream::connect(path).await.map_err(refused)?;
            let stream = Stream::Unix(stream);
            return Ok(Reached { stream, peer: None });
        }
        (Place::Named(name), _) => {
            let source = |source| UpstreamError::Unresolved {
                server: label(),
                source,
            };
            let known = known.insert(name.known().await.map_err(source)?);
            let (tcp, peer) = dial(name, known, until).await.map_err(refused)?;
            (tcp, Some(peer))
        }
        (Place::At(address), _) => (TcpStream::connect(address).await.map_err(refused)?, None),
        (Place::Unix, ServerAddress::Tcp { .. }) => {
            return Err(refused(io::ErrorKind::AddrNotAvailable.into()));
        }
    };
    let stream = secure(server, tcp).await?;
    Ok(Reached { stream, peer })
}

/// A connection to the first of a name's addresses that takes one.
async fn dial(name: &Name, known: &Known, until: Instant) -> io::Result<(TcpStream, Peer)> {
    let order = name.order(known);
    let mut failed = io::Error::from(io::ErrorKind::AddrNotAvailable);
    let mut left = u32::try_from(order.len().min(TRIES)).unwrap_or(1);
    for place in order.into_iter().take(TRIES) {
        let Some(address) = known.addresses.get(place) else {
            continue;
        };
        // Each gets its share of what is left, so that none takes the time of all.
        let now = Instant::from_std(clock::monotonic());
        let share = until.saturating_duration_since(now) / left.max(1);
        left = left.saturating_sub(1);
        let dialled = timeout(share, TcpStream::connect(address)).await;
        let late = |_elapsed| Err(io::Error::from(io::ErrorKind::TimedOut));
        let dialled = dialled.unwrap_or_else(late);
        name.note(known, place, dialled.is_ok());
        match dialled {
            Ok(tcp) => return Ok((tcp, Name::peer(known, *address))),
            Err(error) => failed = io::Error::new(error.kind(), format!("{address}: {error}")),
        }
    }
    Err(failed)
}

/// Makes a new TCP connection fit for requests: TLS on it, where the server speaks that.
async fn secure(server: &Server, tcp: TcpStream) -> Result<Stream, UpstreamError> {
    let label = || Box::from(&*server.settings.label);
    let refused = |source| UpstreamError::Connect {
        server: label(),
        source,
    };
    // A request is written whole; waiting to fill a segment only adds latency.
    tcp.set_nodelay(true).map_err(refused)?;
    // A quiet answer may be quiet for long: only the kernel can tell a silent app from a dead host.
    let alive = socket2::TcpKeepalive::new()
        .with_time(Duration::from_mins(1))
        .with_interval(Duration::from_secs(20));
    socket2::SockRef::from(&tcp)
        .set_tcp_keepalive(&alive)
        .map_err(refused)?;
    if !server.settings.tls {
        return Ok(Stream::Tcp(tcp));
    }
    // An https server without a name that can be verified is never spoken to in the clear.
    let Some(tls) = &server.tls else {
        let source = io::Error::new(io::ErrorKind::InvalidInput, "its name cannot be verified");
        return Err(UpstreamError::Tls {
            server: label(),
            source,
        });
    };
    let connector = TlsConnector::from(Arc::clone(&tls.config));
    let stream = connector
        .connect(tls.name.clone(), tcp)
        .await
        .map_err(|source| UpstreamError::Tls {
            server: label(),
            source,
        })?;
    Ok(Stream::Tls(Box::new(stream)))
}

impl Stream {
    /// Whether nothing has come on an idle connection: no bytes, and no end.
    pub(super) fn is_quiet(&mut self) -> bool {
        let came = &mut [0];
        let tried = match self {
            // Nobody waits, so nobody is put down to be woken.
            Self::Tcp(stream) => stream.try_read(came),
            Self::Unix(stream) => stream.try_read(came),
            Self::Tls(stream) => {
                let cx = &mut Context::from_waker(Waker::noop());
                return Pin::new(stream)
                    .poll_read(cx, &mut ReadBuf::new(came))
                    .is_pending();
            }
        };
        tried.is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock)
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_read(cx, buf),
            Self::Unix(stream) => Pin::new(stream).poll_read(cx, buf),
            Self::Tls(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_write(cx, buf),
            Self::Unix(stream) => Pin::new(stream).poll_write(cx, buf),
            Self::Tls(stream) => Pin::new(stream).poll_write(cx, buf),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
            Self::Unix(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
            Self::Tls(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Tcp(stream) => stream.is_write_vectored(),
            Self::Unix(stream) => stream.is_write_vectored(),
            Self::Tls(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_flush(cx),
            Self::Unix(stream) => Pin::new(stream).poll_flush(cx),
            Self::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Unix(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}
