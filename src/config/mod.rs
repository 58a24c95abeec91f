//! The operator's file: read in layers, checked whole, compiled to policy and settings.
//!
//! [`load`] is the way in. `source` merges built-in defaults, the file and the environment; `raw`
//! mirrors the file and refuses unknown keys; `compile` turns that into [`Policy`] and
//! [`Settings`]. Every mistake is told at once, each with its place and its cure.

mod compile;
mod node;
mod places;
mod problem;
mod raw;
pub mod settings;
mod shown;
mod source;
mod units;

pub use places::Places;
pub use problem::{Place, Problem, Report};
pub use shown::Shown;
pub use source::{Environment, MAX_BYTES, ProcessEnvironment};

use std::path::Path;

use raw::decode::Decode;
use settings::Settings;

use crate::policy::Policy;

/// A file that holds no mistake, compiled.
#[derive(Debug)]
pub struct Loaded {
    /// What requests are judged by.
    pub policy: Policy,
    /// Everything else.
    pub settings: Settings,
    /// What works and should not stay, such as a secret in plain text.
    pub warnings: Vec<Problem>,
    /// Where each key stands, for mistakes that are found later.
    pub places: Places,
    /// All of it, as it may be shown.
    pub shown: Shown,
}

/// Reads, checks and compiles the file at `path`, with the environment on top.
///
/// Reads the files that hold secrets and api keys too; certificates and token keys are read by
/// those who use them.
///
/// # Errors
///
/// Every mistake at once: the file cannot be read or is not TOML, an unknown key, a wrong type, a
/// dangling name, two routes that match the same requests, and so on.
pub fn load(path: &Path, environment: &dyn Environment) -> Result<Loaded, Report> {
    let text = source::read_text(path, MAX_BYTES).map_err(|error| {
        let message = format!("{} cannot be read: {error}", path.display());
        Report::of(Problem::new("", message))
    })?;
    load_text(path, &text, environment)
}

/// Like [`load`], of a text that stands for the file at `path`.
///
/// # Errors
///
/// As [`load`].
pub fn load_text(path: &Path, text: &str, environment: &dyn Environment) -> Result<Loaded, Report> {
    let layers = source::layers(path, text, environment)?;
    let mut problems = problem::Problems::new(&layers.places);
    layers
        .warnings
        .into_iter()
        .for_each(|warning| problems.warn(warning));
    let raw = raw::File::decode(&layers.root, "", &mut problems);
    let shown = Shown::of(path, &layers.root, &problems.take_secrets());
    let compiled = match raw {
        Some(raw) => {
            let (compiled, rest) = compile::compile(path, raw, environment, problems);
            problems = rest;
            compiled
        }
        None => None,
    };
    let warnings = problems.finish()?;
    let (policy, settings) = compiled.ok_or_else(|| {
        Report::of(Problem::new(
            "",
            "the file cannot be compiled, and no mistake was found",
        ))
    })?;
    Ok(Loaded {
        policy,
        settings,
        warnings,
        places: layers.places,
        shown,
    })
}

#[cfg(test)]
mod tests;
