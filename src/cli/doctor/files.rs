//! Whether files can be read and written by the gateway, and secret ones by nobody else. PURE.

use std::path::PathBuf;

use super::finding::Finding;
use crate::cli::writable::Unwritable;

/// What is known of a file.
#[derive(Clone, Debug)]
pub(super) struct Facts {
    /// The file.
    pub(super) file: PathBuf,
    /// Its permissions.
    pub(super) mode: u32,
    /// Why it cannot be read.
    pub(super) problem: Option<String>,
}

/// The verdicts on files that are named, and on those of them that are secret.
pub(super) fn verdicts(named: &[Facts], secret: &[Facts]) -> Vec<Finding> {
    let mut found: Vec<_> = named.iter().filter_map(unreadable).collect();
    if found.is_empty() {
        let words = format!("{} can be read", crate::cli::count(named.len(), "file"));
        let about = "the files that are named";
        found.push(Finding::ok("file.readable", about, &words));
    }
    let open: Vec<_> = secret.iter().filter_map(open).collect();
    if open.is_empty() && !secret.is_empty() {
        let words = format!(
            "{} for this user alone",
            crate::cli::count(secret.len(), "file")
        );
        found.push(Finding::ok("file.private", "keys and sessions", &words));
    }
    found.extend(open);
    found
}

/// The verdict on the places, so many, that the gateway writes itself, by those that it cannot.
pub(super) fn written(count: usize, unwritable: &[Unwritable]) -> Vec<Finding> {
    const CHECK: &str = "file.writable";
    if count == 0 {
        return Vec::new();
    }
    if unwritable.is_empty() {
        let words = format!(
            "{} can be written by this user",
            crate::cli::count(count, "place")
        );
        return vec![Finding::ok(CHECK, "what the gateway keeps", &words)];
    }
    let advice = "make the folder and give it to the gateway's user, with mode 700; where another user \
                  than the gateway's asked, ask again as that one";
    let problems = unwritable.iter();
    let problems = problems.map(|one| Finding::problem(CHECK, &one.about, &one.why, advice));
    problems.collect()
}

fn unreadable(facts: &Facts) -> Option<Finding> {
    let words = facts.problem.as_ref()?;
    let file = facts.file.display().to_string();
    let advice = "give the gateway's user the right to read it, and its folders the right to enter; a \
                  relative path begins at the folder of the configuration";
    Some(Finding::problem("file.readable", &file, words, advice))
}

/// A group may read a key, as those of mounted secrets and certbot's do; everyone may not, and
/// nobody else may write it.
fn open(facts: &Facts) -> Option<Finding> {
    let bits = facts.mode & 0o027;
    (bits != 0).then(|| {
        let file = facts.file.display().to_string();
        let words = format!(
            "its mode is {:04o}: others than its owner have rights",
            facts.mode & 0o7777
        );
        Finding::warning("file.private", &file, &words, &format!("chmod 600 {file}"))
    })
}

#[cfg(test)]
mod tests {
    use super::super::finding::Verdict;
    use super::*;

    fn facts(mode: u32, problem: Option<&str>) -> Facts {
        Facts {
            file: "a.key".into(),
            mode,
            problem: problem.map(str::to_owned),
        }
    }

    fn worst(named: &[Facts], secret: &[Facts]) -> Option<Verdict> {
        let found = verdicts(named, secret).into_iter();
        found.map(|one| one.verdict).find(|one| *one != Verdict::Ok)
    }

    #[test]
    fn a_key_that_others_can_read_or_change_is_told() {
        for (mode, told) in [
            (0o100_600, None),
            (0o100_440, None),
            (0o100_644, Some(Verdict::Warning)),
            (0o100_660, Some(Verdict::Warning)),
        ] {
            assert_eq!(worst(&[], &[facts(mode, None)]), told, "{mode:o}");
        }
    }

    #[test]
    fn a_file_that_cannot_be_read_is_a_problem() {
        let named = [facts(0o100_600, Some("Permission denied"))];
        assert_eq!(worst(&named, &[]), Some(Verdict::Problem));
    }
}
