//! Directories: users looked up in a database, once for all who ask at a time, and remembered for
//! as long as the configuration says.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use aws_lc_rs::digest;

use super::columns;
use super::desk::Tally;
use super::django::{self, Lack, Plan};
use super::fault::{Fault, Grant, unreadable};
use super::look;
use super::pool::Pool;
use super::question::Found;
use super::sql::{self, Query};
use crate::auth::bounded::Bounded;
use crate::auth::flights::Flights;
use crate::auth::ports::{Answer, DirectorySource, StoreError, StoreStatus, User};
use crate::clock;
use crate::config::settings::{Directory, DjangoDirectory};

/// Answers that are remembered, and about the bytes they hold.
const MOST_KEPT: (usize, usize) = (16_384, 8 * 1024 * 1024);
/// Ids that are asked for at a time and shared.
const MOST_FLIGHTS: usize = 4096;
/// Longest id; a longer one is nobody's.
const MOST_ID: usize = 512;
/// How long it is remembered which columns the tables have.
const PLAN_LIFE: Duration = Duration::from_mins(5);

/// One directory.
#[derive(Debug)]
pub(super) struct Users {
    settings: Directory,
    reader: Arc<Reader>,
    kept: Option<Arc<Bounded<[u8; 32], Kept>>>,
    flights: Flights<(Arc<str>, bool), Result<Option<User>, StoreError>>,
    tally: Arc<Tally>,
}

/// An answer and when it was asked for.
#[derive(Clone, Debug)]
struct Kept {
    user: Option<Arc<User>>,
    asked: Instant,
}

/// Who knows how to ask.
#[derive(Debug)]
struct Reader {
    pool: Arc<Pool>,
    grant: Grant,
    how: How,
}

#[derive(Debug)]
enum How {
    Django {
        settings: DjangoDirectory,
        plan: Mutex<Option<(Arc<Plan>, Instant)>>,
    },
    Sql(Query),
}

impl Users {
    /// A directory of type `django`.
    pub(super) fn of_django(
        settings: &Directory,
        django: &DjangoDirectory,
        pool: Arc<Pool>,
        tally: Arc<Tally>,
    ) -> Self {
        let how = How::Django {
            settings: django.clone(),
            plan: Mutex::default(),
        };
        Self::new(settings, pool, &django::tables(django), how, tally)
    }

    /// A directory of type `sql`.
    pub(super) fn of_query(
        settings: &Directory,
        query: Query,
        pool: Arc<Pool>,
        tally: Arc<Tally>,
    ) -> Self {
        let how = How::Sql(query);
        Self::new(settings, pool, "the tables of `query`", how, tally)
    }

    fn new(
        settings: &Directory,
        pool: Arc<Pool>,
        tables: &str,
        how: How,
        tally: Arc<Tally>,
    ) -> Self {
        let grant = Grant {
            tables: tables.into(),
            user: pool.user(),
        };
        let keeps = !settings.cache.is_zero();
        Self {
            settings: settings.clone(),
            reader: Arc::new(Reader { pool, grant, how }),
            kept: keeps.then(|| Arc::new(Bounded::new(MOST_KEPT.0, MOST_KEPT.1))),
            flights: Flights::new(MOST_FLIGHTS),
            tally,
        }
    }

    /// Whether it was made from these settings.
    pub(super) fn is_of(&self, settings: &Directory) -> bool {
        self.settings == *settings
    }

    /// What became of its questions.
    pub(super) fn tally(&self) -> &Arc<Tally> {
        &self.tally
    }

    /// The directory's database, to be looked at: a user is asked for whom nobody is.
    pub(super) fn place(&self) -> look::Place {
        let reader = Arc::clone(&self.reader);
        let counter = Arc::clone(&self.reader.pool.counter);
        let work = async move {
            let began = look::begin();
            reader.find("0").await?;
            let seen = look::Sight::since(began);
            let clock = look::clock_of_database(&reader.pool).await;
            Ok(look::Sight { clock, ..seen })
        };
        look::Place {
            name: self.tally.status().name,
            shown: Arc::clone(&counter.shown),
            look: look::at(&counter, &self.tally, work),
        }
    }

    /// What is remembered of an id and not too old.
    fn recall(&self, id: &str) -> Option<Kept> {
        let kept = self.kept.as_ref()?.get(&print(id))?;
        let age = clock::monotonic().saturating_duration_since(kept.asked);
        (age < self.settings.cache).then_some(kept)
    }

    /// Asks the database, and remembers what it says, but no error.
    fn ask(&self, id: Arc<str>) -> impl FnOnce() -> Answer<User> + Send + use<> {
        let (reader, tally) = (Arc::clone(&self.reader), Arc::clone(&self.tally));
        let kept = self.kept.clone();
        move || {
            let counter = Arc::clone(&reader.pool.counter);
            counter.ask(&tally, async move {
                let asked = clock::monotonic();
                let user = reader.find(&id).await?;
                if let Some(kept) = kept {
                    let bytes = user.as_ref().map_or(0, weight);
                    let user = user.clone().map(Arc::new);
                    kept.insert(print(&id), Kept { user, asked }, bytes);
                }
                Ok(user)
            })
        }
    }
}

