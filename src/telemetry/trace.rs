//! How a decision came about, step by step, in words: for `explain`, `why` and the admin address.
//!
//! A trace is written for the operator. It names roles, users and rules, and never holds a token,
//! a secret or a query value.

use std::borrow::Cow;
use std::fmt;

use serde::{Deserialize, Serialize};

/// What a step said.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StepVerdict {
    /// It had no objection.
    Passed,
    /// It refused.
    Refused,
    /// It did not decide anything; the words say what was seen.
    Noted,
}

impl StepVerdict {
    /// The verdict in text: `ok`, `no` or `--`.
    #[must_use]
    pub const fn mark(self) -> &'static str {
        match self {
            Self::Passed => "ok",
            Self::Refused => "no",
            Self::Noted => "--",
        }
    }
}

/// One step of a decision.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// What was looked at: `route`, `cors`, `auth edms-token`, `roles`.
    pub name: Cow<'static, str>,
    /// What it said.
    pub verdict: StepVerdict,
    /// Why, in words.
    pub words: Cow<'static, str>,
}

/// The steps of one decision, in order. In JSON: `{"steps": [{"name", "verdict", "words"}, …]}`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trace {
    /// In the order in which they were taken.
    pub steps: Vec<Step>,
}

impl Trace {
    /// Adds a step.
    pub fn step(
        &mut self,
        verdict: StepVerdict,
        name: impl Into<Cow<'static, str>>,
        words: impl Into<Cow<'static, str>>,
    ) {
        self.steps.push(Step {
            name: name.into(),
            verdict,
            words: words.into(),
        });
    }

    /// Adds a step that had no objection.
    pub fn passed(
        &mut self,
        name: impl Into<Cow<'static, str>>,
        words: impl Into<Cow<'static, str>>,
    ) {
        self.step(StepVerdict::Passed, name, words);
    }

    /// Adds the step that refused.
    pub fn refused(
        &mut self,
        name: impl Into<Cow<'static, str>>,
        words: impl Into<Cow<'static, str>>,
    ) {
        self.step(StepVerdict::Refused, name, words);
    }

    /// Adds what was seen and decided nothing.
    pub fn noted(
        &mut self,
        name: impl Into<Cow<'static, str>>,
        words: impl Into<Cow<'static, str>>,
    ) {
        self.step(StepVerdict::Noted, name, words);
    }

    /// Bytes of its texts.
    pub(super) fn weight(&self) -> usize {
        let texts = (self.steps.iter()).map(|step| step.name.len() + step.words.len());
        texts.sum::<usize>() + self.steps.len() * size_of::<Step>()
    }
}

/// One line a step: mark, name, words. Further lines of the words stand below the first.
impl fmt::Display for Trace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = self.steps.iter().map(|step| step.name.chars().count());
        let width = names.max().unwrap_or(0);
        for step in &self.steps {
            let mut lines = step.words.lines();
            let first = lines.next().unwrap_or_default();
            let line = format!("{}  {:width$}  {first}", step.verdict.mark(), step.name);
            writeln!(f, "{}", line.trim_end())?;
            for line in lines {
                writeln!(f, "    {:width$}  {line}", "")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trace() -> Trace {
        let mut trace = Trace::default();
        trace.passed("route", "/api/{*rest}");
        trace.noted("cors", "no Origin was sent");
        trace.refused("roles", "wanted one of: staff\nuser 7 has: host");
        trace
    }

    #[test]
    fn a_trace_reads_as_a_table() {
        let expected = "ok  route  /api/{*rest}\n\
                        --  cors   no Origin was sent\n\
                        no  roles  wanted one of: staff\n           user 7 has: host\n";
        assert_eq!(trace().to_string(), expected);
    }

    #[test]
    fn a_trace_survives_json() {
        let json = serde_json::to_string(&trace()).unwrap();
        assert!(json.contains(r#"{"name":"route","verdict":"passed","words":"/api/{*rest}"}"#));
        assert_eq!(serde_json::from_str::<Trace>(&json).unwrap(), trace());
    }
}
