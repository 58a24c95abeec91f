//! Settings and stores for a test, and the schemas of the project's vectors.

use std::fmt::Debug;
use std::path::Path;
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use portcullis::auth::ports::{DirectorySource, SessionSource, StoreError, StoredSession, User};
use portcullis::config::settings::{
    Authenticator, AuthenticatorKind, Database, DatabaseKind, Directory, DirectoryId,
    DirectoryKind, DirectoryRoles, DjangoBackend, DjangoDirectory, DjangoSession, FlaskLogin,
    FlaskSession, IdentityMap, SessionIdentity, SessionStore, Settings, SqlDirectory,
};
use portcullis::config::{Environment, load_text};
use portcullis::secret::Secret;
use portcullis::store::{Stores, assemble};
use serde_json::Value;

/// A secret that must not be seen anywhere.
pub(crate) const PASSWORD: &str = "hunter2-in-the-clear";

pub(crate) static VECTORS: LazyLock<Value> = LazyLock::new(|| {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors.json");
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
});

/// The SQL text of a fixture in the dialect of a database.
pub(crate) fn fixture(name: &str, kind: DatabaseKind) -> String {
    let of = |dialect: &str| {
        VECTORS["fixtures"][name][dialect]
            .as_str()
            .unwrap()
            .to_owned()
    };
    match kind {
        DatabaseKind::Postgres => of("postgres"),
        DatabaseKind::Sqlite => of("sqlite"),
        // Django's tables in MySQL have other types; the rest of the text is the same.
        DatabaseKind::MySql => {
            let text = of("sqlite")
                .replace("BEGIN TRANSACTION;", "")
                .replace("COMMIT;", "")
                .replace("AUTOINCREMENT", "AUTO_INCREMENT")
                .replace(" DEFERRABLE INITIALLY DEFERRED", "")
                .replace(" datetime", " datetime(6)")
                .replace(" DATETIME", " datetime(6)")
                .replace("\"session_data\" text", "\"session_data\" longtext")
                .replace(" BLOB", " longblob");
            let kept = text
                .split_inclusive(';')
                .filter(|one| !one.contains("sqlite_sequence"));
            let kept: String = kept.collect();
            format!("SET SESSION sql_mode = 'ANSI_QUOTES', foreign_key_checks = 0; {kept}")
        }
    }
}

struct NoEnvironment;

impl Environment for NoEnvironment {
    fn variable(&self, _name: &str) -> Option<String> {
        None
    }

    fn overrides(&self) -> Vec<(String, String)> {
        Vec::new()
    }
}

/// Settings that ask nobody yet.
pub(crate) fn settings() -> Settings {
    let text = "[server]\nhttps = false\nplain = \"127.0.0.1:8081\"\n\
                [upstream.app]\nservers = [\"http://127.0.0.1:9\"]\n\
                [[route]]\npath = \"/**\"\nupstream = \"app\"\nauth = \"public\"\n";
    match load_text(Path::new("gateway.toml"), text, &NoEnvironment) {
        Ok(loaded) => loaded.settings,
        Err(report) => panic!("{report:?}"),
    }
}

/// What a test asks of `store`, in the order of being added.
pub(crate) struct Rig {
    pub(crate) settings: Settings,
}

impl Rig {
    pub(crate) fn new() -> Self {
        Self {
            settings: settings(),
        }
    }

    fn authenticator(mut self, kind: AuthenticatorKind) -> Self {
        let number = self.settings.authenticators.len();
        self.settings.authenticators.push(Authenticator {
            name: format!("a{number}").into(),
            kind,
            directory: None,
        });
        self
    }

    pub(crate) fn django(self, backend: DjangoBackend) -> Self {
        self.authenticator(AuthenticatorKind::DjangoSession(Box::new(DjangoSession {
            secrets: vec![Secret::new(b"x".to_vec())],
            backend,
            cookie: "sessionid".into(),
            cache: Duration::ZERO,
            authentication_backends: None,
            legacy_sha1: false,
        })))
    }

