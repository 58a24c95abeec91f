//! The file itself: made whole or not at all, held by one process, read through before it is used.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions, TryLockError};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use redb::backends::FileBackend;
use redb::{Builder, Database, DatabaseError, StorageError};

use super::tables;

/// Memory for pages that were read.
const CACHE_BYTES: usize = 32 * 1024 * 1024;
/// Longest number of a process that is read from the lock.
const MOST_NUMBER: u64 = 20;

/// Why the file cannot be used.
#[derive(Debug, thiserror::Error)]
pub(in crate::store) enum Unusable {
    /// Something of the file system.
    #[error("{} cannot be {what}: {cause}", path.display())]
    File {
        /// Which file or folder.
        path: PathBuf,
        /// What was attempted.
        what: &'static str,
        /// Why not.
        cause: io::Error,
    },
    /// Another process has it.
    #[error(
        "{} is in use by {holder}: one gateway at a time keeps its sessions in a file; stop the \
         other, name another `path`, or share a Redis or PostgreSQL", path.display()
    )]
    Held {
        /// The file.
        path: PathBuf,
        /// Who has it.
        holder: String,
    },
    /// It is not what was written.
    #[error(
        "{} is damaged ({what}): put a copy from before in its place, or move it away to begin \
         without sessions and revocations; everyone has to sign in again then", path.display()
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What was found.
        what: String,
    },
    /// It was written by another version.
    #[error(
        "{} was written by another version of Portcullis (its form is {found}, this one's is \
         {expected}): use that version, or move the file away", path.display()
    )]
    Version {
        /// The file.
        path: PathBuf,
        /// The form that was found.
        found: u64,
        /// The form that this version writes.
        expected: u64,
    },
}

impl Unusable {
    /// Whether this process is what has the file.
    pub(super) fn is_by(&self, process: Option<u32>) -> bool {
        match (self, process) {
            (Self::Held { holder, .. }, Some(process)) => *holder == holder_of(process),
            _ => false,
        }
    }
}

fn holder_of(process: u32) -> String {
    format!("the process {process}")
}

/// Keeps other processes away; free when dropped, and when the process ends in any way.
#[derive(Debug)]
pub(super) struct Lock(#[expect(dead_code, reason = "it is held as long as it is open")] File);

impl Lock {
    /// Takes the lock beside the file.
    pub(super) fn take(path: &Path) -> Result<Self, Unusable> {
        let beside = beside(path, ".lock");
        let failed = |what| failure(&beside, what);
        let mut file = private()
            .truncate(false)
            .open(&beside)
            .map_err(failed("opened"))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut number = String::new();
                // Without the number the message is still true.
                let _ = (&mut file).take(MOST_NUMBER).read_to_string(&mut number);
                let holder = match number.trim().parse::<u32>() {
                    Ok(number) => holder_of(number),
                    Err(_) => "another process".to_owned(),
                };
                let path = path.to_owned();
                return Err(Unusable::Held { path, holder });
            }
            Err(TryLockError::Error(cause)) => return Err(failed("locked")(cause)),
        }
        file.set_len(0).map_err(failed("written"))?;
        let number = std::process::id().to_string();
        file.write_all(number.as_bytes())
            .map_err(failed("written"))?;
        Ok(Self(file))
    }
}

/// Makes the folder where it is not there, for this user alone.
pub(super) fn make_folder(path: &Path) -> Result<(), Unusable> {
    let folder = folder(path);
    let made = DirBuilder::new().recursive(true).mode(0o700).create(folder);
    made.map_err(failure(folder, "made"))
}

/// Opens the file, or makes it. Whoever calls holds the lock. Reads through all of it: a page that
/// is not what was written is told, and never taken for an empty one.
pub(super) fn open(path: &Path) -> Result<Database, Unusable> {
    match fs::metadata(path) {
        Ok(found) if found.len() == 0 => {
            return Err(damaged(path, "it is empty"));
        }
        Ok(found) => {
            if found.permissions().mode() & 0o077 != 0 {
                let private = fs::set_permissions(path, Permissions::from_mode(0o600));
                private.map_err(failure(path, "made private"))?;
            }
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => make(path)?,
        Err(error) => return Err(failure(path, "read")(error)),
    }
    let database = builder().open(path).map_err(|error| told(path, error))?;
    match tables::version(&database) {
        Ok(Some(tables::VERSION)) => Ok(database),
        Ok(Some(found)) => Err(Unusable::Version {
            path: path.to_owned(),
            found,
            expected: tables::VERSION,
        }),
        Ok(None) => Err(damaged(path, "it does not say who wrote it")),
        Err(error) => Err(damaged(path, &error.to_string())),
    }
}

/// Makes the file beside its place and moves it there when it is whole and on the disk.
fn make(path: &Path) -> Result<(), Unusable> {
    let beside = beside(path, ".new");
    let failed = |what| failure(&beside, what);
    let file = private()
        .truncate(true)
        .open(&beside)
        .map_err(failed("made"))?;
    let backend = FileBackend::new(file).map_err(|error| told(&beside, error))?;
    let made = builder().create_with_backend(backend);
    let made = made.map_err(|error| told(&beside, error))?;
    tables::make(&made).map_err(|error| failed("written")(io::Error::other(error)))?;
    drop(made);
    let synced = File::open(&beside).and_then(|file| file.sync_all());
    synced.map_err(failed("written"))?;
    fs::rename(&beside, path).map_err(failure(path, "made"))?;
    let folder = folder(path);
    let synced = File::open(folder).and_then(|folder| folder.sync_all());
    synced.map_err(failure(folder, "written"))
}

fn builder() -> Builder {
    let mut builder = Builder::new();
    builder
        .set_cache_size(CACHE_BYTES)
        .set_check_integrity_on_open(true);
    builder
}

fn private() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).mode(0o600);
    options
}

fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(ending);
    name.into()
}

/// The folder of a file; that of a bare name is where the process runs.
fn folder(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if folder != Path::new("") => folder,
        Some(_) | None => Path::new("."),
    }
}

fn failure(path: &Path, what: &'static str) -> impl FnOnce(io::Error) -> Unusable {
    let path = path.to_owned();
    move |cause| Unusable::File { path, what, cause }
}

pub(super) fn damaged(path: &Path, what: &str) -> Unusable {
    Unusable::Damaged {
        path: path.to_owned(),
        what: what.to_owned(),
    }
}

fn told(path: &Path, error: DatabaseError) -> Unusable {
    if matches!(
        error,
        DatabaseError::DatabaseAlreadyOpen | DatabaseError::LockProtocolMismatch
    ) {
        let (path, holder) = (path.to_owned(), "another process".to_owned());
        return Unusable::Held { path, holder };
    }
    if let DatabaseError::Storage(StorageError::Io(cause)) = error {
        // What is no file of this kind is told so, and a file that is cut short.
        let of_content = [io::ErrorKind::InvalidData, io::ErrorKind::UnexpectedEof];
        if of_content.contains(&cause.kind()) {
            return damaged(path, &cause.to_string());
        }
        return failure(path, "read")(cause);
    }
    damaged(path, &error.to_string())
}
