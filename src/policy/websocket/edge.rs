//! Where a stream of WebSocket frames stands (RFC 6455 §5.2): a frame of the gateway's own may go
//! in between two frames and nowhere else.
//!
//! Bytes are looked at as they pass, in whatever pieces, and neither changed nor kept. A payload
//! costs nothing; a header costs its few bytes.

/// Where the next byte of a stream stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// Between two frames, or before the first.
    Boundary,
    /// Inside a frame: the next boundary is so many bytes away, or more. Never 0.
    Within(u64),
    /// Behind a close frame, after which nothing counts.
    Closed,
    /// Nobody can tell: the stream has ceased to be frames.
    Lost,
}

/// Follows one direction of a socket from its first byte on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FrameEdge(State);

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    Between,
    /// The first byte of a header has come.
    Begun(Kind),
    /// A length of 2 or 8 bytes is coming.
    Length {
        kind: Kind,
        masked: bool,
        wide: bool,
        /// Bytes of it that are still to come.
        left: u8,
        so_far: u64,
    },
    /// The masking key and the payload are coming.
    Payload {
        kind: Kind,
        left: u64,
    },
    Closed,
    Lost,
}

/// What matters of a frame's first byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// Data, or an opcode that is not known here.
    Data,
    /// A ping or a pong.
    Control,
    Close,
}

/// Bytes of a masking key.
const MASK: u64 = 4;

impl FrameEdge {
    /// Where the stream stands.
    #[must_use]
    pub const fn place(&self) -> Place {
        match self.0 {
            State::Between => Place::Boundary,
            State::Begun(_) => Place::Within(1),
            State::Length { left, .. } => Place::Within(left as u64),
            State::Payload { left, .. } => Place::Within(left),
            State::Closed => Place::Closed,
            State::Lost => Place::Lost,
        }
    }

    /// Takes note of the bytes that pass next.
    pub fn follow(&mut self, bytes: &[u8]) {
        let mut rest = bytes;
        while let Some((byte, behind)) = rest.split_first() {
            rest = behind;
            self.0 = match self.0 {
                State::Between => begun(*byte),
                State::Begun(kind) => sized(kind, *byte),
                State::Length {
                    kind,
                    masked,
                    wide,
                    left,
                    so_far,
                } => {
                    let so_far = (so_far << 8) | u64::from(*byte);
                    match left {
                        2.. => State::Length {
                            kind,
                            masked,
                            wide,
                            left: left - 1,
                            so_far,
                        },
                        _ => long(kind, masked, wide, so_far),
                    }
                }
                State::Payload { kind, left } => {
                    let more = usize::try_from(left - 1).unwrap_or(usize::MAX);
                    let skipped = more.min(rest.len());
                    rest = rest.get(skipped..).unwrap_or_default();
                    coming(kind, left - 1 - skipped as u64)
                }
                State::Closed | State::Lost => return,
            };
        }
    }
}

/// After a frame's first byte. A control frame is never in parts (RFC 6455 §5.5).
const fn begun(byte: u8) -> State {
    let (is_whole, opcode) = (byte & 0x80 != 0, byte & 0x0f);
    match (opcode, is_whole) {
        (..8, _) => State::Begun(Kind::Data),
        (8, true) => State::Begun(Kind::Close),
        (_, true) => State::Begun(Kind::Control),
        (_, false) => State::Lost,
    }
}

/// After the byte with the mask's bit and the short length.
fn sized(kind: Kind, byte: u8) -> State {
    let (masked, length) = (byte & 0x80 != 0, byte & 0x7f);
    let (wide, left) = match length {
        126 => (false, 2),
        127 => (true, 8),
        short => return payload(kind, masked, short.into()),
    };
    if kind == Kind::Data {
        State::Length {
            kind,
            masked,
            wide,
            left,
            so_far: 0,
        }
    } else {
        State::Lost
    }
}

/// After a length of 2 or 8 bytes, which is never used where a shorter one would do.
fn long(kind: Kind, masked: bool, wide: bool, length: u64) -> State {
    let least = if wide { 1 << 16 } else { 126 };
    if length < least || length > i64::MAX.unsigned_abs() {
        return State::Lost;
    }
    payload(kind, masked, length)
}

fn payload(kind: Kind, masked: bool, length: u64) -> State {
    let mask = if masked { MASK } else { 0 };
    coming(kind, length + mask)
}

fn coming(kind: Kind, left: u64) -> State {
    match (left, kind) {
        (0, Kind::Close) => State::Closed,
        (0, Kind::Data | Kind::Control) => State::Between,
        (left, kind) => State::Payload { kind, left },
    }
}

#[cfg(test)]
#[path = "edge_tests.rs"]
mod tests;
