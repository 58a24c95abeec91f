//! The two threads of the file: one writes, many changes in one durable step, one reads.
//!
//! A change is answered when the step that holds it is on the disk. Reads see the last finished
//! step and wait for no write. Where the disk failed, the library takes no more: the file is then
//! closed and opened anew for the next change.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::thread;

use redb::{Database, ReadTransaction, ReadableDatabase};
use tokio::sync::{mpsc, oneshot};

use super::super::super::desk::chain;
use super::file::{self, Lock, Unusable, damaged};
use super::tables::{Fault, Tables};
use crate::auth::ports::StoreError;

/// Changes in one durable step at most.
const MOST_TOGETHER: usize = 512;
/// Changes, and reads, that wait at most.
const MOST_WAITING: usize = 1024;

/// Tells whoever waits that the change is on the disk, or why it is not.
type Answer = Box<dyn FnOnce(Result<(), StoreError>) + Send>;
type Write = Box<dyn FnOnce(&mut Tables<'_>) -> (Answer, Option<Fault>) + Send>;
type Read = Box<dyn FnOnce(Result<&ReadTransaction, Fault>) + Send>;

/// The file with its threads, which end when this is dropped.
#[derive(Debug)]
pub(super) struct Threads {
    writes: mpsc::Sender<Write>,
    reads: mpsc::Sender<Read>,
    shown: Arc<str>,
}

/// The file, where it is open.
#[derive(Debug)]
struct Shared {
    path: PathBuf,
    shown: Arc<str>,
    database: RwLock<Option<Database>>,
    /// Freed when both threads have ended and the file is closed.
    _lock: Lock,
}

impl Threads {
    /// Opens the file and starts the threads. Takes as long as reading the file does.
    pub(super) fn start(path: &Path, shown: &Arc<str>) -> Result<Self, Unusable> {
        file::make_folder(path)?;
        let lock = Lock::take(path)?;
        let at = path.to_owned();
        // Should the library stop its thread over a damaged file, it is told like other damage.
        let opening = spawn("portcullis-open", move || file::open(&at)).map_err(starting(path))?;
        let database = opening
            .join()
            .unwrap_or_else(|_| Err(damaged(path, "it cannot be read")))?;
        let shared = Arc::new(Shared {
            path: path.to_owned(),
            shown: Arc::clone(shown),
            database: RwLock::new(Some(database)),
            _lock: lock,
        });
        let (writes, written) = mpsc::channel(MOST_WAITING);
        let (reads, read) = mpsc::channel(MOST_WAITING);
        let (for_writes, for_reads) = (Arc::clone(&shared), shared);
        spawn("portcullis-write", move || for_writes.write(written)).map_err(starting(path))?;
        spawn("portcullis-read", move || for_reads.read(read)).map_err(starting(path))?;
        Ok(Self {
            writes,
            reads,
            shown: Arc::clone(shown),
        })
    }

    /// Makes a change; `then` is called when it is on the disk, in the order of the changes.
    pub(super) async fn write<T: Send + 'static>(
        &self,
        change: impl FnOnce(&mut Tables<'_>) -> Result<T, Fault> + Send + 'static,
        then: impl FnOnce(&T) + Send + 'static,
    ) -> Result<T, StoreError> {
        let (tell, told) = oneshot::channel();
        let shown = Arc::clone(&self.shown);
        let write: Write = Box::new(move |tables| match change(tables) {
            Ok(value) => {
                let answer: Answer = Box::new(move |outcome| {
                    if outcome.is_ok() {
                        then(&value);
                    }
                    // Nobody may wait any more.
                    let _ = tell.send(outcome.map(|()| value));
                });
                (answer, None)
            }
            Err(fault) => {
                let failed = told_of(&shown, &fault);
                let answer: Answer = Box::new(move |outcome| {
                    let _ = tell.send(Err(outcome.err().unwrap_or(failed)));
                });
                // Bytes that do not read are this change's own affair.
                let stops = matches!(fault, Fault::File(_));
                (answer, stops.then_some(fault))
            }
        });
        if self.writes.try_send(write).is_err() {
            return Err(self.busy());
        }
        told.await.unwrap_or_else(|_| Err(stopped(&self.shown)))
    }

    /// Reads the last finished step.
    pub(super) async fn read<T: Send + 'static>(
        &self,
        look: impl FnOnce(&ReadTransaction) -> Result<T, Fault> + Send + 'static,
    ) -> Result<T, StoreError> {
        let (tell, told) = oneshot::channel();
        let shown = Arc::clone(&self.shown);
        let read: Read = Box::new(move |transaction| {
            let outcome = transaction.and_then(look);
            let _ = tell.send(outcome.map_err(|fault| told_of(&shown, &fault)));
        });
        if self.reads.try_send(read).is_err() {
            return Err(self.busy());
        }
        told.await.unwrap_or_else(|_| Err(stopped(&self.shown)))
    }

    fn busy(&self) -> StoreError {
        StoreError::Busy {
            store: Arc::clone(&self.shown),
        }
    }
}

