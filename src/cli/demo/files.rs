//! What the demo's gateway is configured with: addresses, a gateway.toml, the app's secret.

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use crate::secret::Secret;

/// Where everything listens.
#[derive(Clone, Copy, Debug)]
pub(super) struct Addresses {
    /// The gateway, TLS.
    pub(super) https: SocketAddr,
    /// The gateway's admin address.
    pub(super) admin: SocketAddr,
    /// The app.
    pub(super) app: SocketAddr,
    /// The page on another origin.
    pub(super) page: SocketAddr,
}

impl Addresses {
    /// What browsers call the gateway.
    pub(super) fn gateway(&self) -> String {
        format!("https://localhost:{}", self.https.port())
    }

    /// The origin of the page.
    pub(super) fn page(&self) -> String {
        format!("http://localhost:{}", self.page.port())
    }

    /// The admin address.
    pub(super) fn admin(&self) -> String {
        format!("http://{}", self.admin)
    }

    #[cfg(test)]
    pub(super) fn for_tests() -> Self {
        let at = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        Self {
            https: at(8443),
            admin: at(9090),
            app: at(8000),
            page: at(3000),
        }
    }
}

/// A listener on loopback: on this port when it is free, else on any.
///
/// # Errors
///
/// What the system says when no port can be had.
pub(super) fn listen(friendly: u16) -> io::Result<TcpListener> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, friendly))
        .or_else(|_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)))
}

/// Writes the gateway's file and the app's secret into the folder; gives the gateway's file.
///
/// # Errors
///
/// What the system says when a file cannot be written.
pub(super) fn write(
    folder: &Path,
    addresses: &Addresses,
    secret: &Secret<String>,
) -> io::Result<PathBuf> {
    put(&folder.join("app-secret.txt"), secret.expose(), 0o600)?;
    let file = folder.join("gateway.toml");
    put(&file, &configuration(addresses), 0o644)?;
    Ok(file)
}

fn put(file: &Path, text: &str, mode: u32) -> io::Result<()> {
    let mut options = OpenOptions::new();
    let mut file = options.write(true).create_new(true).mode(mode).open(file)?;
    file.write_all(text.as_bytes())
}

/// The demo's gateway.toml.
fn configuration(addresses: &Addresses) -> String {
    let Addresses {
        https, admin, app, ..
    } = addresses;
    let (gateway, page) = (addresses.gateway(), addresses.page());
    format!(
        r#"# Written by `portcullis demo`. A copy of it makes a good start for your own.

[server]
https = "{https}"
admin = "{admin}"

[server.timeouts]
drain = "2s"

[tls]
development = true

[log]
format = "text"

[upstream.app]
servers = ["http://{app}"]

[auth.app-token]                # the tokens that the app's login issues
type     = "jwt"
preset   = "simplejwt"
secret   = {{ file = "app-secret.txt" }}
identity = {{ user = "user_id", roles = ["roles"] }}

[cors.page]                     # the page on another origin
origins = ["{page}"]
expose  = ["x-request-id", "x-refused-by"]

[[route]]
path     = "/api/reports/{{*rest}}"
upstream = "app"
auth     = ["app-token"]
roles    = ["supervisor"]
cors     = "page"

[[route]]
path     = "/api/login/"
methods  = ["POST"]
upstream = "app"
auth     = "public"
cors     = "page"

[[route]]
path     = "/api/{{*rest}}"
upstream = "app"
auth     = ["app-token"]
cors     = "page"

[[route]]
path     = "/ws/{{*rest}}"
upstream = "app"
auth     = ["app-token"]
cors     = "page"

[[route]]
path     = "/{{*rest}}"
upstream = "app"
auth     = "public"

# The rules as tests: `portcullis test --config` with this file runs them.

[[expect]]
request = "GET {gateway}/api/reports/"
as      = {{ user = "tara", roles = ["technician"] }}
answer  = {{ status = 403, code = "role_missing" }}

[[expect]]
request = "GET {gateway}/api/reports/"
as      = {{ user = "sina", roles = ["supervisor"] }}
answer  = {{ forward = "app", headers = {{ X-Auth-User = "sina" }} }}

[[expect]]
request = "GET {gateway}/api/me/"
answer  = {{ status = 401, code = "credentials_missing" }}
"#
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_taken_port_is_no_obstacle() {
        let first = listen(0).unwrap();
        let port = first.local_addr().unwrap().port();
        let second = listen(port).unwrap();
        assert_ne!(second.local_addr().unwrap().port(), port);
    }

    #[test]
    fn the_secret_is_for_its_owner_alone() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let secret = Secret::new("s".repeat(32));
        write(folder.path(), &Addresses::for_tests(), &secret).unwrap();
        let made = std::fs::metadata(folder.path().join("app-secret.txt")).unwrap();
        assert_eq!(made.permissions().mode() & 0o777, 0o600);
    }
}
