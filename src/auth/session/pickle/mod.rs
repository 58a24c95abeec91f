//! Python pickles, read as plain data and never run.
//!
//! A pickle is a program for a small stack machine; `GLOBAL` and `REDUCE` let it call anything in
//! Python. This machine knows `None`, booleans, numbers, text, bytes, lists, tuples, sets and
//! dicts (protocols 0 to 5), and of objects `datetime.datetime` alone, as text. Whatever asks for
//! another object is refused by name.
//!
//! Memory and time are bounded by the input: a declared length that the input does not have is
//! refused before anything is taken for it, text is borrowed, and what one value shares is
//! written out only within caps.

mod arena;
mod globals;
mod input;
mod machine;

use crate::auth::session::{Data, MAX_BYTES};

/// Why a pickle is not taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Flaw {
    /// It is no pickle of a dict that Python would read.
    Broken(&'static str),
    /// It goes over a cap.
    TooLarge(&'static str),
    /// It asks for an object: which.
    Object(String),
}

/// Reads a pickled dict. What follows its end is not looked at, as in Python.
///
/// # Errors
///
/// A [`Flaw`].
pub(crate) fn read(data: &[u8]) -> Result<Data, Flaw> {
    if data.len() > MAX_BYTES {
        return Err(Flaw::TooLarge("is larger than 1 MiB"));
    }
    let (arena, root) = machine::run(data)?;
    arena.into_data(root)
}

#[cfg(test)]
mod tests;
