//! One question for all who ask the same at the same time.
//!
//! The first to join a key starts the work, the others wait for its outcome. Nobody owns a task:
//! the work is driven by those who wait, goes on while one of them is left, and is dropped with
//! the last. What is remembered is bounded: over the bound each works for itself.

use std::collections::HashMap;
use std::fmt;
use std::future::Future;
use std::hash::Hash;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures_util::FutureExt;
use futures_util::future::{Shared, WeakShared};

/// The outcome of work that others may wait for too.
pub type Joined<V> = Shared<Work<V>>;

type Work<V> = Pin<Box<dyn Future<Output = V> + Send>>;

/// Work under way, by key.
pub struct Flights<K: Eq + Hash, V: Clone> {
    board: Arc<Board<K, V>>,
    most: usize,
}

struct Board<K: Eq + Hash, V: Clone> {
    listed: Mutex<Listed<K, V>>,
}

struct Listed<K: Eq + Hash, V: Clone> {
    flights: HashMap<K, Flight<V>, ahash::RandomState>,
    next: u64,
}

struct Flight<V: Clone> {
    number: u64,
    work: WeakShared<Work<V>>,
}

/// Strikes a flight off the board when its work is done or dropped.
struct Landing<K: Eq + Hash, V: Clone> {
    board: Arc<Board<K, V>>,
    key: K,
    number: u64,
}

