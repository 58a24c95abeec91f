//! Where sessions are kept, each store looked at by itself.

use std::sync::Arc;

use super::{Columns, Place, Sessions, Table};
use crate::auth::ports::StoreError;
use crate::config::settings::DatabaseKind;
use crate::store::NOBODY;
use crate::store::cell::Cell;
use crate::store::desk::{Counter, PATIENCE};
use crate::store::fault::unreadable;
use crate::store::look;
use crate::store::names::quoted;
use crate::store::question::{Question, With};

/// Largest payload that is looked at as a sample, in bytes.
const MOST_SAMPLE: usize = 64 * 1024;
/// A key that a file may have and none has.
const NO_FILE: &str = "portcullisaskswhetheranyoneisthere";

impl Sessions {
    /// Each store that sessions are kept in, to be looked at by itself: what a request does not
    /// notice, because another one answers, is noticed there.
    pub(in crate::store) fn places(&self) -> Vec<look::Place> {
        match &*self.place {
            Place::Table(_) => vec![self.table_place()],
            Place::Cache(_) => vec![self.cache_place()],
            Place::Files(_) => vec![self.files_place()],
            Place::Both(..) => vec![self.cache_place(), self.table_place()],
        }
    }

    fn table_place(&self) -> look::Place {
        let place = Arc::clone(&self.place);
        self.looked_at(self.place.counter(), async move {
            let began = look::begin();
            let table = place.table().ok_or_else(|| nothing(&place))?;
            table.load(NOBODY).await?;
            let seen = look::Sight::since(began);
            Ok(look::Sight {
                clock: look::clock_of_database(&table.pool).await,
                sessions: table.newest().await,
                ..seen
            })
        })
    }

    fn cache_place(&self) -> look::Place {
        let place = Arc::clone(&self.place);
        self.looked_at(self.place.cache_counter(), async move {
            let began = look::begin();
            let cache = place.cache().ok_or_else(|| nothing(&place))?;
            cache.load(NOBODY, PATIENCE).await?;
            let seen = look::Sight::since(began);
            let clock = look::clock_of_redis(&cache.line).await;
            Ok(look::Sight { clock, ..seen })
        })
    }

    fn files_place(&self) -> look::Place {
        let place = Arc::clone(&self.place);
        self.looked_at(self.place.counter(), async move {
            let began = look::begin();
            let Place::Files(files) = &*place else {
                return Err(nothing(&place));
            };
            files.load(NO_FILE).await?;
            let seen = look::Sight::since(began);
            let sessions = files.newest(look::SAMPLES).await;
            Ok(look::Sight { sessions, ..seen })
        })
    }

    fn looked_at(
        &self,
        counter: &Arc<Counter>,
        work: impl Future<Output = Result<look::Sight, StoreError>> + Send + 'static,
    ) -> look::Place {
        look::Place {
            name: self.tally.status().name,
            shown: Arc::clone(&counter.shown),
            look: look::at(counter, &self.tally, work),
        }
    }
}

/// The error of a place that has no such store.
fn nothing(place: &Place) -> StoreError {
    unreadable(&place.counter().shown, "no store of this kind")
}

impl Table {
    /// Some of the sessions that end last; `None` where they cannot be had.
    async fn newest(&self) -> Option<Vec<Vec<u8>>> {
        let question = Question {
            sql: Arc::clone(self.newest.as_ref()?),
            with: With::These(Vec::new()),
            most: look::SAMPLES,
        };
        let found = self.pool.ask(&question).await.ok()?;
        let payloads = found
            .rows
            .into_iter()
            .filter_map(|row| match row.into_iter().next()? {
                Cell::Text(text) => Some(text.into_bytes()),
                Cell::Bytes(bytes) => Some(bytes),
                Cell::Null
                | Cell::Bool(_)
                | Cell::Whole(_)
                | Cell::Real(_)
                | Cell::List(_)
                | Cell::Json(_)
                | Cell::Moment(_)
                | Cell::Civil(_) => None,
            });
        Some(payloads.collect())
    }
}

/// The question for the sessions that end last. Large ones are not sent.
pub(super) fn newest(kind: DatabaseKind, table: &str, [_, data, end]: Columns) -> String {
    let [data, end] = [data, end].map(|name| quoted(kind, name));
    let length = match kind {
        DatabaseKind::Postgres | DatabaseKind::Sqlite => "octet_length",
        DatabaseKind::MySql => "length",
    };
    format!(
        "select {data} from {} where {length}({data}) <= {MOST_SAMPLE} order by {end} desc limit {}",
        quoted(kind, table),
        look::SAMPLES
    )
}
