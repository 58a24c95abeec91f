//! Judges one request head, line by line, as it comes (RFC 9112 §3, §5, §6).
//!
//! Stricter than the standard on purpose: what two parsers could read in two ways is refused here, so
//! it never matters how the next one would have read it.

use std::ops::Range;

use bytes::Bytes;
use http::{Uri, Version};
use memchr::memchr;

use super::bounds::Limits;
use super::field::{Lines, alphanumerics_and, among, is_token, split, without_cr};
use super::request;
use super::violation::Violation;

/// Content-Lengths above this overflow somewhere behind us.
const MAX_LENGTH: u64 = i64::MAX as u64;

/// Room for field lines that a connection keeps between two heads.
const USUAL_FIELDS: usize = 32;

/// What stands behind a head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// So many bytes.
    Length(u64),
    /// Chunks.
    Chunked,
}

/// What `Expect` says (RFC 9110 §10.1.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Expects {
    /// There is none.
    #[default]
    Nothing,
    /// `100-continue`.
    Continue,
    /// Something else, or it comes from a client of HTTP/1.0, which is sent no 100. Nobody can tell
    /// whether what follows is the body.
    Unclear,
}

/// A head that was found clean.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CleanHead {
    /// Bytes of it, an empty line before it and the one behind it included.
    pub len: usize,
    /// What follows.
    pub framing: Framing,
    /// Whether it asks for a WebSocket.
    pub upgrade: bool,
    /// Whether the connection may carry another request (RFC 9112 §9.3).
    pub persists: bool,
    /// What its client waits for before it sends the body.
    pub expects: Expects,
}

/// A head that has not ended.
#[derive(Clone, Debug, Default)]
pub struct Head {
    lines: Lines,
    stage: Stage,
    spans: Spans,
    facts: Facts,
}

/// Where the parts of a head stand, counted from its first byte.
#[derive(Clone, Debug, Default)]
pub(super) struct Spans {
    pub(super) method: Range<usize>,
    pub(super) target: Range<usize>,
    /// Name and value of each field line, the value without blanks around it.
    pub(super) fields: Vec<(Range<usize>, Range<usize>)>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Stage {
    /// Before the first byte of the request line.
    #[default]
    Start,
    RequestLine,
    Fields,
}

/// What the lines so far said about framing.
#[derive(Clone, Debug, Default)]
struct Facts {
    version: Version,
    host: bool,
    length: Option<u64>,
    chunked: bool,
    websocket: bool,
    options: Options,
    expects: Expects,
}

/// What `Connection` says.
#[derive(Clone, Copy, Debug, Default)]
struct Options {
    close: bool,
    keep_alive: bool,
}

impl Options {
    fn note(&mut self, list: &[u8]) {
        for option in list.split(|&byte| byte == b',').map(<[u8]>::trim_ascii) {
            self.close |= option.eq_ignore_ascii_case(b"close");
            self.keep_alive |= option.eq_ignore_ascii_case(b"keep-alive");
        }
    }

    /// RFC 9112 §9.3.
    fn persists(self, version: Version) -> bool {
        !self.close && (self.keep_alive || version == Version::HTTP_11)
    }
}

impl Head {
    /// Judges what is new in `window`, which begins with the head's first byte and holds all that
    /// has come since. `None`: the head has not ended.
    ///
    /// # Errors
    ///
    /// [`Violation`]: the first rule that it breaks.
    pub fn advance(
        &mut self,
        window: &[u8],
        limits: &Limits,
    ) -> Result<Option<CleanHead>, Violation> {
        if self.stage == Stage::Start && !self.start(window)? {
            return Ok(None);
        }
        while let Some(line) = self.lines.next(window) {
            if self.stage == Stage::Fields {
                if self.field_line(line, limits)? {
                    return self.finish().map(Some);
                }
            } else {
                self.request_line(line, limits)?;
            }
        }
        let open = window.len().saturating_sub(self.lines.consumed());
        match self.stage {
            // One byte more than the limit may be the CR.
            Stage::Start | Stage::RequestLine if open > limits.request_line.saturating_add(1) => {
                Err(Violation::RequestLineTooLong)
            }
            Stage::Fields if window.len() > limits.headers => Err(Violation::HeadTooLarge),
            Stage::Start | Stage::RequestLine | Stage::Fields => Ok(None),
        }
    }

    /// The request of the head that has just ended, out of its bytes; and begins anew, for the next.
    ///
    /// An Upgrade to something other than a WebSocket is disregarded (RFC 9110 §7.8).
    ///
    /// # Errors
    ///
    /// [`Violation`] for what the types of a request cannot hold.
    pub fn take(
        &mut self,
        clean: &CleanHead,
        head: &Bytes,
    ) -> Result<http::request::Parts, Violation> {
        let version = self.facts.version;
        let taken = request::take(&self.spans, (version, clean.upgrade), head);
        self.lines = Lines::default();
        self.stage = Stage::default();
        self.spans.fields.clear();
        self.spans.fields.shrink_to(USUAL_FIELDS);
        self.facts = Facts::default();
        taken
    }

