//! Which server gets the next try of a request: those that are in, by the upstream's balance.
//!
//! A server that was ejected and is due stands among them, and one request tries it. Where no
//! server is in, an ejected one is tried early, at most once a second; else there is none.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use smallvec::SmallVec;

use super::balance::{self, Candidate};
use super::health::Share;
use super::server::{Server, Upstream};
use crate::config::settings::Balance;

/// What the choice depends on, beside the servers.
#[derive(Clone, Copy, Debug)]
pub(super) struct Choice<'a> {
    /// The servers that were tried for this request.
    pub(super) tried: &'a [usize],
    /// The sticky cookie's value.
    pub(super) sticky: Option<&'a str>,
    pub(super) client: IpAddr,
    /// When the request was ready to be sent.
    pub(super) now: Instant,
}

impl Upstream {
    /// The server for the next try. `None`: every server is out.
    pub(super) fn choose(&self, choice: &Choice<'_>) -> Option<(usize, &Arc<Server>)> {
        if let [only] = self.servers.as_slice() {
            let may = match only.standing.share(choice.now) {
                Share::Tenths(_) => true,
                Share::Due => only.standing.claim(choice.now) || self.last(choice).is_some(),
                Share::None => self.last(choice).is_some(),
            };
            return may.then_some((0, only));
        }
        let index = self
            .among_fresh(choice)
            .or_else(|| self.again(choice))
            .or_else(|| self.last(choice))?;
        self.servers.get(index).map(|server| (index, server))
    }

    /// Among the servers that were not tried for this request.
    fn among_fresh(&self, choice: &Choice<'_>) -> Option<usize> {
        let shares: SmallVec<[Share; 8]> = (self.servers.iter())
            .map(|server| server.standing.share(choice.now))
            .collect();
        let mut candidates: SmallVec<[Candidate; 8]> = (self.servers.iter().zip(&shares))
            .enumerate()
            .map(|(index, (server, share))| Candidate {
                in_flight: server.in_flight(),
                weight: server.settings.weight,
                tenths: match share {
                    Share::Tenths(tenths) => *tenths,
                    Share::Due | Share::None => 10,
                },
                excluded: *share == Share::None || choice.tried.contains(&index),
            })
            .collect();
        // Each turn but the last finds a server that another request has just tried.
        for _ in 0..=candidates.len() {
            let index = self.by_balance(&candidates, choice)?;
            let server = self.servers.get(index)?;
            if shares.get(index) != Some(&Share::Due) || server.standing.claim(choice.now) {
                return Some(index);
            }
            if let Some(candidate) = candidates.get_mut(index) {
                candidate.excluded = true;
            }
        }
        None
    }

    fn by_balance(&self, candidates: &[Candidate], choice: &Choice<'_>) -> Option<usize> {
        let turn = || self.turn.fetch_add(1, Ordering::Relaxed);
        let stuck = || {
            let named = choice.sticky;
            let named = named.and_then(|text| u64::from_str_radix(text, 16).ok())?;
            let is_it = |server: &Arc<Server>| server.sticky_id() == named;
            let found = self.servers.iter().position(is_it)?;
            let candidate = candidates.get(found)?;
            (!candidate.excluded).then_some(found)
        };
        match self.balance() {
            Balance::LeastRequests => balance::least_requests(candidates, turn()),
            Balance::RoundRobin => balance::round_robin(candidates, turn()),
            Balance::ClientIp => balance::client_ip(candidates, choice.client),
            Balance::Cookie => stuck().or_else(|| balance::least_requests(candidates, turn())),
        }
    }

    /// One that is in, though it was tried: a kept connection may have been stale.
    fn again(&self, choice: &Choice<'_>) -> Option<usize> {
        let is_in = |index: &usize| {
            let server = self.servers.get(*index);
            server.is_some_and(|one| matches!(one.standing.share(choice.now), Share::Tenths(_)))
        };
        self.in_turn().find(is_in)
    }

    /// One that is out, where no other is in.
    fn last(&self, choice: &Choice<'_>) -> Option<usize> {
        let may = |index: &usize| {
            let server = self.servers.get(*index);
            server.is_some_and(|server| server.standing.claim_last(choice.now))
        };
        self.in_turn().find(may)
    }

    /// Every server, a different one first each time.
    fn in_turn(&self) -> impl Iterator<Item = usize> + use<> {
        let count = self.servers.len();
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        (0..count).map(move |step| turn.wrapping_add(step) % count.max(1))
    }
}

#[cfg(test)]
#[path = "choose_tests.rs"]
mod tests;
