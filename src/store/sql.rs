//! A user by the operator's own query: where its id stands, and what its rows say.

use std::sync::Arc;

use serde_json::Map;

use super::cell::Cell;
use super::question::{Found, Question, With, whole};
use crate::auth::ports::User;
use crate::clock::Timestamp;
use crate::config::settings::DatabaseKind;
use crate::secret::Secret;

/// Rows of one user that may be.
pub(super) const MOST_ROWS: usize = 1000;

/// A query that is ready to be asked.
#[derive(Debug)]
pub(super) struct Query {
    database: DatabaseKind,
    sql: Arc<str>,
}

impl Query {
    /// Reads a query; `None` where the id stands nowhere in it. MySQL's own mark is `?`; `$1` is
    /// rewritten for it, so that one query fits all databases.
    pub(super) fn read(database: DatabaseKind, text: &str) -> Option<Self> {
        let marks = marks(database, text);
        let mut sql = String::with_capacity(text.len());
        let mut rest = 0;
        for (at, mark) in &marks {
            if database == DatabaseKind::MySql && *mark == "$1" {
                sql.push_str(text.get(rest..*at).unwrap_or_default());
                sql.push('?');
                rest = at + mark.len();
            }
        }
        sql.push_str(text.get(rest..).unwrap_or_default());
        (!marks.is_empty()).then(|| Self {
            database,
            sql: sql.into(),
        })
    }

    /// The question for one id.
    pub(super) fn question(&self, id: &str) -> Question {
        Question {
            sql: Arc::clone(&self.sql),
            with: With::Id(id.into()),
            most: MOST_ROWS,
        }
    }

    /// Another id that only finds something where the database turns the text into a number
    /// before it compares: then what `id` finds is somebody else. `None` where that cannot be.
    ///
    /// MySQL takes the digits that a text begins with (`'7abc' = 7`, `'abc' = 0`). SQLite turns
    /// what reads as a number into one (`'07'` finds 7). PostgreSQL does neither.
    pub(super) fn twin(&self, id: &str) -> Option<String> {
        if whole(id).is_some() {
            return None;
        }
        match self.database {
            DatabaseKind::Postgres => None,
            DatabaseKind::MySql => Some(format!("{id}~")),
            DatabaseKind::Sqlite => {
                let number = id.trim().parse::<f64>();
                number.is_ok().then(|| format!("{id} "))
            }
        }
    }
}

/// Where the id stands: `$1`, and but for PostgreSQL `?`, outside quotes and comments.
fn marks(database: DatabaseKind, text: &str) -> Vec<(usize, &'static str)> {
    let bytes = text.as_bytes();
    let mut marks = Vec::new();
    let mut at = 0;
    while let Some(rest) = bytes.get(at..).filter(|rest| !rest.is_empty()) {
        let skipped = skipped(database, rest);
        if skipped > 0 {
            at += skipped;
            continue;
        }
        let digit = rest.get(2).is_some_and(u8::is_ascii_digit);
        let before = at.checked_sub(1).and_then(|before| bytes.get(before));
        let in_name = before.is_some_and(|byte| byte.is_ascii_alphanumeric() || *byte == b'_');
        if rest.starts_with(b"$1") && !digit && !in_name {
            marks.push((at, "$1"));
        } else if rest.starts_with(b"?") && database != DatabaseKind::Postgres {
            marks.push((at, "?"));
        }
        at += 1;
    }
    marks
}

/// Bytes of the quoted text or comment that begins here; 0 where none does.
fn skipped(database: DatabaseKind, rest: &[u8]) -> usize {
    let mysql = database == DatabaseKind::MySql;
    let until = |end: &[u8], from: usize| {
        let inner = rest.get(from..).unwrap_or_default();
        let found = memchr::memmem::find(inner, end);
        found.map_or(rest.len(), |found| from + found + end.len())
    };
    match rest {
        [quote @ (b'\'' | b'"' | b'`'), ..] => {
            let mut at = 1;
            while let Some(byte) = rest.get(at) {
                at += 1;
                // A doubled quote ends one text and begins the next, which is the same to us.
                if byte == quote {
                    return at;
                }
                if mysql && *byte == b'\\' {
                    at += 1;
                }
            }
            rest.len()
        }
        [b'-', b'-', ..] => until(b"\n", 2),
        [b'#', ..] if mysql => until(b"\n", 1),
        [b'/', b'*', ..] => until(b"*/", 2),
        _ => 0,
    }
}

