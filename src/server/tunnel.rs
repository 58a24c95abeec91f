//! A connection, or an HTTP/2 stream, after it has become a WebSocket: in a task of its own, which
//! keeps nothing of the request that opened it.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::sockets::{Sockets, Summons};
use crate::auth::Watch;
use crate::pipeline::socket::{Becomes, Tunnel};
use crate::policy::websocket::close::Ending;
use crate::policy::websocket::edge::{FrameEdge, Place};
use crate::upstream::tunnel::Terms;

/// How long the answer to the close frame of a refused handshake is waited for.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long the end of a client that was refused is waited for after ours.
const LAST: Duration = Duration::from_secs(1);
/// How much a client may send meanwhile, in bytes.
const MOST: usize = 64 * 1024;

/// What is left to do of a connection: run it, where it came from, as a task.
pub(super) type Rest = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Goes on with a client whose handshake was answered. `early` is what it sent before it saw that.
pub(super) fn go_on<C>(becomes: Becomes, client: C, early: Bytes, sockets: &Sockets) -> Rest
where
    C: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    match becomes {
        Becomes::Tunnel(tunnel) => through(tunnel, client, early, sockets),
        Becomes::Closed(ending) => Box::pin(async move {
            if let Err(error) = close(client, &early, ending).await {
                tracing::trace!(%error, "a refused client did not hear its close frame");
            }
        }),
    }
}

/// Ready when a socket is to be closed: by what all are told, or because its caller's session or
/// token was revoked.
struct Called {
    summons: Summons,
    revoked: Option<(Watch, Ending)>,
}

impl Future for Called {
    type Output = Ending;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Ending> {
        if let Some((watch, ending)) = &mut self.revoked
            && Pin::new(watch).poll(cx).is_ready()
        {
            return Poll::Ready(*ending);
        }
        Pin::new(&mut self.summons).poll(cx)
    }
}

/// Bytes both ways, until either side, the identity or silence ends it.
fn through<C>(tunnel: Tunnel, client: C, early: Bytes, sockets: &Sockets) -> Rest
where
    C: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let Tunnel {
        handover,
        idle,
        until,
        revoked,
        held,
    } = tunnel;
    let terms = Terms {
        idle,
        until,
        summons: Called {
            summons: sockets.summons(),
            revoked,
        },
    };
    let running = handover.run(client, early, terms);
    Box::pin(async move {
        match running.await {
            Ok(passed) => {
                let why = passed.closed.map_or("its sides", Ending::text);
                tracing::debug!(up = passed.up, down = passed.down, why, "a tunnel ended");
            }
            Err(error) => tracing::debug!(%error, "a tunnel broke"),
        }
        drop(held);
    })
}

/// Sends the close frame, and reads until the client has answered it: a connection that is closed
/// with bytes unread is reset, and the frame lost with it.
async fn close<C>(mut client: C, early: &[u8], ending: Ending) -> io::Result<()>
where
    C: AsyncRead + AsyncWrite + Unpin,
{
    let told = async {
        client.write_all(&ending.frame(None)).await?;
        client.flush().await?;
        let mut edge = FrameEdge::default();
        edge.follow(early);
        let answered = |edge: &FrameEdge| edge.place() == Place::Closed;
        read_until(&mut client, &mut edge, early.len(), answered).await
    };
    // Who does not answer is told of the end all the same.
    let told = tokio::time::timeout(PATIENCE, told).await.unwrap_or(Ok(()));
    let ended = async {
        told?;
        client.shutdown().await?;
        // A client that has answered waits for our end (RFC 6455 §7.1.1) before its own.
        let mut behind = FrameEdge::default();
        read_until(&mut client, &mut behind, 0, |_| false).await
    };
    tokio::time::timeout(LAST, ended).await.unwrap_or(Ok(()))
}

/// Reads and throws away until the stream stands where it is wanted, it has ended, or too much came.
async fn read_until<C>(
    client: &mut C,
    edge: &mut FrameEdge,
    mut came: usize,
    wanted: impl Fn(&FrameEdge) -> bool,
) -> io::Result<()>
where
    C: AsyncRead + Unpin,
{
    let mut buffer = [0; 512];
    while came <= MOST && !wanted(edge) {
        let size = client.read(&mut buffer).await?;
        if size == 0 {
            break;
        }
        came += size;
        edge.follow(buffer.get(..size).unwrap_or_default());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use tokio::io::duplex;

    use super::*;
    use crate::policy::denial::Code;

    const ENDING: Ending = Ending::identity(Code::TokenExpired);

    #[tokio::test]
    async fn a_refused_client_gets_the_close_frame_and_then_the_end() {
        let (mut client, ours) = duplex(1024);
        let closing = tokio::spawn(async move { close(ours, b"", ENDING).await });
        let mut told = [0; 17];
        client.read_exact(&mut told).await.unwrap();
        assert_eq!(told.as_slice(), ENDING.frame(None));
        // It has sent a message before it knew.
        client.write_all(b"\x81\x82\0\0\0\0hi").await.unwrap();
        client.write_all(&ENDING.frame(Some([7; 4]))).await.unwrap();
        assert_eq!(client.read(&mut told).await.unwrap(), 0);
        drop(client);
        closing.await.unwrap().unwrap();
    }

    #[tokio::test]
    async fn a_refused_client_that_sends_without_end_is_let_go() {
        let (client, ours) = duplex(1024);
        let closing = tokio::spawn(async move { close(ours, b"", ENDING).await });
        let (mut read, mut write) = tokio::io::split(client);
        let sending = tokio::spawn(async move {
            let mut sent = 0;
            while let Ok(size) = write.write(&[0x82; 1024]).await {
                sent += size;
            }
            sent
        });
        let mut got = Vec::new();
        read.read_to_end(&mut got).await.unwrap();
        assert_eq!(got, ENDING.frame(None));
        closing.await.unwrap().unwrap();
        assert!(sending.await.unwrap() < 3 * MOST);
    }
}
