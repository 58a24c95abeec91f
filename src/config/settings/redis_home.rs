//! The address of a Redis that the gateway keeps its own sessions in: one server, one on a socket,
//! one that sentinels name, or a cluster.
//!
//! Nothing of an address is repeated in a mistake: a password may stand in it.

use std::path::PathBuf;

use percent_encoding::percent_decode_str;
use url::form_urlencoded;

use crate::secret::Secret;

/// How such an address is written.
pub const REDIS_HOMES: &str = "\"redis://user:password@host:6379/0\", \"redis+unix:///run/redis.sock\", \
     \"redis+sentinel://user:password@host:26379,host:26379/master/0\", \
     \"redis+cluster://user:password@host:6379,host:6379\"; `rediss` in the place of `redis` is with TLS";

/// The port of a server, and of a sentinel.
const PORTS: (u16, u16) = (6379, 26379);
/// Most servers that are named; they name each other.
const MOST_NODES: usize = 32;

/// A Redis, or several that act as one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RedisHome {
    /// Where.
    pub at: RedisPlace,
    /// Whether with TLS.
    pub tls: bool,
    /// Certificates of the authorities that may have signed the servers', in PEM, instead of the
    /// system's.
    pub authorities: Option<PathBuf>,
    /// Who asks.
    pub login: RedisLogin,
    /// The database's number; a cluster has none but 0.
    pub database: u32,
}

/// User and password, where there are any.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RedisLogin {
    /// The user.
    pub user: Option<Box<str>>,
    /// The password.
    pub password: Option<Secret<String>>,
}

/// Where Redis is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RedisPlace {
    /// A server.
    Server(RedisNode),
    /// A socket in the file system.
    Socket(PathBuf),
    /// The server that sentinels name.
    Sentinel {
        /// The sentinels; at least one.
        sentinels: Vec<RedisNode>,
        /// The name that they know the server by.
        master: Box<str>,
        /// Who asks the sentinels.
        login: RedisLogin,
    },
    /// A cluster, with some of its servers; at least one.
    Cluster(Vec<RedisNode>),
}

/// A server's name or address, and its port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RedisNode {
    /// A name, or an address without brackets.
    pub host: Box<str>,
    /// The port.
    pub port: u16,
}

/// Why an address is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct BadRedisHome(&'static str);

impl RedisHome {
    /// Reads an address.
    ///
    /// # Errors
    ///
    /// [`BadRedisHome`], whose words repeat nothing of the address.
    pub fn parse(address: &str) -> Result<Self, BadRedisHome> {
        let not = BadRedisHome("is not the address of a Redis");
        let (scheme, rest) = address.split_once("://").ok_or(not)?;
        let (kind, tls) = match scheme {
            "redis" => (Kind::Server, false),
            "rediss" => (Kind::Server, true),
            "redis+unix" | "unix" => (Kind::Socket, false),
            "redis+sentinel" => (Kind::Sentinel, false),
            "rediss+sentinel" => (Kind::Sentinel, true),
            "redis+cluster" => (Kind::Cluster, false),
            "rediss+cluster" => (Kind::Cluster, true),
            _ => return Err(not),
        };
        if rest.contains('#') {
            return Err(BadRedisHome(
                "must not hold a `#`: certificates are always verified, and in a password it is %23",
            ));
        }
        let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
        let options = Options::read(query, kind, tls)?;
        let (login, place) = match rest.rsplit_once('@') {
            Some((login, place)) if kind != Kind::Socket => (login_of(login)?, place),
            Some(_) | None => (RedisLogin::default(), rest),
        };
        let login = RedisLogin {
            user: login.user.or(options.user),
            password: login.password.or(options.password),
        };
        let (at, number) = place_of(kind, place, options.sentinel)?;
        let number = options.database.or(number).unwrap_or_default();
        let database = if number.is_empty() {
            Ok(0)
        } else {
            number.parse()
        };
        let database = database.or(Err(BadRedisHome("names a database that is not a number")))?;
        if kind == Kind::Cluster && database != 0 {
            return Err(BadRedisHome("names a database; a cluster has only one"));
        }
        Ok(Self {
            at,
            tls,
            authorities: options.authorities,
            login,
            database,
        })
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Server,
    Socket,
    Sentinel,
    Cluster,
}

/// What the query says.
#[derive(Default)]
struct Options {
    database: Option<String>,
    user: Option<Box<str>>,
    password: Option<Secret<String>>,
    sentinel: RedisLogin,
    authorities: Option<PathBuf>,
}

impl Options {
    fn read(query: &str, kind: Kind, tls: bool) -> Result<Self, BadRedisHome> {
        let mut options = Self::default();
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            let value = value.into_owned();
            match &*name {
                "db" => options.database = Some(value),
                "user" | "username" => options.user = Some(value.into()),
                "pass" | "password" => options.password = Some(Secret::new(value)),
                "sentinel_username" if kind == Kind::Sentinel => {
                    options.sentinel.user = Some(value.into());
                }
                "sentinel_password" if kind == Kind::Sentinel => {
                    options.sentinel.password = Some(Secret::new(value));
                }
                "ssl_ca_certs" if tls => options.authorities = Some(value.into()),
                "ssl_ca_certs" => {
                    return Err(BadRedisHome(
                        "names authorities and is without TLS: write `rediss`",
                    ));
                }
                "ssl_cert_reqs" if matches!(&*value, "required" | "CERT_REQUIRED") => {}
                _ => {
                    return Err(BadRedisHome(
                        "holds an option that the gateway does not know: it knows db, username, \
                         password, ssl_ca_certs, and of sentinels sentinel_username and \
                         sentinel_password; certificates are always verified",
                    ));
                }
            }
        }
        Ok(options)
    }
}

