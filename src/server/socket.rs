//! An accepted connection, and TLS on it, that cost no more than they must.
//!
//! TLS hands a record down as a list of one. `send` takes that with less ado in the kernel than
//! `writev`: a percent of everything a request costs.
//!
//! A connection is looked at for the client's next bytes three times a request when there are none
//! yet. On TLS each such look makes room for a record first; so the socket is asked before: it knows
//! whether the last read has emptied it. And who waits for it already is not put down again.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use tokio::io::{AsyncBufRead, AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;

/// Bytes of a record behind which there is likely more: a body, not a request's head.
const FULL: usize = 8 * 1024;

/// A TCP connection of a client.
#[derive(Debug)]
pub(super) struct Socket(pub(super) TcpStream);

impl AsyncRead for Socket {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().0).poll_read(cx, buf)
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().0).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let stream = Pin::new(&mut self.get_mut().0);
        match bufs {
            [only] => stream.poll_write(cx, only),
            _ => stream.poll_write_vectored(cx, bufs),
        }
    }

    fn is_write_vectored(&self) -> bool {
        self.0.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().0).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().0).poll_shutdown(cx)
    }
}

/// A client's TLS connection after the handshake.
#[derive(Debug)]
pub(super) struct Secured {
    stream: TlsStream<Socket>,
    /// Whether TLS holds nothing to hand on and waits for the socket.
    drained: bool,
    /// Whether the socket wakes `woken` for what comes next, since nothing was read after it was asked to.
    waits: bool,
    woken: Option<Waker>,
    /// What went wrong behind bytes that were handed on.
    failed: Option<io::Error>,
}

impl Secured {
    pub(super) const fn new(stream: TlsStream<Socket>) -> Self {
        Self {
            stream,
            drained: false,
            waits: false,
            woken: None,
            failed: None,
        }
    }

    /// Whether a read may bring something. The task is woken for the socket as it would be by TLS;
    /// what is wrong with it shows when it is read.
    fn poll_promising(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if !self.drained {
            return Poll::Ready(());
        }
        let socket = &self.stream.get_ref().0.0;
        let knows = |woken: &Waker| woken.will_wake(cx.waker());
        let is_known = self.woken.as_ref().is_some_and(knows);
        // Whom it is to wake, it forgets only when something has come. To ask again takes a lock.
        if self.waits && is_known && socket.try_io(Interest::READABLE, || Ok(())).is_err() {
            return Poll::Pending;
        }
        self.waits = socket.poll_read_ready(cx).is_pending();
        if self.waits {
            if !is_known {
                self.woken = Some(cx.waker().clone());
            }
            return Poll::Pending;
        }
        self.drained = false;
        Poll::Ready(())
    }

    /// Whether TLS has bytes, or an end, to hand on without reading.
    fn holds(&mut self) -> bool {
        self.stream.get_mut().1.reader().into_first_chunk().is_ok()
    }
}

