//! A connection, or an HTTP/2 stream, after it has become a WebSocket: in a task of its own, which
//! keeps nothing of the request that opened it.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::sockets::Sockets;
use crate::pipeline::socket::{Becomes, Tunnel};
use crate::policy::websocket::close::Ending;
use crate::policy::websocket::edge::{FrameEdge, Place};
use crate::upstream::tunnel::Terms;

/// How long the answer to the close frame of a refused handshake is waited for.
const PATIENCE: Duration = Duration::from_secs(5);
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
            let closed = close(client, &early, ending);
            if tokio::time::timeout(PATIENCE, closed).await.is_err() {
                tracing::trace!("a refused client did not answer its close frame");
            }
        }),
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
        held,
    } = tunnel;
    let terms = Terms {
        idle,
        until,
        summons: sockets.summons(),
    };
    let running = handover.run(client, early, terms);
    Box::pin(async move {
        match running.await {
            Ok(passed) => tracing::debug!(up = passed.up, down = passed.down, "a tunnel ended"),
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
    client.write_all(&ending.frame(None)).await?;
    client.flush().await?;
    let mut edge = FrameEdge::default();
    edge.follow(early);
    let (mut came, mut is_shut) = (early.len(), false);
    let mut buffer = [0; 512];
    loop {
        if !is_shut && edge.place() == Place::Closed {
            client.shutdown().await?;
            is_shut = true;
        }
        let size = client.read(&mut buffer).await?;
        came += size;
        if size == 0 || came > MOST {
            return if is_shut {
                Ok(())
            } else {
                client.shutdown().await
            };
        }
        edge.follow(buffer.get(..size).unwrap_or_default());
    }
}
