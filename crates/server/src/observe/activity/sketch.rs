//! Who is met most often, among more than can be counted.

use std::{collections::HashMap, hash::Hash};

use foldhash::fast::RandomState;

/// The heaviest of any number of keys, in bounded memory (Misra and Gries, "Finding repeated
/// elements", 1982, with weights).
///
/// It keeps up to `capacity` keys. When there is one more, all lose the median of their weights, and
/// who has none left is dropped, which is half of them: a key costs no more than its share of that.
///
/// # The bound
///
/// A key is shown with at least its weight less [`Sketch::error`], and never with more than its
/// weight. Each time that all lose `d`, at least half of `capacity` keys lose all of `d`, and nobody
/// loses what was not recorded, so with `w` the weight of all keys together
///
/// ```text
/// error <= 2 * w / capacity
/// ```
///
/// and a key that has more than that is never missing. Aging makes weights, `w` and the error
/// smaller by the same factor, and so changes nothing of it.
#[derive(Debug)]
pub(super) struct Sketch<K, V> {
    entries: HashMap<K, Entry<V>, RandomState>,
    capacity: usize,
    error: f64,
}

/// What is known of one key.
#[derive(Clone, Debug)]
pub(super) struct Entry<V> {
    /// At most what was recorded.
    pub(super) weight: f64,
    /// Of that, as far as it is known, what was recorded as denied.
    pub(super) denied: f64,
    /// What was kept of the key when it came in.
    pub(super) value: V,
}

impl<K: Eq + Hash, V> Sketch<K, V> {
    /// Of at most `capacity` keys.
    pub(super) fn new(capacity: usize) -> Self {
        Self {
            entries: HashMap::with_capacity_and_hasher(capacity + 1, RandomState::default()),
            capacity,
            error: 0.0,
        }
    }

    /// Adds `weight` to `key`, as denied or not. Only of a key that is not there is `value` made.
    pub(super) fn record(&mut self, key: K, weight: f64, denied: bool, value: impl FnOnce() -> V) {
        let entry = self.entries.entry(key).or_insert_with(|| Entry {
            weight: 0.0,
            denied: 0.0,
            value: value(),
        });
        entry.weight += weight;
        if denied {
            entry.denied += weight;
        }
        if self.entries.len() > self.capacity {
            self.make_room();
        }
    }

    /// Makes all that was recorded so far count for less, by `factor`.
    pub(super) fn age(&mut self, factor: f64) {
        self.error *= factor;
        for entry in self.entries.values_mut() {
            entry.weight *= factor;
            entry.denied *= factor;
        }
    }

    /// All keys that it holds, in no order.
    pub(super) fn entries(&self) -> impl Iterator<Item = (&K, &Entry<V>)> {
        self.entries.iter()
    }

    /// By how much a weight that is shown, or not shown, may be too low.
    pub(super) const fn error(&self) -> f64 {
        self.error
    }

    fn make_room(&mut self) {
        let mut weights: Vec<_> = self.entries.values().map(|entry| entry.weight).collect();
        let middle = weights.len() / 2;
        let (_, median, _) = weights.select_nth_unstable_by(middle, f64::total_cmp);
        let lost = *median;
        self.entries.retain(|_, entry| {
            entry.weight -= lost;
            entry.weight > 0.0
        });
        self.error += lost;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn of(weights: &[(u16, u8)], capacity: usize) -> Sketch<u16, ()> {
        let mut sketch = Sketch::new(capacity);
        for &(key, weight) in weights {
            sketch.record(key, f64::from(weight), false, || ());
        }
        sketch
    }

    fn exact(weights: &[(u16, u8)]) -> HashMap<u16, f64> {
        let mut exact = HashMap::new();
        for &(key, weight) in weights {
            *exact.entry(key).or_default() += f64::from(weight);
        }
        exact
    }

    #[test]
    fn few_keys_are_counted_exactly() {
        let mut sketch = Sketch::new(2);
        sketch.record("a", 3.0, true, || 1);
        sketch.record("b", 2.0, false, || 2);
        sketch.record("a", 1.0, false, || unreachable!("it is there"));
        assert!(sketch.error().abs() < f64::EPSILON);
        let a = &sketch.entries["a"];
        assert_eq!((a.weight, a.denied, a.value), (4.0, 3.0, 1));
        sketch.age(0.5);
        let a = &sketch.entries["a"];
        assert_eq!((a.weight, a.denied), (2.0, 1.5));
    }

    #[test]
    fn a_key_among_very_many_others_is_found() {
        let mut sketch = Sketch::new(64);
        for other in 1..100_000_u32 {
            sketch.record(other, 1.0, false, || ());
            if other % 20 == 0 {
                sketch.record(0, 1.0, true, || ());
            }
        }
        let heaviest = sketch
            .entries()
            .max_by(|a, b| a.1.weight.total_cmp(&b.1.weight));
        let (key, entry) = heaviest.expect("it is not empty");
        assert_eq!(*key, 0);
        assert!(entry.weight >= 4_999.0 - sketch.error(), "{entry:?}");
    }

    proptest! {
        #[test]
        fn no_key_above_the_bound_is_missing_and_none_is_shown_too_high(
            weights in prop::collection::vec((0..60_u16, 1..50_u8), 0..600),
            heavy in prop::collection::vec(0..60_u16, 0..300),
            capacity in 2..40_usize,
        ) {
            let heavy = heavy.into_iter().map(|key| (key / 20, 50));
            let weights: Vec<_> = weights.into_iter().chain(heavy).collect();
            let (sketch, exact) = (of(&weights, capacity), exact(&weights));
            let all: f64 = exact.values().sum();
            let most = u32::try_from(capacity).map(f64::from).expect("small");
            prop_assert!(sketch.error() <= 2.0 * all / most);
            prop_assert!(sketch.entries.len() <= capacity);
            for (key, weight) in exact {
                let shown = sketch.entries.get(&key).map_or(0.0, |entry| entry.weight);
                prop_assert!(shown <= weight, "{key}: {shown} of {weight}");
                prop_assert!(shown >= weight - sketch.error(), "{key}: {shown} of {weight}");
            }
        }
    }
}
