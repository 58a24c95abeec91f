//! Shapes that many keys share: lists, one or many, `{ env = … }`, secrets, named tables.

use std::collections::BTreeMap;

use super::decode::{At, Decode, Table, elements, wrong_type};
use crate::config::node::{Data, Node};
use crate::config::places::child;
use crate::config::problem::{Problem, Problems};
use crate::secret::Secret;

/// A list. From the environment also a plain string, split on commas.
impl<T: Decode> Decode for Vec<At<T>> {
    fn decode(node: &Node, key: &str, problems: &mut Problems<'_>) -> Option<Self> {
        match (&node.data, &node.written) {
            (Data::List(list), _) => Some(elements(list, key, problems)),
            (_, Some(written)) => {
                let parts: Vec<_> = split(written)
                    .map(|part| text_node(part, written))
                    .collect();
                Some(elements(&parts, key, problems))
            }
            _ => wrong_type(node, key, "a list", problems),
        }
    }
}

fn text_node(part: &str, written: &str) -> Node {
    Node {
        data: Data::Text(part.to_owned()),
        written: Some(written.to_owned()),
    }
}

/// Splits a list kept in one variable: on commas, blanks trimmed, empty parts dropped.
pub(in crate::config) fn split(text: &str) -> impl Iterator<Item = &str> {
    text.split(',')
        .map(str::trim)
        .filter(|part| !part.is_empty())
}

/// One value or a list of them.
#[derive(Debug, Default)]
pub(in crate::config) struct OneOrMany<T>(pub(in crate::config) Vec<At<T>>);

impl<T: Decode> Decode for OneOrMany<T> {
    fn decode(node: &Node, key: &str, problems: &mut Problems<'_>) -> Option<Self> {
        match (&node.data, &node.written) {
            (Data::List(_), _) => Decode::decode(node, key, problems).map(Self),
            (_, Some(written)) if written.contains(',') => {
                Decode::decode(node, key, problems).map(Self)
            }
            _ => At::read(node, key.to_owned(), problems).map(|one| Self(vec![one])),
        }
    }
}

/// A list of strings, or the environment variable that holds it.
#[derive(Debug)]
pub(in crate::config) enum Strings {
    Given(Vec<At<String>>),
    Variable(At<String>),
}

impl Decode for Strings {
    fn decode(node: &Node, key: &str, problems: &mut Problems<'_>) -> Option<Self> {
        match (&node.data, &node.written) {
            (Data::Table(_), _) => {
                let table = Table::open(node, key, &["env"], problems)?;
                table.take("env", problems).map(Self::Variable)
            }
            (Data::List(_), _) | (_, Some(_)) => {
                Decode::decode(node, key, problems).map(Self::Given)
            }
            _ => wrong_type(
                node,
                key,
                "a list of strings or { env = \"NAME\" }",
                problems,
            ),
        }
    }
}

/// One string, or a list as [`Strings`] takes it.
#[derive(Debug)]
pub(in crate::config) struct StringOrStrings(pub(in crate::config) Strings);

impl Decode for StringOrStrings {
    fn decode(node: &Node, key: &str, problems: &mut Problems<'_>) -> Option<Self> {
        match (&node.data, &node.written) {
            (Data::Text(text), None) => {
                let one = At {
                    key: key.to_owned(),
                    value: text.clone(),
                };
                Some(Self(Strings::Given(vec![one])))
            }
            (Data::Whole(_) | Data::Float(_) | Data::Bool(_), None) => {
                wrong_type(node, key, "a string or a list of strings", problems)
            }
            _ => Strings::decode(node, key, problems).map(Self),
        }
    }
}

/// A value, or `false` to turn it off.
#[derive(Debug)]
pub(in crate::config) enum OrFalse<T> {
    Off,
    On(At<T>),
}

impl<T: Decode> Decode for OrFalse<T> {
    fn decode(node: &Node, key: &str, problems: &mut Problems<'_>) -> Option<Self> {
        if node.data == Data::Bool(false) {
            return Some(Self::Off);
        }
        At::read(node, key.to_owned(), problems).map(Self::On)
    }
}

/// A table whose keys are names, in the order of the names.
#[derive(Debug)]
pub(in crate::config) struct Named<T>(pub(in crate::config) Vec<(String, At<T>)>);

impl<T> Default for Named<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T: Decode> Decode for Named<T> {
    fn decode(node: &Node, key: &str, problems: &mut Problems<'_>) -> Option<Self> {
        let Data::Table(members) = &node.data else {
            return wrong_type(node, key, "a table", problems);
        };
        let read = |(name, node): (&String, &Node)| {
            Some((name.clone(), At::read(node, child(key, name), problems)?))
        };
        Some(Self(members.iter().filter_map(read).collect()))
    }
}

/// A secret as it is given.
#[derive(Debug)]
pub(in crate::config) enum RawSecret {
    Variable(At<String>),
    File(At<String>),
    Plain {
        value: Secret<String>,
        /// Whether it stands in the file, where others can read it.
        in_file: bool,
    },
}

impl Decode for RawSecret {
    fn decode(node: &Node, key: &str, problems: &mut Problems<'_>) -> Option<Self> {
        const EXPECTED: &str = "{ env = \"NAME\" }, { file = \"path\" } or a string";
        match (&node.data, &node.written) {
            (Data::Table(table), _) if is_reference(table) || node.written.is_none() => {
                let table = Table::open(node, key, &["env", "file"], problems)?;
                match (table.take("env", problems), table.take("file", problems)) {
                    (Some(name), None) => Some(Self::Variable(name)),
                    (None, Some(path)) => Some(Self::File(path)),
                    (Some(_), Some(_)) | (None, None) => {
                        let problem = Problem::new(key, "must name one of `env` and `file`");
                        problems.error(problem.allowed(EXPECTED));
                        None
                    }
                }
            }
            (_, Some(written)) => {
                problems.note_secret(key);
                Some(Self::Plain {
                    value: Secret::new(written.clone()),
                    in_file: false,
                })
            }
            (Data::Text(text), None) => {
                problems.note_secret(key);
                Some(Self::Plain {
                    value: Secret::new(text.clone()),
                    in_file: true,
                })
            }
            (
                Data::List(_) | Data::Whole(_) | Data::Float(_) | Data::Bool(_) | Data::Table(_),
                None,
            ) => wrong_secret(node, key, EXPECTED, problems),
        }
    }
}

/// A secret in the environment may look like a table and is none.
fn is_reference(table: &BTreeMap<String, Node>) -> bool {
    table.len() == 1 && table.keys().all(|key| key == "env" || key == "file")
}

/// One secret or a list of them: the first signs, all of them verify.
#[derive(Debug)]
pub(in crate::config) struct Secrets(pub(in crate::config) Vec<At<RawSecret>>);

impl Decode for Secrets {
    fn decode(node: &Node, key: &str, problems: &mut Problems<'_>) -> Option<Self> {
        match (&node.data, &node.written) {
            (Data::List(list), None) => Some(Self(elements(list, key, problems))),
            // A comma may be part of a secret: nothing is split here.
            _ => At::read(node, key.to_owned(), problems).map(|one| Self(vec![one])),
        }
    }
}

/// Like [`wrong_type`], but the value may be a secret and is not repeated.
fn wrong_secret<T>(
    node: &Node,
    key: &str,
    expected: &str,
    problems: &mut Problems<'_>,
) -> Option<T> {
    let message = format!("must be {expected}, not {}", node.kind());
    problems.error(Problem::new(key, message));
    None
}
