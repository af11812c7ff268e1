//! A batch as arguments of `check.lua`, which describes them.

use std::{collections::HashMap, sync::Arc};

use redis::{Cmd, cmd};
use rmp::encode::{write_array_len, write_uint};
use toolgate_limit::Limit;

use super::{Batch, Planned};

/// Integers of one limit: capacity, refill period, field.
const LIMIT_LEN: usize = 3;

/// The script call for `batch`; `verb` and `script` are `EVALSHA` and a hash, or `EVAL` and a text.
pub(super) fn command(batch: &Batch, verb: &str, script: &str) -> Cmd {
    let mut limits = Limits::default();
    let mut hashes = Vec::with_capacity(4 * batch.hashes.len());
    for hash in &batch.hashes {
        hashes.push(integer(hash.fields.len()));
        hashes.extend(hash.fields.iter().map(|limit| limits.place(limit)));
    }
    let first = batch.first_buckets();
    let mut checks = Vec::with_capacity(6 * batch.checks.len());
    for Planned { plan, places } in &batch.checks {
        checks.extend([plan.cost().into(), integer(places.len())]);
        checks.extend(places.iter().map(|&place| integer(first.number(place) + 1)));
    }
    let limit_count = integer(limits.integers.len() / LIMIT_LEN);

    let mut command = cmd(verb);
    command.arg(script).arg(batch.hashes.len());
    for hash in &batch.hashes {
        command.arg(&hash.key);
    }
    command.arg(packed(&[
        &[limit_count],
        &limits.integers,
        &hashes,
        &checks,
    ]));
    for field in limits.fields {
        command.arg(field);
    }
    command
}

/// The limits of a batch, each once, and the names of their fields, each once.
#[derive(Default)]
struct Limits<'a> {
    integers: Vec<u64>,
    fields: Vec<&'a str>,
    place_of: HashMap<*const Limit, u64, foldhash::fast::RandomState>,
    argument_of: HashMap<&'a str, u64, foldhash::fast::RandomState>,
}

impl<'a> Limits<'a> {
    /// The place of `limit` in the array, which Lua counts from 1; the number of limits is the
    /// first.
    fn place(&mut self, limit: &'a Arc<Limit>) -> u64 {
        if let Some(&place) = self.place_of.get(&Arc::as_ptr(limit)) {
            return place;
        }
        let place = integer(self.integers.len() + 2);
        let quota = limit.quota();
        let argument = self.argument(limit.field());
        self.integers
            .extend([quota.capacity().into(), quota.period_micros(), argument]);
        self.place_of.insert(Arc::as_ptr(limit), place);
        place
    }

    /// Which of `ARGV` is `field`; the array is the first.
    fn argument(&mut self, field: &'a str) -> u64 {
        let fields = &mut self.fields;
        *self.argument_of.entry(field).or_insert_with(|| {
            fields.push(field);
            integer(fields.len() + 1)
        })
    }
}

/// One `MessagePack` array of all integers in `parts`.
fn packed(parts: &[&[u64]]) -> Vec<u8> {
    let len = parts.iter().map(|part| part.len()).sum::<usize>();
    let mut bytes = Vec::with_capacity(2 * len + 8);
    let in_memory = |_| unreachable!("a Vec takes all");
    write_array_len(&mut bytes, u32::try_from(len).unwrap_or(u32::MAX)).unwrap_or_else(in_memory);
    for &integer in parts.iter().copied().flatten() {
        write_uint(&mut bytes, integer).unwrap_or_else(in_memory);
    }
    bytes
}

fn integer(number: usize) -> u64 {
    number as u64
}