    pub(crate) fn django_db(self, database: &Database, table: &str) -> Self {
        self.django(DjangoBackend::Db {
            database: database.clone(),
            table: table.into(),
            time_zone: jiff::tz::TimeZone::UTC,
        })
    }

    pub(crate) fn flask(self, store: SessionStore) -> Self {
        let identity = SessionIdentity {
            user: vec!["user_id".to_owned()],
            others: IdentityMap {
                user: String::new(),
                roles: Vec::new(),
                email: None,
                name: None,
            },
        };
        self.authenticator(AuthenticatorKind::FlaskSession(Box::new(FlaskSession {
            store,
            key_prefix: "session:".into(),
            signer: None,
            cookie: "session".into(),
            cache: Duration::ZERO,
            identity,
            login: FlaskLogin::default(),
        })))
    }

    pub(crate) fn flask_table(self, database: &Database, table: &str) -> Self {
        self.flask(SessionStore::Table {
            database: database.clone(),
            table: table.into(),
        })
    }

    pub(crate) fn directory(mut self, kind: DirectoryKind, cache: Duration) -> Self {
        let number = self.settings.directories.len();
        self.settings.directories.push(Directory {
            name: format!("d{number}").into(),
            kind,
            cache,
        });
        self
    }

    /// Not remembered.
    pub(crate) fn users(self, database: &Database, table: &str, roles: DirectoryRoles) -> Self {
        self.users_for(database, table, roles, Duration::ZERO)
    }

    pub(crate) fn users_for(
        self,
        database: &Database,
        table: &str,
        roles: DirectoryRoles,
        cache: Duration,
    ) -> Self {
        let kind = DirectoryKind::Django(DjangoDirectory {
            database: database.clone(),
            user_table: table.into(),
            roles,
        });
        self.directory(kind, cache)
    }

    pub(crate) fn query(self, database: &Database, query: &str) -> Self {
        let kind = DirectoryKind::Sql(SqlDirectory {
            database: database.clone(),
            query: query.into(),
        });
        self.directory(kind, Duration::ZERO)
    }

    pub(crate) fn stores(&self) -> Stores {
        self.stores_after(None)
    }

    pub(crate) fn stores_after(&self, previous: Option<&Stores>) -> Stores {
        assemble(&self.settings, previous).unwrap()
    }
}

pub(crate) fn roles(groups: bool, flags: bool, columns: &[&str]) -> DirectoryRoles {
    DirectoryRoles {
        groups,
        flags,
        columns: columns.iter().map(|name| (*name).into()).collect(),
    }
}

pub(crate) fn database(kind: DatabaseKind, url: &str) -> Database {
    Database {
        kind,
        url: Secret::new(url.to_owned()),
    }
}

/// The sessions of an authenticator.
pub(crate) fn sessions(stores: &Stores, at: usize) -> Arc<dyn SessionSource> {
    stores.sessions(at).unwrap()
}

/// A directory.
pub(crate) fn users(stores: &Stores, at: usize) -> Arc<dyn DirectorySource> {
    stores.directory(DirectoryId(at)).unwrap()
}

/// One session.
pub(crate) async fn load(
    stores: &Stores,
    at: usize,
    key: &str,
) -> Result<Option<StoredSession>, StoreError> {
    sessions(stores, at).load(key).await
}

/// One user, asked for afresh.
pub(crate) async fn find(stores: &Stores, at: usize, id: &str) -> Result<Option<User>, StoreError> {
    users(stores, at).find(id, true).await
}

/// An error with its causes, after a look that no secret is in it.
pub(crate) fn told<T: Debug>(outcome: Result<T, StoreError>) -> String {
    let error = outcome.unwrap_err();
    let shown = format!(
        "{error} | {:?} | {error:?}",
        std::error::Error::source(&error)
    );
    assert!(!shown.contains(PASSWORD), "{shown}");
    shown
}

/// Waits for a condition, a minute at most.
pub(crate) async fn until<F: Future<Output = bool>>(what: &str, mut check: impl FnMut() -> F) {
    let began = Instant::now();
    while !check().await {
        assert!(began.elapsed() < Duration::from_mins(1), "never: {what}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
