//! What follows a 101: bytes both ways, unchanged, until one side is done or time is over.

use std::future::Future;
use std::io;
use std::pin::pin;
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::exchange::Exchange;
use super::stream::Stream;

/// How much is read at once, in bytes. A quiet tunnel holds two of these.
const CHUNK: usize = 4 * 1024;
/// How long a side that has closed waits for the other to close too.
const LINGER: Duration = Duration::from_secs(5);

/// The app's side of a connection that has switched protocols.
#[derive(Debug)]
pub struct Handover {
    exchange: Exchange,
}

/// Bytes that went each way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Passed {
    /// From the client to the app.
    pub up: u64,
    /// From the app to the client.
    pub down: u64,
}

impl Handover {
    pub(super) fn new(exchange: Exchange) -> Self {
        Self { exchange }
    }

    /// Copies both ways until both sides are done, `stop` ends, or no byte came for `idle`.
    /// `early` is what the client sent before it saw the 101.
    ///
    /// # Errors
    ///
    /// What the system said when a side broke.
    pub async fn run<C>(
        self,
        client: C,
        early: Bytes,
        idle: Duration,
        stop: impl Future<Output = ()>,
    ) -> io::Result<Passed>
    where
        C: AsyncRead + AsyncWrite + Unpin,
    {
        let Exchange {
            link,
            in_flight,
            home: _,
        } = self.exchange;
        let (app, first, slot) = link.into_stream();
        let mut passed = Passed::default();
        let copying = copy_both(client, app, early, first, idle, &mut passed);
        let ended = tokio::select! {
            ended = copying => ended,
            () = pin!(stop) => Ok(()),
        };
        drop((in_flight, slot));
        ended.map(|()| passed)
    }
}

async fn copy_both<C>(
    client: C,
    app: Stream,
    early: Bytes,
    first: Bytes,
    idle: Duration,
    passed: &mut Passed,
) -> io::Result<()>
where
    C: AsyncRead + AsyncWrite + Unpin,
{
    let (client_read, client_write) = tokio::io::split(client);
    let (app_read, app_write) = tokio::io::split(app);
    // Any byte either way is a sign of life.
    let quiet = tokio::sync::Notify::new();
    let mut up = pin!(copy(client_read, app_write, early, &quiet, &mut passed.up));
    let mut down = pin!(copy(
        app_read,
        client_write,
        first,
        &quiet,
        &mut passed.down
    ));
    let mut watch = pin!(silence(&quiet, idle));
    tokio::select! {
        ended = &mut up => { ended?; finish(down, LINGER).await }
        ended = &mut down => { ended?; finish(up, LINGER).await }
        () = &mut watch => Ok(()),
    }
}

/// Gives the other direction a little time to end by itself.
async fn finish(rest: impl Future<Output = io::Result<()>>, limit: Duration) -> io::Result<()> {
    tokio::time::timeout(limit, rest).await.unwrap_or(Ok(()))
}

async fn silence(alive: &tokio::sync::Notify, idle: Duration) {
    while tokio::time::timeout(idle, alive.notified()).await.is_ok() {}
}

async fn copy(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    first: Bytes,
    alive: &tokio::sync::Notify,
    count: &mut u64,
) -> io::Result<()> {
    if !first.is_empty() {
        to.write_all(&first).await?;
        *count += first.len() as u64;
    }
    drop(first);
    let mut buffer = vec![0; CHUNK];
    loop {
        to.flush().await?;
        let size = from.read(&mut buffer).await?;
        let Some(chunk) = buffer.get(..size).filter(|chunk| !chunk.is_empty()) else {
            return to.shutdown().await;
        };
        alive.notify_one();
        to.write_all(chunk).await?;
        *count += size as u64;
    }
}
