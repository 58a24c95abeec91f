//! Judges the bytes of an HTTP/1 connection before a parser sees them. Pure: no I/O, no clock.
//!
//! The parser behind (hyper 1.12 with httparse) reads more than the standard allows and does not
//! tell: LF alone ends a line for it, several equal Content-Lengths become one, a Content-Length
//! beside `Transfer-Encoding` is dropped, `gzip, chunked` is taken for `chunked`, blanks may stand
//! around a chunk's size. A proxy before us may have read the same bytes in another way. So the
//! rule that must survive every edit: no byte is called clean unless the request it belongs to can
//! be read in one way only, and the [`Scanner`] and the parser agree where each request ends.

use std::mem;

use super::chunked::Chunked;
use super::head::{Framing, Head};
use super::violation::Violation;
use crate::config::settings;

/// How large a head may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of the request line, without its CRLF.
    pub request_line: usize,
    /// Bytes of the head, request line and last empty line included.
    pub headers: usize,
    /// Field lines of the head.
    pub header_count: usize,
}

/// The longest target that `http::Uri` can hold; hyper would answer a longer one itself.
const MAX_REQUEST_LINE: usize = 65_534;

/// Half of what an `http::HeaderMap` can hold before it panics.
const MAX_HEADER_COUNT: usize = 1 << 14;

impl From<&settings::Limits> for Limits {
    fn from(limits: &settings::Limits) -> Self {
        Self {
            request_line: limits.request_line.min(MAX_REQUEST_LINE),
            headers: limits.headers,
            header_count: limits.header_count.min(MAX_HEADER_COUNT),
        }
    }
}

/// What a look at the bytes found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scan {
    /// So many bytes from the start of the window are clean and may be handed on.
    pub clean: usize,
    /// Why it went no further.
    pub stop: Stop,
}

/// Why a [`Scan`] went no further.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// More bytes are needed.
    More,
    /// The last clean head asks for a WebSocket: what follows is a request only if the answer is
    /// not 101, so nothing is judged until [`Scanner::resume`] or [`Scanner::tunnel`].
    Held,
    /// What follows the clean bytes is not a request. Final.
    BadHead(Violation),
    /// What follows the clean bytes does not go on with the body under way. Final.
    BadBody(Violation),
}

/// Where on the connection the bytes are.
#[derive(Clone, Debug)]
pub struct Scanner {
    limits: Limits,
    state: State,
    heads: u64,
    disregarded: Vec<usize>,
}

#[derive(Clone, Debug)]
enum State {
    Head(Head),
    Length(u64),
    Chunked(Chunked),
    Held,
    Tunnel,
    Refused(Stop),
}

impl Scanner {
    /// For a connection on which nothing has come yet.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            state: State::head(),
            heads: 0,
            disregarded: Vec::new(),
        }
    }

    /// Judges `window`: what the last look did not call clean, and what has come since behind it.
    ///
    /// Each byte is looked at once, however the window grows.
    pub fn scan(&mut self, window: &[u8]) -> Scan {
        let mut clean = 0;
        loop {
            let rest = window.get(clean..).unwrap_or_default();
            let stop = match self.step(rest, clean) {
                Step::Past(taken) => {
                    clean += taken;
                    continue;
                }
                Step::Stop(taken, stop) => {
                    clean += taken;
                    stop
                }
            };
            if matches!(stop, Stop::BadHead(_) | Stop::BadBody(_)) {
                self.state = State::Refused(stop);
            }
            return Scan { clean, stop };
        }
    }

    /// `start` is where `rest` begins in the window.
    fn step(&mut self, rest: &[u8], start: usize) -> Step {
        match &mut self.state {
            State::Head(head) => match head.advance(rest, &self.limits) {
                Ok(Some(head)) => {
                    self.heads += 1;
                    self.state = if head.upgrade {
                        State::Held
                    } else {
                        let lines = head.upgrade_lines.iter().map(|line| start + line);
                        self.disregarded.extend(lines);
                        State::body(head.framing)
                    };
                    Step::Past(head.len)
                }
                Ok(None) => Step::Stop(0, Stop::More),
                Err(violation) => Step::Stop(0, Stop::BadHead(violation)),
            },
            State::Length(left) => {
                let taken = rest.len().min(usize::try_from(*left).unwrap_or(usize::MAX));
                *left -= taken as u64;
                if *left > 0 {
                    return Step::Stop(taken, Stop::More);
                }
                self.state = State::head();
                Step::Past(taken)
            }
            State::Chunked(body) => match body.advance(rest, &self.limits) {
                Ok(progress) if progress.ended => {
                    self.state = State::head();
                    Step::Past(progress.clean)
                }
                Ok(progress) => Step::Stop(progress.clean, Stop::More),
                Err(violation) => Step::Stop(0, Stop::BadBody(violation)),
            },
            State::Held => Step::Stop(0, Stop::Held),
            State::Tunnel => Step::Stop(rest.len(), Stop::More),
            State::Refused(stop) => Step::Stop(0, *stop),
        }
    }

    /// Where in the window of the last look Upgrade lines begin that ask for something other than a
    /// WebSocket. They are lawful, and to be disregarded (RFC 9110 §7.8).
    pub fn take_disregarded_upgrades(&mut self) -> Vec<usize> {
        mem::take(&mut self.disregarded)
    }

    /// The request for a WebSocket was answered with something other than 101: what was held is
    /// judged as the next request. Without effect unless held.
    pub fn resume(&mut self) {
        if matches!(self.state, State::Held) {
            self.state = State::head();
        }
    }

    /// The request for a WebSocket was answered with 101: every byte from now on is clean.
    /// Without effect unless held.
    pub fn tunnel(&mut self) {
        if matches!(self.state, State::Held) {
            self.state = State::Tunnel;
        }
    }

    /// Heads found clean so far; the number of the last one, counted from 1.
    #[must_use]
    pub fn heads(&self) -> u64 {
        self.heads
    }

    /// Whether the next byte belongs to a head.
    #[must_use]
    pub fn awaits_head(&self) -> bool {
        matches!(self.state, State::Head(_))
    }

    /// Whether the next byte belongs to a body.
    #[must_use]
    pub fn awaits_body(&self) -> bool {
        matches!(self.state, State::Length(_) | State::Chunked(_))
    }
}

enum Step {
    /// So many bytes are clean, and there is more to say about what follows.
    Past(usize),
    /// So many bytes are clean, and that is all.
    Stop(usize, Stop),
}

impl State {
    fn head() -> Self {
        Self::Head(Head::default())
    }

    fn body(framing: Framing) -> Self {
        match framing {
            Framing::Length(0) => Self::head(),
            Framing::Length(left) => Self::Length(left),
            Framing::Chunked => Self::Chunked(Chunked::new()),
        }
    }
}

#[cfg(test)]
#[path = "scanner_tests.rs"]
mod tests;
