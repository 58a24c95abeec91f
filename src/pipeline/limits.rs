//! Counts a request against the limits of its route, at the two places where they stand: before
//! anyone looks at a credential, and when it is known who calls and that they may.

use std::net::IpAddr;
use std::time::Instant;

use http::HeaderMap;

use super::judge::Subject;
use crate::gateway::Snapshot;
use crate::policy::denial::Denial;
use crate::policy::identity::Caller;
use crate::policy::limit::Standing;
use crate::policy::route::Route;

/// Where in its way a request is.
#[derive(Clone, Copy, Debug)]
pub(super) enum Stage<'c> {
    /// It has found its route.
    Arrived,
    /// It may pass, with who calls, where that is known.
    Permitted(Option<&'c Caller>),
}

/// A request that counts.
#[derive(Clone, Copy, Debug)]
pub(super) struct Counting<'a> {
    gate: &'a Snapshot,
    route: &'a Route,
    ip: IpAddr,
    headers: &'a HeaderMap,
    came: Instant,
}

impl<'a> Counting<'a> {
    /// `None` on a route without limits, and for a request that is only talked about.
    pub(super) fn of(
        gate: &'a Snapshot,
        route: &'a Route,
        subject: &Subject<'_, 'a>,
        ip: IpAddr,
    ) -> Option<Self> {
        if route.limits.is_empty() {
            return None;
        }
        Some(Self {
            gate,
            route,
            ip,
            headers: subject.headers,
            came: subject.came?,
        })
    }

    /// Counts against the limits that stand at this place, in turn. On a route that only observes
    /// the refusal is kept, and the client is not told of limits that do not hold.
    ///
    /// # Errors
    ///
    /// `rate_limited` by the first limit that is reached; those after it do not count the request.
    pub(super) async fn count(
        &self,
        stage: Stage<'_>,
        standing: &mut Option<Standing>,
        overlooked: &mut Option<Denial>,
    ) -> Result<(), Denial> {
        let (permitted, user) = match stage {
            Stage::Arrived => (false, None),
            Stage::Permitted(caller) => (true, caller.map(|who| who.identity().user.as_str())),
        };
        for id in &self.route.limits {
            let Some(limiter) = self.gate.limiters.get(*id) else {
                continue;
            };
            let limit = limiter.limit();
            if limit.wants_caller() != permitted {
                continue;
            }
            let account = limit.account(self.ip, user, self.headers);
            let counted = match self.gate.limiters.shared(limit) {
                None => limiter.count(&account, self.came),
                Some(shared) => shared.count(limiter, &account, self.came).await,
            };
            match (counted, self.route.requirement.observe) {
                (Ok(_), true) => {}
                (Ok(now), false) => {
                    *standing = Some(standing.map_or(now, |before| before.or_tighter(now)));
                }
                (Err(over), true) => {
                    overlooked.get_or_insert_with(|| limit.refusal(&over, &account));
                }
                (Err(over), false) => {
                    *standing = Some(over.standing);
                    return Err(limit.refusal(&over, &account));
                }
            }
        }
        Ok(())
    }
}
