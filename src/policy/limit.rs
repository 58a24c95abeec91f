//! How often something may be asked for: the rate, to whose account a request goes, and what the
//! client is told of it.
//!
//! The counting is the limiter's. Whatever is counted for is hashed with a key of the process
//! and kept as a number alone, so that a credential in a header can be counted by.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue};

use crate::policy::denial::{Code, Denial};

const LIMIT: HeaderName = HeaderName::from_static("ratelimit-limit");
const REMAINING: HeaderName = HeaderName::from_static("ratelimit-remaining");
const RESET: HeaderName = HeaderName::from_static("ratelimit-reset");

/// The place of a limit in the policy, from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LimitId(pub usize);

/// In what time a rate's number may come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names say it")]
pub enum Unit {
    Second,
    Minute,
    Hour,
}

impl Unit {
    const fn length(self) -> Duration {
        match self {
            Self::Second => Duration::from_secs(1),
            Self::Minute => Duration::from_mins(1),
            Self::Hour => Duration::from_hours(1),
        }
    }
}

/// So many requests in a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// How many.
    pub count: NonZeroU32,
    /// In what time.
    pub unit: Unit,
}

impl Rate {
    /// The time from one request to the next at a steady pace; rounded up, so that never more pass
    /// than the rate says.
    #[must_use]
    pub fn period(self) -> Duration {
        let nanos = self.unit.length().as_nanos();
        let period = nanos.div_ceil(u128::from(self.count.get()));
        Duration::from_nanos(u64::try_from(period).unwrap_or(u64::MAX))
    }
}

/// As it is written in the file: `10/m`.
impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unit = match self.unit {
            Unit::Second => 's',
            Unit::Minute => 'm',
            Unit::Hour => 'h',
        };
        write!(f, "{}/{unit}", self.count)
    }
}

/// What has an account of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Per {
    /// An IPv4 address, or the /64 of an IPv6 address.
    Ip,
    /// A user; where nobody is signed in, the address.
    User,
    /// What a header says; where it is not there, the address.
    Header(HeaderName),
}

impl fmt::Display for Per {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ip => f.write_str("ip"),
            Self::User => f.write_str("user"),
            Self::Header(name) => write!(f, "header:{name}"),
        }
    }
}

/// `[rate_limit.NAME]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RateLimit {
    /// Its name: the label.
    pub name: Arc<str>,
    /// The steady pace.
    pub rate: Rate,
    /// How many may come at once.
    pub burst: NonZeroU32,
    /// What has an account of its own.
    pub per: Per,
    /// Whether all gateways count together.
    pub shared: bool,
}

/// For the operator: `10/m per ip, 5 at once`, and whether that is over all gateways.
impl fmt::Display for RateLimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} per {}, {} at once", self.rate, self.per, self.burst)?;
        if self.shared {
            f.write_str(", over all gateways")?;
        }
        Ok(())
    }
}

impl RateLimit {
    /// Whether it can only be asked when it is known who calls.
    #[must_use]
    pub fn wants_caller(&self) -> bool {
        match self.per {
            Per::User => true,
            Per::Ip | Per::Header(_) => false,
        }
    }

    /// To whose account a request goes.
    #[must_use]
    pub fn account<'r>(
        &'r self,
        ip: IpAddr,
        user: Option<&'r str>,
        headers: &'r HeaderMap,
    ) -> Account<'r> {
        match (&self.per, user) {
            (Per::User, Some(user)) => Account::User(user),
            (Per::Header(name), _) if headers.contains_key(name) => Account::Header(name, headers),
            (Per::Ip | Per::User | Per::Header(_), _) => Account::of_address(ip),
        }
    }

    /// The refusal of a request that is over the limit.
    #[must_use]
    pub fn refusal(&self, over: &Over, account: &Account<'_>) -> Denial {
        let wait = whole_seconds(over.wait).max(1);
        let detail = format!("more requests came than are taken here; try again in {wait} s");
        let note = format!("limit {}: {self}; counted for {account}", self.name);
        Denial::new(Code::RateLimited, detail)
            .note(note)
            .retry_after(Duration::from_secs(wait))
    }
}