fn place_of(
    kind: Kind,
    place: &str,
    sentinel: RedisLogin,
) -> Result<(RedisPlace, Option<String>), BadRedisHome> {
    if kind == Kind::Socket {
        if !place.starts_with('/') || place.len() < 2 {
            return Err(BadRedisHome("must name a socket by its whole path"));
        }
        return Ok((RedisPlace::Socket(decoded(place)?.into()), None));
    }
    let (hosts, path) = place.split_once('/').unwrap_or((place, ""));
    let mut parts = path.trim_end_matches('/').split('/');
    let first = decoded(parts.next().unwrap_or_default())?;
    let second = parts.next().map(decoded).transpose()?;
    if parts.next().is_some() || (second.is_some() && kind != Kind::Sentinel) {
        return Err(BadRedisHome(
            "holds more behind its servers than belongs there",
        ));
    }
    let at = match kind {
        Kind::Sentinel => {
            if first.is_empty() {
                return Err(BadRedisHome(
                    "does not say by which name the sentinels know the server: it stands behind them, as in /mymaster",
                ));
            }
            let sentinels = nodes(hosts, PORTS.1)?;
            let master = first.into();
            let login = sentinel;
            return Ok((
                RedisPlace::Sentinel {
                    sentinels,
                    master,
                    login,
                },
                second,
            ));
        }
        Kind::Cluster => RedisPlace::Cluster(nodes(hosts, PORTS.0)?),
        Kind::Server | Kind::Socket => match nodes(hosts, PORTS.0)?.as_slice() {
            [one] => RedisPlace::Server(one.clone()),
            _ => {
                return Err(BadRedisHome(
                    "names several servers: write `redis+sentinel` or `redis+cluster`",
                ));
            }
        },
    };
    Ok((at, Some(first)))
}

fn nodes(hosts: &str, port: u16) -> Result<Vec<RedisNode>, BadRedisHome> {
    let nodes: Vec<_> = hosts
        .split(',')
        .take(MOST_NODES + 1)
        .map(|one| node(one, port))
        .collect::<Result<_, _>>()?;
    if nodes.len() > MOST_NODES {
        return Err(BadRedisHome("names more than 32 servers; a few are enough"));
    }
    Ok(nodes)
}

fn node(text: &str, default: u16) -> Result<RedisNode, BadRedisHome> {
    let (host, port) = match text.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((host, "")) => (host, None),
        Some((host, rest)) => (host, Some(rest.strip_prefix(':').unwrap_or("x"))),
        None => match text.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (text, None),
        },
    };
    let plain =
        |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_' | b':');
    if host.is_empty() || !host.bytes().all(plain) {
        return Err(BadRedisHome("names a server that is none, or none"));
    }
    let port = port.map_or(Ok(default), str::parse);
    match port {
        Ok(port) if port > 0 => Ok(RedisNode {
            host: host.into(),
            port,
        }),
        Ok(_) | Err(_) => Err(BadRedisHome(
            "names a port that is no number from 1 to 65535; a special letter of a password is percent-encoded",
        )),
    }
}

