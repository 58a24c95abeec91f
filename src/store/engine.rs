//! The one thread that stores live on, with a single-threaded runtime.
//!
//! Workers never wait in a database's library: they hand work over and get the answer. The thread
//! ends with the last who holds the engine, within [`PARTING`] twice, and nobody waits for it.

use std::future::Future;
use std::io;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use tokio::runtime::{Builder, Handle};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// How long work that is under way may take to end, and then threads that look up names.
const PARTING: Duration = Duration::from_secs(1);
/// Threads that look up names: a resolver that hangs takes no more than these.
const LOOKUPS: usize = 8;
/// Threads that read files: a disk that hangs takes no more than these, and no name waits for them.
const READS: usize = 8;

/// A running thread with its runtime.
#[derive(Debug)]
pub(super) struct Engine {
    handle: Handle,
    stop: CancellationToken,
    tasks: TaskTracker,
    reads: Arc<Semaphore>,
}

impl Engine {
    /// Starts the thread.
    pub(super) fn start() -> io::Result<Arc<Self>> {
        let runtime = Builder::new_current_thread()
            .enable_all()
            .max_blocking_threads(LOOKUPS + READS)
            .build()?;
        let engine = Self {
            handle: runtime.handle().clone(),
            stop: CancellationToken::new(),
            tasks: TaskTracker::new(),
            reads: Arc::new(Semaphore::new(READS)),
        };
        let (stop, tasks) = (engine.stop.clone(), engine.tasks.clone());
        thread::Builder::new()
            .name("portcullis-store".to_owned())
            .spawn(move || {
                runtime.block_on(async {
                    stop.cancelled().await;
                    tasks.close();
                    // What is left then is dropped with the runtime.
                    let _ = tokio::time::timeout(PARTING, tasks.wait()).await;
                });
                runtime.shutdown_timeout(PARTING);
            })?;
        Ok(Arc::new(engine))
    }

    /// The runtime.
    pub(super) fn handle(&self) -> &Handle {
        &self.handle
    }

    /// Starts work that bounds itself in time. It is dropped when the thread ends.
    pub(super) fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) {
        self.tasks.spawn_on(work, &self.handle);
    }

    /// Reads files on a thread that may block, when one is free; `None` where that broke. Whoever
    /// waits bounds it in time: a read that nobody waits for any more keeps its thread to its end.
    pub(super) async fn read<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Option<T> {
        let turn = Arc::clone(&self.reads).acquire_owned().await.ok()?;
        let read = self.handle.spawn_blocking(move || {
            let _turn = turn;
            work()
        });
        read.await.ok()
    }
}

impl Drop for Engine {
    /// Asks the thread to end. Does not wait for it: the last to hold it may be a worker, or work
    /// on the thread itself.
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::oneshot;

    use super::*;

    #[test]
    fn the_thread_ends_with_its_engine_even_where_work_hangs() {
        let engine = Engine::start().unwrap();
        let (held, gone) = oneshot::channel::<()>();
        engine.spawn(async move {
            let _held = held;
            std::future::pending::<()>().await;
        });
        drop(engine);
        // The hanging work is dropped, and with it the sender.
        assert!(gone.blocking_recv().is_err());
    }

    #[test]
    fn work_that_ends_soon_is_let_end() {
        let engine = Engine::start().unwrap();
        let (tell, told) = oneshot::channel();
        engine.spawn(async move {
            tokio::time::sleep(Duration::from_millis(50)).await;
            let _ = tell.send(7);
        });
        drop(engine);
        assert_eq!(told.blocking_recv().unwrap(), 7);
    }

    #[test]
    fn files_that_hang_hold_up_no_name_and_leave_no_queue() {
        let engine = Engine::start().unwrap();
        let (release, hang) = std::sync::mpsc::channel::<()>();
        let hang = Arc::new(std::sync::Mutex::new(hang));
        let (began, begins) = std::sync::mpsc::channel();
        for _ in 0..100 {
            let (reader, hang, began) = (Arc::clone(&engine), Arc::clone(&hang), began.clone());
            engine.spawn(async move {
                let read = reader.read(move || {
                    began.send(()).unwrap();
                    let _ = hang.lock().map(|hang| hang.recv());
                });
                let _ = tokio::time::timeout(Duration::from_millis(100), read).await;
            });
        }
        drop(began);
        for _ in 0..READS {
            begins.recv().unwrap();
        }
        let (tell, told) = std::sync::mpsc::channel();
        engine.handle().spawn_blocking(move || tell.send(7));
        assert_eq!(told.recv_timeout(Duration::from_secs(5)), Ok(7));
        // Those who waited in vain have left, and nothing of theirs is done later.
        thread::sleep(Duration::from_millis(200));
        drop(release);
        assert_eq!(begins.iter().count(), 0);
    }

    #[test]
    fn the_last_to_hold_an_engine_may_be_its_own_work() {
        let engine = Engine::start().unwrap();
        let (tell, told) = oneshot::channel();
        let inner = Arc::clone(&engine);
        engine.spawn(async move {
            tokio::task::yield_now().await;
            drop(inner);
            let _ = tell.send(());
        });
        drop(engine);
        assert!(told.blocking_recv().is_ok());
    }
}
