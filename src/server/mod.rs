//! The public door: from an accepted connection to a request for the pipeline.

pub mod framing;
pub mod proxy_protocol;
