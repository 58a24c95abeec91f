//! The home of the gateway's own sessions as `doctor` looks at it: whether it answers, whether the
//! rights that are needed are there. Makes no schema and writes nothing, whatever is missing.

use std::sync::Arc;

use ::redis::Cmd;

use super::postgres::schema;
use super::redis::{Link, Question as Asked};
use super::{Clerk, shown};
use crate::auth::ports::StoreError;
use crate::clock;
use crate::config::settings::{Database, LedgerHome, RedisHome};
use crate::store::StoreProblem;
use crate::store::cell::Cell;
use crate::store::connection::Options;
use crate::store::engine::Engine;
use crate::store::fault::{Fault, Grant, unreadable};
use crate::store::look::{self, Clock, Look, Place, Sight};
use crate::store::pool::Pool;
use crate::store::question::{Question, With};

/// What a role needs that works with the schema, as a condition on each of its tables.
const LACKING: &str = "\
select c.relname::text from pg_class c join pg_namespace n on n.oid = c.relnamespace
where n.nspname = 'portcullis' and c.relkind = 'r' and not (
  has_table_privilege(c.oid, 'select') and has_table_privilege(c.oid, 'insert')
  and has_table_privilege(c.oid, 'update') and has_table_privilege(c.oid, 'delete'))
order by 1";
/// Whether a role may make the schema.
const MAY_MAKE: &str = "select has_database_privilege(current_database(), 'create')";
/// Tables that may be listed.
const MOST_TABLES: usize = 100;

/// The home, where it stands behind a socket.
///
/// # Errors
///
/// What is wrong with its address.
pub(in crate::store) fn place(home: &LedgerHome) -> Result<Option<Place>, StoreProblem> {
    match home {
        LedgerHome::Memory | LedgerHome::File(_) => Ok(None),
        LedgerHome::Redis(home) => of_redis(home).map(Some),
        LedgerHome::Postgres(database) => of_postgres(database).map(Some),
    }
}

fn engine() -> Result<Arc<Engine>, StoreProblem> {
    Engine::start().map_err(|error| super::problem("session.store", &error))
}

fn placed(clerk: &Clerk, look: Look) -> Place {
    Place {
        name: "session".into(),
        shown: Arc::clone(clerk.shown()),
        look,
    }
}

fn of_redis(home: &RedisHome) -> Result<Place, StoreProblem> {
    let clerk = Clerk::new("redis", shown(home).into(), engine()?);
    let link = Link::new(home, Arc::clone(clerk.shown()));
    let look = Look(clerk.ask(async move {
        let began = look::begin();
        let mut read = Cmd::new();
        read.arg("GETRANGE").arg("portcullis:nobody").arg(0).arg(0);
        let _nothing: Vec<u8> = link.ask(Asked::Command(&read)).await?;
        let seen = Sight::since(began);
        let mut time = Cmd::new();
        time.arg("TIME");
        let before = clock::now();
        let told: Result<(i64, i64), StoreError> = link.ask(Asked::Command(&time)).await;
        let after = clock::now();
        let clock = told.ok().map(|(seconds, micros)| Clock {
            theirs: look::of_parts(seconds, micros),
            before,
            after,
        });
        Ok(Sight { clock, ..seen })
    }));
    Ok(placed(&clerk, look))
}

fn of_postgres(database: &Database) -> Result<Place, StoreProblem> {
    let options =
        Options::read(database).map_err(|wrong| super::problem("session.store", &wrong))?;
    let engine = engine()?;
    let clerk = Clerk::new("postgres", options.shown(), Arc::clone(&engine));
    let pool = Pool::new(database, options, &engine);
    let look = Look(clerk.ask(async move {
        let began = look::begin();
        rights(&pool).await?;
        let seen = Sight::since(began);
        let clock = look::clock_of_database(&pool).await;
        Ok(Sight { clock, ..seen })
    }));
    Ok(placed(&clerk, look))
}

/// Whether the schema is of this version and may be used, or may be made.
async fn rights(pool: &Pool) -> Result<(), StoreError> {
    let shown = &pool.counter.shown;
    let refused = |what: String| StoreError::Refused {
        store: Arc::clone(shown),
        what: what.into(),
    };
    let user = pool.user().unwrap_or_else(|| "its user".into());
    let grant = Grant {
        tables: "ALL TABLES IN SCHEMA portcullis".into(),
        user: pool.user(),
    };
    let told = |fault: Fault| fault.told(shown, &grant);
    let found = match asked(pool, schema::FOUND).await {
        Ok(found) => found,
        Err(fault) if fault.of_schema() => {
            let may = asked(pool, MAY_MAKE).await.map_err(told)?;
            return match may.first() {
                Some(Cell::Bool(true)) => Ok(()),
                Some(_) | None => Err(refused(format!(
                    "{user} may not make the schema `portcullis`: GRANT CREATE ON DATABASE … TO {user}, \
                     or make the schema and GRANT ALL ON SCHEMA portcullis TO {user}"
                ))),
            };
        }
        Err(fault) if fault.of_rights() => {
            return Err(refused(format!(
                "{user} may not use the schema `portcullis`: GRANT USAGE ON SCHEMA portcullis TO {user}; \
                 GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA portcullis TO {user}"
            )));
        }
        Err(fault) => return Err(told(fault)),
    };
    match found.first() {
        Some(Cell::Whole(schema::VERSION)) => {}
        Some(Cell::Whole(other)) => {
            return Err(refused(format!(
                "its schema `portcullis` is of version {other}, and this gateway knows {}",
                schema::VERSION
            )));
        }
        Some(_) | None => return Err(unreadable(shown, "no version of the schema")),
    }
    let lacking = asked(pool, LACKING).await.map_err(told)?;
    let names: Vec<_> = lacking.iter().filter_map(Cell::text).collect();
    if names.is_empty() {
        return Ok(());
    }
    Err(refused(format!(
        "{user} may not read and write {} of the schema `portcullis`: GRANT SELECT, INSERT, UPDATE, \
         DELETE ON ALL TABLES IN SCHEMA portcullis TO {user}",
        names.join(", ")
    )))
}

/// The first column of what is found.
async fn asked(pool: &Pool, sql: &str) -> Result<Vec<Cell>, Fault> {
    let question = Question {
        sql: sql.into(),
        with: With::These(Vec::new()),
        most: MOST_TABLES,
    };
    let rows = pool.ask(&question).await?.rows;
    Ok(rows
        .into_iter()
        .filter_map(|row| row.into_iter().next())
        .collect())
}
