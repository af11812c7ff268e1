//! Rounds, medians and ratios.

use std::time::{Duration, Instant};

/// Rounds of each comparison; one more before them is not counted.
const ROUNDS: usize = 7;

/// One side of a comparison: runs once, and tells how many operations that were.
pub(crate) struct Side<'a> {
    pub(crate) name: &'a str,
    pub(crate) run: Box<dyn FnMut() -> usize + 'a>,
}

/// Runs all sides in turn, and prints the time of each operation and its ratio to the first side.
pub(crate) fn compare(title: &str, mut sides: Vec<Side<'_>>) {
    let mut rounds: Vec<Vec<f64>> = Vec::new();
    for _ in 0..=ROUNDS {
        rounds.push(sides.iter_mut().map(|side| nanos(&mut side.run)).collect());
    }
    let counted = &rounds[1..];
    println!("{title}");
    for (number, side) in sides.iter().enumerate() {
        let nanos = Spread::of(counted.iter().map(|round| round[number]));
        let ratio = Spread::of(counted.iter().map(|round| round[number] / round[0]));
        let per_second = 1e9 / nanos.median;
        println!(
            "  {:<44} {:>10.0} ns  ({:.0} to {:.0})  {per_second:>12.0}/s  x {:.2}  ({:.2} to {:.2})",
            side.name, nanos.median, nanos.least, nanos.most, ratio.median, ratio.least, ratio.most,
        );
    }
    println!();
}

#[allow(clippy::disallowed_methods, reason = "real time is what is measured")]
fn nanos(run: &mut dyn FnMut() -> usize) -> f64 {
    let began = Instant::now();
    let operations = run();
    per_operation(began.elapsed(), operations)
}

#[allow(clippy::cast_precision_loss, reason = "three digits are shown")]
pub(crate) fn per_operation(elapsed: Duration, operations: usize) -> f64 {
    elapsed.as_nanos() as f64 / operations as f64
}

struct Spread {
    least: f64,
    median: f64,
    most: f64,
}

impl Spread {
    fn of(values: impl Iterator<Item = f64>) -> Self {
        let mut values: Vec<_> = values.collect();
        values.sort_by(f64::total_cmp);
        Self {
            least: values[0],
            median: values[values.len() / 2],
            most: values[values.len() - 1],
        }
    }
}
