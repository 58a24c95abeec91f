//! `portcullis demo`: the gateway at work in front of a small app, with nothing else installed.
//!
//! The gateway is the real one, run from a gateway.toml in a temporary folder. The app and a page
//! on another origin are served beside it on loopback.

mod app;
mod echo;
mod files;
mod guide;
mod people;
mod site;

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use aws_lc_rs::rand;
use files::{Addresses, listen};
use guide::Guide;
use people::Signer;
use site::{Site, Sites};

use crate::config::{Environment, ProcessEnvironment};
use crate::secret::Secret;

/// Ports to try first.
const HTTPS: u16 = 8443;
const ADMIN: u16 = 9090;
const APP: u16 = 8000;
const PAGE: u16 = 3000;

/// Runs the demo until it is told to stop. Exit 0 then; 1 when it cannot start.
pub(super) fn run(out: &mut dyn Write, err: &mut dyn Write) -> ExitCode {
    match start() {
        Ok((stage, file)) => {
            for (name, _) in ProcessEnvironment.overrides() {
                super::complain(err, &format_args!("{name} is set and changes the demo"));
            }
            let program = std::env::current_exe();
            let guide = Guide {
                program: program.as_deref().unwrap_or(Path::new("portcullis")),
                addresses: &stage.addresses,
                folder: stage.folder.path(),
            };
            let text = guide.to_string();
            let run = super::run::Run {
                file: &file,
                again: None,
            };
            super::run::run(run, err, &mut || {
                // Whoever closed stdout does not want to read it.
                let _unread = out.write_all(text.as_bytes()).and_then(|()| out.flush());
            })
        }
        Err(error) => {
            super::complain(err, &format_args!("the demo cannot start: {error}"));
            ExitCode::FAILURE
        }
    }
}

/// What stands around the gateway. Dropping it stops the sites and removes the folder.
struct Stage {
    addresses: Addresses,
    _sites: Sites,
    folder: tempfile::TempDir,
}

fn start() -> io::Result<(Stage, PathBuf)> {
    let folder = tempfile::Builder::new()
        .prefix("portcullis-demo-")
        .tempdir()?;
    let (app, page) = (listen(APP)?, listen(PAGE)?);
    // The gateway binds these two itself; they are held until all four are known, so that they differ.
    let (https, admin) = (listen(HTTPS)?, listen(ADMIN)?);
    let addresses = Addresses {
        https: https.local_addr()?,
        admin: admin.local_addr()?,
        app: app.local_addr()?,
        page: page.local_addr()?,
    };
    drop((https, admin));
    let secret = random_secret()?;
    let file = files::write(folder.path(), &addresses, &secret)?;
    let html = include_str!("page.html").replace("@GATEWAY@", &addresses.gateway());
    let sites = Sites::start(vec![
        (app, Site::App(app::App::new(Signer::new(secret)))),
        (page, Site::Page(html)),
    ])?;
    let stage = Stage {
        addresses,
        _sites: sites,
        folder,
    };
    Ok((stage, file))
}

/// A fresh secret of 32 random bytes, as hex digits.
fn random_secret() -> io::Result<Secret<String>> {
    use std::fmt::Write as _;
    let mut bytes = [0; 32];
    rand::fill(&mut bytes).map_err(|_unspecified| io::Error::other("no random bytes"))?;
    let mut text = String::with_capacity(64);
    for byte in bytes {
        let _always_fits = write!(text, "{byte:02x}");
    }
    Ok(Secret::new(text))
}
