//! HTTP/2 on one connection, bounded in streams, windows, resets and idle time.
//!
//! The connection's task reads and writes frames and takes streams in; each stream is a task of its
//! own, owned by the worker. h2's poll functions that its documentation does not show are those that
//! it keeps for hyper.

mod body;
mod connection;
mod early;
mod head;
mod idle;
mod opening;
mod presence;
mod socket;
mod stream;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use h2::server::{Builder, Connection};
use tokio::io::{AsyncRead, AsyncWrite};

use self::connection::Served;
use self::presence::{Heard, Listened};
use super::worker::Worker;
use crate::config::settings::Server as Settings;
use crate::gateway::Snapshot;
use crate::pipeline::judge::Peer;
use crate::pipeline::serve::Visitor;

/// Bytes that one stream may send before the app has taken them.
const STREAM_WINDOW: u32 = 128 * 1024;
/// Bytes that all streams of a connection may send before apps have taken them.
const CONNECTION_WINDOW: u32 = 1024 * 1024;
/// Bytes of an answer that wait for a client that does not read.
const SEND_BUFFER: usize = 64 * 1024;
/// Streams that a client may reset before they are served (CVE-2023-44487).
const RESETS: usize = 32;
/// Streams that may be reset for a client's own mistakes (CVE-2025-8671).
const LOCAL_RESETS: usize = 64;

/// A client that is told to go away answers by a ping. One that has no stream open and stays
/// silent for this long during a drain is not waited for: it is idle and does not even read.
const FAREWELL: Duration = Duration::from_secs(2);

/// What the streams of a connection share.
#[derive(Debug)]
struct Desk {
    visitor: Visitor,
    worker: Arc<Worker>,
}

/// Serves a connection to its end.
pub(super) async fn serve<IO>(worker: Arc<Worker>, gate: &Snapshot, stream: IO, peer: Peer)
where
    IO: AsyncRead + AsyncWrite + Unpin,
{
    let settings = &gate.settings.server;
    let heard = Heard::default();
    let stream = Listened::new(stream, heard.clone());
    let Some(connection) = greet(&worker, settings, stream).await else {
        return;
    };
    let (gateway, pool) = (Arc::clone(&worker.gateway), Arc::clone(&worker.pool));
    let desk = Arc::new(Desk {
        visitor: Visitor::new(gateway, pool, peer),
        worker,
    });
    let served = Served::new(connection, heard, Arc::clone(&desk), &settings.timeouts);
    if let Err(error) = served.run(&desk.worker).await {
        tracing::trace!(%error, "an HTTP/2 connection ended");
    }
}

/// Exchanges prefaces and says what the client may do. `None` where it does not say its own in the
/// time that a head may take.
async fn greet<IO>(
    worker: &Worker,
    settings: &Settings,
    stream: IO,
) -> Option<Connection<IO, Bytes>>
where
    IO: AsyncRead + AsyncWrite + Unpin,
{
    let handshake = bounds(settings).handshake(stream);
    let drained = async {
        worker.drain.begins().await;
        tokio::time::sleep(FAREWELL).await;
    };
    tokio::select! {
        biased;
        greeted = tokio::time::timeout(settings.timeouts.request_headers, handshake) => {
            greeted.ok()?.inspect_err(|error| tracing::trace!(%error, "no HTTP/2 preface")).ok()
        }
        () = drained => None,
    }
}

fn bounds(settings: &Settings) -> Builder {
    let mut builder = Builder::new();
    builder
        .max_concurrent_streams(settings.limits.http2_streams)
        .max_header_list_size(u32::try_from(settings.limits.headers).unwrap_or(u32::MAX))
        .initial_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_send_buffer_size(SEND_BUFFER)
        .max_pending_accept_reset_streams(RESETS)
        .max_local_error_reset_streams(Some(LOCAL_RESETS))
        // RFC 8441 §3: WebSockets may be opened on streams.
        .enable_connect_protocol();
    builder
}
