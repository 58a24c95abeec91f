//! The databases and the Redis of a test, with the rights that the gateway has there.

use std::time::{Duration, Instant};

use portcullis::config::settings::{Database, DatabaseKind};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, Executor};
use tempfile::TempDir;

use crate::rig::{PASSWORD, database, fixture};
use crate::servers::{Server, certificate, folder, free_port, lowly, program, run};

/// For a server to start.
const PATIENCE: Duration = Duration::from_secs(90);

/// One of the three databases, with a user that owns everything and one that may only read.
pub(crate) struct Host {
    pub(crate) kind: DatabaseKind,
    pub(crate) server: Option<Server>,
    /// For SQLite.
    folder: Option<TempDir>,
}

impl Host {
    pub(crate) fn sqlite() -> Self {
        let folder = tempfile::Builder::new()
            .prefix("stores-")
            .tempdir()
            .unwrap();
        Self {
            kind: DatabaseKind::Sqlite,
            server: None,
            folder: Some(folder),
        }
    }

    /// `method` is how the gateway's password is checked: `scram-sha-256`, which takes a build
    /// without optimisation long, or `md5`.
    pub(crate) async fn postgres(method: &str) -> Option<Self> {
        let initdb = program("initdb", "postgresql")?;
        let postgres = program("postgres", "postgresql")?;
        let folder = folder();
        let (at, port) = (folder.path().to_owned(), free_port());
        let data = at.join("data");
        let mut made = lowly(&initdb, &at);
        made.arg("-D").arg(&data);
        made.args([
            "-U",
            "owner",
            "--auth=trust",
            "-E",
            "UTF8",
            "--locale=C.UTF-8",
            "--no-sync",
        ]);
        run(made);
        let rules = format!(
            "hostssl all reader 127.0.0.1/32 {method}\nhost all owner 127.0.0.1/32 trust\n"
        );
        std::fs::write(data.join("pg_hba.conf"), rules).unwrap();
        let encryption = format!("password_encryption={method}");
        let (certificate, key) = certificate(&at);
        let certificate = format!("ssl_cert_file={}", certificate.display());
        let key = format!("ssl_key_file={}", key.display());
        let server = Server::start(folder, port, move || {
            let mut command = lowly(&postgres, &at);
            command.args(["-c", &encryption, "-c", "ssl=on"]);
            command.args(["-c", &certificate, "-c", &key]);
            command.arg("-D").arg(&data).arg("-k").arg(&at);
            command.args(["-p", &port.to_string(), "-F", "-c", "max_connections=40"]);
            command.args([
                "-c",
                "listen_addresses=127.0.0.1",
                "-c",
                "timezone=America/New_York",
            ]);
            command
        });
        let host = Self {
            kind: DatabaseKind::Postgres,
            server: Some(server),
            folder: None,
        };
        host.ready().await;
        host.run("", &format!("create user reader password '{PASSWORD}'"))
            .await;
        Some(host)
    }

    pub(crate) async fn mariadb() -> Option<Self> {
        let install = program("mariadb-install-db", "mariadb-server")?;
        let mariadbd = program("mariadbd", "mariadb-server")?;
        let folder = folder();
        let (at, port) = (folder.path().to_owned(), free_port());
        let data = at.join("data");
        let mut made = lowly(&install, &at);
        made.arg("--no-defaults")
            .arg(format!("--datadir={}", data.display()));
        made.args(["--auth-root-authentication-method=normal", "--skip-test-db"]);
        run(made);
        let (certificate, key) = certificate(&at);
        let server = Server::start(folder, port, move || {
            let mut command = lowly(&mariadbd, &at);
            command
                .arg("--no-defaults")
                .arg(format!("--datadir={}", data.display()));
            command.arg(format!("--socket={}", at.join("socket").display()));
            command.arg(format!("--pid-file={}", at.join("pid").display()));
            command.arg(format!("--port={port}"));
            command.arg(format!("--ssl-cert={}", certificate.display()));
            command.arg(format!("--ssl-key={}", key.display()));
            command.args(["--bind-address=127.0.0.1", "--skip-log-bin"]);
            command.args([
                "--innodb-flush-method=nosync",
                "--innodb-buffer-pool-size=16M",
            ]);
            command.args(["--character-set-server=utf8mb4"]);
            command
        });
        let host = Self {
            kind: DatabaseKind::MySql,
            server: Some(server),
            folder: None,
        };
        host.ready().await;
        // Both servers let the gateway in over TLS alone.
        let user = format!("create user reader@'127.0.0.1' identified by '{PASSWORD}' require ssl");
        host.run("", &user).await;
        Some(host)
    }

    fn port(&self) -> u16 {
        self.server.as_ref().map_or(0, |server| server.port)
    }

    fn file(&self, name: &str) -> String {
        let folder = self.folder.as_ref().unwrap().path();
        folder.join(format!("{name}.db")).display().to_string()
    }

    /// The address of a database for its owner; with an empty name, of the server.
    fn owner(&self, name: &str) -> String {
        match self.kind {
            DatabaseKind::Postgres => {
                let name = if name.is_empty() { "postgres" } else { name };
                format!("postgres://owner@127.0.0.1:{}/{name}", self.port())
            }
            DatabaseKind::MySql => format!("mysql://root@127.0.0.1:{}/{name}", self.port()),
            DatabaseKind::Sqlite => format!("sqlite:{}?mode=rwc", self.file(name)),
        }
    }

    /// The address of a database for the gateway.
    pub(crate) fn reader(&self, name: &str) -> Database {
        let port = self.port();
        let url = match self.kind {
            DatabaseKind::Postgres => {
                format!("postgres://reader:{PASSWORD}@127.0.0.1:{port}/{name}")
            }
            DatabaseKind::MySql => format!("mysql://reader:{PASSWORD}@127.0.0.1:{port}/{name}"),
            DatabaseKind::Sqlite => format!("sqlite:{}", self.file(name)),
        };
        database(self.kind, &url)
    }