/// What is counted for. No two of different kinds are the same.
#[derive(Clone)]
pub enum Account<'r> {
    /// An IPv4 address.
    V4(u32),
    /// The upper half of an IPv6 address: the smallest network that a site is given (RFC 6177).
    V6(u64),
    /// A user's id.
    User(&'r str),
    /// Every value of a header.
    Header(&'r HeaderName, &'r HeaderMap),
}

impl Account<'_> {
    fn of_address(ip: IpAddr) -> Self {
        match ip.to_canonical() {
            IpAddr::V4(v4) => Self::V4(v4.to_bits()),
            IpAddr::V6(v6) => Self::V6(u64::try_from(v6.to_bits() >> 64).unwrap_or(u64::MAX)),
        }
    }

    /// Bytes that no other account of the same limit has, the same at each gateway.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        match self {
            Self::V4(bits) => [&[4][..], &bits.to_be_bytes()].concat(),
            Self::V6(bits) => [&[6][..], &bits.to_be_bytes()].concat(),
            Self::User(user) => [&[1], user.as_bytes()].concat(),
            Self::Header(name, headers) => {
                let mut bytes = vec![2];
                for value in headers.get_all(*name) {
                    // No value can pose as two.
                    bytes.extend((value.len() as u64).to_be_bytes());
                    bytes.extend(value.as_bytes());
                }
                bytes
            }
        }
    }
}

impl Hash for Account<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        match self {
            Self::V4(bits) => (4_u8, bits).hash(state),
            Self::V6(bits) => (6_u8, bits).hash(state),
            Self::User(user) => (1_u8, user).hash(state),
            Self::Header(name, headers) => {
                2_u8.hash(state);
                for value in headers.get_all(*name) {
                    value.as_bytes().hash(state);
                }
            }
        }
    }
}

/// For the operator. A header's value may be a secret and is not told.
impl fmt::Display for Account<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::V4(bits) => write!(f, "{}", std::net::Ipv4Addr::from_bits(*bits)),
            Self::V6(bits) => {
                let network = std::net::Ipv6Addr::from_bits(u128::from(*bits) << 64);
                write!(f, "{network}/64")
            }
            Self::User(user) => write!(f, "user {user}"),
            Self::Header(name, _) => write!(f, "a value of {name}"),
        }
    }
}

impl fmt::Debug for Account<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Account({self})")
    }
}

/// How an account stands after a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// How many may come at once.
    pub burst: u32,
    /// How many more may come now.
    pub remaining: u32,
    /// Until `remaining` is `burst` again, if nothing comes; at most one period too long.
    pub whole_in: Duration,
}

/// How an account stands that is over its limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Over {
    /// Until the next request passes.
    pub wait: Duration,
    /// The standing, with nothing remaining.
    pub standing: Standing,
}

impl Standing {
    /// Of two standings the one that fewer requests are left of: what a client has to heed.
    #[must_use]
    pub fn or_tighter(self, other: Self) -> Self {
        let rank = |standing: &Self| (standing.remaining, std::cmp::Reverse(standing.whole_in));
        if rank(&other) < rank(&self) {
            other
        } else {
            self
        }
    }

    /// Tells the client, in the place of what stands there: `RateLimit-Limit`,
    /// `RateLimit-Remaining` and `RateLimit-Reset` (draft-ietf-httpapi-ratelimit-headers-03).
    pub fn tell(&self, headers: &mut HeaderMap) {
        headers.insert(LIMIT, HeaderValue::from(self.burst));
        headers.insert(REMAINING, HeaderValue::from(self.remaining));
        headers.insert(RESET, HeaderValue::from(whole_seconds(self.whole_in)));
    }
}

/// A duration in seconds, rounded up.
fn whole_seconds(duration: Duration) -> u64 {
    duration.as_secs() + u64::from(duration.subsec_nanos() > 0)
}

#[cfg(test)]
#[path = "limit_tests.rs"]
mod tests;
