//! Same-site rule for unsafe requests that carry a cookie credential.
