//! The process that takes over from this one, from its start until it is ready.
//!
//! It is the same program with the same arguments, directory and environment. It gets its end of
//! the channel as standard input, so that nothing has to be done between fork and exec, and the
//! listening sockets through it. This process goes on as if nothing happened until the next one is
//! ready, and for good where it never is.

use std::ffi::OsString;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinHandle;

use super::channel::{self, Word};
use super::heir::FROM;
use crate::config::{Environment, ProcessEnvironment};
use crate::server::{Door, handover};

/// How long the next process may take until it is ready.
pub(super) const READY_WITHIN: Duration = Duration::from_secs(30);

/// What the service manager told this process and no other.
const NOT_HANDED_ON: [&str; 4] = ["LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES", "WATCHDOG_PID"];

/// How this process was started.
#[derive(Clone, Debug)]
pub(in crate::cli) struct Again {
    program: PathBuf,
    arguments: Vec<OsString>,
}

impl Again {
    /// From the arguments of this process, its own name first. The name is looked up now: what
    /// stands there later is the next version.
    pub(in crate::cli) fn of(arguments: &[OsString]) -> io::Result<Self> {
        let (name, rest) = match arguments.split_first() {
            Some((name, rest)) => (Path::new(name), rest.to_vec()),
            None => (Path::new(""), Vec::new()),
        };
        let program = if name.components().count() > 1 {
            std::path::absolute(name)?
        } else {
            on_path(name).map_or_else(std::env::current_exe, Ok)?
        };
        Ok(Self {
            program,
            arguments: rest,
        })
    }
}

fn on_path(name: &Path) -> Option<PathBuf> {
    let path = ProcessEnvironment.variable("PATH")?;
    let mut candidates = std::env::split_paths(&path).map(|folder| folder.join(name));
    candidates.find(|file| {
        (file.metadata())
            .is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0)
    })
}

/// Why the next process does not take over.
#[derive(Debug, thiserror::Error)]
pub(super) enum NotTaken {
    #[error("{program} cannot be started: {cause}")]
    NotStarted { program: String, cause: io::Error },
    #[error("it says: {0}")]
    Failed(String),
    #[error("it ended before it was ready ({0}); its own lines say why")]
    Ended(String),
    #[error("it was not ready within {READY_WITHIN:?} and was ended")]
    Late,
    #[error("talking to it failed: {0}")]
    Broken(#[from] io::Error),
}

/// A next process that is on its way.
#[derive(Debug)]
pub(super) struct Successor {
    channel: Arc<UnixStream>,
    waits: JoinHandle<Result<Ready, NotTaken>>,
}

/// A next process that is ready and waits to be told.
#[derive(Debug)]
pub(super) struct Ready {
    channel: Arc<UnixStream>,
    child: Child,
}

impl Successor {
    /// Starts the next process, which gets copies of `doors`.
    pub(super) fn start(again: &Again, doors: Arc<Vec<(Door, OwnedFd)>>) -> Result<Self, NotTaken> {
        let (ours, theirs) = UnixStream::pair()?;
        channel::bound(&ours, READY_WITHIN)?;
        let mut command = Command::new(&again.program);
        command
            .args(&again.arguments)
            .env(FROM, std::process::id().to_string())
            .stdin(OwnedFd::from(theirs));
        for name in NOT_HANDED_ON {
            command.env_remove(name);
        }
        let child = command.spawn().map_err(|cause| NotTaken::NotStarted {
            program: again.program.display().to_string(),
            cause,
        })?;
        // It holds the other end too, which has to be the next process's alone.
        drop(command);
        let channel = Arc::new(ours);
        let talks = Arc::clone(&channel);
        let waits = tokio::task::spawn_blocking(move || await_ready(talks, child, &doors));
        Ok(Self { channel, waits })
    }

    /// Waits until the next process is ready or will not be.
    pub(super) async fn ready(&mut self) -> Result<Ready, NotTaken> {
        let waited = (&mut self.waits).await;
        waited.unwrap_or_else(|broken| Err(io::Error::other(broken).into()))
    }

    /// Does without it: it ends when it hears nothing more.
    pub(super) fn give_up(&self) {
        // Fails where the other side has ended.
        let _ = self.channel.shutdown(std::net::Shutdown::Both);
    }
}

fn await_ready(
    channel: Arc<UnixStream>,
    mut child: Child,
    doors: &[(Door, OwnedFd)],
) -> Result<Ready, NotTaken> {
    let said = handover::give(&channel, doors).and_then(|()| channel::listen(&channel));
    let failed = match said {
        Ok(Word::Ready) => return Ok(Ready { channel, child }),
        Ok(Word::Failed(why)) => NotTaken::Failed(why),
        Ok(Word::Gone) => NotTaken::Ended(end_of(&mut child)?),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => NotTaken::Late,
        // It ended and left what was sent unread: at once, or as a version that takes nothing over.
        Err(error) if is_of_an_end(&error) => NotTaken::Ended(end_of(&mut child)?),
        Err(error) => error.into(),
    };
    // Fails where it has ended, and then there is nothing to end.
    let _ = child.kill();
    let _ = child.wait();
    Err(failed)
}

fn is_of_an_end(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset
    )
}

/// How it ended. It has closed its end, so that it ends by itself or is ended now.
fn end_of(child: &mut Child) -> io::Result<String> {
    for _ in 0..100 {
        if let Some(status) = child.try_wait()? {
            return Ok(status.to_string());
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    child.kill()?;
    Ok(child.wait()?.to_string())
}

impl Ready {
    /// Its number.
    pub(super) fn process(&self) -> u32 {
        self.child.id()
    }

    /// Tells it that it is the gateway now.
    ///
    /// # Errors
    ///
    /// Where it has ended meanwhile; then it is not.
    pub(super) fn go(mut self) -> Result<(), NotTaken> {
        match channel::go(&self.channel) {
            Ok(()) => Ok(()),
            Err(_) => Err(NotTaken::Ended(end_of(&mut self.child)?)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_program_is_looked_up_as_the_shell_looked_up_this_one() {
        let of = |name: &str| Again::of(&[name.into(), "run".into()]).unwrap();
        assert_eq!(of("/opt/portcullis").program, Path::new("/opt/portcullis"));
        assert!(of("bin/portcullis").program.ends_with("bin/portcullis"));
        assert!(of("bin/portcullis").program.is_absolute());
        assert!(of("sh").program.ends_with("sh") && of("sh").program.is_absolute());
        let own = std::env::current_exe().unwrap();
        assert_eq!(of("no-such-program-anywhere").program, own);
        assert_eq!(of("sh").arguments, ["run"]);
    }
}
