//! The kinds of listeners, and why a connection is closed before it is served: labels of metrics.

/// A kind of listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Door {
    /// The routes, with TLS.
    Https,
    /// The routes, without TLS.
    Plain,
    /// Redirects to https.
    Http,
    /// The admin address.
    Admin,
}

impl Door {
    /// Every door.
    pub const ALL: [Self; 4] = [Self::Https, Self::Plain, Self::Http, Self::Admin];

    /// The `listener` label.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Https => "https",
            Self::Plain => "plain",
            Self::Http => "http",
            Self::Admin => "admin",
        }
    }
}

/// Why a connection was closed before it was served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// `connections`.
    Limit,
    /// `connections_per_ip`.
    LimitPerIp,
    /// The TLS handshake failed.
    Tls,
    /// The PROXY protocol header was missing or wrong.
    ProxyProtocol,
    /// The handshake or PROXY header did not come in time.
    Timeout,
}

impl Refused {
    /// Every reason.
    pub const ALL: [Self; 5] = [
        Self::Limit,
        Self::LimitPerIp,
        Self::Tls,
        Self::ProxyProtocol,
        Self::Timeout,
    ];

    /// The `reason` label.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Limit => "limit",
            Self::LimitPerIp => "limit_per_ip",
            Self::Tls => "tls",
            Self::ProxyProtocol => "proxy_protocol",
            Self::Timeout => "timeout",
        }
    }
}