impl<K, V> Flights<K, V>
where
    K: Eq + Hash + Clone + Send + 'static,
    V: Clone + Send + Sync + 'static,
{
    /// At most `most` keys are remembered at a time.
    #[must_use]
    pub fn new(most: usize) -> Self {
        Self {
            board: Arc::new(Board {
                listed: Mutex::default(),
            }),
            most,
        }
    }

    /// The outcome of the work under `key`: of what is under way, else of what `start` makes.
    ///
    /// `start` is called when the answer is first waited for, or never. The work is polled by
    /// whoever waits, on any runtime, so it must not hang on the one it was started on.
    pub fn join<F>(&self, key: K, start: impl FnOnce() -> F + Send + 'static) -> Joined<V>
    where
        F: Future<Output = V> + Send + 'static,
    {
        self.boarded(key, async move { start().await }.boxed())
    }

    fn boarded(&self, key: K, work: Work<V>) -> Joined<V> {
        let mut listed = self.board.lock();
        let known = listed.flights.get(&key);
        if let Some(shared) = known.and_then(|flight| flight.work.upgrade()) {
            // A finished one was struck off before anyone could see its outcome.
            return shared;
        }
        if listed.flights.len() >= self.most && !listed.flights.contains_key(&key) {
            return work.shared();
        }
        listed.next += 1;
        let number = listed.next;
        let landing = Landing {
            board: Arc::clone(&self.board),
            key: key.clone(),
            number,
        };
        let work = async move {
            // Kept until the work is done, or dropped with it.
            let _landing = landing;
            work.await
        };
        let shared = work.boxed().shared();
        if let Some(work) = shared.downgrade() {
            listed.flights.insert(key, Flight { number, work });
        }
        shared
    }

    /// How many keys are under way.
    #[must_use]
    pub fn len(&self) -> usize {
        self.board.lock().flights.len()
    }

    /// Whether nothing is under way.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl<K: Eq + Hash, V: Clone> Board<K, V> {
    fn lock(&self) -> MutexGuard<'_, Listed<K, V>> {
        self.listed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<K: Eq + Hash, V: Clone> Default for Listed<K, V> {
    fn default() -> Self {
        Self {
            flights: HashMap::default(),
            next: 0,
        }
    }
}

impl<K: Eq + Hash, V: Clone> Drop for Landing<K, V> {
    fn drop(&mut self) {
        let mut listed = self.board.lock();
        // Another flight may have taken the place of one that all had left.
        let own = listed.flights.get(&self.key);
        if own.is_some_and(|flight| flight.number == self.number) {
            listed.flights.remove(&self.key);
        }
    }
}

impl<K: Eq + Hash, V: Clone> fmt::Debug for Flights<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Flights")
            .field("under_way", &self.board.lock().flights.len())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tokio::sync::oneshot;

    use super::*;

    /// Work that counts its starts and ends when told to.
    fn work(
        starts: &Arc<AtomicUsize>,
    ) -> (
        oneshot::Sender<u8>,
        impl FnOnce() -> Work<Option<u8>> + use<>,
    ) {
        let (tell, told) = oneshot::channel();
        let starts = Arc::clone(starts);
        let start = move || {
            starts.fetch_add(1, Ordering::SeqCst);
            async move { told.await.ok() }.boxed()
        };
        (tell, start)
    }

    #[tokio::test]
    async fn all_who_ask_the_same_wait_for_one_piece_of_work() {
        let flights = Flights::new(8);
        let starts = Arc::default();
        let (tell, start) = work(&starts);
        let (_unused, second) = work(&starts);
        let first = tokio::spawn(flights.join("key", start));
        let other = tokio::spawn(flights.join("key", second));
        tokio::task::yield_now().await;
        tell.send(7).unwrap();
        assert_eq!(first.await.unwrap(), Some(7));
        assert_eq!(other.await.unwrap(), Some(7));
        assert_eq!(starts.load(Ordering::SeqCst), 1);
        assert!(flights.is_empty());
    }

    #[tokio::test]
    async fn who_asks_after_the_end_starts_anew() {
        let flights = Flights::new(8);
        for number in 0..3 {
            assert_eq!(
                flights.join("key", move || async move { number }).await,
                number
            );
            assert!(flights.is_empty());
        }
    }

    #[tokio::test]
    async fn another_key_is_other_work() {
        let flights = Flights::new(8);
        let (one, two) = tokio::join!(
            flights.join("one", || async { 1 }),
            flights.join("two", || async { 2 })
        );
        assert_eq!((one, two), (1, 2));
    }

    #[tokio::test]
    async fn the_work_goes_on_when_the_one_who_started_it_leaves() {
        let flights = Flights::new(8);
        let starts = Arc::default();
        let (tell, start) = work(&starts);
        let mut first = Box::pin(flights.join("key", start));
        assert!(futures_util::poll!(&mut first).is_pending());
        let (_unused, second) = work(&starts);
        let other = tokio::spawn(flights.join("key", second));
        tokio::task::yield_now().await;
        drop(first);
        tell.send(9).unwrap();
        assert_eq!(other.await.unwrap(), Some(9));
        assert_eq!(starts.load(Ordering::SeqCst), 1);
    }

    #[tokio::test]
    async fn the_work_ends_with_the_last_who_waits() {
        let flights = Flights::new(8);
        let starts = Arc::default();
        let (tell, start) = work(&starts);
        let mut first = Box::pin(flights.join("key", start));
        assert!(futures_util::poll!(&mut first).is_pending());
        assert_eq!(flights.len(), 1);
        drop(first);
        assert!(flights.is_empty());
        assert!(tell.is_closed());
        assert_eq!(flights.join("key", || async { Some(1) }).await, Some(1));
    }

    #[tokio::test]
    async fn over_the_bound_each_works_for_itself_and_nothing_more_is_remembered() {
        let flights = Flights::new(2);
        let mut waiting = Vec::new();
        for key in 0..10_u32 {
            waiting.push(Box::pin(flights.join(key, std::future::pending::<u32>)));
        }
        for one in &mut waiting {
            assert!(futures_util::poll!(one).is_pending());
        }
        assert_eq!(flights.len(), 2);
        assert_eq!(flights.join(10, || async { 10 }).await, 10);
        drop(waiting);
        assert!(flights.is_empty());
    }

    #[test]
    fn those_who_wait_may_stand_on_runtimes_of_their_own() {
        let flights = Arc::new(Flights::new(8));
        let starts = Arc::default();
        let (tell, start) = work(&starts);
        let mut starter = Some(start);
        let threads: Vec<_> = (0..4)
            .map(|_| {
                let start = starter.take().unwrap_or_else(|| work(&starts).1);
                let waiting = flights.join("key", start);
                std::thread::spawn(move || {
                    let runtime = tokio::runtime::Builder::new_current_thread();
                    let runtime = { runtime }.build().unwrap();
                    runtime.block_on(waiting)
                })
            })
            .collect();
        tell.send(5).unwrap();
        for thread in threads {
            assert_eq!(thread.join().unwrap(), Some(5));
        }
        assert_eq!(starts.load(Ordering::SeqCst), 1);
    }
}
