//! Where each key of the file stands: line and column by key path.
//!
//! Key paths are written as `server.https`, `route[3].path`, `auth."odd name".secret`.

use std::collections::HashMap;
use std::ops::Range;
use std::path::{Path, PathBuf};

use toml_edit::{Item, TableLike, Value};

use super::problem::Place;

/// The line and column of every key in the file, and the variable of every key that the
/// environment gave.
#[derive(Clone, Debug, Default)]
pub struct Places {
    file: PathBuf,
    spots: HashMap<String, Spot>,
    variables: HashMap<String, String>,
}

/// Where one key and its value begin.
#[derive(Clone, Copy, Debug)]
struct Spot {
    key: Position,
    value: Position,
}

/// Line and column, from 1.
#[derive(Clone, Copy, Debug)]
struct Position {
    line: usize,
    column: usize,
}

impl Places {
    /// Walks a parsed file.
    pub(super) fn of(file: &Path, text: &str, root: &toml_edit::Table) -> Self {
        let mut places = Self::nowhere(file);
        let lines = Lines::of(text);
        places.walk_table("", root, &lines);
        places
    }

    /// No places, for a file that could not be parsed.
    pub(super) fn nowhere(file: &Path) -> Self {
        Self {
            file: file.to_path_buf(),
            ..Self::default()
        }
    }

    /// Remembers that the environment gave a key.
    pub(super) fn note_variable(&mut self, key: String, variable: &str) {
        self.variables.insert(key, variable.to_owned());
    }

    /// Where the value at a key path stands; where that is not in the file, the nearest table
    /// around it.
    #[must_use]
    pub fn locate(&self, key: &str) -> Option<Place> {
        self.find(key, |spot| spot.value)
    }

    /// Like [`Places::locate`], but of the key and not of its value.
    #[must_use]
    pub fn locate_key(&self, key: &str) -> Option<Place> {
        self.find(key, |spot| spot.key)
    }

    fn find(&self, key: &str, which: fn(&Spot) -> Position) -> Option<Place> {
        if let Some(variable) = self.variables.get(key) {
            return Some(Place::Variable(variable.clone()));
        }
        if let Some(spot) = self.spots.get(key) {
            return Some(self.at(which(spot)));
        }
        let mut rest = parent(key);
        while let Some(around) = rest {
            if let Some(spot) = self.spots.get(around) {
                return Some(self.at(spot.value));
            }
            rest = parent(around);
        }
        None
    }

    fn at(&self, position: Position) -> Place {
        Place::File {
            file: self.file.clone(),
            line: position.line,
            column: position.column,
        }
    }

    fn walk_table(&mut self, path: &str, table: &dyn TableLike, lines: &Lines<'_>) {
        for (name, item) in table.iter() {
            let path = child(path, name);
            let key = table.key(name).and_then(toml_edit::Key::span);
            self.note(&path, key, item.span(), lines);
            self.walk_item(&path, item, lines);
        }
    }

    fn walk_item(&mut self, path: &str, item: &Item, lines: &Lines<'_>) {
        match item {
            Item::None => {}
            Item::Table(table) => self.walk_table(path, table, lines),
            Item::Value(value) => self.walk_value(path, value, lines),
            Item::ArrayOfTables(tables) => {
                for (index, table) in tables.iter().enumerate() {
                    let path = element(path, index);
                    self.note(&path, table.span(), table.span(), lines);
                    self.walk_table(&path, table, lines);
                }
            }
        }
    }

    fn walk_value(&mut self, path: &str, value: &Value, lines: &Lines<'_>) {
        match value {
            Value::InlineTable(table) => self.walk_table(path, table, lines),
            Value::Array(array) => {
                for (index, value) in array.iter().enumerate() {
                    let path = element(path, index);
                    self.note(&path, value.span(), value.span(), lines);
                    self.walk_value(&path, value, lines);
                }
            }
            Value::String(_)
            | Value::Integer(_)
            | Value::Float(_)
            | Value::Boolean(_)
            | Value::Datetime(_) => {}
        }
    }

