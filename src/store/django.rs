//! A user of Django: one question, with the columns that the table has, and what its rows say.

use std::sync::Arc;

use serde_json::{Map, Value};

use super::cell::Cell;
use super::columns::{Column, Key};
use super::names::{beside, quoted, split};
use super::question::{Found, Question, With};
use crate::auth::ports::User;
use crate::clock::Timestamp;
use crate::config::settings::{DatabaseKind, DjangoDirectory};
use crate::secret::Secret;

/// Groups of one user that may be.
pub(super) const MOST_GROUPS: usize = 1000;
/// Columns that are read where a table has them: a custom user may lack all but the password.
const STANDARD: [&str; 8] = [
    "password",
    "is_active",
    "is_staff",
    "is_superuser",
    "username",
    "email",
    "first_name",
    "last_name",
];
/// Columns that are claims.
const CLAIMS: [&str; 3] = ["username", "is_staff", "is_superuser"];

/// How users of one table are asked for.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Plan {
    sql: Arc<str>,
    key: Key,
    /// Columns in the order asked for, after the key.
    fields: Vec<Box<str>>,
    groups: bool,
}

/// The table between users and groups (`ManyToManyField` names it after the user's table).
pub(super) fn links_table(settings: &DjangoDirectory) -> String {
    format!("{}_groups", settings.user_table)
}

/// The tables that are read, for the words of a grant.
pub(super) fn tables(settings: &DjangoDirectory) -> String {
    let users = &settings.user_table;
    if settings.roles.groups {
        let (links, groups) = (links_table(settings), beside(users, "auth_group"));
        format!("{users}, {links}, {groups}")
    } else {
        users.to_string()
    }
}

/// Why there is no question.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Lack {
    /// No right to read a column.
    Right {
        /// Its table.
        table: String,
        /// Its name.
        column: String,
    },
    /// Something else, in words.
    Other(String),
}

impl From<String> for Lack {
    fn from(words: String) -> Self {
        Self::Other(words)
    }
}

/// Makes the question from what the tables have.
///
/// # Errors
///
/// What is missing.
pub(super) fn plan(
    database: DatabaseKind,
    settings: &DjangoDirectory,
    users: &[Column],
    links: Option<&[Column]>,
) -> Result<Plan, Lack> {
    let table = &settings.user_table;
    if users.is_empty() {
        return Err(missing(table).into());
    }
    let id = primary(table, users)?;
    let key = Key::of(database, &id.kind).ok_or_else(|| {
        format!(
            "the key {:?} of {table} is of type {}; whole numbers, UUIDs and text can be looked up",
            id.name, id.kind
        )
    })?;
    let fields = fields(settings, users)?;
    let quote = |name: &str| quoted(database, name);
    let mut asked = vec![format!("u.{}", quote(&id.name))];
    asked.extend(fields.iter().map(|name| format!("u.{}", quote(name))));
    let mut joins = String::new();
    if let Some(links) = links {
        let to_user = to_user(settings, links)?;
        asked.push(format!("g.{}", quote("name")));
        joins = format!(
            " left join {} l on l.{} = u.{} left join {} g on g.{} = l.{}",
            quote(&links_table(settings)),
            quote(to_user),
            quote(&id.name),
            quote(&beside(table, "auth_group")),
            quote("id"),
            quote("group_id"),
        );
    }
    let sql = format!(
        "select {} from {} u{joins} where u.{} = {}",
        asked.join(", "),
        quote(table),
        quote(&id.name),
        key.placeholder(database, &id.kind),
    );
    Ok(Plan {
        sql: sql.into(),
        key,
        fields,
        groups: links.is_some(),
    })
}

fn missing(table: &str) -> String {
    format!("there is no table {table} that the user may see; check `user_table` and the grants")
}

/// The primary key, else the column `id`: a view has no key.
fn primary<'c>(table: &str, users: &'c [Column]) -> Result<&'c Column, Lack> {
    let mut keys = users.iter().filter(|column| column.primary);
    let id = match (keys.next(), keys.next()) {
        (Some(only), None) => Some(only),
        _ => users.iter().find(|column| column.name == "id"),
    };
    let id =
        id.ok_or_else(|| format!("{table} has neither one primary key nor a column \"id\""))?;
    readable(table, id)?;
    Ok(id)
}

fn readable(table: &str, column: &Column) -> Result<(), Lack> {
    if column.readable {
        return Ok(());
    }
    Err(Lack::Right {
        table: table.to_owned(),
        column: column.name.clone(),
    })
}

fn fields(settings: &DjangoDirectory, users: &[Column]) -> Result<Vec<Box<str>>, Lack> {
    let table = &settings.user_table;
    let mut fields: Vec<Box<str>> = Vec::new();
    let standard = STANDARD.iter().map(|name| (*name, false));
    let wanted = settings.roles.columns.iter().map(|name| (&**name, true));
    for (name, is_wanted) in standard.chain(wanted) {
        match users.iter().find(|column| column.name == name) {
            Some(column) => readable(table, column)?,
            None if is_wanted => {
                return Err(Lack::Other(format!(
                    "{table} has no column {name:?}; check `roles` of the directory"
                )));
            }
            None => continue,
        }
        if !fields.iter().any(|known| **known == *name) {
            fields.push(name.into());
        }
    }
    Ok(fields)
}

