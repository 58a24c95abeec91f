//! Asks the resolver for the addresses of servers' names, again and again, away from all requests.
//!
//! One task a snapshot, with one question at a time for each name. The system's resolver tells no
//! lifetimes, so that the pace is fixed; it is asked earlier where an address took no connection.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use super::Upstreams;
use super::name::{Change, Name, Question};
use crate::clock;

/// From one question to the next, give or take a tenth.
const EVERY: Duration = Duration::from_secs(5);
/// The same where an address took no connection, or the name has none.
const SOON: Duration = Duration::from_secs(1);
/// Then a question counts as failed. Its answer is taken all the same when it comes.
const LIMIT: Duration = Duration::from_secs(5);
const SPREAD: f64 = 0.2;

impl Upstreams {
    /// Follows the names of all servers until cancelled.
    pub async fn follow_names(&self, cancel: CancellationToken) {
        let mut all = JoinSet::new();
        for name in self.names() {
            all.spawn(keep_asking(name));
        }
        // Dropping the set ends them.
        tokio::select! {
            () = cancel.cancelled() => {}
            () = async { while all.join_next().await.is_some() {} } => {}
        }
    }

    /// Every name of a server, once.
    fn names(&self) -> Vec<Arc<Name>> {
        let mut names: Vec<Arc<Name>> = Vec::new();
        for server in self.iter().flat_map(|upstream| &upstream.servers) {
            if let Some(name) = server.name()
                && !names.iter().any(|have| Arc::ptr_eq(have, name))
            {
                names.push(Arc::clone(name));
            }
        }
        names
    }
}

async fn keep_asking(name: Arc<Name>) {
    let mut question = Question::default();
    loop {
        let begun = Instant::from_std(clock::monotonic());
        let answer = name.ask(&mut question, LIMIT).await;
        let is_unknown = answer.is_err() && name.addresses().is_empty();
        if let Some(change) = name.learn(answer) {
            report(&name, &change);
        }
        sleep_until(begun + SOON).await;
        if is_unknown {
            continue;
        }
        let pause = EVERY.mul_f64((fastrand::f64() - 0.5).mul_add(SPREAD, 1.0));
        tokio::select! {
            () = sleep_until(begun + pause) => {}
            () = name.doubted() => {}
        }
    }
}

/// Tells the log of a change.
fn report(name: &Name, change: &Change) {
    let (host, port) = (&*name.host, name.port);
    match change {
        Change::Moved(addresses) => {
            let addresses: Vec<_> = addresses.iter().map(|one| one.ip().to_string()).collect();
            let addresses = addresses.join(", ");
            tracing::info!(
                name = host,
                port,
                addresses,
                "a server's name has these addresses now"
            );
        }
        Change::Failing(why, true) => {
            tracing::warn!(
                name = host,
                port,
                why,
                "a server's name does not resolve: the addresses that were known stay in use"
            );
        }
        Change::Failing(why, false) => {
            tracing::warn!(
                name = host,
                port,
                why,
                "a server's name does not resolve: requests for it are refused until it does"
            );
        }
        Change::Answers => tracing::info!(name = host, port, "a server's name resolves again"),
    }
}
