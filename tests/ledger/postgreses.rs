//! A PostgreSQL with a database for the gateway, whose user owns nothing else.

use std::time::Duration;

use portcullis::config::settings::{Database, DatabaseKind};
use portcullis::secret::Secret;
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection};

use crate::rig::until;
use crate::servers::{Server, certificate, folder, free_port, lowly, program, run};

/// Stands nowhere but in the gateway's configuration.
pub(crate) const PASSWORD: &str = "hunter2-in-the-clear";

pub(crate) struct Postgres {
    pub(crate) server: Server,
    pub(crate) database: Database,
}

impl Postgres {
    pub(crate) async fn start() -> Option<Self> {
        let initdb = program("initdb", "postgresql")?;
        let postgres = program("postgres", "postgresql")?;
        let folder = folder();
        let (at, port) = (folder.path().to_owned(), free_port());
        let data = at.join("data");
        let mut made = lowly(&initdb, &at);
        made.arg("-D")
            .arg(&data)
            .args(["-U", "owner", "--auth=trust"]);
        made.args(["-E", "UTF8", "--locale=C.UTF-8", "--no-sync"]);
        run(made);
        let rules = "host all owner 127.0.0.1/32 trust\nhostssl all all 127.0.0.1/32 md5\n";
        std::fs::write(data.join("pg_hba.conf"), rules).unwrap();
        let (certificate, key) = certificate(&at);
        let certificate = format!("ssl_cert_file={}", certificate.display());
        let key = format!("ssl_key_file={}", key.display());
        let server = Server::start(folder, port, move || {
            let mut command = lowly(&postgres, &at);
            command.arg("-D").arg(&data).arg("-k").arg(&at);
            command.args(["-p", &port.to_string(), "-c", "max_connections=60"]);
            command.args(["-c", "listen_addresses=127.0.0.1"]);
            command.args(["-c", "password_encryption=md5", "-F", "-c", "ssl=on"]);
            command.args(["-c", &certificate, "-c", &key]);
            command
        });
        let url = format!("postgres://gateway:{PASSWORD}@127.0.0.1:{port}/shop");
        let host = Self {
            server,
            database: Database {
                kind: DatabaseKind::Postgres,
                url: Secret::new(url),
            },
        };
        let patience = Duration::from_secs(90);
        until("it answers", patience, async || {
            host.owner("postgres").await.is_some()
        })
        .await;
        host.run(
            "postgres",
            &format!("create user gateway password '{PASSWORD}'"),
        )
        .await;
        host.run("postgres", "create database shop").await;
        Some(host)
    }

    async fn owner(&self, name: &str) -> Option<PgConnection> {
        let url = format!("postgres://owner@127.0.0.1:{}/{name}", self.server.port);
        PgConnection::connect(&url).await.ok()
    }

    /// Runs statements as the owner.
    pub(crate) async fn run(&self, name: &str, sql: &str) {
        let mut owner = self.owner(name).await.unwrap();
        let sql = sqlx::raw_sql(AssertSqlSafe(sql.to_owned()));
        owner.execute(sql).await.unwrap();
    }

    /// The number that a question of the owner's gives.
    pub(crate) async fn number(&self, sql: &'static str) -> i64 {
        let mut owner = self.owner("shop").await.unwrap();
        sqlx::query_scalar(sql).fetch_one(&mut owner).await.unwrap()
    }
}
