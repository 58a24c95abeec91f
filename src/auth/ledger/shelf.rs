//! Few things that gateways keep for each other: what is asked of the home that they share.
//!
//! The home sees names of 32 bytes, which a hash gave, and bytes that their owner has sealed. What it
//! gives back is believed by nobody before it was opened.

use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use super::{Holder, Lease, Told};

/// Names a thing, or a lease: bytes of a hash.
pub type ShelfKey = [u8; 32];

/// Most bytes of one thing: a home gives none that is larger, so nobody puts one there.
pub const MOST_ON_SHELF: usize = 256 * 1024;

/// Where gateways keep things for each other.
pub trait Shelf: Debug + Send + Sync {
    /// What stands under a name, where something does.
    ///
    /// # Errors
    ///
    /// Where that cannot be found out, or it is larger than [`MOST_ON_SHELF`].
    fn load(&self, key: ShelfKey) -> Told<Option<Vec<u8>>>;

    /// Puts a thing in the place of what was there; it is gone after `life`, where one is given. The
    /// home's own clock measures that.
    fn put(&self, key: ShelfKey, thing: Vec<u8>, life: Option<Duration>) -> Told<()>;

    /// Takes a thing out.
    fn remove(&self, key: ShelfKey) -> Told<()>;

    /// Asks to be the one who does what only one may do. A holder who has it gets it again, from now
    /// on. The home's clock measures `time`.
    fn lease(&self, key: ShelfKey, holder: Holder, time: Duration) -> Told<Lease>;

    /// Gives a lease back, if it is still this holder's.
    fn release(&self, key: ShelfKey, holder: Holder) -> Told<()>;
}

/// A shelf as all who use it hold it.
pub type SharedShelf = Arc<dyn Shelf>;
