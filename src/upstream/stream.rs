//! One connection to a server: TCP, unix socket or TLS, opened within a time limit.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::error::UpstreamError;
use super::server::Server;
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

/// Opens a connection, TLS included, within `limit`.
///
/// # Errors
///
/// [`UpstreamError::Connect`], [`UpstreamError::Tls`] or [`UpstreamError::ConnectTimeout`].
pub(super) async fn connect(server: &Server, limit: Duration) -> Result<Stream, UpstreamError> {
    let label = || Box::from(&*server.settings.label);
    match tokio::time::timeout(limit, open(server)).await {
        Ok(opened) => opened,
        Err(_elapsed) => Err(UpstreamError::ConnectTimeout { server: label() }),
    }
}

async fn open(server: &Server) -> Result<Stream, UpstreamError> {
    let label = || Box::from(&*server.settings.label);
    let refused = |source| UpstreamError::Connect {
        server: label(),
        source,
    };
    let tcp = match &server.settings.address {
        ServerAddress::Unix(path) => {
            return UnixStream::connect(path)
                .await
                .map(Stream::Unix)
                .map_err(refused);
        }
        ServerAddress::Tcp { host, port } => TcpStream::connect((&**host, *port))
            .await
            .map_err(refused)?,
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
    let connector = TlsConnector::from(std::sync::Arc::clone(&tls.config));
    let stream = connector
        .connect(tls.name.clone(), tcp)
        .await
        .map_err(|source| UpstreamError::Tls {
            server: label(),
            source,
        })?;
    Ok(Stream::Tls(Box::new(stream)))
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