impl Shared {
    fn write(&self, mut written: mpsc::Receiver<Write>) {
        let mut together = Vec::with_capacity(MOST_TOGETHER);
        while written.blocking_recv_many(&mut together, MOST_TOGETHER) > 0 {
            self.step(&mut together);
        }
    }

    /// All waiting changes in one step: all are kept, or none.
    fn step(&self, together: &mut Vec<Write>) {
        let mut answers = Vec::with_capacity(together.len());
        let outcome = self.attempt(together, &mut answers);
        if let Err(told) = &outcome {
            tracing::error!(store = &*self.shown, problem = chain(told), "not written");
            self.close();
            // So that reads go on, as on a disk that is full; where it fails, the next change tries.
            let _ = self.reopen();
        }
        for answer in answers {
            answer(outcome.clone());
        }
        // Those that were not begun hear that there was no answer.
        together.clear();
    }

    fn attempt(
        &self,
        together: &mut Vec<Write>,
        answers: &mut Vec<Answer>,
    ) -> Result<(), StoreError> {
        self.reopen()?;
        let database = self.database.read().unwrap_or_else(PoisonError::into_inner);
        let Some(database) = database.as_ref() else {
            return Err(stopped(&self.shown));
        };
        let failed = |fault: Fault| told_of(&self.shown, &fault);
        let transaction = database
            .begin_write()
            .map_err(|error| failed(error.into()))?;
        let mut tables = Tables::open(&transaction).map_err(failed)?;
        for change in together.drain(..) {
            let (answer, fault) = change(&mut tables);
            answers.push(answer);
            if let Some(fault) = fault {
                return Err(failed(fault));
            }
        }
        drop(tables);
        // Durable when it returns: that is the library's default.
        transaction.commit().map_err(|error| failed(error.into()))
    }

    /// Opens the file anew after a failure.
    fn reopen(&self) -> Result<(), StoreError> {
        let mut database = self
            .database
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        if database.is_none() {
            let opened = file::open(&self.path);
            *database = Some(opened.map_err(|error| unreachable(&self.shown, Arc::new(error)))?);
        }
        Ok(())
    }

    fn close(&self) {
        let mut database = self
            .database
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        *database = None;
    }

    fn read(&self, mut reads: mpsc::Receiver<Read>) {
        while let Some(read) = reads.blocking_recv() {
            let database = self.database.read().unwrap_or_else(PoisonError::into_inner);
            match database.as_ref().map(ReadableDatabase::begin_read) {
                Some(Ok(transaction)) => read(Ok(&transaction)),
                Some(Err(error)) => read(Err(error.into())),
                None => {}
            }
        }
    }
}

/// Starts a thread with a name.
fn spawn<T: Send + 'static>(
    name: &str,
    work: impl FnOnce() -> T + Send + 'static,
) -> io::Result<thread::JoinHandle<T>> {
    thread::Builder::new().name(name.to_owned()).spawn(work)
}

fn starting(path: &Path) -> impl FnOnce(io::Error) -> Unusable {
    let path = path.to_owned();
    move |cause| Unusable::File {
        path,
        what: "served by a thread",
        cause,
    }
}

#[derive(Debug, thiserror::Error)]
enum Failed {
    #[error("{0}")]
    Words(String),
    #[error("the file is not written any more")]
    Stopped,
}

/// What those who wait are told of a fault.
fn told_of(shown: &Arc<str>, fault: &Fault) -> StoreError {
    match fault {
        Fault::File(error) => unreachable(shown, Arc::new(Failed::Words(error.to_string()))),
        Fault::Damaged(damaged) => StoreError::Unreadable {
            store: Arc::clone(shown),
            what: damaged.to_string().into(),
        },
    }
}

fn stopped(shown: &Arc<str>) -> StoreError {
    unreachable(shown, Arc::new(Failed::Stopped))
}

fn unreachable(shown: &Arc<str>, cause: Arc<dyn std::error::Error + Send + Sync>) -> StoreError {
    StoreError::Unreachable {
        store: Arc::clone(shown),
        cause,
    }
}
