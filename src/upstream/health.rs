//! Whether a server is given requests, as far as its requests and checks tell. Pure: what happened
//! and the time go in, the next state comes out. Times count from one fixed point.
//!
//! Two things take a server out, each by itself: requests that failed in a row (it is ejected), and
//! checks that failed in a row (it is down). An ejected server is tried by one request when its time
//! is over; a server that is down comes back by checks alone. Where no server is left, an ejected one
//! is tried much sooner, so that ejection never keeps an app away that is there again. A server that
//! came back gets a share that grows.

use std::time::Duration;

use crate::config::settings::Eject;

/// Until a server that came back has its whole share; and how long an ejection is remembered at
/// least.
pub(super) const SLOW_START: Duration = Duration::from_secs(10);
/// The longest ejection, unless the configured time is longer.
const LONGEST: Duration = Duration::from_mins(2);
/// Between two trials where the one before has not ended, at most.
const TRIAL: Duration = Duration::from_secs(10);
/// From an ejection to the first trial where no server is left. Doubles with each one.
const FIRST_RESORT: Duration = Duration::from_millis(100);
/// Between two trials where no server is left, at most.
const LAST_RESORT: Duration = Duration::from_secs(1);

/// How many checks in a row it takes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Runs {
    /// Passed, to bring a server back.
    pub(super) healthy: u32,
    /// Failed, to take one out.
    pub(super) unhealthy: u32,
}

/// What is known of one server.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Record {
    /// Requests that failed since the last one that did not.
    failures: u32,
    ejected: Option<Ejected>,
    /// Ejections without a quiet time between.
    repeats: u32,
    /// How long the last ejection was to be.
    span: Duration,
    verdict: Verdict,
    /// Checks in a row that speak against the verdict.
    run: u32,
    last_check_failed: bool,
    /// The last change: what began before it tells nothing of the time after.
    since: Duration,
    /// When it last came back.
    back: Option<Duration>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Ejected {
    /// When a request may try it.
    until: Duration,
    /// Whether one was let through since.
    trying: bool,
    /// When a request may try it though its time is not over, where no server is left.
    resort: Duration,
    gap: Duration,
}

/// What the checks say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Verdict {
    /// Nothing yet: counts as up, and the first check decides alone.
    #[default]
    Unknown,
    Up,
    Down,
}

/// What changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    /// So many requests failed in a row: it is left out for this long.
    Ejected(u32, Duration),
    /// The request that tried it failed: it is left out again, for this long.
    StillOut(Duration),
    /// A request or the checks brought it back.
    Back,
    /// The checks took it out.
    Down,
}

/// How a server stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// It is given requests.
    In,
    /// It is given a share that grows.
    Returning,
    /// It failed too many requests in a row.
    Ejected,
    /// It failed its checks.
    Down,
}

/// The part of its share that a server is given at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Share {
    /// Tenths of it, 1 to 10.
    Tenths(u32),
    /// One request may try it.
    Due,
    /// Nothing.
    None,
}

/// What a record comes to, for those who look at it for each request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Summary {
    pub(super) out: bool,
    /// Whether the next answer changes something.
    pub(super) listens: bool,
    /// Out: when a request may try it; `None`: only checks bring it back.
    /// In: when it came back, if it ever did.
    pub(super) at: Option<Duration>,
    /// Out: when a request may try it where no server is left.
    pub(super) resort: Option<Duration>,
}

impl Record {
    /// A request that began at `begun` got no answer that could be passed on.
    pub(super) fn failed(
        &mut self,
        begun: Duration,
        now: Duration,
        rule: &Eject,
    ) -> Option<Change> {
        if begun < self.since || self.verdict == Verdict::Down {
            return None;
        }
        if let Some(ejected) = self.ejected {
            if !ejected.trying {
                return None;
            }
            self.eject(now, rule.time, ejected.gap);
            return Some(Change::StillOut(self.span));
        }
        self.failures = self.failures.saturating_add(1);
        if self.failures < rule.failures {
            return None;
        }
        let quiet = |back| now.saturating_sub(back) >= self.span.max(SLOW_START);
        if self.back.is_none_or(quiet) {
            self.repeats = 0;
        }
        let failures = self.failures;
        self.eject(now, rule.time, FIRST_RESORT);
        Some(Change::Ejected(failures, self.span))
    }

    fn eject(&mut self, now: Duration, time: Duration, gap: Duration) {
        let doubled = 2_u32.saturating_pow(self.repeats.min(16));
        self.span = time.saturating_mul(doubled).min(LONGEST.max(time));
        self.repeats = self.repeats.saturating_add(1);
        self.failures = 0;
        self.since = now;
        self.ejected = Some(Ejected {
            until: now + self.span,
            trying: false,
            resort: now + gap,
            gap,
        });
    }

