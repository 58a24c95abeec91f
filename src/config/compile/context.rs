//! What every part of the compiler needs: where mistakes go, where files and variables are, and
//! the small checks that many keys share.

use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::time::Duration;

use http::{HeaderName, HeaderValue};

use crate::config::node::quote;
use crate::config::places::child;
use crate::config::problem::{Problem, Problems, nearest};
use crate::config::raw::decode::At;
use crate::config::raw::shapes::{RawSecret, Strings, split};
use crate::config::source::{Environment, read_text};
use crate::config::units;
use crate::secret::Secret;

/// The largest file that holds one secret, in bytes.
const SECRET_BYTES: u64 = 64 << 10;

pub(super) struct Context<'a> {
    /// The folder of the file: relative paths begin there.
    pub(super) folder: &'a Path,
    pub(super) environment: &'a dyn Environment,
    pub(super) problems: Problems<'a>,
    /// Every file that the configuration names.
    pub(super) watched: Vec<PathBuf>,
}

impl Context<'_> {
    /// Notes a mistake.
    pub(super) fn error(&mut self, problem: Problem) {
        self.problems.error(problem);
    }

    /// Notes something that works and should not stay.
    pub(super) fn warn(&mut self, problem: Problem) {
        self.problems.warn(problem);
    }

    /// Notes that a key is unless it is there and could not be read.
    pub(super) fn lacks(&mut self, table: &str, name: &str, allowed: Option<&str>) {
        let problem = Problem::new(child(table, name), "is required and is not there");
        if self.problems.is_silent_about(&problem.key) {
            self.error(match allowed {
                Some(allowed) => problem.allowed(allowed),
                None => problem,
            });
        }
    }

    /// A path, seen from the file's own folder.
    pub(super) fn path(&mut self, text: &At<String>) -> PathBuf {
        if text.value.is_empty() || text.value.contains('\0') {
            self.error(text.wrong("must be a path"));
        }
        self.folder.join(&text.value)
    }

    /// A file that is read, and read again when it changes.
    pub(super) fn file(&mut self, text: &At<String>) -> PathBuf {
        let path = self.path(text);
        if !path.is_file() {
            self.error(text.wrong(format!("there is no file {}", path.display())));
        }
        if !self.watched.contains(&path) {
            self.watched.push(path.clone());
        }
        path
    }

    /// A folder that is read when it is asked for; the app may make it later.
    pub(super) fn folder(&mut self, text: &At<String>) -> PathBuf {
        let path = self.path(text);
        if !path.is_dir() {
            let message = format!("there is no folder {} now", path.display());
            self.warn(Problem::new(text.key.as_str(), message));
        }
        path
    }

    /// The value of an environment variable that the file names.
    pub(super) fn variable(&mut self, name: &At<String>) -> Option<String> {
        let value = self.environment.variable(&name.value);
        match value {
            Some(value) if !value.is_empty() => Some(value),
            Some(_) => {
                self.error(name.wrong("the environment variable is empty"));
                None
            }
            None => {
                let message = "the environment variable is not set, or not UTF-8";
                self.error(name.wrong(message));
                None
            }
        }
    }

    /// A list of strings, fetched from its variable where it is kept in one.
    pub(super) fn strings(&mut self, given: Option<At<Strings>>) -> Option<At<Vec<At<String>>>> {
        let At { key, value } = given?;
        let value = match value {
            Strings::Given(list) => list,
            Strings::Variable(name) => {
                let text = self.variable(&name)?;
                let one = |part: &str| At {
                    key: key.clone(),
                    value: part.to_owned(),
                };
                split(&text).map(one).collect()
            }
        };
        Some(At { key, value })
    }

    /// Like [`Context::strings`] for a list that must not be empty once it is there.
    pub(super) fn some_strings(
        &mut self,
        given: Option<At<Strings>>,
        why: &str,
    ) -> Option<Vec<At<String>>> {
        let list = self.strings(given)?;
        if list.value.is_empty() {
            self.error(list.problem(format!("must not be empty: {why}")));
            return None;
        }
        for (index, item) in list.value.iter().enumerate() {
            let earlier = list.value.get(..index).unwrap_or_default();
            if item.value.is_empty() {
                self.error(item.problem("must not be an empty string"));
            } else if earlier.iter().any(|other| other.value == item.value) {
                self.error(item.wrong("stands in this list twice"));
            }
        }
        Some(list.value)
    }

    /// A secret, fetched from where it is kept. One line break at the end of a file is not part
    /// of it.
    pub(super) fn secret(&mut self, given: At<RawSecret>) -> Option<Secret<String>> {
        let key = given.key.clone();
        let (secret, in_file) = self.hidden(given)?;
        if in_file {
            let message = "a secret stands in the file in plain text; keep it in \
                           { env = \"NAME\" } or { file = \"path\" }";
            self.warn(Problem::new(key, message));
        }
        Some(secret)
    }

    /// What may hold a secret, fetched from where it is kept, and whether it stands in the file
    /// itself, where others can read it.
    pub(super) fn hidden(&mut self, given: At<RawSecret>) -> Option<(Secret<String>, bool)> {
        let (secret, in_file) = match given.value {
            RawSecret::Variable(name) => (Secret::new(self.variable(&name)?), false),
            RawSecret::File(path) => (self.secret_file(&path)?, false),
            RawSecret::Plain { value, in_file } => (value, in_file),
        };
        if secret.expose().is_empty() {
            self.error(Problem::new(given.key, "the secret is empty"));
            return None;
        }
        Some((secret, in_file))
    }

    fn secret_file(&mut self, path: &At<String>) -> Option<Secret<String>> {
        let file = self.file(path);
        match read_text(&file, SECRET_BYTES) {
            Ok(text) => {
                let text = Secret::new(text);
                let line = text.expose();
                let line = line.strip_suffix('\n').unwrap_or(line);
                let line = line.strip_suffix('\r').unwrap_or(line);
                Some(Secret::new(line.to_owned()))
            }
            Err(error) => {
                self.error(path.wrong(format!("the file cannot be read: {error}")));
                None
            }
        }
    }

    /// A header's name.
    pub(super) fn header_name(&mut self, text: &At<String>) -> Option<HeaderName> {
        let name = header_name(&text.value);
        if name.is_none() {
            let problem = text.wrong("is not a header name");
            self.error(problem.allowed("letters, digits and -, such as X-Auth-User"));
        }
        name
    }

    /// A header's value.
    pub(super) fn header_value(&mut self, text: &At<String>) -> Option<HeaderValue> {
        let value = HeaderValue::from_str(&text.value).ok();
        let value = value.filter(|value| value.to_str().is_ok() && text.value.trim() == text.value);
        if value.is_none() {
            let message = "is not a header value: it must be printable ASCII without blanks at \
                           its ends";
            self.error(text.wrong(message));
        }
        value
    }

    /// A duration above zero. A default stands where none is given, so `None` was noted already.
    pub(super) fn positive(&mut self, given: Option<At<Duration>>) -> Duration {
        let Some(given) = given else {
            return Duration::ZERO;
        };
        if given.value.is_zero() {
            let problem = given.problem("must be more than zero");
            self.error(problem.found(units::told(given.value)));
        }
        given.value
    }

    /// A duration of a kind that has a bound; `default` where none is given.
    pub(super) fn bounded(
        &mut self,
        given: Option<At<Duration>>,
        default: Duration,
        range: RangeInclusive<Duration>,
    ) -> Duration {
        let Some(given) = given else {
            return default;
        };
        if !range.contains(&given.value) {
            let allowed = format!(
                "{} to {}",
                units::told(*range.start()),
                units::told(*range.end())
            );
            let problem = given.problem("is out of range");
            self.error(problem.found(units::told(given.value)).allowed(allowed));
        }
        given.value
    }

    /// A whole number in a range; its start where none is given.
    pub(super) fn number<N>(&mut self, given: Option<At<u64>>, range: RangeInclusive<N>) -> N
    where
        N: Copy + PartialOrd + TryFrom<u64> + std::fmt::Display,
    {
        let Some(given) = given else {
            return *range.start();
        };
        match N::try_from(given.value) {
            Ok(number) if range.contains(&number) => number,
            Ok(_) | Err(_) => {
                let problem = given
                    .problem("is out of range")
                    .found(given.value.to_string());
                self.error(problem.allowed(format!("{} to {}", range.start(), range.end())));
                *range.start()
            }
        }
    }

    /// One of a few words.
    pub(super) fn word<T: Copy>(
        &mut self,
        given: Option<&At<String>>,
        words: &[(&str, T)],
    ) -> Option<T> {
        let given = given?;
        let found = words.iter().find(|(word, _)| *word == given.value);
        if found.is_none() {
            let allowed: Vec<_> = words.iter().map(|(word, _)| quote(word)).collect();
            let near = nearest(&given.value, words.iter().map(|(word, _)| *word));
            let problem = given.wrong("is not one of the words known here");
            self.error(problem.allowed(allowed.join(", ")).nearest(near));
        }
        found.map(|(_, meaning)| *meaning)
    }

    /// The place of a name among those of a table such as `[upstream.*]`.
    pub(super) fn named<N: AsRef<str>>(
        &mut self,
        name: &At<String>,
        table: &str,
        names: &[N],
    ) -> Option<usize> {
        let found = names.iter().position(|known| known.as_ref() == name.value);
        if found.is_none() {
            let near = nearest(&name.value, names.iter().map(AsRef::as_ref));
            let known: Vec<_> = names.iter().map(AsRef::as_ref).collect();
            let allowed = if known.is_empty() {
                format!("nothing yet: there is no [{table}.NAME]")
            } else {
                known.join(", ")
            };
            let problem = name.wrong(format!("there is no [{table}.{}]", name.value));
            self.error(problem.allowed(allowed).nearest(near));
        }
        found
    }
}

/// A header's name as operators write it: letters, digits and the other signs of RFC 9110 §5.6.2.
pub(super) fn header_name(text: &str) -> Option<HeaderName> {
    HeaderName::from_bytes(text.as_bytes()).ok()
}

/// A key that is there and does nothing beside what the others say.
pub(super) fn idle<T>(given: Option<&At<T>>, why: &str, cx: &mut Context<'_>) {
    if let Some(given) = given {
        cx.error(
            given
                .problem(format!("does nothing {why}; leave it out"))
                .of_the_key(),
        );
    }
}

/// The name of a table such as `[upstream.NAME]`: it stands in logs, labels, headers and, without
/// quotes, in key paths.
pub(super) fn check_table_name(name: &str, key: &str, cx: &mut Context<'_>) {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    if name.is_empty() || name.len() > 64 || !name.bytes().all(fits) {
        let problem = Problem::new(key, "is not a name").found(quote(name));
        cx.error(
            problem
                .allowed("1 to 64 letters, digits, - and _")
                .of_the_key(),
        );
    }
}
