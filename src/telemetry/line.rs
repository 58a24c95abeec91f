//! One line of the log, as JSON or as text for people.
//!
//! Whatever a value holds, a line stays one line and is safe to show in a terminal: control
//! characters (C0, DEL, C1), line separators and characters that turn the reading direction are
//! escaped.

use std::cell::RefCell;
use std::fmt::{self, Write as _};
use std::time::Duration;

use crate::clock::Timestamp;

/// How lines are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    /// One JSON object a line.
    Json,
    /// For people.
    Text,
}

/// A line being written.
#[derive(Debug)]
pub(super) struct Line<'a> {
    text: &'a mut String,
    format: Format,
}

thread_local! {
    static SCRATCH: RefCell<Scratch> = const { RefCell::new(Scratch::new()) };
}

/// What a thread keeps from one line to the next.
struct Scratch {
    line: String,
    /// The second that `stamp` tells.
    second: i64,
    /// Date and time without fraction and zone: `2026-01-02T03:04:05`.
    stamp: String,
}

impl Scratch {
    const fn new() -> Self {
        Self {
            line: String::new(),
            second: i64::MIN,
            stamp: String::new(),
        }
    }

    fn stamp(&mut self, at: Timestamp) -> &str {
        if self.second != at.unix_seconds() {
            self.second = at.unix_seconds();
            self.stamp = at.to_string();
            self.stamp.truncate(self.stamp.trim_end_matches('Z').len());
        }
        &self.stamp
    }
}

/// Makes one line and hands its bytes, newline included, to `take`. No line is made from within
/// `fill` or `take`.
pub(super) fn write(
    format: Format,
    at: Timestamp,
    level: &'static str,
    fill: impl FnOnce(&mut Line<'_>),
    take: impl FnOnce(&[u8]),
) {
    SCRATCH.with(|scratch| {
        // Busy only if `fill` logs, which it must not; then the inner line is lost, not the thread.
        let Ok(mut scratch) = scratch.try_borrow_mut() else {
            return;
        };
        let mut text = std::mem::take(&mut scratch.line);
        text.clear();
        let millis = at.unix_micros().rem_euclid(1_000_000) / 1000;
        let stamp = scratch.stamp(at);
        let (before, between, after) = match format {
            Format::Json => ("{\"time\":\"", "Z\",\"level\":\"", "\""),
            Format::Text => ("", "Z ", if level.len() < 5 { " " } else { "" }),
        };
        text.push_str(before);
        text.push_str(stamp);
        push_thousandths(&mut text, u64::try_from(millis).unwrap_or_default());
        text.push_str(between);
        text.push_str(level);
        text.push_str(after);
        fill(&mut Line {
            text: &mut text,
            format,
        });
        text.push_str(match format {
            Format::Json => "}\n",
            Format::Text => "\n",
        });
        take(text.as_bytes());
        text.shrink_to(16 << 10);
        scratch.line = text;
    });
}

impl Line<'_> {
    /// How the line is written.
    pub(super) const fn format(&self) -> Format {
        self.format
    }

    /// Text that stands for itself: in JSON under a key, in text without one.
    pub(super) fn headline(&mut self, key: &str, value: &str) {
        match self.format {
            Format::Json => self.text(key, value),
            Format::Text => {
                self.text.push(' ');
                escape_text(self.text, value);
            }
        }
    }

    /// Text under a key.
    pub(super) fn text(&mut self, key: &str, value: &str) {
        self.key(key);
        match self.format {
            Format::Json => {
                self.text.push('"');
                escape_json(self.text, value);
                self.text.push('"');
            }
            Format::Text if value.is_empty() || value.contains([' ', '"', '=']) => {
                self.text.push('"');
                escape_quoted(self.text, value);
                self.text.push('"');
            }
            Format::Text => escape_text(self.text, value),
        }
    }

    /// What `Display` gives, as text under a key.
    pub(super) fn display(&mut self, key: &str, value: impl fmt::Display) {
        self.text(key, &value.to_string());
    }

    /// What `Display` gives, as text under a key, where it holds nothing to escape: an address.
    pub(super) fn plain(&mut self, key: &str, value: impl fmt::Display) {
        let quote = match self.format {
            Format::Json => "\"",
            Format::Text => "",
        };
        self.key(key);
        // Writing to a string does not fail.
        let _ = write!(self.text, "{quote}{value}{quote}");
    }

    /// What `Display` gives, under a key, where JSON takes it as it is: a number, `true`.
    pub(super) fn bare(&mut self, key: &str, value: impl fmt::Display) {
        self.key(key);
        let _ = write!(self.text, "{value}");
    }

    /// A whole number under a key.
    pub(super) fn number(&mut self, key: &str, value: u64) {
        self.key(key);
        self.text.push_str(itoa::Buffer::new().format(value));
    }

    /// A duration in milliseconds with microseconds behind the point.
    pub(super) fn millis(&mut self, key: &str, value: Duration) {
        self.key(key);
        let us = u64::try_from(value.as_micros()).unwrap_or(u64::MAX);
        self.text.push_str(itoa::Buffer::new().format(us / 1000));
        push_thousandths(self.text, us % 1000);
    }

    fn key(&mut self, key: &str) {
        match self.format {
            Format::Json => {
                self.text.push_str(",\"");
                // Keys are ours, or a field name in the code: nothing to escape but quotes.
                escape_json(self.text, key);
                self.text.push_str("\":");
            }
            Format::Text => {
                self.text.push(' ');
                self.text.push_str(key);
                self.text.push('=');
            }
        }
    }
}

