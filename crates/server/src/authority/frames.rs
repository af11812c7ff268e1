//! How many frames that carry nothing a connection may send.
//!
//! h2 answers PING and SETTINGS, and takes PRIORITY, `WINDOW_UPDATE`, empty DATA and what it does not know, as
//! often as they come. Each costs about as much as a frame with a check, and no bound on calls or checks
//! sees it. So every frame takes something from a supply. What a frame carries gives more than it takes:
//! clients answer data with `WINDOW_UPDATE`, and some with PING, so frames that carry nothing come in
//! proportion to others. A client that is quiet has a supply that is made full from time to time.

use std::{io, time::Duration};

use tokio::time::Instant;

/// What each frame takes.
const COST: usize = 4;

/// What the beginning of a call gives: it may be answered by some frames, and each of these again.
const OF_CALL: usize = 32;

/// The most that a connection has: 4,096 frames that carry nothing.
const MOST: usize = 4_096 * COST;

/// How often the supply is made full.
const REFILL: Duration = Duration::from_secs(10);

const DATA: u8 = 0;
const HEADERS: u8 = 1;

/// The flag of a frame that is longer than what it carries. No gRPC library sets it.
const PADDED: u8 = 8;

/// The supply of one connection.
#[derive(Debug)]
pub(super) struct Supply {
    left: usize,
    filled: Instant,
}

impl Supply {
    pub(super) fn full() -> Self {
        Self {
            left: MOST,
            filled: Instant::now(),
        }
    }

    /// One more frame, with `length` bytes after its head. Once nothing is left this fails.
    pub(super) fn frame(&mut self, kind: u8, flags: u8, length: usize) -> io::Result<()> {
        let carries = match kind {
            DATA if flags & PADDED == 0 => length,
            HEADERS => OF_CALL,
            _ => 0,
        };
        self.left = (self.left + carries).min(MOST);
        if self.left < COST {
            self.fill()?;
        }
        self.left -= COST;
        Ok(())
    }

    /// The clock is asked for once in thousands of frames.
    fn fill(&mut self) -> io::Result<()> {
        let now = Instant::now();
        if now.saturating_duration_since(self.filled) < REFILL {
            return Err(io::Error::other("a flood of frames that carry nothing"));
        }
        (self.filled, self.left) = (now, MOST);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    const PING: u8 = 6;

    #[tokio::test(start_paused = true)]
    async fn a_flood_ends_at_once_and_after_each_refill() {
        for (kind, flags, length) in [(PING, 0, 8), (DATA, 0, 0), (DATA, PADDED, 99), (9, 0, 99)] {
            let mut supply = Supply::full();
            for _ in 0..3 {
                let frames = 0..2 * MOST;
                let passed = frames.take_while(|_| supply.frame(kind, flags, length).is_ok());
                assert_eq!(passed.count(), MOST / COST, "{kind}");
                advance(REFILL * 99 / 100).await;
                assert!(supply.frame(kind, flags, length).is_err());
                advance(REFILL / 100).await;
            }
        }
    }

    /// Bytes of a message one by one, each with pings: a flood that carries next to nothing.
    #[tokio::test(start_paused = true)]
    async fn what_is_carried_counts_and_not_the_frames_that_carry() {
        let mut supply = Supply::full();
        let passed = (0..10 * MOST).take_while(|frame| {
            let (kind, length) = if frame % 4 == 0 { (DATA, 1) } else { (PING, 8) };
            supply.frame(kind, 0, length).is_ok()
        });
        assert!(passed.count() < 2 * MOST / COST);
    }

    /// The shortest check of a stream is 14 bytes, and each may be answered by itself.
    #[tokio::test(start_paused = true)]
    async fn each_check_and_each_call_pays_for_the_frames_that_its_answer_causes() {
        let mut supply = Supply::full();
        for _ in 0..10 * MOST {
            supply.frame(DATA, 0, 14).expect("a check");
            for _ in 0..2 {
                supply.frame(8, 0, 4).expect("it was paid for");
            }
        }
        for _ in 0..10 * MOST {
            supply.frame(HEADERS, 0, 50).expect("a call");
            supply.frame(DATA, 1, 14).expect("its request");
            for kind in [8, 8, PING, PING, 3] {
                supply.frame(kind, 0, 8).expect("it was paid for");
            }
        }
    }
}
