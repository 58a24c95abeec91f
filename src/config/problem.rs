//! One mistake in the configuration: where it stands, what was found, what is allowed.
//!
//! Mistakes are collected and told all at once. A value that may be a secret is never repeated.

use std::collections::BTreeSet;
use std::fmt;
use std::path::PathBuf;

use super::places::Places;

/// Mistakes told of one file at most; the rest are counted.
const MOST: usize = 500;

/// Where a key's value was given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// In a file.
    File {
        /// The file, as named on the command line or in the configuration.
        file: PathBuf,
        /// Line, from 1.
        line: usize,
        /// Column in characters, from 1.
        column: usize,
    },
    /// In an environment variable.
    Variable(String),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { file, line, column } => write!(f, "{}:{line}:{column}", file.display()),
            Self::Variable(name) => write!(f, "environment variable {name}"),
        }
    }
}

/// One mistake, or one thing that `check` warns of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Where it stands; `None` when it is nowhere, such as a table that is missing.
    pub place: Option<Place>,
    /// The key's path, such as `route[3].path`; empty for the file as a whole.
    pub key: String,
    /// What is wrong, and where it helps, what to do.
    pub message: String,
    /// What was found there.
    pub found: Option<String>,
    /// What would be right.
    pub allowed: Option<String>,
    /// The nearest name that would be right.
    pub nearest: Option<String>,
    at_key: bool,
}

impl Problem {
    /// A mistake in the value at `key`, without its place yet.
    #[must_use]
    pub fn new(key: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            place: None,
            key: key.into(),
            message: message.into(),
            found: None,
            allowed: None,
            nearest: None,
            at_key: false,
        }
    }

    /// A mistake in the value at `key`, found after the file was compiled (a certificate that does
    /// not parse, a key of the wrong type), with the place of that value.
    #[must_use]
    pub fn at_key(places: &Places, key: &str, message: impl Into<String>) -> Self {
        Self::new(key, message).placed(places)
    }

    /// Says something else of the same place.
    #[must_use]
    pub(super) fn saying(mut self, message: impl Into<String>) -> Self {
        self.message = message.into();
        self
    }

    /// Says what was found.
    #[must_use]
    pub fn found(mut self, found: impl Into<String>) -> Self {
        self.found = Some(found.into());
        self
    }

    /// Says what would be right.
    #[must_use]
    pub fn allowed(mut self, allowed: impl Into<String>) -> Self {
        self.allowed = Some(allowed.into());
        self
    }

    /// Says which name would be right and is nearest to what was found, if any is near.
    #[must_use]
    pub fn nearest(mut self, nearest: Option<&str>) -> Self {
        self.nearest = nearest.map(str::to_owned);
        self
    }

    /// The key itself is the mistake and not its value.
    #[must_use]
    pub(super) fn of_the_key(mut self) -> Self {
        self.at_key = true;
        self
    }

    /// Finds the place, unless it has one.
    #[must_use]
    pub fn placed(mut self, places: &Places) -> Self {
        if self.place.is_none() {
            self.place = if self.at_key {
                places.locate_key(&self.key)
            } else {
                places.locate(&self.key)
            };
        }
        self
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(place) = &self.place {
            write!(f, "{place}: ")?;
        }
        if !self.key.is_empty() {
            write!(f, "{}: ", self.key)?;
        }
        f.write_str(&self.message)?;
        if let Some(found) = &self.found {
            write!(f, "\n    found:   {found}")?;
        }
        if let Some(allowed) = &self.allowed {
            write!(f, "\n    allowed: {allowed}")?;
        }
        if let Some(nearest) = &self.nearest {
            write!(f, "\n    did you mean {nearest}?")?;
        }
        Ok(())
    }
}

impl std::error::Error for Problem {}

/// Every mistake that kept a file from being loaded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// The mistakes, in the order of the file. At least one.
    pub problems: Vec<Problem>,
    /// What else `check` warns of.
    pub warnings: Vec<Problem>,
    /// Further mistakes that are not listed, because there are too many.
    pub unlisted: usize,
}

impl Report {
    /// A report of one mistake.
    pub(super) fn of(problem: Problem) -> Self {
        Self {
            problems: vec![problem],
            warnings: Vec::new(),
            unlisted: 0,
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for problem in &self.problems {
            writeln!(f, "error: {problem}")?;
        }
        for warning in &self.warnings {
            writeln!(f, "warning: {warning}")?;
        }
        if self.unlisted > 0 {
            writeln!(f, "and {} more errors", self.unlisted)?;
        }
        match self.problems.len().saturating_add(self.unlisted) {
            1 => f.write_str("1 error"),
            many => write!(f, "{many} errors"),
        }
    }
}

impl std::error::Error for Report {}

/// Collects mistakes and warnings, giving each its place, and which keys hold a secret.
#[derive(Debug)]
pub(super) struct Problems<'a> {
    places: &'a Places,
    errors: Vec<Problem>,
    warnings: Vec<Problem>,
    unlisted: usize,
    /// Keys that hold a secret.
    secrets: BTreeSet<String>,
}

