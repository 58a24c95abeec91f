//! A set of header names that says no at a glance to most that are not in it.

use std::collections::HashSet;

use ahash::RandomState;

/// A set of header names, lower case.
#[derive(Clone, Debug)]
pub(super) struct Names {
    all: HashSet<Box<str>, RandomState>,
    /// By first byte, which lengths there are: one bit each, the last for all longer ones.
    lengths: [u64; 128],
}

impl Names {
    /// A set of these.
    pub(super) fn new<'a>(names: impl IntoIterator<Item = &'a str>) -> Self {
        let all = HashSet::with_hasher(RandomState::with_seeds(0x68, 0x79, 0x67, 0x69));
        let mut set = Self {
            all,
            lengths: [0; 128],
        };
        names.into_iter().for_each(|name| set.insert(name));
        set
    }

    /// Puts a name in.
    pub(super) fn insert(&mut self, name: &str) {
        let (first, bit) = glance(name);
        if let Some(lengths) = self.lengths.get_mut(first) {
            *lengths |= bit;
        }
        self.all.insert(Box::from(name));
    }

    /// Whether a name is in it.
    pub(super) fn contains(&self, name: &str) -> bool {
        let (first, bit) = glance(name);
        self.lengths
            .get(first)
            .is_some_and(|lengths| lengths & bit != 0)
            && self.all.contains(name)
    }
}

/// The first byte of a name, and the bit of its length.
fn glance(name: &str) -> (usize, u64) {
    let first = name.as_bytes().first().copied().unwrap_or(0);
    (usize::from(first), length_bit(name))
}

/// The bit of a name's length, the last for all longer ones.
pub(super) fn length_bit(name: &str) -> u64 {
    1 << name.len().min(63)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn long_names_and_the_empty_one_are_found_too() {
        let long = "x-".to_owned() + &"a".repeat(200);
        let set = Names::new([long.as_str(), ""]);
        assert!(set.contains(&long) && set.contains(""));
        assert!(!set.contains(&(long + "a")));
    }

    proptest! {
        #[test]
        fn the_glance_changes_no_answer(names in prop::collection::vec("[a-z-]{0,70}", 0..20), asked in "[a-z-]{0,70}") {
            let set = Names::new(names.iter().map(String::as_str));
            prop_assert!(names.iter().all(|name| set.contains(name)));
            prop_assert_eq!(set.contains(&asked), names.contains(&asked));
        }
    }
}
