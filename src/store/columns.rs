//! Which columns a table has, and how a user's id is bound to the primary key.

use std::sync::Arc;

use uuid::Uuid;

use super::cell::Cell;
use super::names::{quoted, split};
use super::question::{Found, Parameter, Question, With, whole};
use crate::config::settings::DatabaseKind;

/// Columns of one table that are looked at.
const MOST_COLUMNS: usize = 1600;

/// A column as the database describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Column {
    pub(super) name: String,
    /// Its type in the database's words, lower case: `int4`, `char(32)`.
    pub(super) kind: String,
    pub(super) primary: bool,
    /// Whether the gateway's user may read it.
    pub(super) readable: bool,
}

/// How the text of an id becomes a parameter for the primary key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Key {
    /// A whole number.
    Whole,
    /// A UUID in a type of its own.
    Uuid,
    /// A UUID in 32 characters, as Django writes it where there is no such type.
    Hex,
    /// Text, compared byte for byte.
    Text,
}

/// The question for a table's columns.
pub(super) fn question(kind: DatabaseKind, table: &str) -> Question {
    let (schema, name) = split(table);
    let (sql, parameters) = match kind {
        // Follows the search path, and tells a column that may not be read from one that is not there.
        DatabaseKind::Postgres => (
            "select a.attname::text, t.typname::text, i.indrelid is not null, \
             has_column_privilege(a.attrelid, a.attnum, 'SELECT') \
             from pg_catalog.pg_attribute a \
             join pg_catalog.pg_type t on t.oid = a.atttypid \
             left join pg_catalog.pg_index i on i.indrelid = a.attrelid and i.indisprimary \
             and a.attnum = any(i.indkey) \
             where a.attrelid = to_regclass($1) and a.attnum > 0 and not a.attisdropped \
             order by a.attnum",
            vec![quoted(kind, table)],
        ),
        DatabaseKind::MySql => (
            "select column_name, lower(column_type), column_key = 'PRI', 1 \
             from information_schema.columns \
             where table_schema = coalesce(nullif(?, ''), database()) and table_name = ? \
             order by ordinal_position",
            vec![schema.unwrap_or_default().to_owned(), name.to_owned()],
        ),
        DatabaseKind::Sqlite => (
            "select name, lower(type), pk > 0, 1 from pragma_table_info(?, ?)",
            vec![name.to_owned(), schema.unwrap_or("main").to_owned()],
        ),
    };
    Question {
        sql: Arc::from(sql),
        with: With::These(parameters.into_iter().map(Parameter::Text).collect()),
        most: MOST_COLUMNS,
    }
}

/// The columns of an answer to [`question`].
pub(super) fn read(found: &Found) -> Option<Vec<Column>> {
    let column = |row: &Vec<Cell>| match row.as_slice() {
        [name, kind, primary, readable] => Some(Column {
            name: name.text()?,
            kind: kind.text().unwrap_or_default(),
            primary: primary.flag()?,
            readable: readable.flag()?,
        }),
        _ => None,
    };
    found.rows.iter().map(column).collect()
}

impl Key {
    /// For a primary key of a type; `None` where ids of that type are not known.
    pub(super) fn of(database: DatabaseKind, kind: &str) -> Option<Self> {
        let (base, size) = match kind.split_once('(') {
            Some((base, rest)) => (base.trim(), rest.split_once(')').map(|(size, _)| size)),
            None => (kind, None),
        };
        let base = base.split_whitespace().next().unwrap_or_default();
        let text = |names: &[&str]| names.iter().any(|name| kind.contains(name));
        Some(match (database, base) {
            (DatabaseKind::Postgres, "int2" | "int4" | "int8")
            | (DatabaseKind::MySql, "tinyint" | "smallint" | "mediumint" | "int" | "bigint") => {
                Self::Whole
            }
            (DatabaseKind::Postgres | DatabaseKind::MySql, "uuid") => Self::Uuid,
            (DatabaseKind::MySql | DatabaseKind::Sqlite, "char") if size == Some("32") => Self::Hex,
            (DatabaseKind::Postgres, "varchar" | "text" | "bpchar" | "citext")
            | (
                DatabaseKind::MySql,
                "char" | "varchar" | "tinytext" | "text" | "mediumtext" | "longtext",
            ) => Self::Text,
            // The rules of SQLite's type affinity (datatype3.html, 3.1).
            (DatabaseKind::Sqlite, _) if text(&["int"]) => Self::Whole,
            (DatabaseKind::Sqlite, _) if text(&["char", "clob", "text"]) => Self::Text,
            (DatabaseKind::Postgres | DatabaseKind::MySql | DatabaseKind::Sqlite, _) => {
                return None;
            }
        })
    }

