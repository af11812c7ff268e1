//! Servers and their limits.

use std::collections::HashMap;

use toolgate_proto::pb;

use super::{Row, Sum};
use crate::{
    output::text,
    top::{outcomes::Outcomes, replicas::Place},
};

/// The checks of one server.
#[derive(Clone, Debug, Default)]
pub(in crate::top) struct Server {
    /// As `namespace/name`. Empty: servers without a policy.
    pub(in crate::top) name: String,
    pub(in crate::top) sum: Sum,
    /// The limits that have refused something.
    pub(in crate::top) limits: Vec<Refusals>,
}

/// What one limit has refused.
#[derive(Clone, Debug)]
pub(in crate::top) struct Refusals {
    pub(in crate::top) limit: pb::Limit,
    pub(in crate::top) sum: Sum,
}

/// Adds what one replica has counted, and returns that in one.
pub(super) fn add(
    servers: &mut HashMap<String, Server>,
    counts: &HashMap<Place<'_>, Outcomes<u64>>,
    rates: Option<&HashMap<Place<'_>, Outcomes<f64>>>,
) -> Sum {
    // Nothing was counted, and that is known as of two readings.
    let mut all = Sum {
        counts: Outcomes::default(),
        rates: rates.map(|_| Outcomes::default()),
    };
    for (place, counts) in counts {
        let (name, limit) = *place;
        let sum = Sum {
            counts: *counts,
            rates: rates.and_then(|rates| rates.get(place)).copied(),
        };
        all.add(sum);
        // Errors belong to no server.
        let sum = sum.without_errors();
        if sum.counts.all() == 0 {
            continue;
        }
        let server = servers.entry(name.to_owned()).or_insert_with(|| Server {
            name: name.to_owned(),
            ..Server::default()
        });
        server.sum.add(sum);
        let Some(limit) = limit else { continue };
        let known = server.limits.iter_mut().find(|known| known.limit == *limit);
        match known {
            Some(known) => known.sum.add(sum),
            None => server.limits.push(Refusals {
                limit: limit.clone(),
                sum,
            }),
        }
    }
    all
}

fn rates(sum: &Sum) -> (f64, f64) {
    let rates = sum.rates.unwrap_or_default();
    (rates.denied + rates.shadow_denied, rates.all())
}

impl Row for Server {
    fn rates(&self) -> (f64, f64) {
        rates(&self.sum)
    }

    fn name(&self) -> String {
        self.name.clone()
    }
}

impl Row for Refusals {
    fn rates(&self) -> (f64, f64) {
        rates(&self.sum)
    }

    fn name(&self) -> String {
        text::limit(Some(&self.limit))
    }
}
