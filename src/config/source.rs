//! The layers of the configuration: built-in defaults, the file, the environment. Later wins.
//!
//! The only user of figment, and the only reader of the environment. Decides nothing: what comes
//! out is one tree of values ([`Node`]) and where each stands ([`Places`]).

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use figment::value::{Dict, Map, Num, Tag, Value as Merged};
use figment::{Error, Figment, Metadata, Profile, Provider};
use toml_edit::{Item, TableLike, Value};

use super::node::{Data, Node};
use super::places::{Lines, Places, child, element};
use super::problem::{Problem, Report};

/// The largest file read, in bytes.
pub const MAX_BYTES: u64 = 4 << 20;

/// What an environment variable must begin with to be a key.
const PREFIX: &str = "PORTCULLIS_";

/// What stands between a table and a key in the name of a variable.
const SEPARATOR: &str = "__";

/// The built-in defaults, in the format of the file. `[each.TABLE]` holds for every `[TABLE.NAME]`.
pub(super) const DEFAULTS: &str = include_str!("defaults.toml");

/// Where environment variables come from. The process's own are read by [`ProcessEnvironment`].
pub trait Environment {
    /// The variable's value, where it is set and is UTF-8.
    fn variable(&self, name: &str) -> Option<String>;

    /// Every variable whose name begins with `PORTCULLIS_`, in any order.
    fn overrides(&self) -> Vec<(String, String)>;
}

/// The environment of this process.
#[derive(Clone, Copy, Debug, Default)]
pub struct ProcessEnvironment;

impl Environment for ProcessEnvironment {
    fn variable(&self, name: &str) -> Option<String> {
        std::env::var_os(name)?.into_string().ok()
    }

    fn overrides(&self) -> Vec<(String, String)> {
        std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .filter(|(name, _)| name.starts_with(PREFIX))
            .collect()
    }
}

/// A fixed environment, for tests.
impl Environment for BTreeMap<String, String> {
    fn variable(&self, name: &str) -> Option<String> {
        self.get(name).cloned()
    }

    fn overrides(&self) -> Vec<(String, String)> {
        let ours = |(name, _): &(&String, &String)| name.starts_with(PREFIX);
        self.iter()
            .filter(ours)
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect()
    }
}

/// The merged layers.
#[derive(Debug)]
pub(super) struct Layers {
    pub(super) root: Node,
    pub(super) places: Places,
    pub(super) warnings: Vec<Problem>,
}

/// Reads a file whole, up to `most` bytes.
pub(super) fn read_text(path: &Path, most: u64) -> io::Result<String> {
    let mut bytes = Vec::new();
    File::open(path)?
        .take(most.saturating_add(1))
        .read_to_end(&mut bytes)?;
    if u64::try_from(bytes.len()).is_ok_and(|length| length > most) {
        let message = format!("the file is larger than {most} bytes");
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, message));
    }
    String::from_utf8(bytes).map_err(|error| {
        let message = format!("byte {} is not UTF-8", error.utf8_error().valid_up_to());
        io::Error::new(io::ErrorKind::InvalidData, message)
    })
}

/// Merges the layers.
///
/// # Errors
///
/// The file is not TOML, or a variable names no key.
pub(super) fn layers(
    file: &Path,
    text: &str,
    environment: &dyn Environment,
) -> Result<Layers, Report> {
    let document = parse(file, text)?;
    let mut places = Places::of(file, text, document.as_table());
    let mut problems = Vec::new();
    let dates = &mut |path: &str| {
        let message = "must not be a date; put it in quotes if it is meant as text";
        problems.push(Problem::new(path, message).found("a date"));
    };
    let written = dict("", document.as_table(), dates);
    let mut warnings = Vec::new();
    let overrides = overrides(&written, environment, &mut problems, &mut warnings);
    for (path, variable) in &overrides {
        places.note_variable(key_path(path), &variable.name);
    }
    if !problems.is_empty() {
        let problems = problems.into_iter().map(|p| p.placed(&places)).collect();
        return Err(Report {
            problems,
            warnings,
            unlisted: 0,
        });
    }
    let root = merge(written, overrides).map_err(|error| Report::of(internal(&error)))?;
    Ok(Layers {
        root,
        places,
        warnings,
    })
}