    /// Takes the empty line that may stand before a request, and refuses what is no request by its
    /// first byte. `false`: too little has come.
    fn start(&mut self, window: &[u8]) -> Result<bool, Violation> {
        let rest = match window {
            [b'\r'] => return Ok(false),
            [b'\r', b'\n', rest @ ..] => {
                self.lines.skip_to(2);
                rest
            }
            [b'\r', ..] => return Err(Violation::BareCr),
            rest => rest,
        };
        match rest.first() {
            None => return Ok(false),
            Some(0x16) => return Err(Violation::TlsHello),
            Some(b'\n') => return Err(Violation::BareLf),
            Some(b'\r') => return Err(Violation::EmptyLines),
            Some(&byte) if !is_token(byte) => return Err(Violation::RequestLine),
            Some(_) => {}
        }
        self.stage = Stage::RequestLine;
        Ok(true)
    }

    fn request_line(&mut self, line: &[u8], limits: &Limits) -> Result<(), Violation> {
        let stripped = without_cr(line);
        if stripped.map_or(line.len(), <[u8]>::len) > limits.request_line {
            return Err(Violation::RequestLineTooLong);
        }
        self.within(limits)?;
        let start = self.lines.consumed().saturating_sub(line.len() + 1);
        let (version, method, target) = judge_request_line(stripped?)?;
        self.facts.version = version;
        self.spans.method = start..start + method;
        let begin = start + method + 1;
        self.spans.target = begin..begin + target;
        self.stage = Stage::Fields;
        Ok(())
    }

    /// Whether the line is the empty one that ends the head.
    fn field_line(&mut self, line: &[u8], limits: &Limits) -> Result<bool, Violation> {
        self.within(limits)?;
        let start = self.lines.consumed().saturating_sub(line.len() + 1);
        let line = without_cr(line)?;
        if line.is_empty() {
            return Ok(true);
        }
        if self.spans.fields.len() >= limits.header_count {
            return Err(Violation::TooManyFields);
        }
        let (name, value) = split(line)?;
        let begin = start + name.len() + 1;
        let leading = blanks(value.iter());
        let trailing = blanks(value.iter().skip(leading).rev());
        let trimmed = begin + leading..begin + value.len() - trailing;
        self.spans.fields.push((start..start + name.len(), trimmed));
        self.facts.note(name, value)?;
        Ok(false)
    }

    fn within(&self, limits: &Limits) -> Result<(), Violation> {
        if self.lines.consumed() > limits.headers {
            return Err(Violation::HeadTooLarge);
        }
        Ok(())
    }

    fn finish(&self) -> Result<CleanHead, Violation> {
        let facts = &self.facts;
        if facts.chunked && facts.length.is_some() {
            return Err(Violation::BothLengths);
        }
        if facts.chunked && facts.version == Version::HTTP_10 {
            return Err(Violation::CodingInHttp10);
        }
        if facts.version == Version::HTTP_11 && !facts.host {
            return Err(Violation::HostMissing);
        }
        let framing = if facts.chunked {
            Framing::Chunked
        } else {
            Framing::Length(facts.length.unwrap_or(0))
        };
        // RFC 9110 §7.8: an Upgrade in HTTP/1.0 is ignored.
        let upgrade = facts.websocket && facts.version == Version::HTTP_11;
        if upgrade && framing != Framing::Length(0) {
            return Err(Violation::UpgradeWithBody);
        }
        let is_11 = facts.version == Version::HTTP_11;
        Ok(CleanHead {
            len: self.lines.consumed(),
            framing,
            upgrade,
            persists: facts.options.persists(facts.version),
            expects: if facts.expects == Expects::Continue && !is_11 {
                Expects::Unclear
            } else {
                facts.expects
            },
        })
    }
}

impl Facts {
    fn note(&mut self, name: &[u8], value: &[u8]) -> Result<(), Violation> {
        match name.len() {
            4 if name.eq_ignore_ascii_case(b"host") => {
                if self.host {
                    return Err(Violation::HostTwice);
                }
                self.host = true;
            }
            6 if name.eq_ignore_ascii_case(b"expect") => {
                let continues = value.trim_ascii().eq_ignore_ascii_case(b"100-continue");
                self.expects = if continues && self.expects != Expects::Unclear {
                    Expects::Continue
                } else {
                    Expects::Unclear
                };
            }
            10 if name.eq_ignore_ascii_case(b"connection") => self.options.note(value),
            7 if name.eq_ignore_ascii_case(b"upgrade") => {
                self.websocket |= names_websocket(value);
            }
            14 if name.eq_ignore_ascii_case(b"content-length") => {
                if self.length.is_some() {
                    return Err(Violation::LengthTwice);
                }
                self.length = Some(content_length(without_leading_blanks(value))?);
            }
            17 if name.eq_ignore_ascii_case(b"transfer-encoding") => {
                if self.chunked {
                    return Err(Violation::CodingTwice);
                }
                if !without_leading_blanks(value).eq_ignore_ascii_case(b"chunked") {
                    return Err(Violation::CodingInvalid);
                }
                self.chunked = true;
            }
            _ => {}
        }
        Ok(())
    }
}

/// No real client sends tabs around, or blanks behind, the two fields that frame a body; those who
/// do look for a parser that reads them differently.
fn without_leading_blanks(value: &[u8]) -> &[u8] {
    let blanks = value.iter().take_while(|&&byte| byte == b' ').count();
    value.get(blanks..).unwrap_or_default()
}

fn blanks<'v>(bytes: impl Iterator<Item = &'v u8>) -> usize {
    bytes
        .take_while(|byte| matches!(byte, b' ' | b'\t'))
        .count()
}

