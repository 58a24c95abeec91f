//! The two threads of the file: one writes, many changes in one durable step, one reads.
//!
//! A change is answered when the step that holds it is on the disk. Reads see the last finished
//! step and wait for no write. Where the disk failed, the library takes no more: the file is then
//! closed and opened anew for the next change.
//!
//! Where the process before still has the file, a third thread waits for it and opens it.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock, Weak};
use std::thread;
use std::time::Duration;

use redb::{Database, ReadTransaction, ReadableDatabase};
use tokio::sync::{mpsc, oneshot, watch};

use super::super::super::desk::chain;
use super::super::Opening;
use super::file::{self, Lock, Unusable, damaged};
use super::tables::{Fault, Tables};
use crate::auth::ports::StoreError;

/// Changes in one durable step at most.
const MOST_TOGETHER: usize = 512;
/// Changes, and reads, that wait at most.
const MOST_WAITING: usize = 1024;

/// Between two attempts to get the file from the process before.
const AGAIN: Duration = Duration::from_millis(5);
/// The same where something else than that process stands in the way.
const AGAIN_LATER: Duration = Duration::from_secs(1);

/// Tells whoever waits that the change is on the disk, or why it is not.
type Answer = Box<dyn FnOnce(Result<(), StoreError>) + Send>;
type Write = Box<dyn FnOnce(&mut Tables<'_>) -> (Answer, Option<Fault>) + Send>;
type Read = Box<dyn FnOnce(Result<&ReadTransaction, Fault>) + Send>;

/// The file with its threads, which end when this is dropped.
#[derive(Debug)]
pub(super) struct Threads {
    writes: mpsc::Sender<Write>,
    reads: mpsc::Sender<Read>,
    shared: Arc<Shared>,
    shown: Arc<str>,
}

/// The file, where it is open.
#[derive(Debug)]
struct Shared {
    path: PathBuf,
    shown: Arc<str>,
    database: RwLock<Option<Database>>,
    /// Freed when both threads have ended and the file is closed, or given up.
    lock: Mutex<Option<Lock>>,
    /// Whether the file was left to another process.
    given_up: AtomicBool,
    /// Whether the file was this process's once.
    opened: watch::Sender<bool>,
}

impl Threads {
    /// Opens the file and starts the threads. Takes as long as reading the file does; where the
    /// process that hands over has it, it is opened when that has given it up.
    pub(super) fn start(path: &Path, shown: &Arc<str>, opening: Opening) -> Result<Self, Unusable> {
        file::make_folder(path)?;
        let lock = match Lock::take(path) {
            Ok(lock) => Some(lock),
            Err(held) if held.is_by(opening.predecessor()) => None,
            Err(unusable) => return Err(unusable),
        };
        let database = lock.as_ref().map(|_| read_through(path)).transpose()?;
        let shared = Arc::new(Shared {
            path: path.to_owned(),
            shown: Arc::clone(shown),
            opened: watch::Sender::new(database.is_some()),
            database: RwLock::new(database),
            lock: Mutex::new(lock),
            given_up: AtomicBool::new(false),
        });
        let (writes, written) = mpsc::channel(MOST_WAITING);
        let (reads, read) = mpsc::channel(MOST_WAITING);
        let (for_writes, for_reads) = (Arc::clone(&shared), Arc::clone(&shared));
        spawn("portcullis-write", move || for_writes.write(written)).map_err(starting(path))?;
        spawn("portcullis-read", move || for_reads.read(read)).map_err(starting(path))?;
        if !*shared.opened.borrow() {
            let waits = Arc::downgrade(&shared);
            spawn("portcullis-open", move || open_when_free(&waits)).map_err(starting(path))?;
        }
        Ok(Self {
            writes,
            reads,
            shared,
            shown: Arc::clone(shown),
        })
    }

    /// Waits until the file is this process's; `None` where it was at once.
    pub(super) fn opening(&self) -> Option<impl Future<Output = ()> + Send + use<>> {
        let mut opened = self.shared.opened.subscribe();
        let waits = !*opened.borrow_and_update();
        waits.then_some(async move {
            // The sender is there as long as the threads are.
            let _ = opened.wait_for(|opened| *opened).await;
        })
    }

    /// Closes the file behind the step under way and frees its lock, for good.
    pub(super) fn give_up(&self) {
        let shared = &self.shared;
        let mut database = shared
            .database
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        shared.given_up.store(true, Ordering::Release);
        *database = None;
        *shared.lock.lock().unwrap_or_else(PoisonError::into_inner) = None;
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
        told.await.unwrap_or_else(|_| Err(self.shared.closed()))
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
        told.await.unwrap_or_else(|_| Err(self.shared.closed()))
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
            return Err(self.closed());
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

    /// Why a file that is not open is not.
    fn closed(&self) -> StoreError {
        let why = if self.given_up.load(Ordering::Acquire) {
            Failed::GivenUp
        } else if *self.opened.borrow() {
            Failed::Stopped
        } else {
            Failed::NotYet
        };
        unreachable(&self.shown, Arc::new(why))
    }

    /// Opens the file anew after a failure, or for the first time where it was another's.
    fn reopen(&self) -> Result<(), StoreError> {
        let mut database = self
            .database
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        if database.is_none() {
            if self.given_up.load(Ordering::Acquire) {
                return Err(self.closed());
            }
            let opened = self.locked().and_then(|()| file::open(&self.path));
            *database = Some(opened.map_err(|error| unreachable(&self.shown, Arc::new(error)))?);
            self.opened.send_replace(true);
        }
        Ok(())
    }

    fn locked(&self) -> Result<(), Unusable> {
        let mut lock = self.lock.lock().unwrap_or_else(PoisonError::into_inner);
        if lock.is_none() {
            *lock = Some(Lock::take(&self.path)?);
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

/// Opens the file, on a thread of its own: should the library stop it over a damaged file, it is
/// told like other damage.
fn read_through(path: &Path) -> Result<Database, Unusable> {
    let at = path.to_owned();
    let opening = spawn("portcullis-open", move || file::open(&at)).map_err(starting(path))?;
    let opened = opening.join();
    opened.unwrap_or_else(|_| Err(damaged(path, "it cannot be read")))
}

/// Opens the file when the process before has given it up; ends with whoever has the file.
fn open_when_free(waits: &Weak<Shared>) {
    let mut told = false;
    while let Some(shared) = waits.upgrade() {
        if shared.given_up.load(Ordering::Acquire) {
            return;
        }
        let pause = match shared.locked() {
            Err(Unusable::Held { .. }) => AGAIN,
            Ok(()) | Err(_) => match shared.reopen() {
                Ok(()) => return,
                Err(error) => {
                    if !std::mem::replace(&mut told, true) {
                        tracing::error!(
                            store = &*shared.shown,
                            problem = chain(&error),
                            "not opened"
                        );
                    }
                    AGAIN_LATER
                }
            },
        };
        drop(shared);
        thread::sleep(pause);
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
    #[error("the process before has the file still")]
    NotYet,
    #[error("the file was left to the process that took over")]
    GivenUp,
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

fn unreachable(shown: &Arc<str>, cause: Arc<dyn std::error::Error + Send + Sync>) -> StoreError {
    StoreError::Unreachable {
        store: Arc::clone(shown),
        cause,
    }
}
