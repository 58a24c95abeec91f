//! Takes looks side by side: so many at a time, each within its time, and all within theirs.

use std::pin::Pin;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream;
use tokio::time::timeout;

use super::finding::Finding;

/// Bounds of a round.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    /// Looks under way.
    pub(super) at_once: usize,
    /// For one look.
    pub(super) each: Duration,
    /// For all of them.
    pub(super) all: Duration,
}

/// One look that is not taken yet.
pub(super) struct Look<'a> {
    /// Which check it is, where it comes to nothing.
    check: &'static str,
    about: String,
    work: Pin<Box<dyn Future<Output = Vec<Finding>> + 'a>>,
}

impl<'a> Look<'a> {
    /// A look at something.
    pub(super) fn new(
        check: &'static str,
        about: impl Into<String>,
        work: impl Future<Output = Vec<Finding>> + 'a,
    ) -> Self {
        Self {
            check,
            about: about.into(),
            work: Box::pin(work),
        }
    }
}

/// Takes all looks, and gives what they found in the order in which they were listed.
pub(super) async fn take(looks: Vec<Look<'_>>, bounds: Bounds) -> Vec<Finding> {
    let names: Vec<_> = looks
        .iter()
        .map(|look| (look.check, look.about.clone()))
        .collect();
    let mut found: Vec<Option<Vec<Finding>>> = names.iter().map(|_| None).collect();
    let work = looks
        .into_iter()
        .enumerate()
        .map(|(place, look)| async move {
            let taken = timeout(bounds.each, look.work).await;
            let late = format!("nothing came of it within {:?}", bounds.each);
            let advice = "see whether it hangs, or is only slow";
            let taken = taken.unwrap_or_else(|_elapsed| {
                vec![Finding::problem(look.check, &look.about, &late, advice)]
            });
            (place, taken)
        });
    let mut running = stream::iter(work).buffer_unordered(bounds.at_once);
    let all = async {
        while let Some((place, taken)) = running.next().await {
            if let Some(slot) = found.get_mut(place) {
                *slot = Some(taken);
            }
        }
    };
    // What is not there by then is told as skipped.
    let _late = timeout(bounds.all, all).await;
    let missing = format!("all looks together had {:?}, and that was over", bounds.all);
    let found = found.into_iter().zip(names);
    found
        .flat_map(|(taken, (check, about))| {
            taken.unwrap_or_else(|| vec![Finding::skipped(check, &about, &missing)])
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use super::super::finding::Verdict;
    use super::*;

    const BOUNDS: Bounds = Bounds {
        at_once: 2,
        each: Duration::from_millis(50),
        all: Duration::from_millis(80),
    };

    fn well(name: &str) -> Look<'_> {
        Look::new("door.port", name, async move {
            vec![Finding::ok("door.port", name, "free")]
        })
    }

    fn hangs() -> Look<'static> {
        Look::new("door.port", "slow", pending())
    }

    #[tokio::test]
    async fn a_look_that_hangs_is_told_and_holds_up_no_other() {
        let found = take(vec![hangs(), well("a"), well("b")], BOUNDS).await;
        let told: Vec<_> = found
            .iter()
            .map(|one| (one.about.as_str(), one.verdict))
            .collect();
        assert_eq!(
            told,
            [
                ("slow", Verdict::Problem),
                ("a", Verdict::Ok),
                ("b", Verdict::Ok)
            ]
        );
    }

    #[tokio::test]
    async fn what_does_not_come_in_time_for_all_is_skipped_by_name() {
        let looks = vec![hangs(), hangs(), hangs(), hangs(), well("last")];
        let found = take(looks, BOUNDS).await;
        assert_eq!(found.len(), 5);
        let last = found.last().unwrap();
        assert_eq!(
            (last.about.as_str(), last.verdict),
            ("last", Verdict::Skipped)
        );
    }
}
