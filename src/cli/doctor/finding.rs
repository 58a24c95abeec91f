//! One finding: what was looked at, what was seen, and what to do about it. PURE.
//!
//! Whatever a finding quotes came from outside: an app, a database, a file. So every text of it is
//! cut to a length and freed of what could move a terminal's cursor or turn its lines around.

use serde::Serialize;

/// Most characters of one text.
const MOST: usize = 600;

/// What becomes of one look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Verdict {
    /// As it should be.
    Ok,
    /// It could not be looked at, or would tell nothing.
    Skipped,
    /// It works, and should not stay so.
    Warning,
    /// It does not work, or will not.
    Problem,
}

/// One finding.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Finding {
    /// Which look it comes of: one of [`super::CHECKS`].
    pub(super) check: &'static str,
    /// What was looked at.
    pub(super) about: String,
    /// What became of it.
    pub(super) verdict: Verdict,
    /// What was seen, or why nothing was.
    pub(super) evidence: String,
    /// What to do, where something is to be done.
    pub(super) advice: Option<String>,
}

impl Verdict {
    /// In one word.
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Skipped => "skipped",
            Self::Warning => "warning",
            Self::Problem => "problem",
        }
    }
}

impl Finding {
    fn new(check: &'static str, about: &str, verdict: Verdict, evidence: &str) -> Self {
        Self {
            check,
            about: clean(about),
            verdict,
            evidence: clean(evidence),
            advice: None,
        }
    }

    /// All is well.
    pub(super) fn ok(check: &'static str, about: &str, evidence: &str) -> Self {
        Self::new(check, about, Verdict::Ok, evidence)
    }

    /// Nothing was looked at.
    pub(super) fn skipped(check: &'static str, about: &str, why: &str) -> Self {
        Self::new(check, about, Verdict::Skipped, why)
    }

    /// It works and should not stay so.
    pub(super) fn warning(check: &'static str, about: &str, evidence: &str, advice: &str) -> Self {
        Self::new(check, about, Verdict::Warning, evidence).advised(advice)
    }

    /// It does not work.
    pub(super) fn problem(check: &'static str, about: &str, evidence: &str, advice: &str) -> Self {
        Self::new(check, about, Verdict::Problem, evidence).advised(advice)
    }

    fn advised(mut self, advice: &str) -> Self {
        self.advice = Some(clean(advice));
        self
    }
}

/// A text as it may be shown: no control characters, nothing that turns a line around, not too long.
pub(super) fn clean(text: &str) -> String {
    let mut shown = String::new();
    let mut blank = false;
    for (count, letter) in text
        .chars()
        .filter(|letter| !is_hidden(*letter))
        .enumerate()
    {
        if count == MOST {
            shown.push('…');
            break;
        }
        if letter.is_control() || letter.is_whitespace() {
            blank = true;
            continue;
        }
        if std::mem::take(&mut blank) && !shown.is_empty() {
            shown.push(' ');
        }
        shown.push(letter);
    }
    shown
}

/// Marks that are not seen and change how what follows is shown (Unicode's `Bidi_Control` and the
/// characters of no width).
const fn is_hidden(letter: char) -> bool {
    matches!(
        letter,
        '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{61c}' | '\u{feff}'
    )
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_text_from_outside_moves_no_cursor_and_fakes_no_line() {
        let hostile = "a\u{1b}[2J\r\n  ok  door.port\u{202e}x\u{200b}\u{9b}31m";
        assert_eq!(clean(hostile), "a [2J ok door.portx 31m");
    }

    proptest! {
        #[test]
        fn whatever_comes_is_one_line_of_bounded_length(text in any::<String>()) {
            let shown = clean(&text);
            prop_assert!(!shown.chars().any(|letter| letter.is_control() || is_hidden(letter)));
            prop_assert!(shown.chars().count() <= MOST + 1);
        }
    }

    #[test]
    fn a_long_text_is_cut() {
        assert_eq!(clean(&"é".repeat(10_000)).chars().count(), MOST + 1);
    }
}
