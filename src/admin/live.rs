//! The dashboard as it changes: a sampler of the counters, and server-sent events for who watches.
//!
//! One task reads the counters each second. Only while somebody listens it makes the page's sections
//! too, once for all listeners. A listener gets the whole at first and where it missed something, and
//! what changed otherwise; it never holds up the task, and of what it is too slow for nothing is kept.
//! Listeners are few, each for a bounded time, and end with the admin address and when the token changes.

use std::convert::Infallible;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::{Stream, stream};
use http_body::Frame;
use serde_json::{Map, Value};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::{MissedTickBehavior, interval, timeout};
use tokio_util::sync::CancellationToken;

use super::AdminState;
use super::board::Board;
use super::dashboard::Section;
use crate::clock;
use crate::secret::Secret;
use crate::telemetry::{History, Metrics};

/// How often the counters are read.
const SECOND: Duration = Duration::from_secs(1);
/// Who may listen at one time.
const LISTENERS: usize = 16;
/// How long one may listen; then its browser asks again.
pub(super) const LONGEST: Duration = Duration::from_mins(10);
/// A listener that was told nothing for so long is told that the line is up.
const HEARTBEAT: Duration = Duration::from_secs(15);
/// What a browser waits before it asks again, in milliseconds.
const ASK_AGAIN: &str = "retry: 2000\n\n";

/// What goes on.
#[derive(Debug)]
pub(super) struct Live {
    /// Seconds are counted from here.
    began: Instant,
    history: Mutex<History>,
    told: watch::Sender<Told>,
    places: Arc<Semaphore>,
}

/// What the listeners are told.
#[derive(Clone, Debug, Default)]
enum Told {
    #[default]
    Nothing,
    News(Arc<News>),
    /// The admin address ends.
    Over,
}

/// One event.
#[derive(Debug)]
struct News {
    number: u64,
    /// Every section.
    whole: Bytes,
    /// Those that changed since the event before.
    changed: Bytes,
}

impl Default for Live {
    fn default() -> Self {
        Self {
            began: clock::monotonic(),
            history: Mutex::default(),
            told: watch::Sender::default(),
            places: Arc::new(Semaphore::new(LISTENERS)),
        }
    }
}

impl Live {
    /// The last minute and hour.
    pub(super) fn history(&self) -> MutexGuard<'_, History> {
        self.history.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads the counters.
    fn sample(&self, metrics: &Metrics) {
        let second = clock::monotonic().saturating_duration_since(self.began);
        self.history().take(metrics.totals(), second.as_secs());
    }

    fn is_watched(&self) -> bool {
        self.told.receiver_count() > 0
    }
}

/// Reads the counters and tells the listeners, until cancelled.
pub(super) async fn keep(state: Arc<AdminState>, cancel: CancellationToken) {
    let mut ticks = interval(SECOND);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut teller = Teller::default();
    while cancel.run_until_cancelled(ticks.tick()).await.is_some() {
        state.live.sample(&state.metrics);
        if state.live.is_watched() {
            let news = teller.tell(&state);
            state.live.told.send_replace(Told::News(Arc::new(news)));
        } else {
            teller.forget();
        }
    }
    state.live.told.send_replace(Told::Over);
}

/// Makes events.
#[derive(Debug, Default)]
struct Teller {
    board: Board,
    number: u64,
    before: Vec<Section>,
}

impl Teller {
    fn tell(&mut self, state: &AdminState) -> News {
        let sections = self.board.sections(state);
        let changed = sections.iter().filter(|now| !self.before.contains(now));
        self.number += 1;
        let news = News {
            number: self.number,
            changed: event(changed),
            whole: event(sections.iter()),
        };
        self.before = sections;
        news
    }

    /// Nobody listens: nothing is kept for anybody.
    fn forget(&mut self) {
        self.board = Board::default();
        self.before = Vec::new();
    }
}

/// An event with these sections, as JSON on one line: name to markup.
fn event<'a>(sections: impl Iterator<Item = &'a Section>) -> Bytes {
    let sections = sections.map(|section| (section.name.to_owned(), Value::from(&*section.html)));
    let data = Value::Object(sections.collect::<Map<_, _>>());
    Bytes::from(format!("event: sections\ndata: {data}\n\n"))
}

/// Somebody who listens.
struct Listener {
    told: watch::Receiver<Told>,
    state: Arc<AdminState>,
    /// The token that let it in.
    token: Option<Secret<String>>,
    /// The number of the event that it was told last.
    seen: Option<u64>,
    until: Instant,
    greeted: bool,
    _place: OwnedSemaphorePermit,
}

