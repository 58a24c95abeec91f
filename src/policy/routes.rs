//! Finds the one route that fits a request.

use crate::policy::route::Route;

/// Every route, and how to find the one that fits.
#[derive(Debug, Default)]
pub struct Routes {
    /// In the order of the file.
    pub all: Vec<std::sync::Arc<Route>>,
}
