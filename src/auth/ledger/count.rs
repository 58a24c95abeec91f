//! Requests that all gateways count together: what is asked of the home that they share.
//!
//! The home sees a key of 16 bytes, which a hash gave, and how often its owner may come. The home's
//! own clock measures the time, so that gateways need not agree on theirs.

use std::fmt::Debug;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use super::Told;
use crate::policy::limit::{Over, Standing};

/// Names an account of one limit: bytes of a hash.
pub type AccountKey = [u8; 16];

/// How often an account may be counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    /// From one request to the next at a steady pace; above zero.
    pub period: Duration,
    /// How many may come at once.
    pub burst: NonZeroU32,
}

/// Where gateways count together. Shared by all workers.
pub trait Counts: Debug + Send + Sync {
    /// Counts one request in one step that nothing comes between, by GCRA. One that is over is told
    /// so and does not count. The account is gone by itself when it is whole again.
    fn count(&self, account: AccountKey, pace: Pace) -> Told<Result<Standing, Over>>;

    /// Takes out accounts that are whole, where the home does not do so at once; how many.
    fn sweep(&self) -> Told<u64>;
}

/// Shared counts, as all who count hold them.
pub type SharedCounts = Arc<dyn Counts>;