/// The user of an answer. Roles of all rows are joined; all else is the first row's.
///
/// # Errors
///
/// What cannot be read, in words.
pub(super) fn user(
    found: &Found,
    asked: &str,
    read_at: Timestamp,
) -> Result<Option<User>, &'static str> {
    let Some(first) = found.rows.first() else {
        return Ok(None);
    };
    let mut user = User {
        id: asked.to_owned(),
        password: None,
        active: true,
        roles: Vec::new(),
        email: None,
        name: None,
        claims: Map::new(),
        read_at,
    };
    for (at, (name, cell)) in found.columns.iter().zip(first).enumerate() {
        match &**name {
            "roles" => {
                let cells = found.rows.iter().filter_map(|row| row.get(at));
                user.roles.extend(cells.flat_map(Cell::roles));
            }
            "active" => {
                let flag = cell.flag();
                user.active = flag.ok_or("a column \"active\" that is neither true nor false")?;
            }
            "password" => user.password = cell.text().map(Secret::new),
            "email" => user.email = cell.text(),
            "name" => user.name = cell.text(),
            other => {
                if let Some(claim) = cell.claim() {
                    user.claims.insert(other.to_owned(), claim);
                }
            }
        }
    }
    if user.name.is_none() {
        let username = user.claims.get("username").and_then(|name| name.as_str());
        user.name = username.map(str::to_owned);
    }
    user.roles.sort_unstable();
    user.roles.dedup();
    Ok(Some(user))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NOW: Timestamp = Timestamp::from_unix_seconds(1_767_323_045);

    fn read(database: DatabaseKind, text: &str) -> Option<String> {
        Query::read(database, text).map(|query| query.sql.to_string())
    }

    #[test]
    fn a_dollar_mark_is_rewritten_for_mysql_outside_quotes_and_comments() {
        let text = "select '$1', `$1`, \"a\\\"$1\", 'it''s $1' -- $1\n from t where a = $1 or b=$1 # $1\n /* $1 */";
        let sql = "select '$1', `$1`, \"a\\\"$1\", 'it''s $1' -- $1\n from t where a = ? or b=? # $1\n /* $1 */";
        assert_eq!(read(DatabaseKind::MySql, text).as_deref(), Some(sql));
        let text = "select a$1, $10 from t where id = ?";
        assert_eq!(read(DatabaseKind::MySql, text).as_deref(), Some(text));
    }

    #[test]
    fn a_query_without_a_place_for_the_id_is_none() {
        for text in ["select 1", "select '$1'", "select 1 -- $1", "select $12"] {
            assert_eq!(read(DatabaseKind::Postgres, text), None, "{text}");
        }
        assert_eq!(read(DatabaseKind::Postgres, "select a ? 'b' from t"), None);
        for text in ["select 1 where 1 = ?", "select 1 where 1 = $1"] {
            assert_eq!(read(DatabaseKind::Sqlite, text).as_deref(), Some(text));
        }
    }

    #[test]
    fn a_text_that_a_database_takes_for_a_number_has_a_twin() {
        let twin = |database, id| {
            Query::read(database, "select 1 where 1 = $1").and_then(|query| query.twin(id))
        };
        assert_eq!(twin(DatabaseKind::MySql, "7abc").as_deref(), Some("7abc~"));
        assert_eq!(twin(DatabaseKind::MySql, "7"), None);
        assert_eq!(twin(DatabaseKind::Sqlite, "07").as_deref(), Some("07 "));
        assert_eq!(twin(DatabaseKind::Sqlite, "alice"), None);
        assert_eq!(twin(DatabaseKind::Postgres, "07"), None);
    }

    fn text(text: &str) -> Cell {
        Cell::Text(text.to_owned())
    }

    #[test]
    fn roles_of_all_rows_are_joined_and_all_else_is_the_first_rows() {
        let found = Found {
            columns: ["username", "roles", "city"].map(Into::into).to_vec(),
            rows: vec![
                vec![text("ada"), text("ops, admin"), text("Oslo")],
                vec![text("eve"), text("admin"), text("Rome")],
            ],
        };
        let user = user(&found, "7", NOW).unwrap().unwrap();
        assert_eq!(user.id, "7");
        assert_eq!(user.roles, ["admin", "ops"]);
        assert_eq!(user.name.as_deref(), Some("ada"));
        assert_eq!(user.claims.get("city").unwrap(), "Oslo");
        assert!(user.active);
    }

    #[test]
    fn a_user_is_active_unless_the_column_says_otherwise() {
        let with = |cell| Found {
            columns: vec!["active".into()],
            rows: vec![vec![cell]],
        };
        let active = |cell| user(&with(cell), "7", NOW).map(|user| user.unwrap().active);
        assert_eq!(active(Cell::Whole(1)), Ok(true));
        assert_eq!(active(Cell::Bool(false)), Ok(false));
        assert_eq!(active(Cell::Null), Ok(false));
        assert!(active(text("perhaps")).is_err());
        assert_eq!(user(&Found::default(), "7", NOW).unwrap(), None);
    }

    proptest! {
        #[test]
        fn no_query_breaks_the_reader(text in "[ -~\\n]{0,80}") {
            for database in [DatabaseKind::Postgres, DatabaseKind::MySql, DatabaseKind::Sqlite] {
                let _ = read(database, &text);
            }
        }
    }
}