    /// Waits until it answers.
    pub(crate) async fn ready(&self) {
        let began = Instant::now();
        while let Err(error) = self.try_run("", "select 1").await {
            assert!(began.elapsed() < PATIENCE, "does not start: {error}");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    async fn try_run(&self, name: &str, sql: &str) -> Result<(), sqlx::Error> {
        let url = self.owner(name);
        let sql = AssertSqlSafe(sql.to_owned());
        match self.kind {
            DatabaseKind::Postgres => {
                let options: sqlx::postgres::PgConnectOptions = url.parse()?;
                let mut connection = options.disable_statement_logging().connect().await?;
                connection.execute(sqlx::raw_sql(sql)).await?;
                connection.close().await
            }
            DatabaseKind::MySql => {
                let options: sqlx::mysql::MySqlConnectOptions = url.parse()?;
                let mut connection = options.disable_statement_logging().connect().await?;
                connection.execute(sqlx::raw_sql(sql)).await?;
                connection.close().await
            }
            DatabaseKind::Sqlite => {
                let options: sqlx::sqlite::SqliteConnectOptions = url.parse()?;
                // Rows of the fixtures come before what they refer to.
                let options = options.foreign_keys(false).disable_statement_logging();
                let mut connection = options.connect().await?;
                connection.execute(sqlx::raw_sql(sql)).await?;
                connection.close().await
            }
        }
    }

    /// Runs statements as the owner.
    pub(crate) async fn run(&self, name: &str, sql: &str) {
        if let Err(error) = self.try_run(name, sql).await {
            let start: String = sql.chars().take(200).collect();
            panic!("{error} in {start}");
        }
    }

    /// Makes a database with the tables and rows of a fixture, for all to read.
    pub(crate) async fn make(&self, name: &str, fixtures: &[&str]) -> Database {
        match self.kind {
            // Makes the file.
            DatabaseKind::Sqlite => self.run(name, "pragma user_version = 1").await,
            DatabaseKind::Postgres | DatabaseKind::MySql => {
                self.run("", &format!("create database {name}")).await;
            }
        }
        for one in fixtures {
            self.run(name, &fixture(one, self.kind)).await;
        }
        self.grant_all(name).await;
        self.reader(name)
    }

    /// Lets the gateway read every table of a database.
    pub(crate) async fn grant_all(&self, name: &str) {
        match self.kind {
            DatabaseKind::Postgres => {
                let sql = "grant select on all tables in schema public to reader";
                self.run(name, sql).await;
            }
            DatabaseKind::MySql => {
                let sql = format!("grant select on {name}.* to reader@'127.0.0.1'");
                self.run("", &sql).await;
            }
            DatabaseKind::Sqlite => {}
        }
    }

    /// Connections of the gateway that are open at the server.
    pub(crate) async fn connections(&self) -> usize {
        let count = self.number("", match self.kind {
            DatabaseKind::Postgres => "select count(*) from pg_stat_activity where application_name = 'portcullis' and usename = 'reader'",
            DatabaseKind::MySql => "select count(*) from information_schema.processlist where user = 'reader'",
            DatabaseKind::Sqlite => "select 0",
        });
        usize::try_from(count.await).unwrap()
    }

    /// The number that a question of the owner's gives.
    pub(crate) async fn number(&self, name: &str, sql: &'static str) -> i64 {
        let url = self.owner(name);
        match self.kind {
            DatabaseKind::Postgres => {
                let mut connection = sqlx::PgConnection::connect(&url).await.unwrap();
                sqlx::query_scalar(sql)
                    .fetch_one(&mut connection)
                    .await
                    .unwrap()
            }
            DatabaseKind::MySql => {
                let mut connection = sqlx::MySqlConnection::connect(&url).await.unwrap();
                sqlx::query_scalar(sql)
                    .fetch_one(&mut connection)
                    .await
                    .unwrap()
            }
            DatabaseKind::Sqlite => {
                let mut connection = sqlx::SqliteConnection::connect(&url).await.unwrap();
                sqlx::query_scalar(sql)
                    .fetch_one(&mut connection)
                    .await
                    .unwrap()
            }
        }
    }
}

/// A Redis with a password, without persistence.
pub(crate) struct RedisHost {
    pub(crate) server: Server,
}

impl RedisHost {
    pub(crate) async fn start() -> Option<Self> {
        let redis = program("redis-server", "redis-server")?;
        let folder = folder();
        let (at, port) = (folder.path().to_owned(), free_port());
        let server = Server::start(folder, port, move || {
            let mut command = lowly(&redis, &at);
            command.args(["--port", &port.to_string(), "--bind", "127.0.0.1"]);
            command.args([
                "--requirepass",
                PASSWORD,
                "--appendonly",
                "no",
                "--daemonize",
                "no",
            ]);
            // Kept over a restart that asks for it.
            command.args(["--save", "3600 1", "--dbfilename", "dump.rdb"]);
            command.arg("--dir").arg(&at);
            command
        });
        let host = Self { server };
        host.ready().await;
        Some(host)
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://:{PASSWORD}@127.0.0.1:{}/3", self.server.port)
    }

    /// A connection of the app's.
    pub(crate) async fn app(&self) -> Option<::redis::aio::MultiplexedConnection> {
        let client = ::redis::Client::open(self.url()).unwrap();
        client.get_multiplexed_async_connection().await.ok()
    }

    pub(crate) async fn ready(&self) {
        let began = Instant::now();
        while self.app().await.is_none() {
            assert!(began.elapsed() < PATIENCE, "does not start");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}
