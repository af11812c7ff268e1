//! Mutations of seeds: the same ones at each run, cheap, and blind to what they lead to. To be led
//! by coverage is libFuzzer's part.

use fastrand::Rng;
use toolgate_tests::Seed;

/// The longest mutation, in bytes.
const MAX_LEN: usize = 4_096;

/// Bytes at which readers of YAML, JSON and protobuf turn.
const TURNS: &[u8] = b"\0\x01\x7f\x80\xff\n\r\t \"'\\{}[]:,-#&*!|>?%@0129.e+";

pub(crate) struct Mutator<'a> {
    seeds: &'a [Seed],
    rng: Rng,
}

impl<'a> Mutator<'a> {
    /// Of `seeds`, of which there must be some.
    pub(crate) fn new(seeds: &'a [Seed]) -> Self {
        assert!(!seeds.is_empty());
        Self {
            seeds,
            rng: Rng::with_seed(5),
        }
    }

    /// A seed with one to four changes.
    pub(crate) fn next(&mut self) -> Vec<u8> {
        let mut input = self.seed().to_vec();
        for _ in 0..self.rng.usize(1..=4) {
            self.change(&mut input);
            input.truncate(MAX_LEN);
        }
        input
    }

    fn seed(&mut self) -> &'a [u8] {
        &self.seeds[self.rng.usize(..self.seeds.len())].bytes
    }

    fn change(&mut self, input: &mut Vec<u8>) {
        let at = self.rng.usize(..=input.len());
        let end = (at + self.rng.usize(0..=32)).min(input.len());
        match self.rng.u8(..7) {
            0 if at < input.len() => input[at] ^= 1 << self.rng.u8(..8),
            1 if at < input.len() => input[at] = self.turn(),
            2 => input.insert(at, self.turn()),
            3 => drop(input.drain(at..end)),
            4 => {
                let part = input[at..end].to_vec();
                let to = self.rng.usize(..=input.len());
                input.splice(to..to, part);
            }
            5 => {
                let other = self.seed();
                let from = self.rng.usize(..=other.len());
                let part = &other[from..other.len().min(from + 64)];
                input.splice(at..end, part.iter().copied());
            }
            _ => {
                let other = self.seed();
                input.truncate(at);
                input.extend(&other[self.rng.usize(..=other.len())..]);
            }
        }
    }

    fn turn(&mut self) -> u8 {
        TURNS[self.rng.usize(..TURNS.len())]
    }
}
