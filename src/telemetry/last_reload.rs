//! What the last reload came to, for the admin address. The log has told it already.

use serde::Serialize;

use crate::clock::Timestamp;

/// Mistakes that are kept of one reload; the log and `check` tell all of them.
const MOST: usize = 20;
/// Bytes that are kept of one mistake.
const MOST_BYTES: usize = 2_000;

/// What a reload came to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LastReload {
    /// When it ended.
    pub time: String,
    /// What asked for it: a signal, or a file that changed.
    pub why: &'static str,
    /// Whether it was taken up. Where not, the configuration before it serves.
    pub worked: bool,
    /// The mistakes that kept it out, the first 20 at most. They repeat no secret.
    pub problems: Vec<String>,
    /// How many more there were.
    pub unlisted: usize,
}

impl LastReload {
    /// One that was taken up.
    #[must_use]
    pub fn taken(why: &'static str, now: Timestamp) -> Self {
        Self {
            time: now.to_string(),
            why,
            worked: true,
            problems: Vec::new(),
            unlisted: 0,
        }
    }

    /// One that was refused, for these mistakes.
    pub fn refused(
        why: &'static str,
        now: Timestamp,
        problems: impl ExactSizeIterator<Item = String>,
    ) -> Self {
        let unlisted = problems.len().saturating_sub(MOST);
        Self {
            time: now.to_string(),
            why,
            worked: false,
            problems: problems.take(MOST).map(cut).collect(),
            unlisted,
        }
    }
}

fn cut(mut text: String) -> String {
    if text.len() > MOST_BYTES {
        text.truncate(text.floor_char_boundary(MOST_BYTES));
        text.push('…');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::testing::NOW;

    #[test]
    fn any_number_of_mistakes_of_any_length_stays_within_bounds() {
        let problems = vec!["ä".repeat(5_000); 1_000];
        let told = LastReload::refused("SIGHUP", NOW, problems.into_iter());
        assert_eq!((told.problems.len(), told.unlisted), (MOST, 980));
        assert!(
            told.problems
                .iter()
                .all(|text| text.len() <= MOST_BYTES + 3)
        );
    }
}
