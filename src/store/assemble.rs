//! Makes the stores of a configuration, and keeps of the previous ones what did not change.

use std::sync::{Arc, Weak};

use super::connection::Options;
use super::desk::Tally;
use super::directory::Users;
use super::engine::Engine;
use super::files::Files;
use super::ledger::Opening;
use super::pool::Pool;
use super::redis::Line;
use super::sessions::{Cache, DJANGO, FLASK, Sessions, Table};
use super::sql::Query;
use super::{StoreProblem, Stores, ledger};
use crate::auth::ledger::{SharedCounts, SharedLedger, SharedShelf};
use crate::config::settings::{
    self, Authenticator, AuthenticatorKind, Database, DatabaseKind, Directory, DirectoryKind,
    DjangoBackend, DjangoSession, LedgerHome, SessionStore, Settings,
};
use crate::secret::Secret;

/// Makes the stores that `settings` ask for. Opens no connection. Of `previous` the thread goes on,
/// and every database, Redis and directory that did not change, with its connections and counts.
///
/// # Errors
///
/// Every address that is none, and queries without a place for the id.
pub fn assemble(
    settings: &Settings,
    previous: Option<&Stores>,
) -> Result<Stores, Vec<StoreProblem>> {
    assemble_when(settings, previous, Opening::AtOnce)
}

/// The same, where a process that hands over may have the file of the gateway's own sessions.
///
/// # Errors
///
/// Every address that is none, and queries without a place for the id.
pub fn assemble_when(
    settings: &Settings,
    previous: Option<&Stores>,
    opening: Opening,
) -> Result<Stores, Vec<StoreProblem>> {
    let asks_nobody = !settings.authenticators.iter().any(asks) && settings.directories.is_empty();
    let shelf_home = shelf_home(settings);
    let has_home = settings.sessions.is_some() || settings.counts.is_some() || shelf_home.is_some();
    if asks_nobody && !has_home {
        return Ok(Stores::default());
    }
    let before = previous.and_then(|stores| stores.engine.clone());
    let engine = match before.map_or_else(Engine::start, Ok) {
        Ok(engine) => engine,
        Err(error) => {
            return Err(vec![StoreProblem {
                key: "auth".to_owned(),
                message: format!("the thread that asks databases cannot be started: {error}"),
            }]);
        }
    };
    let mut builder = Builder::new(engine, previous);
    let authenticators = settings.authenticators.iter();
    let sessions = authenticators.map(|one| builder.sessions(one)).collect();
    let directories = settings.directories.iter();
    let directories = directories.map(|one| builder.directory(one)).collect();
    let ledger = builder.ledger(settings.sessions.as_ref(), opening);
    let counts = builder.counts(settings.counts.as_ref());
    let shelf = builder.shelf(shelf_home);
    if !builder.problems.is_empty() {
        return Err(builder.problems);
    }
    Ok(Stores {
        ledger,
        counts,
        shelf,
        sessions,
        directories,
        pools: builder.pools.iter().map(Arc::downgrade).collect(),
        lines: builder.lines.iter().map(Arc::downgrade).collect(),
        engine: Some(builder.engine),
    })
}

/// Where `[tls.acme]` keeps what all gateways have.
fn shelf_home(settings: &Settings) -> Option<&LedgerHome> {
    let shared = settings.tls.acme.as_ref()?.shared.as_ref()?;
    Some(&shared.home)
}

/// Whether an authenticator asks anyone: a store, or an app on the stores' runtime.
fn asks(authenticator: &Authenticator) -> bool {
    match &authenticator.kind {
        AuthenticatorKind::DjangoSession(django) => match django.backend {
            DjangoBackend::Db { .. }
            | DjangoBackend::CachedDb { .. }
            | DjangoBackend::Cache { .. }
            | DjangoBackend::File { .. } => true,
            DjangoBackend::SignedCookies { .. } => false,
        },
        AuthenticatorKind::FlaskSession(_) | AuthenticatorKind::Forward(_) => true,
        AuthenticatorKind::Jwt(_)
        | AuthenticatorKind::ApiKey(_)
        | AuthenticatorKind::Basic(_)
        | AuthenticatorKind::ClientCertificate(_)
        | AuthenticatorKind::FlaskCookie(_)
        | AuthenticatorKind::GatewaySession(_)
        | AuthenticatorKind::Oidc(_) => false,
    }
}

struct Builder<'p> {
    engine: Arc<Engine>,
    previous: Option<&'p Stores>,
    pools: Vec<Arc<Pool>>,
    lines: Vec<Arc<Line>>,
    problems: Vec<StoreProblem>,
}

impl<'p> Builder<'p> {
    fn new(engine: Arc<Engine>, previous: Option<&'p Stores>) -> Self {
        Self {
            engine,
            previous,
            pools: Vec::new(),
            lines: Vec::new(),
            problems: Vec::new(),
        }
    }