impl AsyncRead for Secured {
    /// Hands on what there is. An error behind it is kept for the next read.
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if let Some(error) = this.failed.take() {
            return Poll::Ready(Err(error));
        }
        let before = buf.filled().len();
        while buf.remaining() > 0 && this.poll_promising(cx).is_ready() {
            let data = match Pin::new(&mut this.stream).poll_fill_buf(cx) {
                Poll::Ready(Ok([])) => return Poll::Ready(Ok(())),
                Poll::Ready(Ok(data)) => data,
                Poll::Ready(Err(error)) if buf.filled().len() > before => {
                    this.failed = Some(error);
                    break;
                }
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => {
                    this.drained = true;
                    break;
                }
            };
            let size = data.len().min(buf.remaining());
            buf.put_slice(data.get(..size).unwrap_or_default());
            Pin::new(&mut this.stream).consume(size);
            this.drained = !this.holds();
            if this.drained && size < FULL {
                // Nearly always all there is; if not, the next read finds it.
                break;
            }
        }
        if buf.filled().len() == before && buf.remaining() > 0 {
            return Poll::Pending;
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Secured {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::sync::Arc;
    use std::time::Duration;

    use rustls::{ClientConfig, RootCertStore, ServerConfig};
    use rustls_pki_types::{PrivateKeyDer, ServerName};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;
    use tokio_rustls::{TlsAcceptor, TlsConnector, client};

    use super::*;

    async fn pair() -> (client::TlsStream<TcpStream>, Secured) {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let der = made.cert.der().clone();
        let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
        let provider = || Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let server = ServerConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![der.clone()], key)
            .unwrap();
        let mut roots = RootCertStore::empty();
        roots.add(der).unwrap();
        let client = ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (dialled, accepted) = tokio::join!(TcpStream::connect(address), listener.accept());
        let name = ServerName::try_from("localhost").unwrap();
        let connector = TlsConnector::from(Arc::new(client));
        let acceptor = TlsAcceptor::from(Arc::new(server));
        let (client, server) = tokio::join!(
            connector.connect(name, dialled.unwrap()),
            acceptor.accept(Socket(accepted.unwrap().0))
        );
        (client.unwrap(), Secured::new(server.unwrap()))
    }

    #[tokio::test]
    async fn what_comes_in_many_records_is_read_whole_and_so_is_its_end() {
        let (mut client, mut server) = pair().await;
        let pattern: Vec<u8> = (0..400_000_u32).map(|at| at.to_le_bytes()[0]).collect();
        let send = async {
            let mut rest = pattern.as_slice();
            for size in [1, 700, 4096, 16_384, 3, 20_000, 100_000].iter().cycle() {
                let (piece, left) = rest.split_at(rest.len().min(*size));
                client.write_all(piece).await.unwrap();
                client.flush().await.unwrap();
                rest = left;
                if rest.is_empty() {
                    break;
                }
                if *size == 3 {
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
            }
            client.shutdown().await.unwrap();
        };
        let mut got = Vec::new();
        let (read, ()) = tokio::join!(server.read_to_end(&mut got), send);
        assert_eq!((read.unwrap(), got), (pattern.len(), pattern));
    }

    #[tokio::test]
    async fn a_reader_that_waits_is_woken_for_every_piece() {
        let (mut client, mut server) = pair().await;
        let echo = async {
            let mut buffer = [0; 64];
            for _ in 0..200 {
                let size = server.read(&mut buffer).await.unwrap();
                server.write_all(&buffer[..size]).await.unwrap();
                server.flush().await.unwrap();
            }
        };
        let ask = async {
            for round in 0..200_u8 {
                client.write_all(&[round]).await.unwrap();
                client.flush().await.unwrap();
                assert_eq!(client.read_u8().await.unwrap(), round);
            }
        };
        let both = async { tokio::join!(echo, ask) };
        tokio::time::timeout(Duration::from_secs(20), both)
            .await
            .unwrap();
    }

    #[tokio::test]
    async fn whoever_asked_last_is_woken_however_often_it_and_others_ask() {
        let (mut client, mut server) = pair().await;
        let ask = |server: &mut Secured, cx: &mut Context<'_>| {
            let mut room = [0; 8];
            let mut buffer = ReadBuf::new(&mut room);
            let asked = Pin::new(server).poll_read(cx, &mut buffer);
            asked.map(|read| read.map(|()| buffer.filled().to_vec()))
        };
        for round in 0..50_u8 {
            let nobody = &mut Context::from_waker(Waker::noop());
            let read = async {
                for _ in 0..round % 3 {
                    assert!(ask(&mut server, nobody).is_pending());
                }
                let read = poll_fn(|cx| match ask(&mut server, cx) {
                    Poll::Pending => ask(&mut server, cx),
                    read @ Poll::Ready(_) => read,
                });
                read.await.unwrap()
            };
            let write = async {
                tokio::time::sleep(Duration::from_millis(1)).await;
                client.write_all(&[round]).await.unwrap();
                client.flush().await.unwrap();
            };
            let both = async { tokio::join!(read, write) };
            let (read, ()) = tokio::time::timeout(Duration::from_secs(5), both)
                .await
                .unwrap();
            assert_eq!(read, [round]);
        }
    }

    #[tokio::test]
    async fn a_connection_that_is_cut_off_gives_its_bytes_first_and_then_the_error() {
        let (mut client, mut server) = pair().await;
        client.write_all(b"half").await.unwrap();
        client.flush().await.unwrap();
        // The end of TCP without that of TLS.
        client.get_mut().0.shutdown().await.unwrap();
        let mut got = Vec::new();
        let end = server.read_to_end(&mut got).await;
        assert_eq!(got, b"half");
        assert_eq!(end.unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    }
}