impl DirectorySource for Users {
    fn find(&self, id: &str, fresh: bool) -> Answer<User> {
        if id.is_empty() || id.len() > MOST_ID || id.contains('\0') {
            return Box::pin(std::future::ready(Ok(None)));
        }
        if !fresh && let Some(known) = self.recall(id) {
            let user = known.user.as_deref().cloned();
            return Box::pin(std::future::ready(Ok(user)));
        }
        let id: Arc<str> = id.into();
        let key = (Arc::clone(&id), fresh);
        Box::pin(self.flights.join(key, self.ask(id)))
    }

    fn status(&self) -> StoreStatus {
        self.tally.status()
    }
}

impl Reader {
    async fn find(&self, id: &str) -> Result<Option<User>, StoreError> {
        match &self.how {
            How::Django { settings, plan } => self.find_django(settings, plan, id).await,
            How::Sql(query) => self.find_by_query(query, id).await,
        }
    }

    async fn find_django(
        &self,
        settings: &DjangoDirectory,
        slot: &Mutex<Option<(Arc<Plan>, Instant)>>,
        id: &str,
    ) -> Result<Option<User>, StoreError> {
        let known = slot.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let now = clock::monotonic();
        let known = known.filter(|(_, made)| now.saturating_duration_since(*made) < PLAN_LIFE);
        let was_known = known.is_some();
        let mut plan = match known {
            Some((plan, _)) => plan,
            None => self.plan(settings, slot).await?,
        };
        loop {
            let read_at = clock::now();
            let Some(question) = plan.question(id) else {
                return Ok(None);
            };
            match self.pool.ask(&question).await {
                Ok(found) => {
                    let user = plan.user(settings, &found, id, read_at);
                    return user.map_err(|what| unreadable(&self.pool.counter.shown, &what));
                }
                // A migration has changed the tables since they were looked at.
                Err(fault) if was_known && fault.of_schema() => {
                    let anew = self.plan(settings, slot).await?;
                    if anew == plan {
                        return Err(self.told(fault));
                    }
                    plan = anew;
                }
                Err(fault) => return Err(self.told(fault)),
            }
        }
    }

    /// Looks at the tables.
    async fn plan(
        &self,
        settings: &DjangoDirectory,
        slot: &Mutex<Option<(Arc<Plan>, Instant)>>,
    ) -> Result<Arc<Plan>, StoreError> {
        let made = clock::monotonic();
        let users = self.columns(&settings.user_table).await?;
        let links = if settings.roles.groups {
            Some(self.columns(&django::links_table(settings)).await?)
        } else {
            None
        };
        let plan = django::plan(self.pool.kind(), settings, &users, links.as_deref());
        let plan = plan.map_err(|lack| StoreError::Refused {
            store: Arc::clone(&self.pool.counter.shown),
            what: match lack {
                Lack::Right { table, column } => {
                    let cure = self.grant.words();
                    format!("no right to read {table}.{column}; {cure}").into()
                }
                Lack::Other(words) => words.into(),
            },
        })?;
        let plan = Arc::new(plan);
        let mut slot = slot.lock().unwrap_or_else(PoisonError::into_inner);
        *slot = Some((Arc::clone(&plan), made));
        Ok(plan)
    }

    async fn columns(&self, table: &str) -> Result<Vec<columns::Column>, StoreError> {
        let found = self
            .asked(&columns::question(self.pool.kind(), table))
            .await?;
        columns::read(&found).ok_or_else(|| {
            unreadable(
                &self.pool.counter.shown,
                "a description of columns in a form that is not known",
            )
        })
    }

    async fn find_by_query(&self, query: &Query, id: &str) -> Result<Option<User>, StoreError> {
        let read_at = clock::now();
        let found = self.asked(&query.question(id)).await?;
        if !found.rows.is_empty()
            && let Some(twin) = query.twin(id)
        {
            let others = self.asked(&query.question(&twin)).await?;
            if !others.rows.is_empty() {
                return Ok(None);
            }
        }
        let user = sql::user(&found, id, read_at);
        user.map_err(|what| unreadable(&self.pool.counter.shown, what))
    }

    async fn asked(&self, question: &super::question::Question) -> Result<Found, StoreError> {
        let found = self.pool.ask(question).await;
        found.map_err(|fault| self.told(fault))
    }

    fn told(&self, fault: Fault) -> StoreError {
        fault.told(&self.pool.counter.shown, &self.grant)
    }
}

/// What an id is remembered under.
fn print(id: &str) -> [u8; 32] {
    let mut print = [0; 32];
    let digest = digest::digest(&digest::SHA256, id.as_bytes());
    for (to, from) in print.iter_mut().zip(digest.as_ref()) {
        *to = *from;
    }
    print
}

/// About the bytes that a user holds.
fn weight(user: &User) -> usize {
    let text = |text: &Option<String>| text.as_ref().map_or(0, String::len);
    let claims = (user.claims.iter()).map(|(name, value)| name.len() + value.to_string().len());
    let password = user.password.as_ref();
    200 + user.id.len()
        + password.map_or(0, |password| password.expose().len())
        + user.roles.iter().map(|role| role.len() + 24).sum::<usize>()
        + text(&user.email)
        + text(&user.name)
        + claims.map(|bytes| bytes + 48).sum::<usize>()
}
