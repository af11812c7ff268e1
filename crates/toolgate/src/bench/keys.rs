//! Whom a check is about: which user, and which tool.

use std::{fmt, str::FromStr};

use rand::{RngExt as _, SeedableRng as _, rngs::SmallRng};
use rand_distr::{Distribution as _, Zipf};

/// The user and the tool of one check, by number. Where there are no users or no tools it is 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Key {
    pub(crate) user: u32,
    pub(crate) tool: u32,
}

/// How often each user and each tool comes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Spread {
    /// All equally often.
    Uniform,
    /// The one numbered `n`, from 0, in proportion to `1 / (n + 1)^exponent`.
    Zipf { exponent: f64 },
}

/// Why a text is no [`Spread`].
#[derive(Debug, thiserror::Error)]
#[error("keys are uniform, zipf or zipf:EXPONENT with an exponent above 0 and at most 10")]
pub(crate) struct SpreadError;

const DEFAULT_EXPONENT: f64 = 1.1;

impl FromStr for Spread {
    type Err = SpreadError;

    fn from_str(text: &str) -> Result<Self, SpreadError> {
        let exponent = match text.split_once(':') {
            None if text == "uniform" => return Ok(Self::Uniform),
            None if text == "zipf" => DEFAULT_EXPONENT,
            Some(("zipf", exponent)) => exponent.parse().map_err(|_| SpreadError)?,
            _ => return Err(SpreadError),
        };
        if exponent > 0.0 && exponent <= 10.0 {
            Ok(Self::Zipf { exponent })
        } else {
            Err(SpreadError)
        }
    }
}

impl fmt::Display for Spread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Uniform => f.write_str("uniform"),
            Self::Zipf { exponent } => write!(f, "zipf:{exponent}"),
        }
    }
}

/// Draws keys, users and tools each for themselves. The same seed draws the same keys.
#[derive(Debug)]
pub(crate) struct Keys {
    random: SmallRng,
    users: Draw,
    tools: Draw,
}

impl Keys {
    pub(crate) fn new(spread: Spread, users: u32, tools: u32, seed: u64) -> Self {
        Self {
            random: SmallRng::seed_from_u64(seed),
            users: Draw::new(spread, users),
            tools: Draw::new(spread, tools),
        }
    }

    pub(crate) fn draw(&mut self) -> Key {
        Key {
            user: self.users.one(&mut self.random),
            tool: self.tools.one(&mut self.random),
        }
    }
}

#[derive(Debug)]
enum Draw {
    /// There is no choice.
    Zero,
    Uniform(u32),
    /// By rejection and inversion: no table, whatever the number.
    Zipf(Zipf<f64>),
}

impl Draw {
    fn new(spread: Spread, number: u32) -> Self {
        match spread {
            _ if number <= 1 => Self::Zero,
            Spread::Uniform => Self::Uniform(number),
            // A parsed exponent and a number above 1 are in range.
            Spread::Zipf { exponent } => {
                Zipf::new(number.into(), exponent).map_or(Self::Zero, Self::Zipf)
            }
        }
    }

    fn one(&self, random: &mut SmallRng) -> u32 {
        match self {
            Self::Zero => 0,
            Self::Uniform(number) => random.random_range(0..*number),
            #[allow(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "ranks are whole numbers from 1 to a u32"
            )]
            Self::Zipf(ranks) => ranks.sample(random) as u32 - 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DRAWS: u32 = 200_000;

    fn counts(spread: Spread, number: u32) -> Vec<f64> {
        let mut keys = Keys::new(spread, number, 1, 7);
        let mut counts = vec![0.0; number as usize];
        for _ in 0..DRAWS {
            counts[keys.draw().user as usize] += 1.0;
        }
        counts
    }

    /// Six standard deviations of a count: with a fixed seed it holds or does not, for good.
    fn close(count: f64, share: f64) -> bool {
        let expected = f64::from(DRAWS) * share;
        (count - expected).abs() < 6.0 * expected.sqrt()
    }

    #[test]
    fn uniform_keys_come_equally_often() {
        for (number, count) in counts(Spread::Uniform, 50).into_iter().enumerate() {
            assert!(close(count, 1.0 / 50.0), "{number}: {count}");
        }
    }

    #[test]
    fn zipf_keys_come_as_their_rank_says() {
        for exponent in [0.8, 1.0, 1.1, 2.0] {
            let weight = |rank: u32| f64::from(rank).powf(-exponent);
            let all: f64 = (1..=50).map(weight).sum();
            let counts = counts(Spread::Zipf { exponent }, 50);
            for (count, rank) in counts.into_iter().zip(1..) {
                let share = weight(rank) / all;
                assert!(close(count, share), "{exponent}, rank {rank}: {count}");
            }
        }
    }

    #[test]
    fn users_and_tools_stay_in_range_and_are_drawn_apart() {
        let mut keys = Keys::new(Spread::Uniform, 3, 2, 1);
        let mut seen = std::collections::BTreeSet::new();
        for _ in 0..1_000 {
            let Key { user, tool } = keys.draw();
            assert!(user < 3 && tool < 2);
            seen.insert((user, tool));
        }
        assert_eq!(seen.len(), 6);
    }

    #[test]
    fn without_users_or_tools_there_is_one_key() {
        let mut keys = Keys::new(Spread::Uniform, 0, 0, 1);
        assert_eq!(keys.draw(), Key { user: 0, tool: 0 });
    }

    #[test]
    fn the_same_seed_draws_the_same_keys() {
        let draw = |seed| {
            let mut keys = Keys::new(Spread::Zipf { exponent: 1.1 }, 1_000, 10, seed);
            (0..100).map(|_| keys.draw()).collect::<Vec<_>>()
        };
        assert_eq!(draw(1), draw(1));
        assert_ne!(draw(1), draw(2));
    }

    #[test]
    fn a_spread_is_read_as_it_is_written() {
        for text in ["uniform", "zipf:1.1", "zipf:0.5"] {
            assert_eq!(text.parse::<Spread>().expect(text).to_string(), text);
        }
        assert_eq!(
            "zipf".parse::<Spread>().expect("zipf").to_string(),
            "zipf:1.1"
        );
        for text in [
            "", "zipf:", "zipf:0", "zipf:-1", "zipf:nan", "zipf:11", "pareto",
        ] {
            assert!(text.parse::<Spread>().is_err(), "{text:?}");
        }
    }
}
