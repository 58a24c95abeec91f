//! Redis in each form: a server, one with TLS, one on a socket, with sentinels, a cluster.

use std::path::{Path, PathBuf};
use std::time::Duration;

use portcullis::config::settings::{RedisHome, RedisLogin, RedisNode, RedisPlace};
use portcullis::secret::Secret;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use redis::aio::MultiplexedConnection;

use crate::rig::until;
use crate::servers::{Server, folder, free_port, lowly, program};

/// Stands nowhere but in the servers' and the gateway's configuration.
pub(crate) const PASSWORD: &str = "hunter2-in-the-clear";
/// For servers to start, find each other, and agree.
const PATIENCE: Duration = Duration::from_mins(1);

/// Servers and the way to them. The first is the one that is asked where there is one.
pub(crate) struct Redises {
    pub(crate) servers: Vec<Server>,
    pub(crate) home: RedisHome,
}

fn home(at: RedisPlace) -> RedisHome {
    RedisHome {
        at,
        tls: false,
        authorities: None,
        login: RedisLogin {
            user: Some("gateway".into()),
            password: Some(Secret::new(PASSWORD.to_owned())),
        },
        database: 0,
    }
}

fn node(port: u16) -> RedisNode {
    RedisNode {
        host: "127.0.0.1".into(),
        port,
    }
}

/// The rights that README says are enough; in a cluster and with sentinels some more.
const RIGHTS: &str = "~portcullis:* &portcullis:* +@read +@write +@scripting +@pubsub +@connection \
                      +time";

/// A server that keeps its changes over a restart.
fn serve(port: u16, rights: &str, more: impl FnOnce(&Path) -> Vec<String>) -> Option<Server> {
    let redis = program("redis-server", "redis-server")?;
    let folder = folder();
    let at = folder.path().to_owned();
    let more = more(&at);
    let rights = words(rights);
    Some(Server::start(folder, port, move || {
        let mut command = lowly(&redis, &at);
        command.args(["--bind", "127.0.0.1", "--requirepass", PASSWORD]);
        command.args(["--masterauth", PASSWORD, "--save", ""]);
        command.args(["--appendonly", "yes", "--appendfsync", "always"]);
        command
            .args(["--user", "gateway", "on"])
            .arg(format!(">{PASSWORD}"));
        command.args(RIGHTS.split(' ')).args(&rights);
        command.arg("--dir").arg(&at).args(&more);
        command
    }))
}

fn words(text: &str) -> Vec<String> {
    text.split(' ').map(str::to_owned).collect()
}

/// A connection of the test's own.
pub(crate) async fn raw(port: u16) -> Option<MultiplexedConnection> {
    let client = redis::Client::open(format!("redis://:{PASSWORD}@127.0.0.1:{port}/")).ok()?;
    let opening = tokio::time::timeout(
        Duration::from_secs(1),
        client.get_multiplexed_async_connection(),
    );
    opening.await.ok()?.ok()
}

/// What a server answers to a command, as text.
pub(crate) async fn says(port: u16, command: &str) -> Option<String> {
    let mut connection = raw(port).await?;
    let mut words = command.split(' ');
    let mut asked = redis::cmd(words.next()?);
    for word in words {
        asked.arg(word);
    }
    let answer: redis::Value = asked.query_async(&mut connection).await.ok()?;
    if answer == redis::Value::Okay {
        return Some("OK".to_owned());
    }
    redis::from_redis_value(answer).ok()
}

async fn ready(ports: &[u16]) {
    for port in ports {
        until("it answers", PATIENCE, async || {
            says(*port, "PING").await.is_some()
        })
        .await;
    }
}

impl Redises {
    pub(crate) async fn single() -> Option<Self> {
        let port = free_port();
        let server = serve(port, "+ping", |_| words(&format!("--port {port}")))?;
        ready(&[port]).await;
        Some(Self {
            servers: vec![server],
            home: home(RedisPlace::Server(node(port))),
        })
    }

    /// With TLS alone, by a certificate that only its own authority signed.
    pub(crate) fn secure() -> Option<Self> {
        let port = free_port();
        let mut authority = PathBuf::new();
        let server = serve(port, "+ping", |at| {
            authority = signed(at);
            let at = at.display();
            words(&format!(
                "--port 0 --tls-port {port} --tls-cert-file {at}/cert.pem \
                 --tls-key-file {at}/key.pem --tls-ca-cert-file {at}/ca.pem --tls-auth-clients no"
            ))
        });
        let server = server?;
        Some(Self {
            servers: vec![server],
            home: RedisHome {
                tls: true,
                authorities: Some(authority),
                ..home(RedisPlace::Server(node(port)))
            },
        })
    }

    pub(crate) fn socket() -> Option<Self> {
        let mut socket = PathBuf::new();
        let server = serve(0, "+ping", |at| {
            socket = at.join("redis.sock");
            words(&format!("--port 0 --unixsocket {}", socket.display()))
        });
        Some(Self {
            servers: vec![server?],
            home: home(RedisPlace::Socket(socket)),
        })
    }

