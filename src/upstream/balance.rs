//! Which server gets the next request. Pure: candidates in, an index out.

use std::net::IpAddr;

/// What is known about a candidate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// Requests under way.
    pub in_flight: usize,
    /// Share of the requests; at least 1.
    pub weight: u32,
    /// Tenths of its share that it gets now, 1 to 10: less than all where it has just come back.
    pub tenths: u32,
    /// Whether it is out, or was tried for this request already.
    pub excluded: bool,
}

/// The candidate with the fewest requests under way for its weight, starting the look at `turn`,
/// so that equals take turns. `None` when all are excluded.
#[must_use]
pub fn least_requests(candidates: &[Candidate], turn: usize) -> Option<usize> {
    let count = candidates.len();
    let load =
        |candidate: &Candidate| (candidate.in_flight as u64 + 1) * 10_000_000 / candidate.share();
    (0..count)
        .map(|step| (turn.wrapping_add(step)) % count.max(1))
        .filter_map(|index| candidates.get(index).map(|candidate| (index, candidate)))
        .filter(|(_, candidate)| !candidate.excluded)
        .min_by_key(|(_, candidate)| load(candidate))
        .map(|(index, _)| index)
}

/// The candidate whose share of a round the turn falls into.
#[must_use]
pub fn round_robin(candidates: &[Candidate], turn: usize) -> Option<usize> {
    pick_by(candidates, turn as u64)
}

/// The same candidate for the same client, as long as the candidates stay (rendezvous hashing).
/// Every gateway with the same file chooses alike.
#[must_use]
pub fn client_ip(candidates: &[Candidate], client: IpAddr) -> Option<usize> {
    let address = match client {
        IpAddr::V4(v4) => v4.to_ipv6_mapped(),
        IpAddr::V6(v6) => v6,
    };
    candidates
        .iter()
        .enumerate()
        .filter(|(_, candidate)| !candidate.excluded)
        .max_by_key(|(index, candidate)| {
            // A candidate draws as often as it weighs; the best draw wins.
            (0..candidate.weight.clamp(1, 64))
                .map(|draw| {
                    let seed = stable_hash(&address.octets());
                    stable_hash(
                        &[seed, *index as u64, u64::from(draw)]
                            .map(u64::to_le_bytes)
                            .concat(),
                    )
                })
                .max()
        })
        .map(|(index, _)| index)
}

/// FNV-1a with a final mix: the same in every build and on every machine.
#[must_use]
pub fn stable_hash(bytes: &[u8]) -> u64 {
    let mut hash = bytes.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    });
    hash ^= hash >> 33;
    hash = hash.wrapping_mul(0xff51_afd7_ed55_8ccd);
    hash ^ (hash >> 33)
}

fn pick_by(candidates: &[Candidate], turn: u64) -> Option<usize> {
    // In tenths only while someone gets less than all: rounds of tenths are long.
    let whole = candidates.iter().all(|candidate| candidate.tenths >= 10);
    let share = |candidate: &Candidate| candidate.share() / if whole { 10 } else { 1 };
    let taking = || candidates.iter().enumerate().filter(|(_, c)| !c.excluded);
    let total: u64 = taking().map(|(_, candidate)| share(candidate)).sum();
    let mut point = turn.checked_rem(total)?;
    for (index, candidate) in taking() {
        let share = share(candidate);
        if point < share {
            return Some(index);
        }
        point -= share;
    }
    None
}

impl Candidate {
    /// Its weight in tenths; at least 1.
    fn share(&self) -> u64 {
        u64::from(self.weight.max(1)) * u64::from(self.tenths.clamp(1, 10))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn free(in_flight: usize, weight: u32) -> Candidate {
        Candidate {
            in_flight,
            weight,
            tenths: 10,
            excluded: false,
        }
    }

    #[test]
    fn the_least_busy_server_for_its_weight_is_chosen() {
        assert_eq!(least_requests(&[free(3, 1), free(1, 1)], 0), Some(1));
        assert_eq!(least_requests(&[free(3, 4), free(1, 1)], 0), Some(0));
    }

    #[test]
    fn equals_take_turns() {
        let servers = [free(0, 1), free(0, 1)];
        assert_eq!(
            (least_requests(&servers, 0), least_requests(&servers, 1)),
            (Some(0), Some(1))
        );
    }

    #[test]
    fn a_server_that_is_out_or_was_tried_is_not_chosen() {
        let tried = Candidate {
            excluded: true,
            ..free(0, 1)
        };
        assert_eq!(least_requests(&[tried, free(9, 1)], 0), Some(1));
        assert_eq!(round_robin(&[tried, free(9, 1)], 0), Some(1));
        assert_eq!(client_ip(&[tried], IpAddr::from([127, 0, 0, 1])), None);
    }

    #[test]
    fn round_robin_gives_each_its_share() {
        let servers = [free(0, 2), free(0, 1)];
        let picks: Vec<_> = (0..6)
            .filter_map(|turn| round_robin(&servers, turn))
            .collect();
        assert_eq!(picks, [0, 0, 1, 0, 0, 1]);
    }

    #[test]
    fn a_server_that_came_back_gets_its_part_alone() {
        let back = Candidate {
            tenths: 2,
            ..free(0, 1)
        };
        let servers = [back, free(0, 1)];
        let picks = (0..120).filter_map(|turn| round_robin(&servers, turn));
        assert_eq!(picks.filter(|index| *index == 0).count(), 20);
        assert_eq!(least_requests(&[back, free(3, 1)], 0), Some(1));
        assert_eq!(least_requests(&[back, free(5, 1)], 0), Some(0));
    }

    #[test]
    fn a_client_keeps_its_server() {
        let servers = [free(0, 1), free(5, 1), free(9, 1)];
        let client = IpAddr::from([192, 0, 2, 7]);
        assert_eq!(client_ip(&servers, client), client_ip(&servers, client));
    }
}
