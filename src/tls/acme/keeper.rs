//! Orders when it is time, and waits. One task; every wait is bounded.

use std::fs::File;
use std::sync::Arc;
use std::time::Duration;

use instant_acme::CertificateIdentifier;
use tokio_util::sync::CancellationToken;

use super::error::AcmeError;
use super::home::{self, covered};
use super::order::Desk;
use super::shared::Pause;
use super::wire::Wire;
use super::{Acme, schedule, trust};
use crate::clock::{self, Timestamp};
use crate::tls::client_config;
use crate::tls::pair::Pair;

/// For a whole order.
const WHOLE: Duration = Duration::from_mins(6);
/// The longest sleep: the wall clock may be set, and another process may put a certificate there.
const LOOK_UP: Duration = Duration::from_secs(30);
/// The wait for another process that orders.
const ELSEWHERE: Duration = Duration::from_secs(5);
/// Between two questions when the CA would have the certificate renewed (RFC 9773 §4.3), whatever it
/// asks for.
const ADVICE_EVERY: std::ops::RangeInclusive<Duration> =
    Duration::from_mins(30)..=Duration::from_hours(24);

/// What came of being due.
pub(super) enum Came {
    /// A certificate that is ours to serve now.
    New,
    /// Another one that others got.
    Found,
    /// Another process or gateway orders.
    Elsewhere,
    /// The CA said no to another gateway, and is left alone.
    Paused(Pause),
}

/// When to do what, for the certificate that is held.
#[derive(Debug, Default)]
struct Plan {
    /// Serial of the certificate that `due` is about.
    of: Option<String>,
    due: Option<Timestamp>,
    failures: u32,
    /// Not before then, after a failure.
    held_off: Option<Timestamp>,
    /// When to ask the CA whether it would have the certificate renewed early.
    advice: Option<Timestamp>,
}