    /// The parameter for an id; `None` where it cannot be one of this type.
    pub(super) fn parameter(self, id: &str) -> Option<Parameter> {
        Some(match self {
            Self::Whole => Parameter::Whole(whole(id)?),
            Self::Uuid => Parameter::Uuid(uuid(id)?),
            Self::Hex => Parameter::Text(uuid(id)?.simple().to_string()),
            Self::Text => Parameter::Text(id.to_owned()),
        })
    }

    /// The placeholder, cast where a text would be compared by the wrong rules.
    pub(super) fn placeholder(self, database: DatabaseKind, kind: &str) -> &'static str {
        match (database, self, kind) {
            (DatabaseKind::Postgres, Self::Text, "bpchar") => "cast($1 as bpchar)",
            (DatabaseKind::Postgres, Self::Text, "citext") => "cast($1 as citext)",
            _ => super::names::placeholder(database),
        }
    }

    /// Whether a stored id is the one asked for, and how it is written: a UUID as Django writes
    /// it, with dashes.
    pub(super) fn stored(self, cell: &Cell, asked: &str) -> Option<String> {
        let text = cell.text()?;
        match self {
            Self::Uuid | Self::Hex => {
                let stored = Uuid::try_parse(&text).ok()?;
                (uuid(asked) == Some(stored)).then(|| stored.to_string())
            }
            Self::Whole | Self::Text => (text == asked).then_some(text),
        }
    }
}

/// A UUID with dashes or without, in any case, and in no other spelling.
fn uuid(id: &str) -> Option<Uuid> {
    matches!(id.len(), 32 | 36)
        .then(|| Uuid::try_parse(id).ok())
        .flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "6f9619ff-8b86-d011-b42d-00c04fc964ff";

    #[test]
    fn the_type_of_the_key_says_how_an_id_is_bound() {
        use DatabaseKind::{MySql, Postgres, Sqlite};
        for (database, kind, key) in [
            (Postgres, "int4", Some(Key::Whole)),
            (Postgres, "int8", Some(Key::Whole)),
            (Postgres, "uuid", Some(Key::Uuid)),
            (Postgres, "varchar", Some(Key::Text)),
            (Postgres, "numeric", None),
            (MySql, "int(11)", Some(Key::Whole)),
            (MySql, "bigint(20) unsigned", Some(Key::Whole)),
            (MySql, "char(32)", Some(Key::Hex)),
            (MySql, "uuid", Some(Key::Uuid)),
            (MySql, "varchar(32)", Some(Key::Text)),
            (MySql, "binary(16)", None),
            (Sqlite, "integer", Some(Key::Whole)),
            (Sqlite, "bigint", Some(Key::Whole)),
            (Sqlite, "char(32)", Some(Key::Hex)),
            (Sqlite, "varchar(40)", Some(Key::Text)),
            (Sqlite, "blob", None),
        ] {
            assert_eq!(Key::of(database, kind), key, "{database:?} {kind}");
        }
    }

    #[test]
    fn an_id_that_is_not_written_as_the_type_writes_it_is_nobodys() {
        for odd in [
            "01",
            "+1",
            " 1",
            "1 ",
            "1.0",
            "1e3",
            "",
            "abc",
            "9223372036854775808",
        ] {
            assert_eq!(Key::Whole.parameter(odd), None, "{odd:?}");
        }
        assert_eq!(Key::Whole.parameter("-7"), Some(Parameter::Whole(-7)));
        for odd in [
            "",
            "6f9619ff",
            "{6f9619ff-8b86-d011-b42d-00c04fc964ff}",
            "1",
        ] {
            assert_eq!(Key::Hex.parameter(odd), None, "{odd:?}");
            assert_eq!(Key::Uuid.parameter(odd), None, "{odd:?}");
        }
    }

    #[test]
    fn a_uuid_is_found_with_dashes_and_without_and_told_with_them() {
        let plain = ID.replace('-', "");
        let bound = Some(Parameter::Text(plain.clone()));
        for id in [ID, &plain, &ID.to_uppercase()] {
            assert_eq!(Key::Hex.parameter(id), bound);
            let stored = Key::Hex.stored(&Cell::Text(plain.clone()), id);
            assert_eq!(stored.as_deref(), Some(ID));
        }
    }

    #[test]
    fn a_text_id_is_compared_byte_for_byte() {
        let stored = Cell::Text("alice".to_owned());
        assert_eq!(Key::Text.stored(&stored, "Alice"), None);
        assert_eq!(Key::Text.stored(&stored, "alice").as_deref(), Some("alice"));
    }
}
