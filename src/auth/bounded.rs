//! A map that forgets: bounded by count and by bytes, shared by all workers, never blocking long.
//!
//! Two generations: new entries go to the young one; when it is half the bound, it becomes the old
//! one and what was old is dropped whole. An entry that is found in the old generation moves to
//! the young one, so what is in use stays.

use std::hash::Hash;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use arc_swap::ArcSwap;
use dashmap::DashMap;

type Map<K, V> = DashMap<K, Weighed<V>, ahash::RandomState>;

#[derive(Clone, Debug)]
struct Weighed<V> {
    value: V,
    bytes: usize,
}

#[derive(Debug)]
struct Generations<K: Eq + Hash, V> {
    young: Arc<Map<K, V>>,
    old: Arc<Map<K, V>>,
    young_bytes: AtomicUsize,
}

/// A bounded map of cheap clones.
#[derive(Debug)]
pub(crate) struct Bounded<K: Eq + Hash, V> {
    generations: ArcSwap<Generations<K, V>>,
    half_entries: usize,
    half_bytes: usize,
}

/// What an entry takes beside what its owner counts: key, pointers, slack of the table.
const OVERHEAD: usize = 160;

fn empty<K: Eq + Hash, V>() -> Arc<Map<K, V>> {
    Arc::new(DashMap::with_hasher_and_shard_amount(
        ahash::RandomState::new(),
        16,
    ))
}

impl<K: Eq + Hash + Copy, V: Clone> Bounded<K, V> {
    /// A map of at most `entries` entries that weigh at most `bytes`, about.
    pub(crate) fn new(entries: usize, bytes: usize) -> Self {
        Self {
            generations: ArcSwap::from_pointee(Generations {
                young: empty(),
                old: empty(),
                young_bytes: AtomicUsize::new(0),
            }),
            half_entries: entries / 2,
            half_bytes: bytes / 2,
        }
    }

    /// The value of a key.
    pub(crate) fn get(&self, key: &K) -> Option<V> {
        let generations = self.generations.load();
        if let Some(found) = generations.young.get(key) {
            return Some(found.value.clone());
        }
        let (_, aged) = generations.old.remove(key)?;
        drop(generations);
        self.insert(*key, aged.value.clone(), aged.bytes);
        Some(aged.value)
    }

    /// Puts a value in; `bytes` is about what it holds.
    pub(crate) fn insert(&self, key: K, value: V, bytes: usize) {
        if bytes > self.half_bytes {
            return;
        }
        let generations = self.generations.load_full();
        generations.young.insert(key, Weighed { value, bytes });
        let weight = generations
            .young_bytes
            .fetch_add(bytes + OVERHEAD, Ordering::Relaxed);
        let full = weight + bytes + OVERHEAD > self.half_bytes
            || generations.young.len() >= self.half_entries;
        if full {
            // Of several that find it full one wins; the others' swap finds another pointer.
            let next = Arc::new(Generations {
                young: empty(),
                old: Arc::clone(&generations.young),
                young_bytes: AtomicUsize::new(0),
            });
            self.generations.compare_and_swap(&generations, next);
        }
    }

    /// Takes a value out.
    pub(crate) fn remove(&self, key: &K) {
        let generations = self.generations.load();
        generations.young.remove(key);
        generations.old.remove(key);
    }

    /// How many entries there are.
    pub(crate) fn len(&self) -> usize {
        let generations = self.generations.load();
        generations.young.len() + generations.old.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neither_count_nor_bytes_grow_past_the_bound() {
        let by_count = Bounded::new(100, usize::MAX);
        let by_bytes = Bounded::new(usize::MAX, 100 * (OVERHEAD + 40));
        for number in 0_u32..10_000 {
            by_count.insert(number, (), 40);
            by_bytes.insert(number, (), 40);
            assert!(by_count.len() <= 100);
            assert!(by_bytes.len() <= 102);
        }
    }

    #[test]
    fn what_is_in_use_stays() {
        let map = Bounded::new(100, usize::MAX);
        map.insert(u32::MAX, "kept", 1);
        for number in 0..10_000 {
            map.insert(number, "other", 1);
            assert_eq!(map.get(&u32::MAX), Some("kept"), "{number}");
        }
    }

    #[test]
    fn what_was_taken_out_is_gone_from_both_generations() {
        let map = Bounded::new(4, usize::MAX);
        for number in 0_u32..3 {
            map.insert(number, (), 1);
        }
        for number in 0..3 {
            map.remove(&number);
            assert_eq!(map.get(&number), None);
        }
    }
}
