//! Sets up hyper so that it never objects to what the scanner found clean.

use hyper::server::conn::http1;

use super::scanner::Limits;

/// Bytes that hyper may hold of one connection in each direction, if the heads' limit is lower.
const BUFFER: usize = 64 * 1024;

/// Sets up hyper for a guarded connection: it must take every head that the scanner lets pass, and
/// leave the time limits to the guard.
pub fn configure(builder: &mut http1::Builder, limits: &Limits) {
    // hyper gives up when a head fills its buffer before it ends.
    let buffer = limits.headers.saturating_add(8192);
    builder
        .half_close(false)
        .keep_alive(true)
        .pipeline_flush(false)
        .header_read_timeout(None)
        .max_buf_size(buffer.max(BUFFER));
    // hyper takes 100 when not told, and keeps so many on the stack.
    if limits.header_count > 100 {
        builder.max_headers(limits.header_count);
    }
}
