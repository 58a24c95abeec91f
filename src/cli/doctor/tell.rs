//! Findings as text and as JSON.

use std::fmt;

use serde_json::{Value, json};

use super::finding::{Finding, Verdict};
use crate::cli::count;

/// The version of the JSON document. It grows when a field goes or changes its meaning.
const VERSION: u32 = 1;

/// All that was found.
#[derive(Debug)]
pub(super) struct Report {
    /// The file, as named.
    pub(super) file: String,
    /// In the order in which they are told.
    pub(super) findings: Vec<Finding>,
}

impl Report {
    fn of(&self, verdict: Verdict) -> usize {
        let found = self.findings.iter();
        found.filter(|one| one.verdict == verdict).count()
    }

    /// Whether something does not work.
    pub(super) fn has_problem(&self) -> bool {
        self.of(Verdict::Problem) > 0
    }

    /// The worst that was found; what was skipped changes nothing.
    fn worst(&self) -> Verdict {
        [Verdict::Problem, Verdict::Warning]
            .into_iter()
            .find(|verdict| self.of(*verdict) > 0)
            .unwrap_or(Verdict::Ok)
    }

    /// The document: the same keys whatever was found.
    pub(super) fn json(&self) -> Value {
        json!({
            "version": VERSION,
            "config": self.file,
            "verdict": self.worst().as_str(),
            "counts": {
                "ok": self.of(Verdict::Ok),
                "warning": self.of(Verdict::Warning),
                "problem": self.of(Verdict::Problem),
                "skipped": self.of(Verdict::Skipped),
            },
            "findings": self.findings,
        })
    }
}

/// The word before the point of a check's name: findings of one group stand together.
fn group(finding: &Finding) -> &str {
    let split = finding.check.split_once('.');
    split.map_or(finding.check, |(group, _)| group)
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut groups: Vec<&str> = Vec::new();
        for finding in &self.findings {
            let name = group(finding);
            if !groups.contains(&name) {
                groups.push(name);
            }
        }
        for name in groups {
            writeln!(f, "{name}")?;
            for finding in self.findings.iter().filter(|one| group(one) == name) {
                let Finding {
                    check,
                    about,
                    verdict,
                    evidence,
                    advice,
                } = finding;
                let verdict = verdict.as_str();
                writeln!(f, "  {verdict:<8} {check:<20} {about}: {evidence}")?;
                if let Some(advice) = advice {
                    writeln!(f, "           -> {advice}")?;
                }
            }
            writeln!(f)?;
        }
        let (warnings, problems) = (self.of(Verdict::Warning), self.of(Verdict::Problem));
        writeln!(
            f,
            "{}: {} ok, {}, {}, {} skipped",
            self.file,
            self.of(Verdict::Ok),
            count(warnings, "warning"),
            count(problems, "problem"),
            self.of(Verdict::Skipped),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report() -> Report {
        Report {
            file: "gateway.toml".to_owned(),
            findings: vec![
                Finding::ok("door.port", "https 127.0.0.1:8443", "free"),
                Finding::problem("app.host", "upstream edms", "400", "add it"),
                Finding::skipped("door.redirect", "http 127.0.0.1:8080", "does not run"),
            ],
        }
    }

    #[test]
    fn findings_stand_in_groups_with_what_to_do_below_them() {
        let text = report().to_string();
        assert_eq!(
            text,
            "door\n  ok       door.port            https 127.0.0.1:8443: free\n  \
             skipped  door.redirect        http 127.0.0.1:8080: does not run\n\n\
             app\n  problem  app.host             upstream edms: 400\n           -> add it\n\n\
             gateway.toml: 1 ok, 0 warnings, 1 problem, 1 skipped\n"
        );
    }

    #[test]
    fn the_document_has_the_same_keys_for_every_finding() {
        let told = report().json();
        assert_eq!(
            (&told["verdict"], &told["version"]),
            (&json!("problem"), &json!(1))
        );
        assert_eq!(told["counts"]["skipped"], 1);
        for finding in told["findings"].as_array().unwrap() {
            let keys: Vec<_> = finding.as_object().unwrap().keys().collect();
            assert_eq!(keys.len(), 5, "{keys:?}");
        }
        assert_eq!(told["findings"][0]["advice"], Value::Null);
    }
}
