//! Whether this user may write what the gateway makes and writes itself.
//!
//! Nothing is written to find out: the rights of what is there are asked for.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::{Access, access};

use crate::config::settings::{LedgerHome, Settings};

/// A place that the gateway writes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Written {
    /// The key that names it.
    key: &'static str,
    path: PathBuf,
    /// Whether files are made in it, or it is one.
    is_folder: bool,
}

/// Why a place cannot be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Unwritable {
    /// The key that names it, and the path.
    pub(super) about: String,
    /// What stands in the way.
    pub(super) why: String,
}

impl fmt::Display for Unwritable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} cannot be written by this user: {}; the gateway's user must be able to",
            self.about, self.why
        )
    }
}

/// All places that a configuration has written.
pub(super) fn places(settings: &Settings) -> Vec<Written> {
    let file = |key, path: &Path| Written {
        key,
        path: path.to_owned(),
        is_folder: false,
    };
    let folder = |key, path: &Path| Written {
        is_folder: true,
        ..file(key, path)
    };
    let mut places = Vec::new();
    if let Some(LedgerHome::File(path)) = settings.sessions.as_ref().map(|one| &one.home) {
        places.push(file("[session] path", path));
    }
    if let Some(acme) = &settings.tls.acme {
        places.push(folder("[tls.acme] cache", &acme.cache));
    }
    if let Some(development) = &settings.tls.development {
        places.push(folder("[tls] development", &development.folder));
    }
    // One that is there is only read.
    let assertion = settings.assertion.iter().map(|one| &one.key);
    let missing = assertion.filter(|key| !key.exists());
    places.extend(missing.map(|key| file("[identity] assertion", key)));
    places
}

/// Those of the places that cannot be written. Blocks on files.
pub(super) fn unwritable(places: &[Written]) -> Vec<Unwritable> {
    let problems = places.iter().filter_map(|place| {
        Some(Unwritable {
            why: problem(place).err()?,
            about: format!("{} {}", place.key, place.path.display()),
        })
    });
    problems.collect()
}

fn problem(place: &Written) -> Result<(), String> {
    let Written {
        path, is_folder, ..
    } = place;
    if *is_folder {
        return folder(path);
    }
    if path.exists() {
        if !path.is_file() {
            return Err(format!("{} is no file", path.display()));
        }
        may(path, Access::READ_OK | Access::WRITE_OK)?;
    }
    // Beside it a lock is kept, and a new file is made before it takes its name.
    folder(match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        Some(_) | None => Path::new("."),
    })
}

/// Whether files can be made in a folder, or it can be made itself.
fn folder(path: &Path) -> Result<(), String> {
    let there = path.ancestors().find(|path| path.exists());
    let there = there.unwrap_or(Path::new("."));
    if !there.is_dir() {
        return Err(format!("{} is no folder", there.display()));
    }
    may(there, Access::WRITE_OK | Access::EXEC_OK)
}

fn may(path: &Path, rights: Access) -> Result<(), String> {
    access(path, rights).map_err(|error| format!("{}: {}", path.display(), io::Error::from(error)))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn written(path: &Path, is_folder: bool) -> Written {
        Written {
            key: "[session] path",
            path: path.to_owned(),
            is_folder,
        }
    }

    #[test]
    fn a_file_where_a_folder_belongs_is_told_with_the_key_that_leads_there() {
        for is_folder in [false, true] {
            let path = Path::new("/dev/null/state/portcullis.db");
            let [told] = &unwritable(&[written(path, is_folder)])[..] else {
                panic!("{is_folder}: nothing was told");
            };
            assert_eq!(told.about, "[session] path /dev/null/state/portcullis.db");
            assert_eq!(told.why, "/dev/null is no folder");
        }
    }

    #[test]
    fn a_folder_where_a_file_belongs_is_told() {
        let scratch = tempfile::tempdir().unwrap();
        let inside = problem(&written(scratch.path(), false));
        assert!(inside.unwrap_err().ends_with("is no file"));
    }

    #[test]
    fn a_folder_that_may_not_be_written_is_told() {
        let scratch = tempfile::tempdir().unwrap();
        let folder = scratch.path().join("state");
        fs::create_dir(&folder).unwrap();
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o500)).unwrap();
        // Root may write it all the same.
        let writes = fs::write(folder.join("x"), "").is_ok();
        assert_eq!(problem(&written(&folder, true)).is_ok(), writes);
        assert_eq!(problem(&written(&folder.join("x"), false)).is_ok(), writes);
    }

    #[test]
    fn a_file_that_may_not_be_written_is_told() {
        let scratch = tempfile::tempdir().unwrap();
        let file = scratch.path().join("sessions.db");
        fs::write(&file, "").unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o400)).unwrap();
        // Root may write it all the same.
        let writes = fs::OpenOptions::new().append(true).open(&file).is_ok();
        assert_eq!(problem(&written(&file, false)).is_ok(), writes);
    }
}
