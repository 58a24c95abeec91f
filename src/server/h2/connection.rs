//! The connection's task: takes streams in, says goodbye, and ends when nobody is there any more.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use h2::server::Connection;
use h2::{Error, Reason};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::Sleep;

use super::idle::{Activity, Busy};
use super::presence::{Heard, Presence};
use super::{Desk, FAREWELL, stream};
use crate::clock;
use crate::config::settings::ServerTimeouts;
use crate::server::worker::Worker;

/// How far the connection has come on its way out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// New streams are taken.
    Open,
    /// The client was told to go, because it asked for nothing for so long.
    Told,
    /// The gateway drains.
    Draining,
}

/// A connection that is being served.
pub(super) struct Served<IO> {
    connection: Connection<IO, Bytes>,
    presence: Presence,
    desk: Arc<Desk>,
    activity: Arc<Activity>,
    stage: Stage,
    /// How long a client may ask for nothing.
    keep_alive: Duration,
    /// How long a client may take nothing of an answer.
    stall: Duration,
}

impl<IO: AsyncRead + AsyncWrite + Unpin> Served<IO> {
    pub(super) fn new(
        mut connection: Connection<IO, Bytes>,
        heard: Heard,
        desk: Arc<Desk>,
        timeouts: &ServerTimeouts,
    ) -> Self {
        let presence = Presence::new(connection.ping_pong(), heard);
        Self {
            connection,
            presence,
            desk,
            activity: Arc::new(Activity::new()),
            stage: Stage::Open,
            keep_alive: timeouts.keep_alive,
            stall: timeouts.response_body,
        }
    }

    /// Serves it to its end.
    pub(super) async fn run(mut self, worker: &Worker) -> Result<(), Error> {
        let mut begins = pin!(worker.drain.begins());
        let mut timer = pin!(tokio::time::sleep(self.keep_alive));
        let mut watching = false;
        poll_fn(|cx| {
            // The drain is asked once, to be woken by it, and again only when it has begun.
            if self.stage != Stage::Draining && (!watching || worker.drain.has_begun()) {
                watching = true;
                if begins.as_mut().poll(cx).is_ready() {
                    self.say_goodbye(Stage::Draining);
                    timer.as_mut().reset(after(FAREWELL));
                }
            }
            if self.poll_idle(timer.as_mut(), cx).is_ready() {
                return Poll::Ready(Ok(()));
            }
            if let Poll::Ready(ended) = self.poll_streams(worker, cx) {
                return Poll::Ready(ended);
            }
            // After the reading, so that it knows of what was just read.
            if self.presence.poll(cx).is_ready() {
                tracing::trace!("an HTTP/2 client does not answer a ping");
                return self.give_up(cx);
            }
            Poll::Pending
        })
        .await
    }

    /// Takes in every stream that has come. Ready when the connection is over.
    fn poll_streams(&mut self, worker: &Worker, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        loop {
            match self.connection.poll_accept(cx) {
                Poll::Ready(Some(Ok((request, respond)))) => {
                    let busy = Busy::begin(&self.activity);
                    let desk = Arc::clone(&self.desk);
                    let stream = stream::serve(desk, request, respond, (self.stall, busy));
                    worker.tasks.spawn(stream);
                }
                Poll::Ready(Some(Err(error))) => return Poll::Ready(Err(error)),
                Poll::Ready(None) => return Poll::Ready(Ok(())),
                Poll::Pending => return Poll::Pending,
            }
        }
    }

    fn say_goodbye(&mut self, stage: Stage) {
        self.stage = stage;
        self.connection.graceful_shutdown();
    }

    /// What is allowed to pass without a stream that is being served.
    fn patience(&self) -> Duration {
        match self.stage {
            Stage::Open => self.keep_alive,
            // What is left of an answer may still wait in h2 for a slow client.
            Stage::Told => self.stall,
            Stage::Draining if self.connection.has_streams() => self.stall.max(FAREWELL),
            Stage::Draining => FAREWELL,
        }
    }

    /// Tells an idle client to go. Ready when one that was told has not gone.
    fn poll_idle(&mut self, mut timer: Pin<&mut Sleep>, cx: &mut Context<'_>) -> Poll<()> {
        while timer.as_mut().poll(cx).is_ready() {
            let left = self.patience().saturating_sub(self.activity.idle());
            if !left.is_zero() {
                timer.as_mut().reset(after(left));
            } else if self.stage == Stage::Open {
                self.say_goodbye(Stage::Told);
                self.activity.touch();
            } else {
                return Poll::Ready(());
            }
        }
        Poll::Pending
    }

    /// Ends the connection at once, with a last word where the client still takes one.
    fn give_up(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        self.connection.abrupt_shutdown(Reason::NO_ERROR);
        let _written = self.connection.poll_closed(cx);
        Poll::Ready(Ok(()))
    }
}

fn after(wait: Duration) -> tokio::time::Instant {
    tokio::time::Instant::from_std(clock::monotonic()) + wait
}
