//! Who the client is: the peer, or what a trusted proxy says it is.

/// The networks whose forwarding headers are believed.
#[derive(Clone, Debug, Default)]
pub struct TrustedProxies {
    /// The networks.
    pub networks: Vec<ipnet::IpNet>,
}
