//! Accepts connections at one address, and backs off when the system has no files left.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};

use super::Door;
use super::connection;
use super::worker::Worker;

/// The wait after the system gave no connection for want of files or memory.
const BACK_OFF: Duration = Duration::from_millis(100);

/// Accepts until the drain begins. The listener closes with it.
pub(super) async fn run(worker: Arc<Worker>, door: Door, listener: TcpListener) {
    loop {
        let accepted = tokio::select! {
            biased;
            () = worker.drain.begins() => return,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, address)) => admit(&worker, door, stream, address),
            Err(error) if is_of_one_connection(&error) => {}
            Err(error) => {
                tracing::warn!(%error, "cannot accept connections; trying again shortly");
                tokio::time::sleep(BACK_OFF).await;
            }
        }
    }
}

fn admit(worker: &Arc<Worker>, door: Door, stream: TcpStream, address: std::net::SocketAddr) {
    let gate = worker.gateway.snapshot();
    let metrics = &worker.gateway.metrics;
    let seat = match worker
        .ledger
        .admit(address.ip(), &gate.settings.server.limits)
    {
        Ok(seat) => seat,
        Err(reason) => {
            metrics.refused_connection(reason);
            return;
        }
    };
    let open = metrics.connection(door);
    drop(gate);
    let worker = Arc::clone(worker);
    let tasks = worker.tasks.clone();
    tasks.clone().spawn(async move {
        let rest = connection::serve(worker, door, stream, address).await;
        let Some(rest) = rest else {
            return drop((seat, open));
        };
        // A task of its own, so that a WebSocket does not keep the room that requests take.
        tasks.spawn(async move {
            rest.await;
            drop((seat, open));
        });
    });
}

/// Whether the error is about the connection that was to be accepted, and the next may be fine.
fn is_of_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionRefused
    )
}
