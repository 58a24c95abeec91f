//! The steps that are one in Redis, and under which keys they work.
//!
//! A script compares bytes and writes bytes; what to write is decided here, not there. All keys of
//! one script share a slot of a cluster: those of a session by its shard, which its successor has
//! too, and those of the log.

use std::sync::LazyLock;

use aws_lc_rs::digest;
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD as BASE64;
use redis::Script;

use crate::auth::ledger::{Session, SessionKey};
use crate::clock::Timestamp;

/// How long after a session's end Redis drops it: the two clocks may differ.
const SLACK_MS: i64 = 60_000;
/// Where revocations are told.
pub(super) const CHANNEL: &str = "portcullis:revocations";
/// The number of the last revocation.
pub(super) const NUMBER: &str = "portcullis:{log}:number";
/// Revocations by their number.
pub(super) const ENTRIES: &str = "portcullis:{log}:entries";
/// Revocations by when they are over, in milliseconds since 1970.
pub(super) const ENDS: &str = "portcullis:{log}:ends";
/// Most revocations.
pub(super) const MOST_REVOKED: u64 = 4_000_000;

/// Keeps a session and lists it. Session, list; record, end, member.
pub(super) static CREATE: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        "redis.call('SET', KEYS[1], ARGV[1])
         redis.call('PEXPIREAT', KEYS[1], ARGV[2])
         redis.call('ZADD', KEYS[2], 0, ARGV[3])
         return 1",
    )
});

/// Puts a record in the place of another, under the same key or the next, if its head is still the
/// one that was read. Old, new, list; head, record, end, old member, new member.
pub(super) static SWAP: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        "if redis.call('GETRANGE', KEYS[1], 0, 16) ~= ARGV[1] then return 0 end
         if KEYS[1] ~= KEYS[2] then redis.call('DEL', KEYS[1]) end
         redis.call('SET', KEYS[2], ARGV[2])
         redis.call('PEXPIREAT', KEYS[2], ARGV[3])
         if ARGV[4] ~= ARGV[5] then
           redis.call('ZREM', KEYS[3], ARGV[4])
           redis.call('ZADD', KEYS[3], 0, ARGV[5])
         end
         return 1",
    )
});

/// Drops a session and its place in the list. Session, list; member.
pub(super) static END: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        "redis.call('ZREM', KEYS[2], ARGV[1])
         return redis.call('DEL', KEYS[1])",
    )
});

/// Notes a session among those of its user, forgets those that are over, and keeps the list as
/// long as the session that lives longest. List; member, now, end.
pub(super) static NOTE: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        "redis.call('ZREMRANGEBYLEX', KEYS[1], '-', '(' .. ARGV[2])
         redis.call('ZADD', KEYS[1], 0, ARGV[1])
         local left = redis.call('PTTL', KEYS[1])
         local wanted = tonumber(ARGV[3])
         if left < wanted then redis.call('PEXPIRE', KEYS[1], wanted) end
         return 1",
    )
});

/// Gives a lease to the first who asks, or to its holder anew. Lease; holder, milliseconds.
pub(super) static LEASE: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        "local holder = redis.call('GET', KEYS[1])
         if holder and holder ~= ARGV[1] then return 0 end
         redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
         return 1",
    )
});

/// Takes a lease back from its holder. Lease; holder.
pub(super) static RELEASE: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        "if redis.call('GET', KEYS[1]) == ARGV[1] then redis.call('DEL', KEYS[1]) end
         return 1",
    )
});

/// Notes a revocation, in order, and tells it. Number, entries, ends; entry, end, channel, most.
pub(super) static REVOKE: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        "if redis.call('ZCARD', KEYS[2]) >= tonumber(ARGV[4]) then return 0 end
         local number = redis.call('INCR', KEYS[1])
         redis.call('ZADD', KEYS[2], number, ARGV[1])
         redis.call('ZADD', KEYS[3], ARGV[2], ARGV[1])
         redis.call('PUBLISH', ARGV[3], number)
         return number",
    )
});

/// Forgets some revocations that are over. Entries, ends; now, how many at most.
pub(super) static FORGET: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        "local over = redis.call('ZRANGEBYSCORE', KEYS[2], '-inf', ARGV[1], 'LIMIT', 0, ARGV[2])
         for _, entry in ipairs(over) do
           redis.call('ZREM', KEYS[1], entry)
           redis.call('ZREM', KEYS[2], entry)
         end
         return #over",
    )
});

/// Where a session is.
pub(super) fn session(key: SessionKey) -> String {
    format!("portcullis:{{s{:02x}}}:{key}", key.shard())
}

/// Where its lease is.
pub(super) fn lease(key: SessionKey) -> String {
    format!("portcullis:{{s{:02x}}}:lease:{key}", key.shard())
}

/// The list of a shard's sessions.
pub(super) fn all(shard: u8) -> String {
    format!("portcullis:{{s{shard:02x}}}:all")
}

/// The list of a user's sessions. The id is hashed: it may be long, and needs not be seen.
pub(super) fn user(user: &str) -> String {
    let hash = digest::digest(&digest::SHA256, user.as_bytes());
    format!("portcullis:user:{}", BASE64.encode(hash))
}

/// A session's place in lists, which are in the order of their last ends: that end, then the key.
pub(super) fn member(key: SessionKey, session: &Session) -> Vec<u8> {
    [&end(session.expires())[..], key.as_bytes()].concat()
}

/// The end in a member; what ends earlier comes before it.
pub(super) fn end(at: Timestamp) -> [u8; 8] {
    at.unix_micros().max(0).to_be_bytes()
}

/// The key in a member.
pub(super) fn key_of(member: &[u8]) -> Option<SessionKey> {
    let key = member.get(8..)?.try_into().ok()?;
    Some(SessionKey::from_bytes(key))
}

/// When Redis drops a session that is not seen any more.
pub(super) fn drops_at(session: &Session) -> i64 {
    millis(session.ends()).saturating_add(SLACK_MS)
}

/// How long a user's list is kept for a session.
pub(super) fn kept_for(session: &Session, now: Timestamp) -> i64 {
    let left = session.expires().saturating_since(now);
    i64::try_from(left.as_millis())
        .unwrap_or(i64::MAX / 2)
        .saturating_add(SLACK_MS)
}

/// Milliseconds since 1970.
pub(super) fn millis(at: Timestamp) -> i64 {
    at.unix_micros().div_euclid(1000)
}
