//! Sessions in a folder of files: Django's file backend, and cachelib's `FileSystemCache` under
//! Flask-Session.
//!
//! The name of a file is a checked key or a hash, so that no cookie leads out of the folder. What is
//! no plain file (a link, a pipe, a folder) is not opened, and what is too long is not read. Files are
//! read on threads that may block, in bounded time.

use std::fmt::Write as _;
use std::fs::{self, File, Metadata};
use std::io::{self, Read as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use md5::{Digest as _, Md5};

use super::desk::Counter;
use super::engine::Engine;
use super::fault::unreadable;
use super::sessions::MOST_BYTES;
use crate::auth::ports::{Expiry, StoreError, StoredSession};
use crate::clock::Timestamp;
use crate::config::settings::FileNames;

/// Files that are listed to find the newest of them.
const MOST_LISTED: usize = 2_000;

/// A folder of sessions.
#[derive(Debug)]
pub(super) struct Files {
    pub(super) counter: Arc<Counter>,
    folder: Arc<Path>,
    form: Form,
}

/// Who writes the files.
#[derive(Clone, Debug)]
enum Form {
    /// `SESSION_COOKIE_NAME` and the key; the session's text. It ends so long after the last change.
    Django {
        prefix: Box<str>,
        lifetime: Duration,
    },
    /// A hash of the prefix and the id; four bytes of the end, then a pickle.
    Cachelib { prefix: Box<str>, names: FileNames },
}

/// Why a file cannot be taken.
#[derive(Debug, PartialEq, Eq)]
enum Fault {
    Unreadable(&'static str),
    Io(io::ErrorKind),
}

impl From<io::Error> for Fault {
    fn from(error: io::Error) -> Self {
        Self::Io(error.kind())
    }
}

impl Files {
    /// Of Django: `SESSION_FILE_PATH`, `SESSION_COOKIE_NAME` and `SESSION_COOKIE_AGE`.
    pub(super) fn of_django(
        folder: &Path,
        cookie: &str,
        lifetime: Duration,
        engine: &Arc<Engine>,
    ) -> Self {
        let prefix = cookie.into();
        Self::new(folder, Form::Django { prefix, lifetime }, engine)
    }

    /// Of cachelib: `SESSION_FILE_DIR` and `SESSION_KEY_PREFIX`.
    pub(super) fn of_cachelib(
        folder: &Path,
        prefix: &str,
        names: FileNames,
        engine: &Arc<Engine>,
    ) -> Self {
        let prefix = prefix.into();
        Self::new(folder, Form::Cachelib { prefix, names }, engine)
    }

    fn new(folder: &Path, form: Form, engine: &Arc<Engine>) -> Self {
        let shown = format!("the folder {}", folder.display());
        Self {
            counter: Arc::new(Counter::new(shown.into(), Arc::clone(engine))),
            folder: folder.into(),
            form,
        }
    }

    /// Fetches one session.
    pub(super) async fn load(&self, key: &str) -> Result<Option<StoredSession>, StoreError> {
        let Some(name) = self.form.name(key) else {
            return Ok(None);
        };
        let (folder, path) = (Arc::clone(&self.folder), self.folder.join(name));
        let form = self.form.clone();
        let read = self.counter.engine().read(move || {
            let found = contents(&path)?;
            if found.is_none() {
                // A folder that is gone is no folder without sessions.
                fs::metadata(&folder)?;
            }
            found
                .map(|(file, bytes)| form.session(&file, bytes))
                .transpose()
        });
        let read = read.await.unwrap_or(Err(Fault::Io(io::ErrorKind::Other)));
        read.map_err(|fault| match fault {
            Fault::Unreadable(what) => unreadable(&self.counter.shown, what),
            Fault::Io(kind) => StoreError::Unreachable {
                store: Arc::clone(&self.counter.shown),
                cause: Arc::new(io::Error::from(kind)),
            },
        })
    }

    /// The text of some sessions, the last written first; `None` where the files do not tell a
    /// session by their names, or the folder cannot be listed.
    pub(super) async fn newest(&self, most: usize) -> Option<Vec<Vec<u8>>> {
        let Form::Django { prefix, .. } = &self.form else {
            return None;
        };
        let (folder, prefix) = (Arc::clone(&self.folder), prefix.clone());
        let engine = self.counter.engine();
        let listed = engine.read(move || keys(&folder, &prefix, most)).await;
        let mut found = Vec::new();
        for key in listed?.ok()? {
            if let Ok(Some(session)) = self.load(&key).await {
                found.push(session.data);
            }
        }
        Some(found)
    }
}

/// Keys of the files that were written last, of the first so many that the folder lists.
fn keys(folder: &Path, prefix: &str, most: usize) -> io::Result<Vec<String>> {
    let mut dated = Vec::new();
    for entry in fs::read_dir(folder)?.take(MOST_LISTED) {
        let entry = entry?;
        let name = entry.file_name();
        let key = name.to_str().and_then(|name| name.strip_prefix(prefix));
        if let (Some(key), Ok(about)) = (key, entry.metadata()) {
            dated.push((about.mtime(), key.to_owned()));
        }
    }
    dated.sort_unstable_by(|one, other| other.cmp(one));
    dated.truncate(most);
    Ok(dated.into_iter().map(|(_, key)| key).collect())
}

impl Form {
    /// The name of a session's file; `None` for a key that no file can have.
    fn name(&self, key: &str) -> Option<PathBuf> {
        match self {
            Self::Django { prefix, .. } => {
                // `VALID_KEY_CHARS` of Django.
                let valid = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
                let fits = (8..=128).contains(&key.len()) && key.bytes().all(valid);
                fits.then(|| format!("{prefix}{key}").into())
            }
            Self::Cachelib { prefix, names } => {
                let key = format!("{prefix}{key}");
                Some(match names {
                    FileNames::Sha256 => hex(digest(&SHA256, key.as_bytes()).as_ref()),
                    FileNames::Md5 => hex(&Md5::digest(key.as_bytes())),
                })
            }
        }
    }

    fn session(&self, file: &Metadata, bytes: Vec<u8>) -> Result<StoredSession, Fault> {
        let (data, expiry) = match self {
            Self::Django { lifetime, .. } => (bytes, aged(file, *lifetime)),
            Self::Cachelib { .. } => parted(&bytes)?,
        };
        Ok(StoredSession {
            data,
            expiry,
            cached: false,
        })
    }
}

/// The end of a file of Django, which is so old at most.
fn aged(file: &Metadata, lifetime: Duration) -> Expiry {
    let micros = file.mtime().saturating_mul(1_000_000);
    let changed = Timestamp::from_unix_micros(micros.saturating_add(file.mtime_nsec() / 1_000));
    Expiry::At(changed.saturating_add(lifetime))
}

/// cachelib's file: a native number of seconds, of which none is for ever, then the session. One
/// that ends in this very moment still holds (`cachelib/file.py: get`).
fn parted(bytes: &[u8]) -> Result<(Vec<u8>, Expiry), Fault> {
    let parts = bytes.split_first_chunk::<4>();
    let (end, data) = parts.ok_or(Fault::Unreadable("a file of less than four bytes"))?;
    let expiry = match u32::from_ne_bytes(*end) {
        0 => Expiry::ByStore,
        end => {
            let last = Timestamp::from_unix_seconds(i64::from(end));
            Expiry::At(last.saturating_add(Duration::from_micros(1)))
        }
    };
    Ok((data.to_vec(), expiry))
}

/// A plain file's state and bytes; `None` where there is none of that name.
fn contents(path: &Path) -> Result<Option<(Metadata, Vec<u8>)>, Fault> {
    /// How often a file may be put in the place of another while it is being opened.
    const TRIES: usize = 3;
    for _ in 0..TRIES {
        let opened = match open_plain(path) {
            Err(Fault::Io(io::ErrorKind::NotFound)) => return Ok(None),
            opened => opened?,
        };
        if let Some((file, state)) = opened {
            return Ok(Some((state, read(file)?)));
        }
    }
    Err(Fault::Unreadable("a file that is another at every look"))
}

/// Opens a plain file; `None` where what was opened is not what was seen to be one.
fn open_plain(path: &Path) -> Result<Option<(File, Metadata)>, Fault> {
    let seen = fs::symlink_metadata(path)?;
    if !seen.is_file() {
        return Err(Fault::Unreadable("a session that is no plain file"));
    }
    let file = File::open(path)?;
    let opened = file.metadata()?;
    let same = opened.dev() == seen.dev() && opened.ino() == seen.ino();
    Ok(same.then_some((file, opened)))
}

fn read(file: File) -> Result<Vec<u8>, Fault> {
    let mut bytes = Vec::new();
    let most = MOST_BYTES as u64 + 1;
    file.take(most).read_to_end(&mut bytes)?;
    if bytes.len() > MOST_BYTES {
        return Err(Fault::Unreadable("a payload of more than 1 MiB"));
    }
    Ok(bytes)
}

fn hex(bytes: &[u8]) -> PathBuf {
    let text = bytes
        .iter()
        .fold(String::with_capacity(64), |mut text, byte| {
            // Writing into a string cannot fail.
            let _ = write!(text, "{byte:02x}");
            text
        });
    text.into()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn forms() -> [Form; 3] {
        let lifetime = Duration::from_mins(1);
        let prefix: Box<str> = "sid".into();
        let cachelib = |names| Form::Cachelib {
            prefix: "session:".into(),
            names,
        };
        [
            Form::Django { prefix, lifetime },
            cachelib(FileNames::Sha256),
            cachelib(FileNames::Md5),
        ]
    }

    proptest! {
        #[test]
        fn no_key_leads_out_of_the_folder(key in "\\PC{0,40}|[./a-z0-9\\x00]{0,40}") {
            let folder = Path::new("/folder");
            for form in forms() {
                if let Some(name) = form.name(&key) {
                    let path = folder.join(&name);
                    prop_assert_eq!(path.parent(), Some(folder));
                    prop_assert!(name.components().count() == 1 && name.to_str().is_some());
                }
            }
        }

        #[test]
        fn any_bytes_of_a_file_get_an_answer(bytes in prop::collection::vec(any::<u8>(), 0..12)) {
            prop_assert_eq!(parted(&bytes).is_ok(), bytes.len() >= 4);
        }
    }

    #[test]
    fn a_key_that_django_would_not_look_up_has_no_file() {
        let [django, ..] = forms();
        for key in ["ABCDEFGH", "short", "../../../etc/passwd", "abcdefg\0", ""] {
            assert_eq!(django.name(key), None, "{key:?}");
        }
        assert_eq!(django.name("abcdefgh"), Some("sidabcdefgh".into()));
    }
}