impl<'a> Problems<'a> {
    pub(super) fn new(places: &'a Places) -> Self {
        Self {
            places,
            errors: Vec::new(),
            warnings: Vec::new(),
            unlisted: 0,
            secrets: BTreeSet::new(),
        }
    }

    /// Notes that the value at a key is a secret.
    pub(super) fn note_secret(&mut self, key: &str) {
        self.secrets.insert(key.to_owned());
    }

    /// The keys that were noted to hold a secret.
    pub(super) fn take_secrets(&mut self) -> BTreeSet<String> {
        std::mem::take(&mut self.secrets)
    }

    /// Notes a mistake.
    pub(super) fn error(&mut self, problem: Problem) {
        if self.errors.len() < MOST {
            self.errors.push(problem.placed(self.places));
        } else {
            self.unlisted = self.unlisted.saturating_add(1);
        }
    }

    /// Notes a mistake that may be one of very many: the words are made only where it is listed.
    pub(super) fn error_with(&mut self, problem: impl FnOnce() -> Problem) {
        if self.errors.len() < MOST {
            self.error(problem());
        } else {
            self.unlisted = self.unlisted.saturating_add(1);
        }
    }

    /// Notes something that works and should not stay.
    pub(super) fn warn(&mut self, problem: Problem) {
        if self.warnings.len() < MOST {
            self.warnings.push(problem.placed(self.places));
        }
    }

    /// Where a key stands.
    pub(super) fn place_of(&self, key: &str) -> Option<Place> {
        self.places.locate(key)
    }

    /// Whether no mistake was noted in the value at `key`: a key that could not be read is there.
    pub(super) fn is_silent_about(&self, key: &str) -> bool {
        let about = |problem: &Problem| {
            let rest = problem.key.strip_prefix(key);
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
        };
        !self.errors.iter().any(about)
    }

    /// Whether nothing is wrong so far.
    pub(super) fn is_clean(&self) -> bool {
        self.errors.is_empty()
    }

    /// The warnings, or with a single mistake everything as a report.
    pub(super) fn finish(mut self) -> Result<Vec<Problem>, Report> {
        in_order(&mut self.errors);
        in_order(&mut self.warnings);
        if self.errors.is_empty() {
            return Ok(self.warnings);
        }
        Err(Report {
            problems: self.errors,
            warnings: self.warnings,
            unlisted: self.unlisted,
        })
    }
}

/// Sorts by place: the file from top to bottom, then the environment, then what is nowhere.
fn in_order(problems: &mut [Problem]) {
    problems.sort_by_key(|problem| match &problem.place {
        Some(Place::File { line, column, .. }) => (0, *line, *column),
        Some(Place::Variable(_)) => (1, 0, 0),
        None => (2, 0, 0),
    });
}

/// The candidate nearest to a misspelt name, if any is near enough to be meant.
pub(super) fn nearest<'c>(
    found: &str,
    candidates: impl IntoIterator<Item = &'c str>,
) -> Option<&'c str> {
    /// Longer names are no typing mistakes, and comparing costs the product of both lengths.
    const LONGEST: usize = 64;
    if found.len() > LONGEST {
        return None;
    }
    let fold = |name: &str| name.to_lowercase().replace('-', "_");
    let wanted = fold(found);
    let reach = match wanted.chars().count() {
        0 | 1 => 0,
        length => (length / 3).clamp(1, 3),
    };
    candidates
        .into_iter()
        .filter(|candidate| candidate.len() <= LONGEST)
        .map(|candidate| {
            (
                strsim::damerau_levenshtein(&wanted, &fold(candidate)),
                candidate,
            )
        })
        .filter(|(distance, _)| *distance <= reach)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_reads_place_key_found_allowed_nearest() {
        let problem = Problem {
            place: Some(Place::File {
                file: "gateway.toml".into(),
                line: 3,
                column: 1,
            }),
            ..Problem::new("server.htps", "is not a key of this table")
        };
        let problem = problem
            .found("\"htps\"")
            .allowed("https, http")
            .nearest(Some("https"));
        assert_eq!(
            problem.to_string(),
            "gateway.toml:3:1: server.htps: is not a key of this table\n    found:   \"htps\"\n    \
             allowed: https, http\n    did you mean https?"
        );
    }

    #[test]
    fn the_nearest_name_is_named_and_a_far_one_is_not() {
        assert_eq!(nearest("htps", ["http", "https", "admin"]), Some("https"));
        assert_eq!(
            nearest("merge-slashes", ["merge_slashes"]),
            Some("merge_slashes")
        );
        assert_eq!(nearest("HTTPS", ["https"]), Some("https"));
        assert_eq!(nearest("b", ["a"]), None);
        assert_eq!(nearest("zebra", ["http", "https", "admin"]), None);
        assert_eq!(nearest(&"a".repeat(5000), ["https"]), None);
    }
}