/// `.` and three digits.
fn push_thousandths(text: &mut String, thousandths: u64) {
    text.push_str(match thousandths {
        ..10 => ".00",
        10..100 => ".0",
        100.. => ".",
    });
    text.push_str(itoa::Buffer::new().format(thousandths));
}

/// Whether a character must not stand in a line as it is.
fn is_unsafe(char: char) -> bool {
    char.is_control()
        || matches!(char,
            '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
}

/// Appends a text, calling `escape` for each character that `special` says or that is unsafe.
fn escape(
    text: &mut String,
    value: &str,
    special: fn(char) -> bool,
    escape: fn(&mut String, char),
) {
    // As a rule there is nothing to escape.
    let is_plain = |byte| matches!(byte, b' '..0x7f) && !matches!(byte, b'"' | b'\\');
    if value.bytes().all(is_plain) {
        text.push_str(value);
        return;
    }
    for char in value.chars() {
        if special(char) || is_unsafe(char) {
            escape(text, char);
        } else {
            text.push(char);
        }
    }
}

fn escape_json(text: &mut String, value: &str) {
    escape(
        text,
        value,
        |char| matches!(char, '"' | '\\'),
        |text, char| match char {
            '"' => text.push_str("\\\""),
            '\\' => text.push_str("\\\\"),
            other => {
                let _ = write!(text, "\\u{:04x}", u32::from(other));
            }
        },
    );
}

fn escape_text(text: &mut String, value: &str) {
    escape(
        text,
        value,
        |char| char == '\\',
        |text, char| text.extend(char.escape_default()),
    );
}

fn escape_quoted(text: &mut String, value: &str) {
    let special = |char| matches!(char, '"' | '\\');
    escape(text, value, special, |text, char| {
        text.extend(char.escape_default());
    });
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const AT: Timestamp = Timestamp::from_unix_micros(1_767_323_045_067_890);

    fn line(format: Format, fill: impl FnOnce(&mut Line<'_>)) -> String {
        let mut made = String::new();
        write(format, AT, "info", fill, |bytes| {
            made = String::from_utf8(bytes.to_vec()).unwrap();
        });
        made
    }

    #[test]
    fn a_line_of_json_reads_as_written() {
        let text = line(Format::Json, |line| {
            line.headline("message", "started");
            line.text("path", "/a\"b\\c\n\u{1b}[31m\u{9b}");
            line.number("status", 200);
            line.millis("gateway_ms", Duration::from_micros(1045));
        });
        let expected = concat!(
            r#"{"time":"2026-01-02T03:04:05.067Z","level":"info","message":"started","#,
            r#""path":"/a\"b\\c\u000a\u001b[31m\u009b","status":200,"gateway_ms":1.045}"#,
            "\n"
        );
        assert_eq!(text, expected);
    }

    #[test]
    fn a_line_of_text_reads_as_written() {
        let text = line(Format::Text, |line| {
            line.headline("message", "reload refused");
            line.text("key", "a\tb");
            line.text("why", "say \"no\"");
        });
        let expected =
            "2026-01-02T03:04:05.067Z info  reload refused key=a\\tb why=\"say \\\"no\\\"\"\n";
        assert_eq!(text, expected);
    }

    proptest! {
        #[test]
        fn no_value_breaks_out_of_its_line(value in "\\PC*|[\\x00-\\x20\"\\\\\u{80}-\u{9f}\u{2028}-\u{202e}a]{0,40}") {
            let json = line(Format::Json, |line| line.text("value", &value));
            let read: serde_json::Value = serde_json::from_str(&json).unwrap();
            prop_assert_eq!(read["value"].as_str().unwrap(), &value);
            let text = line(Format::Text, |line| line.text("value", &value));
            for written in [json, text] {
                prop_assert_eq!(written.find('\n'), Some(written.len() - 1));
                prop_assert!(!written.trim_end().chars().any(is_unsafe));
            }
        }
    }
}
