//! Words for people: spans of time, and text of strangers cut short and escaped.

use std::time::Duration;

use crate::auth::ports::StoreError;
use crate::policy::denial::{Code, Denial};

/// Characters of a stranger's text that are shown.
const SHOWN: usize = 64;

/// A span as a person says it: `45 s`, `12 min`, `3 h`, `2 days`.
pub(crate) fn span(span: Duration) -> String {
    let seconds = span.as_secs();
    match seconds {
        0..=119 => format!("{seconds} s"),
        120..=7_199 => format!("{} min", seconds / 60),
        7_200..=172_799 => format!("{} h", seconds / 3_600),
        _ => format!("{} days", seconds / 86_400),
    }
}

/// Text of a stranger in quotes, control characters escaped, cut after 64 characters.
pub(crate) fn quoted(text: &str) -> String {
    let cut: String = text.chars().take(SHOWN).collect();
    let more = if cut.len() < text.len() { "…" } else { "" };
    format!("{cut:?}{more}")
}

/// An error with its causes.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut words = error.to_string();
    let mut cause = error.source();
    while let Some(next) = cause {
        words.push_str(": ");
        words.push_str(&next.to_string());
        cause = next.source();
    }
    words
}

/// How soon it is worth to try again where something could not be asked.
const RETRY: Duration = Duration::from_secs(2);

/// The answer while a store or an endpoint cannot say: our fault, never a refusal of the caller.
pub(crate) fn unavailable(error: &StoreError) -> Denial {
    let detail = "the sign-in cannot be looked up right now";
    Denial::new(Code::AuthUnavailable, detail)
        .note(chain(error))
        .retry_after(RETRY)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_is_told_in_the_unit_a_person_would_take() {
        let told = |seconds| span(Duration::from_secs(seconds));
        assert_eq!(told(45), "45 s");
        assert_eq!(told(720), "12 min");
        assert_eq!(told(3 * 3600 + 5), "3 h");
        assert_eq!(told(2 * 86_400), "2 days");
    }

    #[test]
    fn a_strangers_text_cannot_fill_the_log_or_move_the_cursor() {
        assert_eq!(quoted("a\u{1b}[2J"), "\"a\\u{1b}[2J\"");
        assert!(quoted(&"x".repeat(9_000)).len() < 80);
    }
}
