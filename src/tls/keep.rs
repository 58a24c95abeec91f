//! Writes what the gateway keeps for itself: certificates and keys that it made or was given.
//!
//! Whole or not at all, on the disk before it counts, and readable by nobody else from the moment
//! it exists.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use super::error::FileError;

/// Makes the folder, for its owner alone. Whether it was not there before: a new one is kept out of
/// version control, one that the operator made is their own.
pub(super) fn make_folder(folder: &Path) -> Result<bool, FileError> {
    if folder.is_dir() {
        return Ok(false);
    }
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::DirBuilderExt;
        builder.mode(0o700);
    }
    let made = builder.create(folder);
    made.map_err(|source| unwritable(folder, source))?;
    Ok(true)
}

/// Waits for the folder's lock. Held until dropped, or the process ends.
pub(super) fn lock(folder: &Path) -> Result<File, FileError> {
    let (path, file) = lock_file(folder)?;
    file.lock().map_err(|source| unwritable(&path, source))?;
    Ok(file)
}

/// The same without waiting; `None` where another process has it.
pub(super) fn try_lock(folder: &Path) -> Result<Option<File>, FileError> {
    let (path, file) = lock_file(folder)?;
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(source)) => Err(unwritable(&path, source)),
    }
}

fn lock_file(folder: &Path) -> Result<(PathBuf, File), FileError> {
    let path = folder.join(".portcullis.lock");
    let opened = options(0o600).create(true).open(&path);
    let file = opened.map_err(|source| unwritable(&path, source))?;
    Ok((path, file))
}

/// Writes a file whole: beside its place first, then renamed into it.
pub(super) fn write(path: &Path, content: &str, mode: u32) -> Result<(), FileError> {
    let beside = PathBuf::from(format!("{}.new", path.display()));
    let written = (|| {
        match fs::remove_file(&beside) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
        let mut file = options(mode).create_new(true).open(&beside)?;
        file.write_all(content.as_bytes())?;
        file.sync_all()?;
        fs::rename(&beside, path)?;
        // The name is on the disk only when its folder is.
        path.parent().map_or(Ok(()), sync_folder)
    })();
    written.map_err(|source| unwritable(path, source))
}

#[cfg(unix)]
fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

#[cfg(not(unix))]
fn sync_folder(_folder: &Path) -> io::Result<()> {
    Ok(())
}

fn options(mode: u32) -> OpenOptions {
    let mut options = OpenOptions::new();
    options.write(true).truncate(false);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt;
        options.mode(mode);
    }
    #[cfg(not(unix))]
    let _ = mode;
    options
}

/// Takes a key from everyone but its owner.
#[cfg(unix)]
pub(super) fn tighten(key: &Path) -> Result<(), FileError> {
    use std::os::unix::fs::PermissionsExt;
    let failed = |source| unwritable(key, source);
    let mode = fs::metadata(key).map_err(failed)?.permissions().mode();
    let others = mode & 0o077;
    if others == 0 {
        return Ok(());
    }
    fs::set_permissions(key, fs::Permissions::from_mode(0o600)).map_err(failed)
}

#[cfg(not(unix))]
pub(super) fn tighten(_key: &Path) -> Result<(), FileError> {
    Ok(())
}

pub(super) fn unwritable(path: &Path, source: io::Error) -> FileError {
    FileError::Unwritable {
        path: path.to_owned(),
        source,
    }
}