/// What a listener is told, until it has listened for long; `None` where there are too many. `token`
/// is the one that let it in.
pub(super) fn listen(
    state: &Arc<AdminState>,
    token: Option<Secret<String>>,
) -> Option<impl Stream<Item = Result<Frame<Bytes>, Infallible>> + Send + use<>> {
    let place = Arc::clone(&state.live.places).try_acquire_owned().ok()?;
    let listener = Listener {
        told: state.live.told.subscribe(),
        state: Arc::clone(state),
        token,
        seen: None,
        until: clock::monotonic() + LONGEST,
        greeted: false,
        _place: place,
    };
    Some(stream::unfold(listener, |mut listener| async move {
        let text = listener.next().await?;
        Some((Ok(Frame::data(text)), listener))
    }))
}

impl Listener {
    async fn next(&mut self) -> Option<Bytes> {
        if !std::mem::replace(&mut self.greeted, true) {
            return Some(Bytes::from_static(ASK_AGAIN.as_bytes()));
        }
        let left = self.until.saturating_duration_since(clock::monotonic());
        if left.is_zero() || matches!(*self.told.borrow(), Told::Over) {
            return None;
        }
        let Ok(changed) = timeout(HEARTBEAT.min(left), self.told.changed()).await else {
            return Some(Bytes::from_static(b": the line is up\n\n"));
        };
        if changed.is_err() || self.state.inspect.token() != self.token {
            return None;
        }
        let told = self.told.borrow_and_update().clone();
        match told {
            Told::Over => None,
            Told::Nothing => Some(Bytes::from_static(b": nothing yet\n\n")),
            Told::News(news) => {
                let follows = self.seen.is_some_and(|seen| seen + 1 == news.number);
                self.seen = Some(news.number);
                Some(if follows {
                    news.changed.clone()
                } else {
                    news.whole.clone()
                })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::StreamExt;

    use super::*;

    fn section(name: &'static str, html: &str) -> Section {
        Section {
            name,
            html: html.to_owned(),
        }
    }

    #[test]
    fn an_event_is_one_line_of_json_whatever_stands_in_it() {
        let sections = [section("now", "a\nb\r\n\"</p>"), section("keys", "")];
        let text = event(sections.iter());
        let text = std::str::from_utf8(&text).unwrap();
        let data = text.strip_prefix("event: sections\ndata: ").unwrap();
        let data = data.strip_suffix("\n\n").unwrap();
        assert!(!data.contains(['\n', '\r']), "{data}");
        let read: Value = serde_json::from_str(data).unwrap();
        assert_eq!(
            read,
            serde_json::json!({ "now": "a\nb\r\n\"</p>", "keys": "" })
        );
    }

    fn news(number: u64) -> Told {
        Told::News(Arc::new(News {
            number,
            whole: Bytes::from_static(b"whole"),
            changed: Bytes::from_static(b"changed"),
        }))
    }

    #[tokio::test]
    async fn who_missed_an_event_gets_the_whole_and_all_end_with_the_admin_address() {
        let state = crate::admin::tests::state(None);
        let mut told = Box::pin(listen(&state, None).unwrap());
        let mut next = async || {
            let frame = told.next().await?;
            let text = frame.unwrap().into_data().unwrap();
            Some(String::from_utf8(text.to_vec()).unwrap())
        };
        assert_eq!(next().await.as_deref(), Some(ASK_AGAIN));
        // One after the other is what changed; one that was missed is made up for.
        for (numbers, expected) in [(&[7][..], "whole"), (&[8], "changed"), (&[9, 10], "whole")] {
            for number in numbers {
                state.live.told.send_replace(news(*number));
            }
            assert_eq!(next().await.as_deref(), Some(expected), "{numbers:?}");
        }
        state.live.told.send_replace(Told::Over);
        assert_eq!(next().await, None);
    }

    #[tokio::test]
    async fn listeners_are_few_and_the_sections_are_made_for_nobody_else() {
        let state = crate::admin::tests::state(None);
        assert!(!state.live.is_watched());
        let listeners: Vec<_> = std::iter::from_fn(|| listen(&state, None))
            .take(99)
            .collect();
        assert_eq!(listeners.len(), LISTENERS);
        assert!(state.live.is_watched());
        drop(listeners);
        assert!(!state.live.is_watched() && listen(&state, None).is_some());
    }

    #[tokio::test]
    async fn who_came_in_with_another_token_is_told_no_more() {
        let state = crate::admin::tests::state(Some("new-token"));
        let old = Some(Secret::new("old-token".to_owned()));
        let mut told = Box::pin(listen(&state, old).unwrap());
        assert!(told.next().await.is_some());
        state.live.told.send_replace(news(1));
        assert!(told.next().await.is_none());
    }
}
