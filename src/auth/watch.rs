//! Those who hold something open for a caller, told as soon as what let the caller in is revoked.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll};

use dashmap::DashMap;
use futures_util::task::AtomicWaker;

use crate::auth::ledger::{Revoked as What, SessionKey, TokenMark};
use crate::policy::identity::{Bond, Caller, Endings};

/// Most who may be told; far more than connections are open. Over it whoever comes is told at once.
const MOST: usize = 1_048_576;

/// All who want to be told.
#[derive(Debug, Default)]
pub(crate) struct Watchers {
    listed: DashMap<u64, Listed, ahash::RandomState>,
    next: AtomicU64,
}

#[derive(Debug)]
struct Listed {
    bond: Bond,
    user: Box<str>,
    endings: Option<Endings>,
    told: Arc<Told>,
}

#[derive(Debug, Default)]
struct Told {
    is_over: AtomicBool,
    waker: AtomicWaker,
}

/// Ready when what a caller was let in by holds no more. Dropped, it wants nothing any more.
#[derive(Debug)]
pub struct Watch {
    watchers: Arc<Watchers>,
    number: u64,
    told: Arc<Told>,
}

impl Told {
    fn tell(&self) {
        self.is_over.store(true, Ordering::Release);
        self.waker.wake();
    }
}

impl Watchers {
    /// Watches over a caller; `None` where nothing that let it in can be revoked.
    pub(crate) fn watch(self: &Arc<Self>, caller: &Caller) -> Option<Watch> {
        let bond = caller.bond()?;
        let watch = Watch {
            watchers: Arc::clone(self),
            number: self.next.fetch_add(1, Ordering::Relaxed),
            told: Arc::default(),
        };
        if self.listed.len() >= MOST {
            watch.tell();
            return Some(watch);
        }
        let listed = Listed {
            bond,
            user: caller.identity().user.as_str().into(),
            endings: caller.endings().cloned(),
            told: Arc::clone(&watch.told),
        };
        self.listed.insert(watch.number, listed);
        Some(watch)
    }

    /// How many there are.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.listed.len()
    }

    /// Tells those whom a revocation is about.
    pub(crate) fn tell(&self, what: &What) {
        for listed in &self.listed {
            if listed.is_of(what) {
                listed.told.tell();
            }
        }
    }
}

impl Listed {
    fn is_of(&self, what: &What) -> bool {
        match (what, self.bond, self.bond.token()) {
            (What::Session(ended), Bond::Session { key, .. }, _) => {
                *ended == SessionKey::from_bytes(key)
            }
            (What::Token(mark), _, Some(token)) => *mark == TokenMark::from_bytes(token.mark),
            (What::User { user, before }, _, Some(token)) => {
                *user == self.user && token.issued < *before
            }
            (What::User { user, before }, Bond::Session { .. }, None) => {
                // The sessions of a user end one by one, too; a provider ends its sign-ins by name.
                let endings = self.endings.as_ref();
                endings.is_some_and(|one| one.names.contains(user) && one.began < *before)
            }
            (What::Session(_) | What::User { .. }, Bond::Token(_), _)
            | (What::Token(_), _, None) => false,
        }
    }
}

impl Watch {
    /// Tells this one: what it was let in by was revoked before it was listed, or it is not listed.
    pub(crate) fn tell(&self) {
        self.told.tell();
    }
}

impl Future for Watch {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        // Each message of a socket passes here: where the task is the same, nothing is written.
        if self.told.is_over.load(Ordering::Acquire) {
            return Poll::Ready(());
        }
        self.told.waker.register(cx.waker());
        if self.told.is_over.load(Ordering::Acquire) {
            return Poll::Ready(());
        }
        Poll::Pending
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.watchers.listed.remove(&self.number);
    }
}