fn content_length(digits: &[u8]) -> Result<u64, Violation> {
    if digits.is_empty() {
        return Err(Violation::LengthInvalid);
    }
    if memchr(b',', digits).is_some() {
        return Err(Violation::LengthTwice);
    }
    if !digits.iter().all(u8::is_ascii_digit) {
        return Err(Violation::LengthInvalid);
    }
    digits
        .iter()
        .try_fold(0_u64, |sum, digit| {
            sum.checked_mul(10)?.checked_add(u64::from(digit - b'0'))
        })
        .filter(|&sum| sum <= MAX_LENGTH)
        .ok_or(Violation::LengthTooLarge)
}

/// Whether a list of protocols names `websocket`, with or without a version behind it.
fn names_websocket(value: &[u8]) -> bool {
    value.split(|&byte| byte == b',').any(|protocol| {
        let name = protocol.trim_ascii();
        let name = name.split(|&byte| byte == b'/').next().unwrap_or(name);
        name.trim_ascii_end().eq_ignore_ascii_case(b"websocket")
    })
}

/// The version of a request line (without CRLF), and the lengths of its method and target.
fn judge_request_line(line: &[u8]) -> Result<(Version, usize, usize), Violation> {
    if memchr(b'\r', line).is_some() {
        return Err(Violation::BareCr);
    }
    let (method, rest) = split_at_blank(line).ok_or(Violation::RequestLine)?;
    if method.is_empty() || !method.iter().copied().all(is_token) {
        return Err(Violation::RequestLine);
    }
    let (target, version) = split_at_blank(rest).ok_or(Violation::NoVersion)?;
    let version = match version {
        b"HTTP/1.1" => Version::HTTP_11,
        b"HTTP/1.0" => Version::HTTP_10,
        b"HTTP/2.0" if method == b"PRI" => return Err(Violation::Http2Preface),
        [b'H', b'T', b'T', b'P', b'/', rest @ ..] if !rest.contains(&b' ') => {
            return Err(Violation::Version);
        }
        _ => return Err(Violation::RequestLine),
    };
    judge_target(method, target)?;
    Ok((version, method.len(), target.len()))
}

fn split_at_blank(line: &[u8]) -> Option<(&[u8], &[u8])> {
    let (before, rest) = line.split_at_checked(memchr(b' ', line)?)?;
    Some((before, rest.get(1..)?))
}

/// RFC 9112 §3.2: origin-form for nearly all, absolute-form from clients that take us for a
/// proxy, authority-form for CONNECT, `*` for OPTIONS.
fn judge_target(method: &[u8], target: &[u8]) -> Result<(), Violation> {
    if target.starts_with(b"/") && method != b"CONNECT" && target.iter().copied().all(is_plain) {
        return Ok(());
    }
    if let Some(&odd) = target.iter().find(|&&b| b == b'#' || !b.is_ascii_graphic()) {
        return Err(match odd {
            b'#' => Violation::TargetFragment,
            _ => Violation::TargetByte,
        });
    }
    let path_end = memchr(b'?', target).unwrap_or(target.len());
    if memchr(b'\\', target).is_some_and(|at| at < path_end) {
        return Err(Violation::TargetBackslash);
    }
    let form_fits = if method == b"CONNECT" {
        is_authority(target)
    } else {
        match target {
            [b'/', ..] => true,
            b"*" => method == b"OPTIONS",
            _ => is_absolute(target),
        }
    };
    // The parser behind us reads the target as a `Uri`; what it cannot read must not reach it.
    if form_fits && Uri::try_from(target).is_ok() {
        return Ok(());
    }
    Err(Violation::TargetForm)
}

/// Bytes that RFC 3986 §3.3 and §3.4 allow in a path or a query.
fn is_plain(byte: u8) -> bool {
    static PLAIN: [bool; 256] = alphanumerics_and(b"-._~!$&'()*+,;=:@/?%");
    among(&PLAIN, byte)
}

fn is_authority(target: &[u8]) -> bool {
    Uri::try_from(target).is_ok_and(|uri| uri.authority().is_some() && uri.scheme().is_none())
}

fn is_absolute(target: &[u8]) -> bool {
    let begins = |scheme: &[u8]| {
        target
            .get(..scheme.len())
            .is_some_and(|start| start.eq_ignore_ascii_case(scheme))
    };
    begins(b"http://") || begins(b"https://")
}

#[cfg(test)]
#[path = "head_tests.rs"]
mod tests;