fn parse<'t>(file: &Path, text: &'t str) -> Result<toml_edit::Document<&'t str>, Report> {
    toml_edit::Document::parse(text).map_err(|error| {
        // Not the error's own Display: it repeats the line, which may hold a secret.
        let mut problem = Problem::new("", format!("not valid TOML: {}", error.message()));
        problem.place = error
            .span()
            .map(|span| Lines::of(text).place(file, span.start));
        Report::of(problem)
    })
}

fn internal(error: &Error) -> Problem {
    Problem::new("", format!("the layers cannot be merged: {error}"))
}

/// Puts the layers on each other with figment.
fn merge(written: Dict, overrides: Vec<(Vec<String>, Variable)>) -> Result<Node, Box<Error>> {
    let (defaults, each) = defaults();
    let mut figment = Figment::from(Layer("defaults", defaults)).merge(Layer("file", written));
    let mut letters = BTreeMap::new();
    for (path, variable) in overrides {
        letters.insert(key_path(&path), variable.value);
        figment = figment.merge(Layer("environment", nest(&path, variable.parsed)));
    }
    for (table, template) in each {
        let Ok(Merged::Dict(_, named)) = figment.find_value(&table) else {
            continue;
        };
        for name in named.into_keys() {
            let values = nest(&[table.clone(), name], template.clone());
            figment = figment.join(Layer("defaults", values));
        }
    }
    let merged = figment.find_value("")?;
    Ok(node("", merged, &letters))
}

/// The built-in defaults: those of single tables, and those of each `[TABLE.NAME]`.
fn defaults() -> (Dict, Dict) {
    let mut all = match toml_edit::Document::parse(DEFAULTS) {
        Ok(document) => dict("", document.as_table(), &mut |_| {}),
        Err(_) => Dict::new(),
    };
    let each = all.remove("each").and_then(Merged::into_dict);
    (all, each.unwrap_or_default())
}