impl Acme {
    /// Orders and renews until cancelled. `took` is called when another certificate is held.
    pub async fn keep(self: Arc<Self>, cancel: CancellationToken, took: impl Fn()) {
        let mut plan = Plan::default();
        let work = async {
            loop {
                let wait = self.step(&mut plan, &took).await;
                tokio::time::sleep(wait.min(LOOK_UP)).await;
            }
        };
        let followed = async {
            match &self.shared {
                Some(shared) => self.follow(shared, &took).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = cancel.cancelled() => {}
            () = work => {}
            () = followed => {}
        }
        self.leave().await;
    }

    /// Gives the turn back that this gateway may have.
    async fn leave(&self) {
        if let Some(shared) = &self.shared {
            shared.leave().await;
        }
    }

    /// Does what is to be done now; how long to wait then.
    async fn step(self: &Arc<Self>, plan: &mut Plan, took: &impl Fn()) -> Duration {
        // What another process has put there is found before anything is ordered.
        match self.on_files(Self::look).await {
            Ok(true) => took(),
            Ok(false) => {}
            Err(error) => tracing::warn!(problem = error.line(), "cannot look into the ACME cache"),
        }
        let now = clock::now();
        let before = self.held();
        plan.follow(before.as_deref(), |pair| self.is_final(pair));
        self.ask_advice(plan, now).await;
        let at = plan.at();
        self.lock().told.next = Some(at.max(now));
        if now < at {
            return at.saturating_since(now);
        }
        let came = match tokio::time::timeout(WHOLE, self.obtain(now, before.as_deref())).await {
            Ok(came) => came,
            Err(_elapsed) => {
                self.leave().await;
                Err((AcmeError::TimedOut(WHOLE), None))
            }
        };
        match came {
            Ok(Came::New) => {
                took();
                self.succeed(plan);
                Duration::ZERO
            }
            Ok(Came::Found) => {
                plan.failures = 0;
                took();
                Duration::ZERO
            }
            Ok(Came::Elsewhere) => ELSEWHERE,
            Ok(Came::Paused(pause)) => self.wait_with_others(plan, &pause),
            Err((error @ AcmeError::Store(_), _)) => {
                self.lock().store = Some(error.line());
                if let Some(shared) = &self.shared {
                    shared.note("turn", Some(&error));
                }
                ELSEWHERE
            }
            Err((error, asked)) => self.fail(plan, &error, asked),
        }
    }

    /// Whether a certificate is one to keep to its time: of this CA, and for all the names.
    pub(super) fn is_final(&self, pair: &Pair) -> bool {
        let names = &self.settings.domains;
        self.home.owns(pair) && covered(pair, names) == names.len()
    }

    /// Takes up what is in the folder, where it is better than what is held. Blocks on files.
    fn look(&self) -> Result<bool, AcmeError> {
        let Some(found) = self
            .home
            .certificate(&self.settings.domains, clock::now())?
        else {
            return Ok(false);
        };
        Ok(self.hold(found))
    }

    /// Holds a certificate where it is better than what is held; whether it is.
    pub(super) fn hold(&self, found: Pair) -> bool {
        let mut state = self.lock();
        let is_newer = state.held.as_ref().is_none_or(|held| {
            let same = held.same_chain(&found);
            let better = self.is_final(&found) && !self.is_final(held);
            !same && (better || held.info.not_after < found.info.not_after)
        });
        if is_newer {
            if self.is_final(&found) {
                // Whoever ordered it: it is there.
                state.told.problem = None;
            }
            state.held = Some(Arc::new(found));
        }
        is_newer
    }

    /// Orders, unless another process or gateway does. `before` was held when it was found due.
    async fn obtain(
        self: &Arc<Self>,
        now: Timestamp,
        before: Option<&Pair>,
    ) -> Result<Came, (AcmeError, Option<Duration>)> {
        let enter = self.on_files(|acme| Ok(acme.home.enter()?)).await;
        let Some(lock) = enter.map_err(|error| (error, None))? else {
            return Ok(Came::Elsewhere);
        };
        // It may have ordered between our look and the lock.
        if self.on_files(Self::look).await.unwrap_or(false) {
            return Ok(Came::Found);
        }
        match &self.shared {
            Some(shared) => self.obtain_in_turn(shared, (now, before), &lock).await,
            None => self.buy(now, &lock).await,
        }
    }

    /// Leaves the CA alone as long as the gateway does to which it said no.
    fn wait_with_others(&self, plan: &mut Plan, pause: &Pause) -> Duration {
        let (until, now) = (Timestamp::from_unix_seconds(pause.until), clock::now());
        // A clock that is ahead elsewhere holds nobody up for longer than a CA may ask for.
        let until = until.min(now.saturating_add(schedule::LONGEST_ASKED));
        plan.held_off = Some(until);
        let mut state = self.lock();
        state.told.next = Some(until);
        state.told.problem = Some(super::error::told(&pause.problem));
        until.saturating_since(now)
    }

    /// Orders, and keeps what comes of it, while this process has the folder.
    pub(super) async fn buy(
        self: &Arc<Self>,
        now: Timestamp,
        _lock: &File,
    ) -> Result<Came, (AcmeError, Option<Duration>)> {
        let wire = self.wire().await.map_err(|error| (error, None))?;
        tracing::info!(
            domains = self.settings.domains.join(", "),
            directory = self.settings.directory,
            challenge = self.settings.challenge.as_str(),
            "ordering a certificate"
        );
        let ordered = self.desk(&wire).order(now).await;
        let issued = ordered.map_err(|error| (error, wire.asked_to_wait()))?;
        let text = home::written(&issued.key_pem, &issued.chain);
        let kept = self.on_files(move |acme| {
            let kept = acme.home.keep(&issued.key_pem, &issued.chain);
            // It serves even where it cannot be kept; the next start orders it again.
            acme.lock().held = Some(Arc::new(issued.pair));
            Ok(kept?)
        });
        if let Err(error) = kept.await {
            tracing::error!(
                problem = error.line(),
                "the certificate serves, but cannot be kept"
            );
        }
        if let Some(shared) = &self.shared
            && let Err(error) = shared.keep_certificate(text.as_bytes()).await
        {
            // Offered again at every look.
            shared.note("certificate", Some(&error));
        }
        Ok(Came::New)
    }

    fn desk<'a>(&'a self, wire: &'a Wire) -> Desk<'a> {
        Desk {
            settings: &self.settings,
            home: &self.home,
            challenges: &self.challenges,
            shared: self.shared.as_ref(),
            wire,
        }
    }

    async fn wire(self: &Arc<Self>) -> Result<Wire, AcmeError> {
        let read = |acme: &Self| Ok(client_config(&trust(&acme.settings))?);
        Ok(Wire::new(self.on_files(read).await?))
    }

    fn succeed(&self, plan: &mut Plan) {
        plan.failures = 0;
        plan.held_off = None;
        let Some(held) = self.held() else {
            return;
        };
        plan.follow(Some(&held), |pair| self.is_final(pair));
        let (due, now) = (plan.at(), clock::now());
        let mut state = self.lock();
        state.told.issued += 1;
        state.told.problem = None;
        tracing::info!(
            names = %held.names,
            not_after = %held.info.not_after,
            renewal = %due,
            "a certificate was issued and serves"
        );
        if due <= now {
            // Or one order would follow the other.
            plan.failures = 1;
            let wait = schedule::backoff(1, schedule::Failure::Refused, None, fastrand::f32());
            plan.held_off = Some(now.saturating_add(wait));
            tracing::warn!(
                "the certificate is due for renewal as it comes: is the clock of this machine right?"
            );
        }
    }

    fn fail(&self, plan: &mut Plan, error: &AcmeError, asked: Option<Duration>) -> Duration {
        plan.failures = plan.failures.saturating_add(1);
        let wait = schedule::backoff(plan.failures, error.failure(), asked, fastrand::f32());
        let (now, line) = (clock::now(), error.line());
        let next = now.saturating_add(wait);
        plan.held_off = Some(next);
        let held = {
            let mut state = self.lock();
            state.told.failed += 1;
            state.told.problem = Some(line.clone());
            state.told.next = Some(next);
            state.held.clone()
        };
        let serves = held.map_or_else(
            || "nothing: TLS handshakes are refused".to_owned(),
            |held| format!("the one that ends at {}", held.info.not_after),
        );
        tracing::error!(
            domains = self.settings.domains.join(", "),
            problem = line,
            %next,
            failures = plan.failures,
            serves,
            "no certificate: the order failed"
        );
        wait
    }

    /// Asks the CA when it would have the certificate renewed (RFC 9773), which may be sooner than
    /// planned: when it is going to revoke it. That there is no answer means nothing.
    async fn ask_advice(self: &Arc<Self>, plan: &mut Plan, now: Timestamp) {
        let Some(held) = self.held().filter(|held| self.is_final(held)) else {
            return;
        };
        if plan.advice.is_some_and(|at| now < at) || plan.at() <= now {
            return;
        }
        let asked = tokio::time::timeout(WHOLE, self.advice(&held)).await;
        let again = match asked {
            Ok(Ok((window, again))) => {
                let life = (held.info.not_before, held.info.not_after);
                let at = schedule::advised(life, window, fastrand::f32());
                if plan.due.is_none_or(|due| at < due) {
                    plan.due = Some(at);
                    tracing::info!(renewal = %at, "the CA would have the certificate renewed early");
                }
                again
            }
            Ok(Err(error)) => {
                tracing::debug!(problem = error.line(), "no word of the CA when to renew");
                Duration::from_hours(6)
            }
            Err(_elapsed) => Duration::from_hours(6),
        };
        let again = again.clamp(*ADVICE_EVERY.start(), *ADVICE_EVERY.end());
        plan.advice = Some(now.saturating_add(again));
    }

    async fn advice(
        self: &Arc<Self>,
        held: &Pair,
    ) -> Result<((Timestamp, Timestamp), Duration), AcmeError> {
        let useless = |why: String| AcmeError::Useless(why);
        let leaf = held.certified.cert.first();
        let leaf = leaf.ok_or_else(|| useless("it is empty".to_owned()))?;
        let id = CertificateIdentifier::try_from(leaf).map_err(useless)?;
        // Nobody asks before there is an account: this is no reason to make one.
        let wire = self.wire().await?;
        if self.desk(&wire).kept().await?.is_none() {
            return Err(useless("there is no account".to_owned()));
        }
        let account = self.desk(&wire).account(false).await?;
        let answer = account.renewal_info(&id).await;
        let (info, again) = answer.map_err(AcmeError::ca("the CA gave no time to renew"))?;
        let window = info.suggested_window;
        let at = |second| Timestamp::from_unix_seconds(second);
        let window = (
            at(window.start.unix_timestamp()),
            at(window.end.unix_timestamp()),
        );
        Ok((window, again))
    }

    /// Work that blocks on files, off the task that everything else waits on.
    pub(super) async fn on_files<T: Send + 'static>(
        self: &Arc<Self>,
        work: impl FnOnce(&Self) -> Result<T, AcmeError> + Send + 'static,
    ) -> Result<T, AcmeError> {
        let acme = Arc::clone(self);
        let done = tokio::task::spawn_blocking(move || work(&acme)).await;
        done.unwrap_or(Err(AcmeError::CutOff))
    }
}

impl Plan {
    /// Plans anew where another certificate is held.
    fn follow(&mut self, held: Option<&Pair>, is_final: impl Fn(&Pair) -> bool) {
        let serial = held.map(|held| held.info.serial.clone());
        if self.due.is_some() && self.of == serial {
            return;
        }
        self.of = serial;
        self.advice = None;
        self.due = held.filter(|held| is_final(held)).map(|held| {
            let info = &held.info;
            schedule::renewal(info.not_before, info.not_after, fastrand::f32())
        });
    }

    /// When to order: at once where nothing is planned.
    fn at(&self) -> Timestamp {
        let due = self.due.unwrap_or(Timestamp::from_unix_seconds(0));
        self.held_off.map_or(due, |until| due.max(until))
    }
}
