//! When a check goes out.

use std::num::NonZeroU64;

/// The spans of a run, in nanoseconds from its start.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Span {
    /// Checks meant to go before this are not in the figures.
    pub(crate) warm_up: u64,
    /// No check is meant to go from here on.
    pub(crate) end: u64,
}

/// When the checks of one connection are meant to go.
#[derive(Debug)]
pub(crate) enum Pace {
    /// Closed loop: as soon as an answer makes room.
    Full,
    /// Open loop: at fixed times, whatever the answers do.
    Fixed(Schedule),
}

/// What to do now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Turn {
    /// Send one check, which was meant to go then.
    Send { intended: u64 },
    /// Nothing is due before then.
    Wait { until: u64 },
    /// All have gone.
    Over,
}

impl Pace {
    /// What to do at `now`; whoever gets `Send` sends.
    pub(crate) fn turn(&mut self, now: u64, span: Span) -> Turn {
        match self {
            Self::Full if now < span.end => Turn::Send { intended: now },
            Self::Full => Turn::Over,
            Self::Fixed(schedule) => match schedule.next() {
                // What was due before the end still goes after it, and its wait counts; but not for
                // ever, so that a limiter that is too slow ends the run too.
                at if at >= span.end || now >= span.end + GRACE => Turn::Over,
                at if at > now => Turn::Wait { until: at },
                intended => {
                    schedule.sent += 1;
                    Turn::Send { intended }
                }
            },
        }
    }

    /// How many checks were meant to go and have not.
    pub(crate) fn unsent(&self, span: Span) -> u64 {
        match self {
            Self::Full => 0,
            Self::Fixed(schedule) => schedule.due_before(span.end).saturating_sub(schedule.sent),
        }
    }
}

/// How long after the end checks go that were due before it.
pub(crate) const GRACE: u64 = 1_000_000_000;

/// Evenly spaced times: those of one connection lie between those of the others, so that the
/// spacing of all together is even too.
#[derive(Debug)]
pub(crate) struct Schedule {
    /// Checks a second, of all connections together.
    pub(crate) rate: NonZeroU64,
    /// This connection's number, from 0.
    pub(crate) connection: u64,
    /// The number of connections.
    pub(crate) connections: u64,
    /// Checks that have gone.
    pub(crate) sent: u64,
}

impl Schedule {
    fn next(&self) -> u64 {
        self.time_of(self.sent)
    }

    /// Computed anew for each check, so that no rounding adds up.
    fn time_of(&self, number: u64) -> u64 {
        let overall =
            u128::from(number) * u128::from(self.connections) + u128::from(self.connection);
        let nanos = overall * 1_000_000_000 / u128::from(self.rate.get());
        u64::try_from(nanos).unwrap_or(u64::MAX)
    }

    /// How many of its times lie before `end`.
    fn due_before(&self, end: u64) -> u64 {
        // The first number whose time is not before the end, by halving.
        let (mut low, mut high) = (
            0,
            end / 1_000_000_000 * self.rate.get() + self.rate.get() + 1,
        );
        while low < high {
            let middle = low + (high - low) / 2;
            if self.time_of(middle) < end {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        low
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;
    const ONE_SECOND: Span = Span {
        warm_up: 0,
        end: SECOND,
    };

    fn fixed(rate: u64, connection: u64, connections: u64) -> Pace {
        Pace::Fixed(Schedule {
            rate: NonZeroU64::new(rate).expect("not zero"),
            connection,
            connections,
            sent: 0,
        })
    }

    /// The times of all checks of a pace that is asked all the time.
    fn times(mut pace: Pace, span: Span) -> Vec<u64> {
        let (mut times, mut now) = (Vec::new(), 0);
        loop {
            match pace.turn(now, span) {
                Turn::Send { intended } => times.push(intended),
                Turn::Wait { until } => now = until,
                Turn::Over => return times,
            }
        }
    }

    #[test]
    fn an_open_loop_sends_at_even_times() {
        let times = times(fixed(1_000, 0, 1), ONE_SECOND);
        let expected: Vec<_> = (0..1_000).map(|number| number * 1_000_000).collect();
        assert_eq!(times, expected);
    }

    #[test]
    fn the_times_of_several_connections_interleave_evenly() {
        let each = (0..3).map(|number| times(fixed(3_000, number, 3), ONE_SECOND));
        let mut all: Vec<_> = each.flatten().collect();
        all.sort_unstable();
        assert_eq!(all, times(fixed(3_000, 0, 1), ONE_SECOND));
    }

    #[test]
    fn rounding_does_not_add_up() {
        // 1/7 of a second is no whole number of nanoseconds.
        let day = Span {
            warm_up: 0,
            end: 86_400 * SECOND,
        };
        let schedule = times(fixed(7, 0, 1), day);
        assert_eq!(schedule.len(), 7 * 86_400);
        assert_eq!(schedule[7 * 86_399], 86_399 * SECOND);
    }

    #[test]
    fn checks_that_were_held_up_keep_the_time_they_were_meant_to_go() {
        let mut pace = fixed(1_000, 0, 1);
        // Nobody asked for 10 ms.
        let turn = |pace: &mut Pace| pace.turn(10_000_000, ONE_SECOND);
        for number in 0..=10 {
            let intended = number * 1_000_000;
            assert_eq!(turn(&mut pace), Turn::Send { intended });
        }
        assert_eq!(turn(&mut pace), Turn::Wait { until: 11_000_000 });
    }

    #[test]
    fn what_was_due_before_the_end_goes_after_it_for_a_while() {
        let mut pace = fixed(10, 0, 1);
        assert_eq!(pace.turn(SECOND, ONE_SECOND), Turn::Send { intended: 0 });
        assert_eq!(pace.unsent(ONE_SECOND), 9);
        assert_eq!(pace.turn(SECOND + GRACE, ONE_SECOND), Turn::Over);
    }

    #[test]
    fn what_never_went_is_counted_exactly() {
        for (rate, connections) in [(1, 1), (7, 3), (1_000, 4), (99_991, 7)] {
            for connection in 0..connections {
                let due = times(fixed(rate, connection, connections), ONE_SECOND).len();
                let unsent = fixed(rate, connection, connections).unsent(ONE_SECOND);
                assert_eq!(unsent, due as u64, "{rate}, {connection} of {connections}");
            }
        }
    }

    #[test]
    fn a_closed_loop_sends_now_until_the_end() {
        let mut pace = Pace::Full;
        assert_eq!(pace.turn(5, ONE_SECOND), Turn::Send { intended: 5 });
        assert_eq!(pace.turn(SECOND, ONE_SECOND), Turn::Over);
        assert_eq!(pace.unsent(ONE_SECOND), 0);
    }
}