/// One layer for figment: its name and its values.
struct Layer(&'static str, Dict);

impl Provider for Layer {
    fn metadata(&self) -> Metadata {
        Metadata::named(self.0)
    }

    fn data(&self) -> Result<Map<Profile, Dict>, Error> {
        Ok(Map::from([(Profile::Default, self.1.clone())]))
    }
}

/// An environment variable that is a key.
struct Variable {
    name: String,
    value: String,
    parsed: Merged,
}

/// The variables that are keys, each with the path of its key.
fn overrides(
    written: &Dict,
    environment: &dyn Environment,
    problems: &mut Vec<Problem>,
    warnings: &mut Vec<Problem>,
) -> Vec<(Vec<String>, Variable)> {
    let mut found = Vec::new();
    let mut given = environment.overrides();
    given.sort_unstable();
    for (name, value) in given {
        let Some(path) = name.strip_prefix(PREFIX) else {
            continue;
        };
        if !path.contains(SEPARATOR) {
            warn_of_one_underscore(&name, path, warnings);
            continue;
        }
        let parts: Vec<_> = path.split(SEPARATOR).map(str::to_lowercase).collect();
        if parts.iter().any(String::is_empty) {
            let message = "has an empty part; write PORTCULLIS_TABLE__KEY";
            problems.push(Problem::new(
                "",
                format!("environment variable {name}: {message}"),
            ));
            continue;
        }
        if cannot_be_read(&value) {
            let message = "has a backslash behind letters beyond ASCII, in quotes; write these letters as \\uXXXX, \
                           or the key in the file";
            problems.push(Problem::new(
                "",
                format!("environment variable {name}: {message}"),
            ));
            continue;
        }
        let path = as_in_the_file(written, parts);
        let Ok(parsed) = value.parse();
        found.push((
            path,
            Variable {
                name,
                value,
                parsed,
            },
        ));
    }
    found
}

/// Whether figment 0.10 would cut the value off or panic: it takes the number of letters before the
/// first escape of a quoted string for their bytes.
fn cannot_be_read(value: &str) -> bool {
    let behind = value.contains('"').then(|| value.rsplit_once('\\'));
    behind
        .flatten()
        .is_some_and(|(before, _)| !before.is_ascii())
}

/// `PORTCULLIS_SERVER_HTTPS` would be ignored without a word otherwise.
fn warn_of_one_underscore(name: &str, path: &str, warnings: &mut Vec<Problem>) {
    let table = path.to_lowercase();
    let tables = super::raw::TABLES.iter();
    if let Some(table) = tables.clone().find(|known| {
        table
            .strip_prefix(*known)
            .is_some_and(|rest| rest.starts_with('_'))
    }) {
        let message = format!(
            "environment variable {name} is not read: two underscores stand between a table and \
             its key, as in {PREFIX}{}__KEY",
            table.to_uppercase()
        );
        warnings.push(Problem::new("", message));
    }
}

/// Names in variables are upper case and have no `-`: takes the file's own spelling where there is
/// one, so that `PORTCULLIS_AUTH__EDMS_TOKEN__LEEWAY` reaches `[auth.edms-token]`.
fn as_in_the_file(written: &Dict, parts: Vec<String>) -> Vec<String> {
    let fold = |name: &str| name.to_lowercase().replace(['-', '.'], "_");
    let mut table = Some(written);
    let spell = |part: String| {
        let here = table.and_then(|table| {
            table
                .get_key_value(&part)
                .or_else(|| table.iter().find(|(name, _)| fold(name) == fold(&part)))
        });
        table = here.and_then(|(_, value)| value.as_dict());
        here.map_or(part, |(name, _)| name.clone())
    };
    parts.into_iter().map(spell).collect()
}

fn key_path(parts: &[String]) -> String {
    parts
        .iter()
        .fold(String::new(), |path, part| child(&path, part))
}

fn nest(path: &[String], value: Merged) -> Dict {
    let mut value = value;
    for part in path.iter().rev() {
        value = Merged::Dict(Tag::Default, Dict::from([(part.clone(), value)]));
    }
    value.into_dict().unwrap_or_default()
}

/// Turns a table of the file into what figment merges. The depth is bounded by the parser.
fn dict(path: &str, table: &dyn TableLike, dates: &mut dyn FnMut(&str)) -> Dict {
    let mut values = Dict::new();
    for (name, item) in table.iter() {
        let path = child(path, name);
        let value = match item {
            Item::None => continue,
            Item::Value(value) => merged(&path, value, dates),
            Item::Table(table) => dict(&path, table, dates).into(),
            Item::ArrayOfTables(tables) => {
                let tables = tables.iter().enumerate();
                tables
                    .map(|(index, table)| Merged::from(dict(&element(&path, index), table, dates)))
                    .collect::<Vec<_>>()
                    .into()
            }
        };
        values.insert(name.to_owned(), value);
    }
    values
}

fn merged(path: &str, value: &Value, dates: &mut dyn FnMut(&str)) -> Merged {
    match value {
        Value::String(text) => text.value().as_str().into(),
        Value::Integer(number) => (*number.value()).into(),
        Value::Float(number) => (*number.value()).into(),
        Value::Boolean(truth) => (*truth.value()).into(),
        Value::Datetime(date) => {
            dates(path);
            date.to_string().into()
        }
        Value::Array(list) => list
            .iter()
            .enumerate()
            .map(|(index, value)| merged(&element(path, index), value, dates))
            .collect::<Vec<_>>()
            .into(),
        Value::InlineTable(table) => dict(path, table, dates).into(),
    }
}

/// Turns what figment merged into our own tree. `written` has the letters of every variable.
fn node(path: &str, value: Merged, written: &BTreeMap<String, String>) -> Node {
    let data = match value {
        Merged::String(_, text) => Data::Text(text),
        Merged::Char(_, letter) => Data::Text(letter.to_string()),
        Merged::Bool(_, truth) => Data::Bool(truth),
        Merged::Num(_, number) => whole_or_float(number),
        Merged::Empty(..) => Data::Text(String::new()),
        Merged::Array(_, list) => {
            let list = list.into_iter().enumerate();
            Data::List(
                list.map(|(index, value)| node(&element(path, index), value, written))
                    .collect(),
            )
        }
        Merged::Dict(_, table) => Data::Table(
            table
                .into_iter()
                .map(|(name, value)| {
                    let inner = node(&child(path, &name), value, written);
                    (name, inner)
                })
                .collect(),
        ),
    };
    Node {
        data,
        written: written.get(path).cloned(),
    }
}

fn whole_or_float(number: Num) -> Data {
    if let Some(whole) = number.to_i128() {
        return i64::try_from(whole).map_or_else(|_| Data::Text(whole.to_string()), Data::Whole);
    }
    if let Some(whole) = number.to_u128() {
        return i64::try_from(whole).map_or_else(|_| Data::Text(whole.to_string()), Data::Whole);
    }
    Data::Float(number.to_f64().unwrap_or(f64::NAN))
}