    /// A server, its replica, and three sentinels that put the one in the place of the other.
    pub(crate) async fn sentinel() -> Option<Self> {
        let redis = program("redis-server", "redis-server")?;
        let (master, replica) = (free_port(), free_port());
        let first = serve(master, "+role", |_| words(&format!("--port {master}")))?;
        ready(&[master]).await;
        let second = serve(replica, "+role", |_| {
            words(&format!("--port {replica} --replicaof 127.0.0.1 {master}"))
        })?;
        ready(&[replica]).await;
        until("the replica follows", PATIENCE, async || {
            let told = says(replica, "INFO replication").await.unwrap_or_default();
            told.contains("master_link_status:up")
        })
        .await;
        let mut servers = vec![first, second];
        let mut sentinels = Vec::new();
        for _ in 0..3 {
            let port = free_port();
            let folder = folder();
            let at = folder.path().to_owned();
            let file = at.join("sentinel.conf");
            let text = format!(
                "port {port}\nbind 127.0.0.1\ndir {}\nrequirepass {PASSWORD}\n\
                 sentinel monitor main 127.0.0.1 {master} 2\nsentinel auth-pass main {PASSWORD}\n\
                 sentinel sentinel-pass {PASSWORD}\n\
                 sentinel down-after-milliseconds main 1000\nsentinel failover-timeout main 3000\n",
                at.display()
            );
            std::fs::write(&file, text).unwrap();
            std::fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o666))
                .unwrap();
            let redis = redis.clone();
            servers.push(Server::start(folder, port, move || {
                let mut command = lowly(&redis, &at);
                command.arg(at.join("sentinel.conf")).arg("--sentinel");
                command
            }));
            sentinels.push(port);
        }
        ready(&sentinels).await;
        for port in &sentinels {
            until(
                "the sentinels know each other and the replica",
                PATIENCE,
                async || {
                    let told = says(*port, "INFO sentinel").await.unwrap_or_default();
                    told.contains("slaves=1,sentinels=3") && told.contains("status=ok")
                },
            )
            .await;
        }
        Some(Self {
            servers,
            home: home(RedisPlace::Sentinel {
                sentinels: sentinels.into_iter().map(node).collect(),
                master: "main".into(),
                login: RedisLogin {
                    user: None,
                    password: Some(Secret::new(PASSWORD.to_owned())),
                },
            }),
        })
    }

    /// Three servers that share the slots.
    pub(crate) async fn cluster() -> Option<Self> {
        let ports = [free_port(), free_port(), free_port()];
        let mut servers = Vec::new();
        for port in ports {
            let bus = free_port();
            servers.push(serve(port, "+cluster", |_| {
                words(&format!(
                    "--port {port} --cluster-enabled yes --cluster-port {bus} \
                     --cluster-node-timeout 2000"
                ))
            })?);
            ready(&[port]).await;
        }
        let slots = ["0 5460", "5461 10922", "10923 16383"];
        for (at, (port, slots)) in ports.iter().zip(slots).enumerate() {
            says(*port, &format!("CLUSTER SET-CONFIG-EPOCH {}", at + 1)).await;
            says(*port, &format!("CLUSTER ADDSLOTSRANGE {slots}"))
                .await
                .unwrap();
        }
        for port in &ports[1..] {
            let bus = bus_of(*port).await;
            let meet = format!("CLUSTER MEET 127.0.0.1 {port} {bus}");
            says(ports[0], &meet).await.unwrap();
        }
        for port in ports {
            until("the cluster agrees", PATIENCE, async || {
                let told = says(port, "CLUSTER INFO").await.unwrap_or_default();
                told.contains("cluster_state:ok") && told.contains("cluster_known_nodes:3")
            })
            .await;
        }
        Some(Self {
            servers,
            home: home(RedisPlace::Cluster(ports.into_iter().map(node).collect())),
        })
    }
}

async fn bus_of(port: u16) -> u16 {
    let mut connection = raw(port).await.unwrap();
    let mut get = redis::cmd("CONFIG");
    get.arg(&["GET", "cluster-port"]);
    let (_, bus): (String, u16) = get.query_async(&mut connection).await.unwrap();
    bus
}

/// A key and certificate for 127.0.0.1 and the authority that signed it, in files; the last's path.
fn signed(at: &Path) -> PathBuf {
    let mut params = CertificateParams::new(Vec::<String>::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority_key = KeyPair::generate().unwrap();
    let authority = params.self_signed(&authority_key).unwrap();
    let issuer = Issuer::new(params, authority_key);
    let key = KeyPair::generate().unwrap();
    let server = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
    let server = server.signed_by(&key, &issuer).unwrap();
    for (name, text) in [
        ("ca.pem", authority.pem()),
        ("cert.pem", server.pem()),
        ("key.pem", key.serialize_pem()),
    ] {
        std::fs::write(at.join(name), text).unwrap();
    }
    at.join("ca.pem")
}
