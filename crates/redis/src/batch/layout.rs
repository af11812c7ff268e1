//! A batch as arguments of `check.lua`, which describes them.

use std::{collections::HashMap, time::Duration};

use foldhash::fast::RandomState;
use redis::{Cmd, cmd};
use rmp::encode::{write_array_len, write_uint};
use toolgate_limit::Quota;

use super::{Batch, Fields, FirstBuckets, MAX_BUCKETS, Planned};
use crate::key::KeyPrefix;

/// What comes before the names of fields in `ARGV`.
const FIXED_ARGUMENTS: usize = 2;

/// Whatever is counted in a batch, there are no more of them than buckets, and the last of `ARGV`
/// is counted in one byte.
const _: () = assert!(MAX_BUCKETS + FIXED_ARGUMENTS <= u8::MAX as usize);

/// The shortest distance between marks, in microseconds; see `check.lua`. Far above the rounding of
/// a double, and rare enough.
const MIN_MARK_DISTANCE: u64 = 10_000_000;

/// The script call for `batch`; `verb` and `script` are `EVALSHA` and a hash, or `EVAL` and a text.
pub(super) fn command(
    batch: &Batch,
    first: &FirstBuckets,
    (verb, script): (&str, &str),
    keys: &KeyPrefix,
) -> Cmd {
    let (mut quotas, mut fields, mut costs) = <(Numbered<_>, Numbered<_>, Numbered<_>)>::default();
    let mut layout =
        Vec::with_capacity(2 * first.count + batch.hashes.len() + 6 * batch.checks.len());
    for Fields(limits) in batch.hashes.values() {
        layout.push(byte(limits.len()));
        for limit in limits {
            layout.push(quotas.number(limit.quota()));
            layout.push(fields.number(limit.field()) + byte(FIXED_ARGUMENTS));
        }
    }
    for Planned { plan, places } in &batch.checks {
        layout.push(costs.number(plan.cost()));
        layout.push(byte(places.len()));
        layout.extend(places.iter().map(|&place| byte(first.number(place) + 1)));
    }

    let mut command = cmd(verb);
    command.arg(script).arg(batch.hashes.len());
    for (server, group) in batch.hashes.keys() {
        command.arg(keys.hash(server, group));
    }
    command.arg(integers(&quotas.all, &costs.all)).arg(layout);
    for field in fields.all {
        command.arg(field);
    }
    command
}

/// The bytes of the name of a probe's bucket: with it a probe is larger than a packet, as batches
/// are. A path that loses such packets passes smaller ones.
const PROBE_BYTES: usize = 1_600;

/// The script call for one check of one bucket, in the hash `key`.
pub(crate) fn probe(verb: &str, script: &str, key: &str) -> Cmd {
    let quota = Quota::new(1, Duration::from_millis(1));
    let quota = quota.unwrap_or_else(|_| unreachable!("a token a millisecond is a quota"));
    let one_field_of_quota_one = [1, 1, byte(FIXED_ARGUMENTS) + 1];
    let one_check_at_cost_one = [1, 1, 1];
    let layout = [one_field_of_quota_one, one_check_at_cost_one].concat();
    let mut command = cmd(verb);
    command.arg(script).arg(1).arg(key);
    command.arg(integers(&[quota], &[1])).arg(layout);
    command.arg("p".repeat(PROBE_BYTES));
    command
}

/// Different things, each with its number, from 1.
struct Numbered<T> {
    all: Vec<T>,
    number_of: HashMap<T, u8, RandomState>,
}

impl<T> Default for Numbered<T> {
    fn default() -> Self {
        Self {
            all: Vec::new(),
            number_of: HashMap::default(),
        }
    }
}

impl<T: Copy + Eq + std::hash::Hash> Numbered<T> {
    fn number(&mut self, one: T) -> u8 {
        // Mostly what comes is what came.
        if self.all.last() == Some(&one) {
            return byte(self.all.len());
        }
        let all = &mut self.all;
        *self.number_of.entry(one).or_insert_with(|| {
            all.push(one);
            byte(all.len())
        })
    }
}

fn integers(quotas: &[Quota], costs: &[u32]) -> Vec<u8> {
    let mut packed = Vec::with_capacity(32 * (quotas.len() + 1));
    header(&mut packed, 4);
    array(
        &mut packed,
        quotas.iter().map(|quota| quota.capacity().into()),
    );
    array(
        &mut packed,
        quotas.iter().map(|quota| quota.period_micros()),
    );
    array(&mut packed, quotas.iter().map(mark_distance));
    array(&mut packed, costs.iter().map(|&cost| cost.into()));
    packed
}

fn mark_distance(quota: &Quota) -> u64 {
    MIN_MARK_DISTANCE.max(quota.period_micros() / 64)
}

fn array(packed: &mut Vec<u8>, integers: impl ExactSizeIterator<Item = u64>) {
    header(packed, integers.len());
    for integer in integers {
        write_uint(packed, integer).unwrap_or_else(|_| unreachable!("a Vec takes all"));
    }
}

fn header(packed: &mut Vec<u8>, len: usize) {
    let len = u32::from(byte(len));
    write_array_len(packed, len).unwrap_or_else(|_| unreachable!("a Vec takes all"));
}

/// A count within a batch.
pub(super) fn byte(count: usize) -> u8 {
    u8::try_from(count).unwrap_or_else(|_| unreachable!("{count} buckets in a batch"))
}
