//! Real servers in temporary folders, on free ports, ended with the test.

use std::fs::File;
use std::net::TcpListener;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use portcullis::config::settings::{Database, DatabaseKind};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, Executor};
use tempfile::TempDir;

use crate::rig::{PASSWORD, database, fixture};

/// For a server to start or end.
const PATIENCE: Duration = Duration::from_secs(90);
/// Account of servers that refuse to run as root; everyone has it.
const NOBODY: (u32, u32) = (65534, 65534);

/// A program, where it is installed: `None` after saying that the test is skipped.
fn program(name: &str, package: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut folders: Vec<_> = std::env::split_paths(&path).collect();
    folders.push("/usr/sbin".into());
    // Debian keeps PostgreSQL's programs by version, off the path.
    let versions = std::fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten();
    let mut versions: Vec<_> = versions
        .flatten()
        .map(|one| one.path().join("bin"))
        .collect();
    versions.sort();
    versions.reverse();
    folders.splice(0..0, versions);
    let found = folders.iter().map(|folder| folder.join(name));
    let found = found.into_iter().find(|program| program.is_file());
    if found.is_none() {
        let said = format!("{name} is not installed: sudo apt-get install {package}");
        assert!(std::env::var("CI").as_deref() != Ok("true"), "{said}");
        eprintln!("SKIPPED: {said}");
    }
    found
}

/// A running server of any kind.
pub(crate) struct Server {
    child: Option<Child>,
    command: Box<dyn Fn() -> Command + Send>,
    folder: TempDir,
    pub(crate) port: u16,
}

impl Server {
    fn start(folder: TempDir, port: u16, command: impl Fn() -> Command + Send + 'static) -> Self {
        let mut server = Self {
            child: None,
            command: Box::new(command),
            folder,
            port,
        };
        server.up();
        server
    }

    /// Starts it again, on the same port and with the same data.
    pub(crate) fn up(&mut self) {
        let log = File::options()
            .append(true)
            .create(true)
            .open(self.folder.path().join("server.log"))
            .unwrap();
        let mut command = (self.command)();
        command
            .stdin(Stdio::null())
            .stderr(log.try_clone().unwrap());
        self.child = Some(command.stdout(log).spawn().unwrap());
    }

    /// Ends it at once.
    pub(crate) fn down(&mut self) {
        if let Some(mut child) = self.child.take() {
            // One that was frozen must go on to end.
            signal("CONT", &tree(child.id()));
            // PostgreSQL ends its children on SIGQUIT, the others end on it too.
            signal("QUIT", &[child.id()]);
            let began = Instant::now();
            while child.try_wait().unwrap().is_none() {
                if began.elapsed() > Duration::from_secs(10) {
                    let _ = child.kill();
                }
                std::thread::sleep(Duration::from_millis(20));
            }
        }
    }

    /// Stops it and its children where they stand.
    pub(crate) fn freeze(&self) {
        signal("STOP", &tree(self.child.as_ref().unwrap().id()));
    }

    /// Lets them go on.
    pub(crate) fn thaw(&self) {
        signal("CONT", &tree(self.child.as_ref().unwrap().id()));
    }

    pub(crate) fn log(&self) -> String {
        let log = std::fs::read(self.folder.path().join("server.log"));
        String::from_utf8_lossy(&log.unwrap_or_default()).into_owned()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.down();
        if std::thread::panicking() {
            eprintln!("---- the server's log\n{}", self.log());
        }
    }
}

/// A process and its children, by their ids.
fn tree(id: u32) -> Vec<u32> {
    let children = std::fs::read_to_string(format!("/proc/{id}/task/{id}/children"));
    let children = children.unwrap_or_default();
    let mut all = vec![id];
    all.extend(
        children
            .split_whitespace()
            .filter_map(|child| child.parse::<u32>().ok()),
    );
    all
}

fn signal(name: &str, ids: &[u32]) {
    let ids = ids.iter().map(u32::to_string);
    let done = Command::new("kill")
        .arg(format!("-{name}"))
        .args(ids)
        .status();
    assert!(done.is_ok());
}

fn is_root() -> bool {
    std::fs::metadata("/proc/self").is_ok_and(|own| {
        use std::os::unix::fs::MetadataExt;
        own.uid() == 0
    })
}

/// A folder that the servers' account owns.
fn folder() -> TempDir {
    let folder = tempfile::Builder::new()
        .prefix("stores-")
        .tempdir()
        .unwrap();
    let mode = std::fs::Permissions::from_mode(0o700);
    std::fs::set_permissions(folder.path(), mode).unwrap();
    if is_root() {
        chown(folder.path(), Some(NOBODY.0), Some(NOBODY.1)).unwrap();
    }
    folder
}

/// A command that does not run as root, and ends with the thread that began it.
fn lowly(program: &Path, at: &Path) -> Command {
    let mut command = if is_root() {
        let mut command = Command::new("setpriv");
        command.args([
            format!("--reuid={}", NOBODY.0),
            format!("--regid={}", NOBODY.1),
        ]);
        command.args(["--clear-groups", "--pdeathsig", "KILL", "--"]);
        command.arg(program);
        command
    } else {
        Command::new(program)
    };
    command.current_dir(at).env("HOME", at).env_remove("LC_ALL");
    command
}

fn run(mut command: Command) {
    let done = command.stdin(Stdio::null()).output().unwrap();
    let said = String::from_utf8_lossy(&done.stderr).into_owned();
    assert!(done.status.success(), "{command:?}: {said}");
}

/// A key and a certificate that nobody signed, in files that only the server may read.
fn certificate(at: &Path) -> (PathBuf, PathBuf) {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let (certificate, key) = (at.join("cert.pem"), at.join("key.pem"));
    std::fs::write(&certificate, made.cert.pem()).unwrap();
    std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
    for file in [&certificate, &key] {
        std::fs::set_permissions(file, std::fs::Permissions::from_mode(0o600)).unwrap();
        if is_root() {
            chown(file, Some(NOBODY.0), Some(NOBODY.1)).unwrap();
        }
    }
    (certificate, key)
}

pub(crate) fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

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