    /// Where the gateway keeps its own sessions; the one of before where it is the same.
    fn ledger(
        &mut self,
        sessions: Option<&settings::GatewaySessions>,
        opening: Opening,
    ) -> Option<(LedgerHome, SharedLedger)> {
        let home = &sessions?.home;
        let before = self.previous.and_then(|stores| stores.ledger.clone());
        if let Some(same) = before.filter(|(before, _)| before == home) {
            return Some(same);
        }
        match ledger::open(home, opening) {
            Ok(ledger) => Some((home.clone(), ledger)),
            Err(wrong) => {
                self.problems.push(wrong);
                None
            }
        }
    }

    /// Where gateways count together; that of before where it is the same.
    fn counts(&mut self, home: Option<&LedgerHome>) -> Option<(LedgerHome, SharedCounts)> {
        let home = home?;
        let before = self.previous.and_then(|stores| stores.counts.clone());
        if let Some(same) = before.filter(|(before, _)| before == home) {
            return Some(same);
        }
        match ledger::open_counts(home) {
            Ok(counts) => Some((home.clone(), counts?)),
            Err(wrong) => {
                // A ledger at the same place has told it already.
                if !self.problems.contains(&wrong) {
                    self.problems.push(wrong);
                }
                None
            }
        }
    }

    /// Where gateways keep things for each other; that of before where it is the same.
    fn shelf(&mut self, home: Option<&LedgerHome>) -> Option<(LedgerHome, SharedShelf)> {
        let home = home?;
        let before = self.previous.and_then(|stores| stores.shelf.clone());
        if let Some(same) = before.filter(|(before, _)| before == home) {
            return Some(same);
        }
        match ledger::open_shelf(home) {
            Ok(opened) => Some((home.clone(), opened?)),
            Err(wrong) => {
                // A ledger at the same place has told it already.
                if !self.problems.contains(&wrong) {
                    self.problems.push(wrong);
                }
                None
            }
        }
    }

    fn sessions(&mut self, authenticator: &Authenticator) -> Option<Arc<Sessions>> {
        let name = format!("auth.{}", authenticator.name);
        let sessions = match &authenticator.kind {
            AuthenticatorKind::DjangoSession(django) => self.django_sessions(&name, django)?,
            AuthenticatorKind::FlaskSession(flask) => {
                let prefix = &*flask.key_prefix;
                let key = format!("{name}.store");
                match &flask.store {
                    SessionStore::Redis(url) => {
                        let cache = self.cache(&key, url, prefix)?;
                        Sessions::in_cache(cache, self.tally(&name, "redis"))
                    }
                    SessionStore::Table { database, table } => {
                        let pool = self.pool(&key, database)?;
                        let table = Table::new(pool, table, FLASK, prefix);
                        Sessions::in_table(table, self.tally(&name, word(database.kind)))
                    }
                    SessionStore::Files { folder, names } => {
                        let files = Files::of_cachelib(folder, prefix, *names, &self.engine);
                        Sessions::in_files(files, self.tally(&name, "files"))
                    }
                }
            }
            AuthenticatorKind::Jwt(_)
            | AuthenticatorKind::ApiKey(_)
            | AuthenticatorKind::Basic(_)
            | AuthenticatorKind::ClientCertificate(_)
            | AuthenticatorKind::FlaskCookie(_)
            | AuthenticatorKind::GatewaySession(_)
            | AuthenticatorKind::Oidc(_)
            | AuthenticatorKind::Forward(_) => return None,
        };
        Some(Arc::new(sessions))
    }

    fn django_sessions(&mut self, name: &str, django: &DjangoSession) -> Option<Sessions> {
        let (redis, database) = (format!("{name}.redis"), format!("{name}.database"));
        match &django.backend {
            DjangoBackend::Db {
                database: at,
                table,
                ..
            } => {
                let pool = self.pool(&database, at)?;
                let table = Table::new(pool, table, DJANGO, "");
                Some(Sessions::in_table(table, self.tally(name, word(at.kind))))
            }
            DjangoBackend::CachedDb {
                redis: url,
                key_prefix,
                database: at,
                table,
                ..
            } => {
                let prefix = format!("{key_prefix}django.contrib.sessions.cached_db");
                let cache = self.cache(&redis, url, &prefix);
                let pool = self.pool(&database, at)?;
                let table = Table::new(pool, table, DJANGO, "");
                let tally = self.tally(name, word(at.kind));
                Some(Sessions::in_both(cache?, table, tally))
            }
            DjangoBackend::Cache {
                redis: url,
                key_prefix,
            } => {
                let prefix = format!("{key_prefix}django.contrib.sessions.cache");
                let cache = self.cache(&redis, url, &prefix)?;
                Some(Sessions::in_cache(cache, self.tally(name, "redis")))
            }
            DjangoBackend::File {
                folder, lifetime, ..
            } => {
                let files = Files::of_django(folder, &django.cookie, *lifetime, &self.engine);
                Some(Sessions::in_files(files, self.tally(name, "files")))
            }
            DjangoBackend::SignedCookies { .. } => None,
        }
    }

