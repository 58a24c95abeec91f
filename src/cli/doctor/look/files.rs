//! Looks at the files that the configuration names: whether they can be read and written, and who
//! else can.

use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use super::super::files::{self, Facts};
use super::super::finding::Finding;
use super::super::round::Look;
use super::Scene;
use crate::cli::writable;
use crate::config::settings::LedgerHome;
use crate::tls::Known;

/// All files.
pub(super) fn look(scene: &Scene) -> Look<'_> {
    let mut private: Vec<PathBuf> = Vec::new();
    let tls = Known::of(&scene.settings.tls);
    private.extend(tls.into_iter().map(|known| known.files.key));
    private.extend(scene.settings.assertion.iter().map(|one| one.key.clone()));
    let clients = scene.settings.upstreams.iter();
    private.extend(clients.filter_map(|one| Some(one.tls.client.as_ref()?.key.clone())));
    if let Some(LedgerHome::File(file)) = scene.settings.sessions.as_ref().map(|one| &one.home) {
        private.push(file.clone());
    }
    let named = scene.settings.watched.clone();
    let written = writable::places(&scene.settings);
    Look::new("file.readable", "the files that are named", async move {
        let looked = tokio::task::spawn_blocking(move || {
            let mut found = all(&named, &private);
            let unwritable = writable::unwritable(&written);
            found.extend(files::written(written.len(), &unwritable));
            found
        });
        let looked = looked.await;
        looked.unwrap_or_default()
    })
}

fn all(named: &[PathBuf], private: &[PathBuf]) -> Vec<Finding> {
    let facts: Vec<_> = named.iter().map(|file| facts(file)).collect();
    let secret: Vec<_> = private.iter().map(|file| facts_of_existing(file)).collect();
    files::verdicts(&facts, &secret.into_iter().flatten().collect::<Vec<_>>())
}

/// A file that the gateway makes itself may not be there yet.
fn facts_of_existing(file: &Path) -> Option<Facts> {
    file.exists().then(|| facts(file))
}

fn facts(file: &Path) -> Facts {
    let about = fs::metadata(file);
    let mode = about.as_ref().map_or(0, |about| about.permissions().mode());
    let opened = about.and_then(|about| {
        // A pipe would be waited for.
        if about.is_file() {
            File::open(file).map(drop)
        } else {
            Ok(())
        }
    });
    Facts {
        file: file.to_owned(),
        mode,
        problem: opened.err().map(|error| error.to_string()),
    }
}
