//! A store that answers is asked for each request; one that does not costs no request more than a
//! moment, and the counts go on here.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU8, AtomicUsize};

use http::HeaderMap;
use tracing_subscriber::fmt::MakeWriter;

use super::super::tests::limit;
use super::super::{LimitId, Limiters};
use super::*;
use crate::auth::ledger::{Counts, Told};
use crate::clock;
use crate::policy::limit::Unit;

const ANSWERS: u8 = 0;
const REFUSES: u8 = 1;
const HANGS: u8 = 2;

/// A store with one account, which a test puts out of order.
#[derive(Debug, Default)]
struct Store {
    mood: AtomicU8,
    asked: AtomicUsize,
    passed: AtomicUsize,
    keys: Mutex<Vec<AccountKey>>,
}

impl Counts for Store {
    fn count(&self, account: AccountKey, pace: Pace) -> Told<Result<Standing, Over>> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        self.keys.lock().unwrap().push(account);
        match self.mood.load(Ordering::Relaxed) {
            HANGS => Box::pin(std::future::pending()),
            REFUSES => Box::pin(std::future::ready(Err(StoreError::Busy {
                store: "Redis at r:6379/0".into(),
            }))),
            _ => {
                let burst = pace.burst.get();
                let before = u32::try_from(self.passed.fetch_add(1, Ordering::Relaxed)).unwrap();
                let standing = Standing {
                    burst,
                    remaining: burst.saturating_sub(before + 1),
                    whole_in: pace.period,
                };
                let told = if before < burst {
                    Ok(standing)
                } else {
                    let wait = pace.period;
                    Err(Over { wait, standing })
                };
                Box::pin(std::future::ready(Ok(told)))
            }
        }
    }

    fn sweep(&self) -> Told<u64> {
        Box::pin(std::future::ready(Ok(0)))
    }
}

struct Gate {
    store: Arc<Store>,
    limiters: Limiters,
    now: Instant,
}

impl Gate {
    fn new(burst: u32) -> Self {
        let mut limit = (*limit("login", 10, Unit::Hour, burst)).clone();
        limit.shared = true;
        let (store, now) = (Arc::new(Store::default()), clock::monotonic());
        let counts: SharedCounts = Arc::<Store>::clone(&store);
        let limiters = Limiters::assemble(&[Arc::new(limit)], Some(&counts), None, now);
        Self {
            store,
            limiters,
            now,
        }
    }

    fn mood(&self, mood: u8) {
        self.store.mood.store(mood, Ordering::Relaxed);
    }

    async fn request(&self) -> Result<Standing, Over> {
        let limiter = self.limiters.get(LimitId(0)).unwrap();
        let headers = HeaderMap::new();
        let ip = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 7));
        let account = limiter.limit().account(ip, None, &headers);
        let shared = self.limiters.shared(limiter.limit()).unwrap();
        shared.count(limiter, &account, self.now).await
    }

    /// Time goes by.
    async fn later(&mut self, by: Duration) {
        self.now += by;
        tokio::time::sleep(Duration::from_millis(1)).await;
    }

    fn asked(&self) -> usize {
        self.store.asked.load(Ordering::Relaxed)
    }

    fn told(&self) -> (u64, u64) {
        let reading = self.limiters.readings(self.now).next().unwrap();
        (reading.over, reading.alone.unwrap())
    }
}

#[tokio::test]
async fn what_the_store_says_holds() {
    let gate = Gate::new(2);
    assert_eq!(gate.request().await.unwrap().remaining, 1);
    assert!(gate.request().await.is_ok());
    let over = gate.request().await.unwrap_err();
    assert_eq!(over.wait, Duration::from_mins(6));
    assert_eq!((gate.asked(), gate.told()), (3, (1, 0)));
}

#[tokio::test]
async fn without_the_store_the_counts_go_on_here_from_what_was_seen() {
    let gate = Gate::new(3);
    assert!(gate.request().await.is_ok());
    gate.mood(REFUSES);
    assert_eq!(gate.request().await.unwrap().remaining, 1);
    assert_eq!(gate.request().await.unwrap().remaining, 0);
    assert!(gate.request().await.is_err());
    assert_eq!(gate.asked(), 2, "one that gave no answer is left alone");
    assert_eq!(gate.told(), (1, 3));
}

