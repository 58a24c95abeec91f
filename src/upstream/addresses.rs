//! The addresses of one name: which of an answer are used, in which order a new connection tries
//! them, and which open connections a new answer ends. PURE.

use std::net::SocketAddr;

use smallvec::SmallVec;

/// Addresses of one name that are used.
pub(super) const MOST: usize = 16;
/// Addresses that one connection tries, so that each gets a good part of its time.
pub(super) const TRIES: usize = 3;
/// The part of the connections to a name with several addresses that each answer of the resolver has
/// closed, once they rest.
const RENEWED: f64 = 0.15;
/// Addresses of one answer that are looked at. A DNS message holds about 4,000.
const MOST_READ: usize = 4096;

/// Places in a list of addresses, in the order in which they are tried.
pub(super) type Order = SmallVec<[usize; MOST]>;

/// The addresses of an answer that are used: each once, in the resolver's order, [`MOST`] at most.
/// Where there are more, those of `before` stay, so that a long list is not cut differently each time.
pub(super) fn bounded(
    found: impl IntoIterator<Item = SocketAddr>,
    before: &[SocketAddr],
) -> Vec<SocketAddr> {
    let (mut known, mut fresh) = (Vec::new(), Vec::new());
    let mut all = Vec::new();
    for address in found.into_iter().take(MOST_READ) {
        let list = if before.contains(&address) {
            &mut known
        } else {
            &mut fresh
        };
        if list.len() < MOST && !list.contains(&address) {
            list.push(address);
            all.push(address);
        }
    }
    if all.len() > MOST {
        fresh.truncate(MOST - known.len());
        all.retain(|address| known.contains(address) || fresh.contains(address));
    }
    all
}

/// Whether two lists hold the same addresses, in whatever order.
pub(super) fn are_same(one: &[SocketAddr], other: &[SocketAddr]) -> bool {
    one.len() == other.len() && one.iter().all(|address| other.contains(address))
}

/// What is known of an address, in the order in which addresses are tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Mark {
    /// It failed, and this connection finds out whether it takes connections again.
    Due,
    /// Nothing speaks against it.
    Well,
    /// It failed lately.
    Failed,
}

/// The order in which the connection of this `turn` tries the addresses, by what is known of each.
/// Those of the family that the resolver puts first take turns; those of the other come behind.
pub(super) fn order(
    addresses: &[SocketAddr],
    turn: usize,
    mut mark: impl FnMut(usize) -> Mark,
) -> Order {
    let prefers_v6 = addresses.first().is_some_and(SocketAddr::is_ipv6);
    let of_family = |wanted: bool| {
        let places = addresses.iter().enumerate();
        places.filter_map(move |(place, address)| (address.is_ipv6() == wanted).then_some(place))
    };
    let mut order: Order = of_family(prefers_v6).collect();
    let count = order.len();
    if count > 1 {
        order.rotate_left(turn % count);
    }
    order.extend(of_family(!prefers_v6));
    // Stable, and each is asked about once.
    order.sort_by_cached_key(|place| mark(*place));
    order
}

