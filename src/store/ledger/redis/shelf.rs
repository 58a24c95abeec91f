//! What gateways keep for each other, in Redis: a key for each thing and each lease.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD as BASE64;
use redis::{Cmd, ScriptInvocation};

use super::link::{Link, Question};
use super::scripts;
use crate::auth::ledger::{Holder, Lease, MOST_ON_SHELF, Shelf, ShelfKey, Told};
use crate::auth::ports::StoreError;
use crate::config::settings::RedisHome;
use crate::store::desk::Counter;
use crate::store::fault::unreadable;

/// A shelf in Redis.
#[derive(Debug)]
pub(in super::super) struct InRedis {
    link: Arc<Link>,
    counter: Arc<Counter>,
}

impl InRedis {
    /// Opens nothing yet.
    pub(in super::super) fn new(home: &RedisHome, counter: Counter) -> Self {
        let link = Link::new(home, Arc::clone(&counter.shown));
        Self {
            link: Arc::new(link),
            counter: Arc::new(counter),
        }
    }

    fn command<T: redis::FromRedisValue + Send + 'static>(&self, command: Cmd) -> Told<T> {
        let link = Arc::clone(&self.link);
        let work = async move { link.ask(Question::Command(&command)).await };
        self.counter.run(work, |_, _| ())
    }

    fn script<T: redis::FromRedisValue + Send + 'static>(
        &self,
        script: ScriptInvocation<'static>,
    ) -> Told<T> {
        let link = Arc::clone(&self.link);
        let work = async move { link.ask(Question::Script(&script)).await };
        self.counter.run(work, |_, _| ())
    }
}

impl Shelf for InRedis {
    fn load(&self, key: ShelfKey) -> Told<Option<Vec<u8>>> {
        let (link, shown) = (Arc::clone(&self.link), Arc::clone(&self.counter.shown));
        let work = async move {
            // One byte more than fits tells what is too large, however large it is.
            let mut command = redis::cmd("GETRANGE");
            command.arg(thing(key)).arg(0).arg(MOST_ON_SHELF);
            let bytes: Vec<u8> = link.ask(Question::Command(&command)).await?;
            if bytes.len() > MOST_ON_SHELF {
                return Err(unreadable(&shown, "more than gateways keep for each other"));
            }
            // To GETRANGE, what is not there is empty.
            Ok::<_, StoreError>((!bytes.is_empty()).then_some(bytes))
        };
        self.counter.run(work, |_, _| ())
    }

    fn put(&self, key: ShelfKey, bytes: Vec<u8>, life: Option<Duration>) -> Told<()> {
        let mut command = redis::cmd("SET");
        command.arg(thing(key)).arg(bytes);
        if let Some(life) = life {
            command.arg("PX").arg(millis(life));
        }
        self.command(command)
    }

    fn remove(&self, key: ShelfKey) -> Told<()> {
        let mut command = redis::cmd("DEL");
        command.arg(thing(key));
        self.command(command)
    }

    fn lease(&self, key: ShelfKey, holder: Holder, time: Duration) -> Told<Lease> {
        let mut lease = scripts::LEASE.key(turn(key));
        lease.arg(&holder).arg(millis(time));
        let yours = self.script::<bool>(lease);
        Box::pin(async move {
            Ok(if yours.await? {
                Lease::Yours
            } else {
                Lease::Held
            })
        })
    }

    fn release(&self, key: ShelfKey, holder: Holder) -> Told<()> {
        let mut release = scripts::RELEASE.key(turn(key));
        release.arg(&holder);
        self.script(release)
    }
}

fn thing(key: ShelfKey) -> String {
    format!("portcullis:shelf:{}", BASE64.encode(key))
}

fn turn(key: ShelfKey) -> String {
    format!("portcullis:turn:{}", BASE64.encode(key))
}

/// Above zero, or Redis refuses it.
fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis())
        .unwrap_or(u64::MAX / 4)
        .clamp(1, u64::MAX / 4)
}