fn login_of(text: &str) -> Result<RedisLogin, BadRedisHome> {
    let (user, password) = match text.split_once(':') {
        Some((user, password)) => (user, Some(Secret::new(decoded(password)?))),
        None => (text, None),
    };
    let user = decoded(user)?;
    Ok(RedisLogin {
        user: (!user.is_empty()).then(|| user.into()),
        password,
    })
}

fn decoded(text: &str) -> Result<String, BadRedisHome> {
    match percent_decode_str(text).decode_utf8() {
        Ok(text) if !text.contains('\0') => Ok(text.into_owned()),
        Ok(_) | Err(_) => Err(BadRedisHome("holds what is no text in UTF-8 once decoded")),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn login(user: &str, password: &str) -> RedisLogin {
        RedisLogin {
            user: (!user.is_empty()).then(|| user.into()),
            password: Some(Secret::new(password.to_owned())),
        }
    }

    fn node(host: &str, port: u16) -> RedisNode {
        RedisNode {
            host: host.into(),
            port,
        }
    }

    #[test]
    fn a_server_is_read_with_its_login_and_database() {
        let home = RedisHome::parse("redis://app:p%40ss@cache.example/3").unwrap();
        assert_eq!(home.at, RedisPlace::Server(node("cache.example", 6379)));
        assert_eq!((home.login, home.database), (login("app", "p@ss"), 3));
        assert!(!home.tls);
        let home =
            RedisHome::parse("rediss://:x@[::1]:7000?db=2&ssl_ca_certs=/etc/ca.pem").unwrap();
        assert_eq!(home.at, RedisPlace::Server(node("::1", 7000)));
        assert_eq!((home.login, home.database), (login("", "x"), 2));
        assert_eq!(home.authorities, Some("/etc/ca.pem".into()));
        assert!(home.tls);
        let home = RedisHome::parse("redis+unix:///run/redis.sock?db=1&password=x").unwrap();
        assert_eq!(home.at, RedisPlace::Socket("/run/redis.sock".into()));
        assert_eq!((home.login, home.database), (login("", "x"), 1));
    }

    #[test]
    fn sentinels_and_clusters_are_read_with_all_their_servers() {
        let home = RedisHome::parse("redis+sentinel://:a@one,two:26380/main/4?sentinel_password=b")
            .unwrap();
        assert_eq!(
            home.at,
            RedisPlace::Sentinel {
                sentinels: vec![node("one", 26379), node("two", 26380)],
                master: "main".into(),
                login: login("", "b"),
            }
        );
        assert_eq!((home.login, home.database), (login("", "a"), 4));
        let home = RedisHome::parse("rediss+cluster://one:1,two:2").unwrap();
        assert_eq!(
            home.at,
            RedisPlace::Cluster(vec![node("one", 1), node("two", 2)])
        );
        assert!(home.tls && home.login == RedisLogin::default());
    }

    #[test]
    fn what_is_no_address_is_told_without_repeating_it() {
        for (address, word) in [
            ("hunter2", "is not the address"),
            ("http://hunter2", "is not the address"),
            ("redis://hunter2:x@/0", "names a server"),
            ("redis://:hunter2@h:0", "a port"),
            ("redis://:hunter2@h,i", "several servers"),
            ("redis://:hunter2@h/x", "not a number"),
            ("redis://:hunter2@h/1/2", "more behind"),
            ("redis://:hunter2@h/#insecure", "always verified"),
            ("redis://:hunter2@h?ssl_ca_certs=x", "without TLS"),
            ("rediss://:hunter2@h?ssl_cert_reqs=none", "always verified"),
            ("redis+sentinel://:hunter2@h", "by which name"),
            ("redis+cluster://:hunter2@h/1", "only one"),
            ("redis+unix://hunter2", "whole path"),
        ] {
            let told = RedisHome::parse(address).unwrap_err().to_string();
            assert!(told.contains(word), "{address}: {told}");
            assert!(!told.contains("hunter2"), "{told}");
        }
        let many = format!("redis+cluster://{}h", "h,".repeat(32));
        assert!(RedisHome::parse(&many).is_err());
    }

    proptest! {
        #[test]
        fn no_address_breaks_the_reader(scheme in "(redis|rediss|redis\\+unix|redis\\+sentinel|redis\\+cluster)", rest in ".{0,80}") {
            let _ = RedisHome::parse(&format!("{scheme}://{rest}"));
        }
    }
}