/// Whether a connection that rests is closed, where the resolver has answered with these addresses
/// since it was last judged, those of `fresh` for the first time. `dice` is from 0 to 1.
///
/// One to an address that is gone is. Busy connections would be kept for ever, so of the others some
/// are too: with fresh addresses the part that those have in all, else [`RENEWED`]. So an address that
/// is new, or takes connections again, gets its share. Of a name with one address none are.
pub(super) fn is_retired(
    peer: SocketAddr,
    now: &[SocketAddr],
    fresh: &[SocketAddr],
    dice: f64,
) -> bool {
    if !now.contains(&peer) {
        return true;
    }
    let count = |list: &[SocketAddr]| u32::try_from(list.len()).map_or(f64::MAX, f64::from);
    let part = if fresh.is_empty() {
        RENEWED
    } else {
        count(fresh) / count(now)
    };
    now.len() > 1 && !fresh.contains(&peer) && dice < part
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(last: u16) -> SocketAddr {
        format!("10.0.{}.{}:80", last / 256, last % 256)
            .parse()
            .unwrap()
    }

    fn list(lasts: impl IntoIterator<Item = u16>) -> Vec<SocketAddr> {
        lasts.into_iter().map(at).collect()
    }

    #[test]
    fn an_answer_is_kept_in_its_order_and_each_address_once() {
        assert_eq!(bounded(list([2, 1, 2, 3, 1]), &[]), list([2, 1, 3]));
    }

    #[test]
    fn of_too_many_addresses_those_in_use_stay() {
        let before = list([90, 50]);
        let used = bounded(list(1..100), &before);
        assert_eq!(used.len(), MOST);
        assert_eq!(used, list((1..15).chain([50, 90])));
        let again = bounded(list((1..100).rev()), &used);
        assert!(are_same(&used, &again), "{again:?}");
    }

    #[test]
    fn connections_take_turns_at_the_addresses() {
        let three = list([1, 2, 3]);
        let first = |turn| order(&three, turn, |_| Mark::Well)[0];
        assert_eq!([0, 1, 2, 3].map(first), [0, 1, 2, 0]);
        assert_eq!(*order(&three, 1, |_| Mark::Well), [1, 2, 0]);
        assert_eq!(order(&[], 7, |_| Mark::Well).len(), 0);
    }

    #[test]
    fn an_address_that_failed_lately_is_tried_last_and_first_when_it_is_due() {
        let three = list([1, 2, 3]);
        assert_eq!(*order(&three, 0, failed(0)), [1, 2, 0]);
        assert_eq!(*order(&three, 1, |_| Mark::Failed), [1, 2, 0]);
        let due = |place| if place == 1 { Mark::Due } else { Mark::Well };
        assert_eq!(*order(&three, 2, due), [1, 2, 0]);
    }

    fn failed(which: usize) -> impl Fn(usize) -> Mark {
        move |place| {
            if place == which {
                Mark::Failed
            } else {
                Mark::Well
            }
        }
    }

    #[test]
    fn the_family_that_the_resolver_puts_last_stands_in_for_the_first_alone() {
        let of_localhost = ["[::1]:80", "127.0.0.1:80"].map(|text| text.parse().unwrap());
        for turn in 0..4 {
            assert_eq!(*order(&of_localhost, turn, |_| Mark::Well), [0, 1]);
            assert_eq!(*order(&of_localhost, turn, failed(0)), [1, 0]);
        }
    }

    #[test]
    fn connections_to_gone_addresses_are_retired_and_of_others_the_share_of_fresh_ones() {
        let (now, fresh) = (list([1, 2]), list([2]));
        assert!(is_retired(at(9), &now, &fresh, 0.99));
        assert!(is_retired(at(1), &now, &fresh, 0.49));
        assert!(!is_retired(at(1), &now, &fresh, 0.5));
        assert!(!is_retired(at(2), &now, &fresh, 0.0));
    }

    #[test]
    fn a_part_is_renewed_with_each_answer_where_there_is_a_choice() {
        assert!(is_retired(at(1), &list([1, 2]), &[], 0.14));
        assert!(!is_retired(at(1), &list([1, 2]), &[], 0.15));
        assert!(!is_retired(at(1), &list([1]), &[], 0.0));
        assert!(!is_retired(at(1), &list([1]), &list([1]), 0.0));
    }

    proptest! {
        #[test]
        fn every_address_is_tried_once_in_whatever_order(
            count in 0_usize..=MOST, turn: usize, marks: u16,
        ) {
            let addresses: Vec<_> = (0..count)
                .map(|place| if marks >> (place % 7) & 1 == 1 {
                    SocketAddr::new([0_u16; 8].into(), u16::try_from(place).unwrap())
                } else {
                    at(u16::try_from(place).unwrap())
                })
                .collect();
            let mark = |place| [Mark::Due, Mark::Well, Mark::Failed][usize::from(marks >> place) % 3];
            let mut order = order(&addresses, turn, mark).to_vec();
            order.sort_unstable();
            prop_assert_eq!(order, (0..count).collect::<Vec<_>>());
        }

        #[test]
        fn no_answer_makes_more_than_the_bound(
            found in prop::collection::vec(0_u16..60, 0..200),
            before in prop::collection::vec(0_u16..60, 0..=MOST),
        ) {
            let before = bounded(list(before), &[]);
            let answer = list(found);
            let used = bounded(answer.clone(), &before);
            prop_assert!(used.len() <= MOST);
            prop_assert!(used.iter().all(|address| answer.contains(address)));
            let lost = before.iter().any(|old| answer.contains(old) && !used.contains(old));
            prop_assert!(!lost);
            prop_assert_eq!(used.is_empty(), answer.is_empty());
        }
    }
}
