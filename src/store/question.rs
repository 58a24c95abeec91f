//! What is asked of a database and what it answers, in terms that all three have in common.

use std::sync::Arc;

use uuid::Uuid;

use super::cell::Cell;

/// A statement with its parameters.
#[derive(Clone, Debug)]
pub(super) struct Question {
    /// One `select`.
    pub(super) sql: Arc<str>,
    /// What stands in for its parameters.
    pub(super) with: With,
    /// Rows that may come; more are [`super::fault::Fault::TooMuch`].
    pub(super) most: usize,
}

/// What stands in for parameters.
#[derive(Clone, Debug)]
pub(super) enum With {
    /// These, in order.
    These(Vec<Parameter>),
    /// This id for each, as the type that the server says the parameter has. An id that cannot be
    /// of that type finds nothing.
    Id(Arc<str>),
}

/// One parameter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Parameter {
    /// Text.
    Text(String),
    /// A whole number.
    Whole(i64),
    /// A UUID in the database's own type.
    Uuid(Uuid),
    /// Bytes.
    Bytes(Vec<u8>),
}

/// Rows with the names of their columns; without rows there are no names.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Found {
    /// Names, as the database tells them.
    pub(super) columns: Vec<Box<str>>,
    /// Cells in the order of the columns.
    pub(super) rows: Vec<Vec<Cell>>,
}

impl Question {
    /// A question for at most one row by a text.
    pub(super) fn by_text(sql: &Arc<str>, text: &str) -> Self {
        Self {
            sql: Arc::clone(sql),
            with: With::These(vec![Parameter::Text(text.to_owned())]),
            most: 1,
        }
    }
}

/// An id as a whole number, where it is written as one is: no sign plus, zeros or blanks before.
pub(super) fn whole(id: &str) -> Option<i64> {
    let number: i64 = id.parse().ok()?;
    (number.to_string() == id).then_some(number)
}