    fn note(
        &mut self,
        path: &str,
        key: Option<Range<usize>>,
        value: Option<Range<usize>>,
        lines: &Lines<'_>,
    ) {
        let key = key.or_else(|| value.clone());
        let Some(key) = key else { return };
        let value = value.unwrap_or_else(|| key.clone());
        let spot = Spot {
            key: lines.position(key.start),
            value: lines.position(value.start),
        };
        self.spots.insert(path.to_owned(), spot);
    }
}

/// Finds the line and column of a byte offset.
pub(super) struct Lines<'a> {
    text: &'a str,
    starts: Vec<usize>,
}

impl<'a> Lines<'a> {
    pub(super) fn of(text: &'a str) -> Self {
        let ends = memchr::memchr_iter(b'\n', text.as_bytes()).map(|end| end.saturating_add(1));
        Self {
            text,
            starts: std::iter::once(0).chain(ends).collect(),
        }
    }

    fn position(&self, offset: usize) -> Position {
        let line = self.starts.partition_point(|start| *start <= offset);
        let start = self
            .starts
            .get(line.saturating_sub(1))
            .copied()
            .unwrap_or_default();
        let before = self.text.get(start..offset).unwrap_or_default();
        Position {
            line,
            column: before.chars().count().saturating_add(1),
        }
    }

    /// The place of a byte offset in a file.
    pub(super) fn place(&self, file: &Path, offset: usize) -> Place {
        let Position { line, column } = self.position(offset);
        Place::File {
            file: file.to_path_buf(),
            line,
            column,
        }
    }
}

/// The path of a member of a table.
pub(super) fn child(path: &str, name: &str) -> String {
    let bare = !name.is_empty()
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-');
    match (path.is_empty(), bare) {
        (true, true) => name.to_owned(),
        (true, false) => format!("{name:?}"),
        (false, true) => format!("{path}.{name}"),
        (false, false) => format!("{path}.{name:?}"),
    }
}

/// The path of an element of a list.
pub(super) fn element(path: &str, index: usize) -> String {
    format!("{path}[{index}]")
}

/// The path of what is around; `None` at the top.
fn parent(path: &str) -> Option<&str> {
    let mut quoted = false;
    let mut escaped = false;
    let mut end = None;
    for (at, letter) in path.char_indices() {
        match letter {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            '.' | '[' if !quoted => end = Some(at),
            _ => {}
        }
    }
    path.get(..end?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn places(text: &str) -> Places {
        let document = toml_edit::Document::parse(text).unwrap();
        Places::of(Path::new("gateway.toml"), text, document.as_table())
    }

    fn spot(place: Option<Place>) -> (usize, usize) {
        match place {
            Some(Place::File { line, column, .. }) => (line, column),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_key_in_the_second_route_has_its_line_and_column() {
        let places = places("[[route]]\npath = \"/\"\n\n[[route]]\n  path = \"/b\"\n");
        assert_eq!(spot(places.locate("route[1].path")), (5, 10));
        assert_eq!(spot(places.locate_key("route[1].path")), (5, 3));
        assert_eq!(spot(places.locate("route[0]")), (1, 1));
    }

    #[test]
    fn what_is_missing_is_placed_at_the_table_around_it() {
        let places = places("[a]\nx = 1\n[[route]]\npath = \"/\"\n");
        assert_eq!(spot(places.locate("route[0].auth")), (3, 1));
        assert_eq!(spot(places.locate("a.y.z")), (1, 1));
        assert_eq!(places.locate("nowhere"), None);
    }

    #[test]
    fn list_elements_inline_tables_and_quoted_names_have_places() {
        let places = places("[up.\"a.b\"]\nservers = [\n  \"x\",\n  { url = \"y\" },\n]\n");
        assert_eq!(spot(places.locate("up.\"a.b\".servers[0]")), (3, 3));
        assert_eq!(spot(places.locate("up.\"a.b\".servers[1].url")), (4, 11));
        assert_eq!(spot(places.locate("up.\"a.b\".nope")), (1, 1));
    }

    #[test]
    fn columns_count_characters() {
        let places = places("\"é\" = [\"é\", 1]");
        assert_eq!(spot(places.locate("\"é\"[1]")), (1, 13));
    }
}