    /// A request that began at `begun` was answered.
    pub(super) fn answered(&mut self, begun: Duration, now: Duration) -> Option<Change> {
        if begun < self.since || self.verdict == Verdict::Down {
            return None;
        }
        self.failures = 0;
        self.ejected.is_some().then(|| self.come_back(now))
    }

    fn come_back(&mut self, now: Duration) -> Change {
        self.ejected = None;
        self.failures = 0;
        self.since = now;
        self.back = Some(now);
        Change::Back
    }

    /// A check has ended.
    pub(super) fn checked(&mut self, passed: bool, now: Duration, runs: Runs) -> Option<Change> {
        self.last_check_failed = !passed;
        let against = match self.verdict {
            Verdict::Unknown => {
                self.verdict = Verdict::Up;
                // Nothing speaks for it yet: one failure is enough.
                if passed { 0 } else { runs.unhealthy }
            }
            Verdict::Up if !passed => self.run.saturating_add(1),
            Verdict::Down if passed => self.run.saturating_add(1),
            Verdict::Up | Verdict::Down => 0,
        };
        self.run = against;
        match self.verdict {
            Verdict::Up if against >= runs.unhealthy => {
                (self.verdict, self.run, self.since) = (Verdict::Down, 0, now);
                Some(Change::Down)
            }
            Verdict::Down if against >= runs.healthy => {
                (self.verdict, self.run) = (Verdict::Up, 0);
                Some(self.come_back(now))
            }
            Verdict::Unknown | Verdict::Up | Verdict::Down => None,
        }
    }

    /// Whether a request may try the server now. Then no other may for a while.
    pub(super) fn claim(&mut self, now: Duration) -> bool {
        let (may, pause) = (self.may_be_tried(), self.span.min(TRIAL));
        let due = self.ejected.as_mut().filter(|out| may && now >= out.until);
        due.is_some_and(|out| {
            out.trying = true;
            out.until = now + pause;
            true
        })
    }

    /// The same where no server is left.
    pub(super) fn claim_last(&mut self, now: Duration) -> bool {
        let may = self.may_be_tried();
        let due = self.ejected.as_mut().filter(|out| may && now >= out.resort);
        due.is_some_and(|out| {
            out.gap = (out.gap * 2).min(LAST_RESORT);
            out.resort = now + out.gap;
            true
        })
    }

    /// No request is risked on what a check has just found wanting.
    fn may_be_tried(&self) -> bool {
        self.verdict != Verdict::Down && !self.last_check_failed
    }

    /// How it stands.
    pub(super) fn state(&self, now: Duration) -> State {
        let returns = |back| now.saturating_sub(back) < SLOW_START;
        match (self.verdict, self.ejected) {
            (Verdict::Down, _) => State::Down,
            (_, Some(_)) => State::Ejected,
            (Verdict::Unknown | Verdict::Up, None) if self.back.is_some_and(returns) => {
                State::Returning
            }
            (Verdict::Unknown | Verdict::Up, None) => State::In,
        }
    }

    /// What those need who look at it for each request.
    pub(super) fn summary(&self) -> Summary {
        let ejected = self.ejected.filter(|_| self.may_be_tried());
        let out = self.verdict == Verdict::Down || self.ejected.is_some();
        Summary {
            out,
            listens: self.failures > 0 || self.ejected.is_some(),
            at: if out {
                ejected.map(|out| out.until)
            } else {
                self.back
            },
            resort: ejected.map(|out| out.resort),
        }
    }
}

impl Summary {
    /// What the server is given now.
    pub(super) fn share(&self, now: Duration) -> Share {
        match (self.out, self.at) {
            (true, Some(at)) if now >= at => Share::Due,
            (true, _) => Share::None,
            (false, None) => Share::Tenths(10),
            (false, Some(back)) => {
                // A tenth at once, another each second.
                let seconds = now.saturating_sub(back).as_secs().min(9);
                Share::Tenths(u32::try_from(seconds).map_or(10, |seconds| seconds + 1))
            }
        }
    }
}

impl State {
    /// Whether the server is given requests.
    #[must_use]
    pub fn is_in(self) -> bool {
        match self {
            Self::In | Self::Returning => true,
            Self::Ejected | Self::Down => false,
        }
    }

    /// As the admin address shows it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::In => "in",
            Self::Returning => "returning",
            Self::Ejected => "ejected",
            Self::Down => "down",
        }
    }
}

#[cfg(test)]
#[path = "health_tests.rs"]
mod tests;