/// The column of the table between that names the user: `user_id`, or `<model>_id`.
fn to_user<'c>(settings: &DjangoDirectory, links: &'c [Column]) -> Result<&'c str, Lack> {
    let table = links_table(settings);
    if links.is_empty() {
        return Err(Lack::Other(format!(
            "{}; or leave \"groups\" out of `roles`",
            missing(&table)
        )));
    }
    let (_, users) = split(&settings.user_table);
    let model = users.rsplit_once('_').map_or(users, |(_, model)| model);
    let others = links.iter().filter(|column| {
        let name = column.name.as_str();
        name.ends_with("_id") && name != "group_id"
    });
    let mut others: Vec<_> = others.collect();
    if others.len() > 1 {
        let named = [format!("{model}_id"), "user_id".to_owned()];
        others.retain(|column| named.contains(&column.name));
    }
    let [to_user] = others.as_slice() else {
        return Err(format!("{table} has no column that names the user").into());
    };
    for column in links {
        if column.name == to_user.name || column.name == "group_id" {
            readable(&table, column)?;
        }
    }
    Ok(&to_user.name)
}

impl Plan {
    /// The question for one user; `None` where the id cannot be one.
    pub(super) fn question(&self, id: &str) -> Option<Question> {
        Some(Question {
            sql: Arc::clone(&self.sql),
            with: With::These(vec![self.key.parameter(id)?]),
            most: MOST_GROUPS,
        })
    }

    /// The user of an answer.
    ///
    /// # Errors
    ///
    /// What cannot be read, in words.
    pub(super) fn user(
        &self,
        settings: &DjangoDirectory,
        found: &Found,
        asked: &str,
        read_at: Timestamp,
    ) -> Result<Option<User>, String> {
        let Some((id, cells)) = found.rows.first().and_then(|row| row.split_first()) else {
            return Ok(None);
        };
        let Some(id) = self.key.stored(id, asked) else {
            return Ok(None);
        };
        let field = |name: &str| {
            let at = self.fields.iter().position(|known| **known == *name)?;
            cells.get(at)
        };
        let flag = |name: &str| match field(name) {
            Some(cell) => cell
                .flag()
                .map(Some)
                .ok_or_else(|| format!("the column {name:?} is neither true nor false")),
            None => Ok(None),
        };
        // A user class without the field is always active (`AbstractBaseUser.is_active`).
        let active = flag("is_active")?.unwrap_or(true);
        let (staff, superuser) = (flag("is_staff")?, flag("is_superuser")?);
        let mut roles = Vec::new();
        if self.groups {
            let last = found.rows.iter().filter_map(|row| row.last());
            roles.extend(last.filter_map(Cell::text));
        }
        if settings.roles.flags {
            let flags = [
                ("staff", staff == Some(true)),
                ("superuser", superuser == Some(true)),
                ("active", active),
            ];
            let set = flags.iter().filter(|(_, set)| *set);
            roles.extend(set.map(|(name, _)| (*name).to_owned()));
        }
        let columns = settings.roles.columns.iter();
        roles.extend(columns.filter_map(|name| field(name).and_then(Cell::text)));
        let text = |name: &str| field(name).and_then(Cell::text);
        let username = text("username");
        Ok(Some(User {
            id,
            password: text("password").map(Secret::new),
            active,
            roles,
            email: text("email"),
            name: full_name(text("first_name"), text("last_name")).or_else(|| username.clone()),
            claims: claims(settings, [staff, superuser], field),
            read_at,
        }))
    }
}

/// As `AbstractUser.get_full_name` joins them.
fn full_name(first: Option<String>, last: Option<String>) -> Option<String> {
    let joined = format!("{} {}", first.unwrap_or_default(), last.unwrap_or_default());
    let name = joined.trim();
    (!name.is_empty()).then(|| name.to_owned())
}

fn claims<'c>(
    settings: &DjangoDirectory,
    [staff, superuser]: [Option<bool>; 2],
    field: impl Fn(&str) -> Option<&'c Cell>,
) -> Map<String, Value> {
    let mut claims = Map::new();
    let columns = settings.roles.columns.iter().map(|name| &**name);
    for name in CLAIMS.into_iter().chain(columns) {
        // SQLite and MySQL hold flags as numbers.
        let claim = match name {
            "is_staff" => staff.map(Value::Bool),
            "is_superuser" => superuser.map(Value::Bool),
            _ => field(name).and_then(Cell::claim),
        };
        if let Some(claim) = claim {
            claims.insert(name.to_owned(), claim);
        }
    }
    claims
}
