//! Which node serves which slot.

use std::collections::{HashMap, HashSet};

use crc::{CRC_16_XMODEM, Crc};
use redis::{FromRedisValue as _, Value};
use toolgate_limit::ServerId;

use crate::place::HostPort;

/// Keys are spread over so many slots.
const SLOTS: u16 = 16_384;

const CRC: Crc<u16> = Crc::<u16>::new(&CRC_16_XMODEM);

/// The most names that are tried for a key in a slot of a certain node; a node with fewer slots
/// than one in so many goes without.
const MAX_PROBES: u32 = 4_096;

/// The slot of all keys of `server`, whose id is their hash tag.
pub(crate) fn slot(server: &ServerId) -> u16 {
    of_tag(server.as_str())
}

fn of_tag(tag: &str) -> u16 {
    CRC.checksum(tag.as_bytes()) % SLOTS
}

/// Masters by the slots that they serve.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct SlotMap {
    /// By their last slots, which ascend.
    ranges: Vec<Range>,
    /// What was heard since from nodes that do not serve a slot any more.
    moved: HashMap<u16, HostPort>,
}

#[derive(Clone, Debug, PartialEq)]
struct Range {
    first: u16,
    last: u16,
    master: HostPort,
}

impl SlotMap {
    /// The map in a reply of `asked` to `CLUSTER SLOTS`; none if it is no such reply.
    pub(crate) fn read(reply: Value, asked: &HostPort) -> Option<Self> {
        let Value::Array(shards) = reply else {
            return None;
        };
        let mut ranges = Vec::with_capacity(shards.len());
        for shard in shards {
            let Value::Array(shard) = shard else {
                return None;
            };
            let mut shard = shard.into_iter();
            let (first, last) = (shard.next()?, shard.next()?);
            let Some(Value::Array(master)) = shard.next() else {
                return None;
            };
            let mut master = master.into_iter();
            let (host, port) = (master.next()?, master.next()?);
            let range = |host| {
                Some(Range {
                    first: u16::from_redis_value(first).ok()?,
                    last: u16::from_redis_value(last).ok()?,
                    master: HostPort {
                        host,
                        port: u16::from_redis_value(port).ok()?,
                    },
                })
            };
            let host = Option::<String>::from_redis_value(host).ok()?;
            match host.as_deref() {
                // The node does not know under what name clients find that one.
                Some("?") => {}
                None | Some("") => ranges.push(range(asked.host.clone())?),
                Some(host) => ranges.push(range(host.to_owned())?),
            }
        }
        ranges.sort_by_key(|range| range.last);
        let moved = HashMap::new();
        Some(Self { ranges, moved })
    }

    /// The node that serves `slot`, if one does.
    pub(crate) fn owner(&self, slot: u16) -> Option<&HostPort> {
        if let Some(moved) = self.moved.get(&slot) {
            return Some(moved);
        }
        let at = self.ranges.partition_point(|range| range.last < slot);
        let range = self.ranges.get(at)?;
        (range.first <= slot).then_some(&range.master)
    }

    /// From now on `to` serves `slot`.
    pub(crate) fn move_slot(&mut self, slot: u16, to: HostPort) {
        self.moved.insert(slot, to);
    }

    /// All nodes that serve a slot.
    pub(crate) fn masters(&self) -> HashSet<&HostPort> {
        let masters = self.ranges.iter().map(|range| &range.master);
        masters.chain(self.moved.values()).collect()
    }

    /// Whether no slot is served.
    pub(crate) fn is_empty(&self) -> bool {
        self.ranges.is_empty()
    }

    /// For each master a slot of its own, and a hash tag in it.
    pub(crate) fn probes(&self) -> Vec<(u16, String)> {
        let mut without = self.masters();
        let mut probes = Vec::with_capacity(without.len());
        for number in 0..MAX_PROBES {
            if without.is_empty() {
                break;
            }
            let tag = format!("ping-{number}");
            let slot = of_tag(&tag);
            if self.owner(slot).is_some_and(|owner| without.remove(owner)) {
                probes.push((slot, tag));
            }
        }
        probes
    }
}

#[cfg(test)]
mod tests {
    use redis::parse_redis_value;

    use super::*;

    fn at(host: &str, port: u16) -> HostPort {
        HostPort {
            host: host.to_owned(),
            port,
        }
    }

    fn map() -> SlotMap {
        let reply = b"*3\r\n\
            *3\r\n:5461\r\n:10922\r\n*3\r\n$1\r\nb\r\n:2\r\n$2\r\nid\r\n\
            *4\r\n:0\r\n:5460\r\n*3\r\n$0\r\n\r\n:1\r\n$2\r\nid\r\n*3\r\n$1\r\nr\r\n:9\r\n$2\r\nid\r\n\
            *3\r\n:10924\r\n:16383\r\n*3\r\n$1\r\n?\r\n:3\r\n$2\r\nid\r\n";
        let reply = parse_redis_value(reply).expect("a reply");
        SlotMap::read(reply, &at("asked", 7)).expect("a map")
    }

    #[test]
    fn slots_are_those_of_redis() {
        // The reference value of the cluster specification, and two that a server has told.
        assert_eq!(CRC.checksum(b"123456789"), 0x31c3);
        assert_eq!(of_tag("foo"), 12_182);
        assert_eq!(of_tag("bar"), 5_061);
    }

    #[test]
    fn a_slot_has_the_master_of_its_range() {
        let map = map();
        assert_eq!(map.owner(0), Some(&at("asked", 1)));
        assert_eq!(map.owner(5_460), Some(&at("asked", 1)));
        assert_eq!(map.owner(5_461), Some(&at("b", 2)));
        assert_eq!(map.owner(10_922), Some(&at("b", 2)));
        assert_eq!(map.owner(10_923), None, "a gap");
        assert_eq!(map.owner(16_383), None, "a node without a name");
    }

    #[test]
    fn what_was_heard_last_counts() {
        let mut map = map();
        map.move_slot(7, at("c", 3));
        assert_eq!(map.owner(7), Some(&at("c", 3)));
        assert_eq!(map.owner(8), Some(&at("asked", 1)));
        assert!(map.masters().contains(&at("c", 3)));
    }

    #[test]
    fn every_master_can_be_probed() {
        let map = map();
        let probes = map.probes();
        let owners: HashSet<_> = probes.iter().map(|(slot, _)| map.owner(*slot)).collect();
        assert_eq!(owners.len(), 2);
        for (slot, tag) in probes {
            assert_eq!(of_tag(&tag), slot);
        }
    }

    #[test]
    fn what_is_no_reply_is_no_map() {
        for wrong in [Value::Nil, Value::Array(vec![Value::Int(1)])] {
            assert_eq!(
                SlotMap::read(wrong.clone(), &at("asked", 7)),
                None,
                "{wrong:?}"
            );
        }
    }
}
