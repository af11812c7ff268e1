//! Calls that are no checks, and their bounds.
//!
//! Looks, administration, health and reflection have bounds of their own, on each connection and in
//! all, far below those of all calls. So a flood of them takes no place that a check needs, and at
//! most [`QUERIES`] of them wait for Redis. A call beyond the bound is refused at once.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use tonic::Status;
use toolgate_proto::pb::{
    admin_service_server::SERVICE_NAME as ADMIN, limiter_service_server::SERVICE_NAME as LIMITER,
};

use crate::grpc::too_many_side_calls;

/// The most queries in flight, on one connection and on all.
const QUERIES: (usize, usize) = (16, 64);

/// The most calls and streams of health, reflection and whatever else is asked for, on one
/// connection. On all together they may be half of all calls.
const OTHERS: usize = 32;

/// What a call is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// One check.
    Check,
    /// A stream of checks.
    CheckStream,
    /// `Peek` and `AdminService`, which may ask Redis.
    Query,
    /// Anything else, which stays in this process. A health watch and a reflection stream stay for
    /// long.
    Other,
}

impl Purpose {
    pub(super) fn of(path: &str) -> Self {
        let method = path.strip_prefix('/').and_then(|path| path.split_once('/'));
        match method {
            Some((LIMITER, "Check")) => Self::Check,
            Some((LIMITER, "CheckStream")) => Self::CheckStream,
            Some((LIMITER, "Peek") | (ADMIN, _)) => Self::Query,
            _ => Self::Other,
        }
    }
}

/// The bounds of all connections. Clones are the same.
#[derive(Clone, Debug)]
pub(crate) struct SideBounds {
    queries: Places,
    others: Places,
}

/// The bounds of one connection, within those of all.
#[derive(Debug)]
pub(crate) struct SideCalls {
    own: SideBounds,
    all: SideBounds,
}

/// A call that counts against its bounds, until it is dropped.
#[derive(Debug)]
pub(super) struct SideCall {
    _own: Place,
    _all: Place,
}

impl SideBounds {
    /// Where all calls together may be `max_calls`.
    pub(crate) fn new(max_calls: usize) -> Self {
        Self {
            queries: Places::new(QUERIES.1),
            others: Places::new((max_calls / 2).max(1)),
        }
    }

    /// Those of one connection more.
    pub(crate) fn of_connection(&self) -> SideCalls {
        SideCalls {
            own: Self {
                queries: Places::new(QUERIES.0),
                others: Places::new(OTHERS),
            },
            all: self.clone(),
        }
    }

    const fn places(&self, purpose: Purpose) -> Option<&Places> {
        match purpose {
            Purpose::Check | Purpose::CheckStream => None,
            Purpose::Query => Some(&self.queries),
            Purpose::Other => Some(&self.others),
        }
    }
}

impl SideCalls {
    /// A place for a call; none is needed for checks, which have bounds of their own.
    #[allow(clippy::result_large_err, reason = "as tonic wants it")]
    pub(super) fn admit(&self, purpose: Purpose) -> Result<Option<SideCall>, Status> {
        let (Some(own), Some(all)) = (self.own.places(purpose), self.all.places(purpose)) else {
            return Ok(None);
        };
        let taken = |places: &Places, whose| {
            let place = places.take();
            place.ok_or_else(|| too_many_side_calls(places.max, whose))
        };
        Ok(Some(SideCall {
            _own: taken(own, "this connection")?,
            _all: taken(all, "all connections")?,
        }))
    }
}

#[derive(Clone, Debug)]
struct Places {
    taken: Arc<AtomicUsize>,
    max: usize,
}

#[derive(Debug)]
struct Place(Arc<AtomicUsize>);

impl Places {
    fn new(max: usize) -> Self {
        Self {
            taken: Arc::default(),
            max,
        }
    }

    fn take(&self) -> Option<Place> {
        // One that is not admitted gives back what it has counted.
        let before = self.taken.fetch_add(1, Ordering::Relaxed);
        let place = Place(Arc::clone(&self.taken));
        (before < self.max).then_some(place)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_checks_are_no_side_calls() {
        for (path, purpose) in [
            ("/toolgate.v1.LimiterService/Check", Purpose::Check),
            (
                "/toolgate.v1.LimiterService/CheckStream",
                Purpose::CheckStream,
            ),
            ("/toolgate.v1.LimiterService/Peek", Purpose::Query),
            ("/toolgate.v1.AdminService/GetActivity", Purpose::Query),
            ("/toolgate.v1.AdminService/ToCome", Purpose::Query),
            ("/grpc.health.v1.Health/Watch", Purpose::Other),
            ("/toolgate.v1.LimiterService/Check/", Purpose::Other),
            ("", Purpose::Other),
        ] {
            assert_eq!(Purpose::of(path), purpose, "{path}");
        }
    }

    #[test]
    fn a_connection_has_a_share_and_makes_room_when_its_calls_end() {
        let all = SideBounds::new(1_000);
        let (one, other) = (all.of_connection(), all.of_connection());
        for (purpose, most) in [(Purpose::Query, QUERIES.0), (Purpose::Other, OTHERS)] {
            let admit = |of: &SideCalls| of.admit(purpose).ok().flatten();
            let mut taken: Vec<_> = (0..most).filter_map(|_| admit(&one)).collect();
            assert_eq!(taken.len(), most);
            let refused = one.admit(purpose).expect_err("one too many");
            assert_eq!(refused.code(), tonic::Code::ResourceExhausted);
            assert!(admit(&other).is_some(), "of another connection");
            taken.pop();
            assert!(admit(&one).is_some());
        }
        assert!(one.admit(Purpose::Check).is_ok_and(|place| place.is_none()));
    }

    #[test]
    fn many_connections_together_are_bounded() {
        let all = SideBounds::new(1_000);
        let connections: Vec<_> = (0..10).map(|_| all.of_connection()).collect();
        let admitted = |purpose| {
            let each = connections.iter().flat_map(|of| {
                let places = (0..100).map_while(|_| of.admit(purpose).ok().flatten());
                places.collect::<Vec<_>>()
            });
            each.collect::<Vec<_>>().len()
        };
        assert_eq!(admitted(Purpose::Query), QUERIES.1);
        assert_eq!(admitted(Purpose::Other), 10 * OTHERS);
        assert_eq!(admitted(Purpose::Query), QUERIES.1, "all were given back");
    }
}