#[tokio::test]
async fn a_store_that_hangs_costs_one_request_in_each_pause_a_moment() {
    let mut gate = Gate::new(100);
    gate.mood(HANGS);
    let began = clock::monotonic();
    for _ in 0..20 {
        assert!(gate.request().await.is_ok());
    }
    let took = clock::monotonic() - began;
    assert!(took >= WAIT && took < WAIT * 8, "{took:?}");
    assert_eq!((gate.asked(), gate.told()), (1, (0, 20)));
    gate.later(PAUSE * 2).await;
    for _ in 0..20 {
        assert!(gate.request().await.is_ok());
    }
    assert_eq!(gate.asked(), 2);
}

#[tokio::test]
async fn a_store_that_is_back_is_asked_again_by_itself() {
    let mut gate = Gate::new(100);
    gate.mood(REFUSES);
    assert!(gate.request().await.is_ok());
    gate.mood(ANSWERS);
    assert!(gate.request().await.is_ok());
    assert_eq!(gate.asked(), 1, "not before its time");
    gate.later(PAUSE * 2).await;
    for _ in 0..5 {
        assert!(gate.request().await.is_ok());
    }
    assert_eq!((gate.asked(), gate.told()), (6, (0, 2)));
}

#[tokio::test]
async fn a_reload_goes_on_with_the_store_and_a_limit_that_is_not_shared_asks_nobody() {
    let gate = Gate::new(3);
    gate.mood(REFUSES);
    assert!(gate.request().await.is_ok());
    let counts: SharedCounts = Arc::<Store>::clone(&gate.store);
    let same = Arc::clone(&gate.limiters.list[0].limit);
    let own = limit("own", 10, Unit::Hour, 1);
    let both = [same, Arc::clone(&own)];
    let next = Limiters::assemble(&both, Some(&counts), Some(&gate.limiters), gate.now);
    assert!(next.shared(&own).is_none());
    let gate = Gate {
        limiters: next,
        ..gate
    };
    assert_eq!(gate.request().await.unwrap().remaining, 1);
    assert_eq!(gate.asked(), 1, "it is still known to be out");
    assert_eq!(gate.told(), (0, 2));
}

#[tokio::test]
async fn the_store_sees_a_hash_that_is_the_same_at_every_gateway() {
    let (one, other) = (Gate::new(9), Gate::new(9));
    let another = Gate::new(8);
    for gate in [&one, &other, &another] {
        gate.request().await.unwrap();
    }
    let keys = |gate: &Gate| gate.store.keys.lock().unwrap().clone();
    assert_eq!(keys(&one), keys(&other));
    assert_ne!(keys(&one), keys(&another), "another limit counts elsewhere");
    // It does not change with versions of the gateway or of Rust.
    let name = "portcullis rate limit\0login\x0010/h per ip, 9 at once, over all gateways";
    let seed = digest::digest(&digest::SHA256, name.as_bytes());
    let account = [seed.as_ref(), &[4, 192, 0, 2, 7]].concat();
    let expected = digest::digest(&digest::SHA256, &account);
    assert_eq!(keys(&one)[0][..], expected.as_ref()[..16]);
}

/// Takes the log's lines.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl<'l> MakeWriter<'l> for Lines {
    type Writer = Self;

    fn make_writer(&'l self) -> Self {
        self.clone()
    }
}

#[tokio::test]
async fn the_log_says_once_that_the_store_is_out_and_once_that_it_is_back() {
    let lines = Lines::default();
    let log = tracing_subscriber::fmt()
        .with_writer(lines.clone())
        .finish();
    let _guard = tracing::subscriber::set_default(log);
    let mut gate = Gate::new(100);
    gate.mood(REFUSES);
    for _ in 0..5 {
        assert!(gate.request().await.is_ok());
        gate.later(PAUSE * 2).await;
    }
    gate.mood(ANSWERS);
    for _ in 0..5 {
        assert!(gate.request().await.is_ok());
    }
    let told = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
    assert_eq!(told.lines().count(), 2, "{told}");
    assert!(
        told.contains("at this gateway alone") && told.contains("Redis at r:6379/0"),
        "{told}"
    );
    assert!(
        told.contains("over all gateways again") && !told.contains("192.0.2.7"),
        "{told}"
    );
}
