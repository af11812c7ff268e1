//! What one connection may have in flight.
//!
//! Looks, administration, health and reflection have bounds of their own, far below those of all calls. So a
//! flood of them takes no place that a check needs, and few of them wait for Redis. What is beyond a bound
//! is refused at once.

use toolgate_proto::pb::{
    admin_service_server::SERVICE_NAME as ADMIN, limiter_service_server::SERVICE_NAME as LIMITER,
};

use crate::bound::{Bound, Full, Places, Whose, take_up_to, take_within};

/// The most queries in flight on one connection.
const QUERIES: usize = 16;

/// The most calls and streams of health, reflection and whatever else is asked for, on one connection. A
/// caller, and all of them, may have half as many as calls.
const OTHERS: usize = 32;

/// What a call is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
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
    pub(crate) fn of(path: &str) -> Self {
        let method = path.strip_prefix('/').and_then(|path| path.split_once('/'));
        match method {
            Some((LIMITER, "Check")) => Self::Check,
            Some((LIMITER, "CheckStream")) => Self::CheckStream,
            Some((LIMITER, "Peek") | (ADMIN, _)) => Self::Query,
            _ => Self::Other,
        }
    }
}

/// What a caller, or all callers together, have in flight. Clones are the same.
#[derive(Clone, Debug)]
pub(crate) struct Level {
    pub(crate) calls: Bound,
    pub(crate) checks: Bound,
    side: SideCalls,
}

/// Calls that are no checks.
#[derive(Clone, Debug)]
struct SideCalls {
    queries: Bound,
    others: Bound,
}

impl Level {
    pub(crate) fn new(max_calls: usize, max_checks: usize, max_queries: usize) -> Self {
        Self {
            calls: Bound::new(max_calls),
            checks: Bound::new(max_checks),
            side: SideCalls {
                queries: Bound::new(max_queries),
                others: Bound::new((max_calls / 2).max(1)),
            },
        }
    }
}

impl SideCalls {
    const fn bound(&self, purpose: Purpose) -> Option<&Bound> {
        match purpose {
            Purpose::Check | Purpose::CheckStream => None,
            Purpose::Query => Some(&self.queries),
            Purpose::Other => Some(&self.others),
        }
    }
}

/// What a connection may have in flight, within what its caller and all may.
#[derive(Debug)]
pub(crate) struct Allowance {
    own: SideCalls,
    caller: Level,
    all: Level,
}

impl Allowance {
    pub(crate) fn new(caller: &Level, all: &Level) -> Self {
        Self {
            own: SideCalls {
                queries: Bound::new(QUERIES),
                others: Bound::new(OTHERS),
            },
            caller: caller.clone(),
            all: all.clone(),
        }
    }

    /// A place for a call. How many a connection may have is HTTP/2's to bound.
    pub(crate) fn call(&self) -> Result<Places<2>, Full> {
        let (caller, all) = (&self.caller.calls, &self.all.calls);
        take_within([(Whose::Caller, caller), (Whose::All, all)], 1)
    }

    /// Places for checks that are decided together: as many as there are, at most `count`. How many these
    /// are, and what refused more of them.
    pub(crate) fn checks(&self, count: usize) -> (Places<2>, usize, Option<Full>) {
        let (caller, all) = (&self.caller.checks, &self.all.checks);
        take_up_to([(Whose::Caller, caller), (Whose::All, all)], count)
    }

    /// A place for a check that comes alone.
    pub(crate) fn check(&self) -> Result<Places<2>, Full> {
        let (caller, all) = (&self.caller.checks, &self.all.checks);
        take_within([(Whose::Caller, caller), (Whose::All, all)], 1)
    }

    /// A place for what a call is for. None is needed for checks.
    pub(crate) fn side_call(&self, purpose: Purpose) -> Result<Option<Places<3>>, Full> {
        let levels = [
            (Whose::Connection, &self.own),
            (Whose::Caller, &self.caller.side),
            (Whose::All, &self.all.side),
        ];
        let [Some(own), Some(caller), Some(all)] =
            levels.map(|(whose, side)| Some((whose, side.bound(purpose)?)))
        else {
            return Ok(None);
        };
        take_within([own, caller, all], 1).map(Some)
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

    fn admitted(of: &[Allowance], purpose: Purpose) -> Vec<Places<3>> {
        let each = of.iter().flat_map(|of| {
            let places = (0..100).map_while(|_| of.side_call(purpose).ok().flatten());
            places.collect::<Vec<_>>()
        });
        each.collect()
    }

    #[test]
    fn a_connection_has_a_share_and_makes_room_when_its_calls_end() {
        let all = Level::new(1_000, 1, 64);
        let [one, other] = [(); 2].map(|()| Allowance::new(&Level::new(1_000, 1, 32), &all));
        for (purpose, most) in [(Purpose::Query, QUERIES), (Purpose::Other, OTHERS)] {
            let mut taken = admitted(std::slice::from_ref(&one), purpose);
            assert_eq!(taken.len(), most);
            let refused = one.side_call(purpose).expect_err("one too many");
            let whose = Whose::Connection;
            assert_eq!(refused, Full { whose, max: most });
            assert!(other.side_call(purpose).is_ok(), "of another connection");
            taken.pop();
            assert!(one.side_call(purpose).is_ok());
        }
        assert!(
            one.side_call(Purpose::Check)
                .is_ok_and(|none| none.is_none())
        );
    }

    #[test]
    fn many_connections_and_many_callers_are_bounded() {
        let all = Level::new(1_000, 1, 64);
        let of_caller = || {
            let caller = Level::new(500, 1, 32);
            [(); 10].map(|()| Allowance::new(&caller, &all))
        };
        let (one, other, third) = (of_caller(), of_caller(), of_caller());
        let queries = admitted(&one, Purpose::Query);
        assert_eq!(queries.len(), 32);
        assert_eq!(admitted(&one, Purpose::Other).len(), 250);
        let of_other = admitted(&other, Purpose::Query);
        assert_eq!(of_other.len(), 32);
        let refused = third[0]
            .side_call(Purpose::Query)
            .expect_err("all are taken");
        assert_eq!(refused.whose, Whose::All);
        drop(of_other);
        assert_eq!(admitted(&third, Purpose::Query).len(), 32);
    }
}
