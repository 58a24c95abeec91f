//! One worker: a thread with its own runtime and its own connections to the apps, so that on the
//! way of a request nothing is shared that changes.

use std::io;
use std::net::TcpListener;
use std::sync::Arc;

use tokio_util::task::TaskTracker;

use super::Door;
use super::accept;
use super::drain::Drain;
use super::limits::Ledger;
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
            tokio::select! {
                () = self.drain.begins() => {}
                () = self.keep_house() => {}
            }
            self.tasks.close();
            let limit = self.drain.limit();
            if tokio::time::timeout(limit, self.tasks.wait())
                .await
                .is_err()
            {
                let left = self.tasks.len();
                tracing::warn!(
                    left,
                    ?limit,
                    "cut off connections that did not finish while draining"
                );
            }
            Ok(())
        })
        // Dropping the runtime ends what is left.
    }

    async fn keep_house(&self) {
        let mut tick = tokio::time::interval(SWEEP);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tick.tick().await;
            self.pool.sweep();
        }
    }
}
