//! The end of a tunnel that neither side asked for.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};

use super::Tunnel;
use super::lane::{Broken, Lane, Moved};
use crate::policy::websocket::close::Ending;

/// How long the end of a frame under way is waited for.
pub(super) const BOUNDARY: Duration = Duration::from_secs(1);
/// How long the answers to the close frames are waited for.
const ANSWER: Duration = Duration::from_secs(2);

/// How far a socket that is being closed has come.
#[derive(Debug)]
pub(super) struct Closing {
    ending: Ending,
    /// Whether both close frames are written, or are not to be.
    is_told: bool,
    client: Side,
    app: Side,
}

/// One of the two ends.
#[derive(Debug, Default)]
struct Side {
    /// Whether our direction to it is shut down, as far as that goes.
    is_shut: bool,
    /// Whether there is nobody any more.
    is_gone: bool,
}

impl Closing {
    pub(super) fn new(ending: Ending) -> Self {
        Self {
            ending,
            is_told: false,
            client: Side::default(),
            app: Side::default(),
        }
    }

    /// What the close frames say.
    pub(super) const fn ending(&self) -> Ending {
        self.ending
    }

    /// Takes note of a side that broke: nothing more goes to it, and nothing comes of it. Says
    /// whether one did.
    fn note(&mut self, moved: &(Moved, Moved), (up, down): (&mut Lane, &mut Lane)) -> bool {
        let is_source = |moved: &Moved| matches!(moved, Poll::Ready(Err(Broken::Source(_))));
        let is_sink = |moved: &Moved| matches!(moved, Poll::Ready(Err(Broken::Sink(_))));
        let (of_up, of_down) = moved;
        let client_broke = is_source(of_up) || is_sink(of_down);
        let app_broke = is_sink(of_up) || is_source(of_down);
        if client_broke {
            self.client.is_gone = true;
            up.end();
            down.cut();
        }
        if app_broke {
            self.app.is_gone = true;
            down.end();
            up.cut();
        }
        client_broke || app_broke
    }
}

impl Side {
    /// Ends our direction to a side that was told and has said all it will. Ready when it has gone.
    fn poll<W: AsyncWrite + Unpin>(
        &mut self,
        cx: &mut Context<'_>,
        to: &mut W,
        (told, heard): (&Lane, &Lane),
    ) -> Poll<()> {
        if self.is_gone {
            return Poll::Ready(());
        }
        if !self.is_shut && told.is_finished() && heard.is_said() {
            match Pin::new(to).poll_shutdown(cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(shut) => self.is_gone = shut.is_err(),
            }
            self.is_shut = true;
        }
        if self.is_gone || (self.is_shut && heard.is_over()) {
            return Poll::Ready(());
        }
        Poll::Pending
    }

    /// Ends our direction to a side that was waited for long enough, as far as that goes at once.
    fn leave<W: AsyncWrite + Unpin>(&self, cx: &mut Context<'_>, to: &mut W) {
        if !self.is_shut && !self.is_gone {
            let _shut = Pin::new(to).poll_shutdown(cx);
        }
    }
}

impl<C, A, S> Tunnel<C, A, S>
where
    C: AsyncRead + AsyncWrite + Unpin,
    A: AsyncRead + AsyncWrite + Unpin,
    S: Future<Output = Ending> + Unpin,
{
    /// Brings the close frames to both sides, waits for their answers, and ends.
    pub(super) fn poll_closing(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(mut closing) = self.closing.take() else {
            return Poll::Ready(());
        };
        let ended = self.poll_sides(&mut closing, cx);
        self.closing = Some(closing);
        ended
    }

    fn poll_sides(&mut self, closing: &mut Closing, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            let moved = self.poll_lanes(cx);
            let Self {
                client,
                app,
                up,
                down,
                deadline,
                ..
            } = self;
            if closing.note(&moved, (up, down)) {
                // The other lane may be done by that.
                continue;
            }
            if !closing.is_told && up.is_finished() && down.is_finished() {
                closing.is_told = true;
                deadline.start(ANSWER);
            }
            let client_gone = closing.client.poll(cx, client, (down, up));
            let app_gone = closing.app.poll(cx, app, (up, down));
            if client_gone.is_ready() && app_gone.is_ready() {
                return Poll::Ready(());
            }
            if deadline.poll(cx).is_pending() {
                return Poll::Pending;
            }
            if closing.is_told {
                closing.client.leave(cx, client);
                closing.app.leave(cx, app);
                return Poll::Ready(());
            }
            // A frame under way does not end, or is not taken: whoever waits for it is cut off.
            closing.app.is_gone |= !up.is_finished();
            closing.client.is_gone |= !down.is_finished();
            up.cut();
            down.cut();
        }
    }
}
