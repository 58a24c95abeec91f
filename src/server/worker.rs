//! One worker: a thread with its own runtime and its own connections to the apps, so that on the
//! way of a request nothing is shared that changes.

use std::io;
use std::net::TcpListener;
use std::sync::Arc;

use tokio_util::task::TaskTracker;

use super::Door;
use super::accept;
use super::drain::{Drain, GRACE};
use super::limits::Ledger;
use super::sockets::{ClockWatch, Sockets, farewell};
use crate::gateway::Gateway;
use crate::upstream::pool::{Pool, SWEEP};

/// What the connections of one worker share.
#[derive(Debug)]
pub(super) struct Worker {
    pub(super) gateway: Arc<Gateway>,
    pub(super) pool: Arc<Pool>,
    pub(super) drain: Arc<Drain>,
    pub(super) ledger: Arc<Ledger>,
    /// Where plain http is redirected to.
    pub(super) https_port: Option<u16>,
    /// Owns every connection's task.
    pub(super) tasks: TaskTracker,
    /// Reaches every open WebSocket.
    pub(super) sockets: Sockets,
}

impl Worker {
    pub(super) fn new(
        gateway: Arc<Gateway>,
        drain: Arc<Drain>,
        ledger: Arc<Ledger>,
        https_port: Option<u16>,
    ) -> Arc<Self> {
        Arc::new(Self {
            gateway,
            pool: Arc::default(),
            drain,
            ledger,
            https_port,
            tasks: TaskTracker::new(),
            sockets: Sockets::default(),
        })
    }

    /// Serves until the drain is over.
    pub(super) fn run(self: Arc<Self>, doors: Vec<(Door, TcpListener)>) -> io::Result<()> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        runtime.block_on(async {
            for (door, listener) in doors {
                let listener = tokio::net::TcpListener::from_std(listener)?;
                self.tasks
                    .spawn(accept::run(Arc::clone(&self), door, listener));
            }
            let drained = async {
                self.drain.begins().await;
                self.finish().await;
            };
            tokio::select! {
                () = drained => {}
                () = self.keep_house() => {}
            }
            Ok(())
        })
        // Dropping the runtime ends what is left.
    }

    /// Waits for what is under way, as long as the drain may take. Idle connections are closed after
    /// a moment, open WebSockets a little before the end.
    async fn finish(&self) {
        self.tasks.close();
        let limit = self.drain.limit();
        let last = farewell(limit);
        let grace = GRACE.min(limit / 2);
        if (tokio::time::timeout(grace, self.tasks.wait()).await).is_ok() {
            return;
        }
        self.drain.end_idle();
        let early = limit.saturating_sub(last + grace);
        let early = tokio::time::timeout(early, self.tasks.wait());
        if early.await.is_ok() {
            return;
        }
        self.sockets.close();
        if tokio::time::timeout(last, self.tasks.wait()).await.is_err() {
            let left = self.tasks.len();
            tracing::warn!(
                left,
                ?limit,
                "cut off connections that did not finish while draining"
            );
        }
    }

    async fn keep_house(&self) {
        let mut watch = ClockWatch::new();
        let mut tick = tokio::time::interval(SWEEP);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tick.tick().await;
            self.pool.sweep();
            if watch.look() {
                self.sockets.look_up();
            }
        }
    }
}
