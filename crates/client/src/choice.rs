//! Which replica gets a check: of two at random, the one with fewer checks in flight.
//!
//! Least load over all would send every gateway to the same replica, the one that has just come;
//! two random choices spread nearly as evenly, and a slow replica fills up and is passed over.

/// The place among `in_flight` of the replica to use, of which there must be one at least.
pub(crate) fn of_two(in_flight: &[usize], random: &mut fastrand::Rng) -> usize {
    let count = in_flight.len();
    if count < 2 {
        return 0;
    }
    let first = random.usize(..count);
    let second = (first + random.usize(1..count)) % count;
    if in_flight[second] < in_flight[first] {
        second
    } else {
        first
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shares(in_flight: &[usize], rounds: u32) -> Vec<u32> {
        let random = &mut fastrand::Rng::with_seed(1);
        let mut shares = vec![0; in_flight.len()];
        for _ in 0..rounds {
            shares[of_two(in_flight, random)] += 1;
        }
        shares
    }

    #[test]
    fn the_only_one_is_chosen() {
        assert_eq!(shares(&[7], 10), [10]);
    }

    #[test]
    fn of_two_the_less_loaded_is_always_chosen() {
        assert_eq!(shares(&[3, 2], 100), [0, 100]);
    }

    #[test]
    fn equals_share_evenly() {
        for share in shares(&[1, 1, 1, 1], 10_000) {
            assert!((2_200..2_800).contains(&share), "{share}");
        }
    }

    #[test]
    fn the_most_loaded_is_never_chosen_and_the_least_loaded_most_often() {
        let shares = shares(&[9, 0, 5, 5], 10_000);
        assert_eq!(shares[0], 0);
        // It wins each of the three pairs of six in which it is.
        assert!((4_700..5_300).contains(&shares[1]), "{shares:?}");
    }

    /// As each choice adds to the load, loads stay level.
    #[test]
    fn loads_stay_level() {
        let random = &mut fastrand::Rng::with_seed(1);
        let mut in_flight = [0; 5];
        for _ in 0..5_000 {
            in_flight[of_two(&in_flight, random)] += 1;
        }
        for load in in_flight {
            assert!((990..=1_010).contains(&load), "{in_flight:?}");
        }
    }
}