    fn directory(&mut self, directory: &Directory) -> Option<Arc<Users>> {
        let known = self.previous.map(|stores| &stores.directories);
        let mut known = known.into_iter().flatten().flatten();
        if let Some(same) = known.find(|users| users.is_of(directory)).cloned() {
            self.adopt(&directory.kind);
            return Some(same);
        }
        let name = format!("directory.{}", directory.name);
        let users = match &directory.kind {
            DirectoryKind::Django(django) => {
                let pool = self.pool(&format!("{name}.database"), &django.database)?;
                let tally = self.tally(&name, word(django.database.kind));
                Users::of_django(directory, django, pool, tally)
            }
            DirectoryKind::Sql(sql) => {
                let pool = self.pool(&format!("{name}.database"), &sql.database);
                let query = Query::read(sql.database.kind, &sql.query);
                if query.is_none() {
                    self.problem(
                        &format!("{name}.query"),
                        "has no place for the user's id; write `where id = $1`",
                    );
                }
                let tally = self.tally(&name, word(sql.database.kind));
                Users::of_query(directory, query?, pool?, tally)
            }
            DirectoryKind::Endpoint(_) => return None,
        };
        Some(Arc::new(users))
    }

    /// Lists the pool of a directory that is carried over whole, for others to share.
    fn adopt(&mut self, kind: &DirectoryKind) {
        let database = match kind {
            DirectoryKind::Django(django) => &django.database,
            DirectoryKind::Sql(sql) => &sql.database,
            DirectoryKind::Endpoint(_) => return,
        };
        // It was made before, so its address is one.
        self.pool("", database);
    }

    /// The pool of a database: one for each address.
    fn pool(&mut self, key: &str, database: &Database) -> Option<Arc<Pool>> {
        let known = self.pools.iter().find(|pool| pool.is_of(database)).cloned();
        if known.is_some() {
            return known;
        }
        let before = self.previous.map(|stores| &stores.pools);
        let mut before = before.into_iter().flatten().filter_map(Weak::upgrade);
        let pool = match before.find(|pool| pool.is_of(database)) {
            Some(pool) => pool,
            None => match Options::read(database) {
                Ok(options) => Arc::new(Pool::new(database, options, &self.engine)),
                Err(error) => {
                    self.problem(key, &error.to_string());
                    return None;
                }
            },
        };
        self.pools.push(Arc::clone(&pool));
        Some(pool)
    }

    fn cache(&mut self, key: &str, url: &Secret<String>, prefix: &str) -> Option<Cache> {
        let line = self.line(key, url)?;
        Some(Cache {
            line,
            prefix: prefix.into(),
        })
    }

    fn line(&mut self, key: &str, url: &Secret<String>) -> Option<Arc<Line>> {
        let known = self.lines.iter().find(|line| line.is_of(url)).cloned();
        if known.is_some() {
            return known;
        }
        let before = self.previous.map(|stores| &stores.lines);
        let mut before = before.into_iter().flatten().filter_map(Weak::upgrade);
        let before = before.find(|line| line.is_of(url));
        let line = before.or_else(|| Line::new(url, &self.engine).map(Arc::new));
        match &line {
            Some(line) => self.lines.push(Arc::clone(line)),
            None => self.problem(
                key,
                "is no address of a Redis; write `redis://HOST:PORT/NUMBER`, `rediss://` with TLS",
            ),
        }
        line
    }

    /// The counts of an asker go on over a reload.
    fn tally(&self, name: &str, kind: &'static str) -> Arc<Tally> {
        let before = self.previous.and_then(|stores| {
            let sessions = stores.sessions.iter().flatten();
            let directories = stores.directories.iter().flatten();
            let mut all = sessions
                .map(|one| one.tally())
                .chain(directories.map(|one| one.tally()));
            all.find(|tally| tally.counts_for(name, kind)).cloned()
        });
        before.unwrap_or_else(|| Arc::new(Tally::new(name.into(), kind)))
    }

    fn problem(&mut self, key: &str, message: &str) {
        self.problems.push(StoreProblem {
            key: key.to_owned(),
            message: message.to_owned(),
        });
    }
}

/// A database in one word, as statuses name it.
fn word(kind: DatabaseKind) -> &'static str {
    match kind {
        DatabaseKind::Postgres => "postgres",
        DatabaseKind::MySql => "mysql",
        DatabaseKind::Sqlite => "sqlite",
    }
}
