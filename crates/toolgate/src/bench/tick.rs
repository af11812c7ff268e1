//! A timer that is precise to tens of microseconds.
//!
//! tokio's own ticks once a millisecond, which is the whole distance between checks at 1,000/s and
//! a multiple of an answer's time. On Linux a `timerfd` wakes the runtime through the same `epoll`
//! as a socket does. Elsewhere tokio's has to do; how late checks went is in the report.

#[cfg(target_os = "linux")]
pub(crate) use linux::Tick;
#[cfg(not(target_os = "linux"))]
pub(crate) use portable::Tick;

#[cfg(target_os = "linux")]
mod linux {
    use std::{
        io,
        os::fd::{AsFd as _, AsRawFd, RawFd},
        task::{Context, Poll, ready},
        time::Duration,
    };

    use nix::sys::{
        time::TimeSpec,
        timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags},
    };
    use tokio::io::{Interest, unix::AsyncFd};

    /// Keeps its one descriptor as long as it lives, which `AsyncFd` asks for.
    #[derive(Debug)]
    struct Timer(TimerFd);

    impl AsRawFd for Timer {
        fn as_raw_fd(&self) -> RawFd {
            self.0.as_fd().as_raw_fd()
        }
    }

    #[derive(Debug)]
    pub(crate) struct Tick {
        timer: AsyncFd<Timer>,
        armed: bool,
    }

    impl Tick {
        /// Must run on a tokio runtime.
        #[allow(
            deprecated,
            reason = "its successor is unsafe; see `Timer` for why this is sound"
        )]
        pub(crate) fn new() -> io::Result<Self> {
            let flags = TimerFlags::TFD_NONBLOCK | TimerFlags::TFD_CLOEXEC;
            let timer = TimerFd::new(ClockId::CLOCK_MONOTONIC, flags)?;
            Ok(Self {
                timer: AsyncFd::with_interest(Timer(timer), Interest::READABLE)?,
                armed: false,
            })
        }

        /// Is ready `wait` after it was first polled, and then can be polled anew.
        pub(crate) fn poll(
            &mut self,
            wait: Duration,
            context: &mut Context<'_>,
        ) -> Poll<io::Result<()>> {
            if !self.armed {
                // A timer of zero would be none.
                let wait = TimeSpec::from_duration(wait.max(Duration::from_nanos(1)));
                let once = Expiration::OneShot(wait);
                let Timer(timer) = self.timer.get_ref();
                timer.set(once, TimerSetTimeFlags::empty())?;
                self.armed = true;
            }
            loop {
                let mut ready = ready!(self.timer.poll_read_ready(context))?;
                // Reading is what makes it not ready any more.
                let read = ready.try_io(|timer| Ok(timer.get_ref().0.wait()?));
                match read {
                    Ok(read) => {
                        self.armed = false;
                        return Poll::Ready(read);
                    }
                    Err(_would_block) => {}
                }
            }
        }
    }
}

#[cfg(not(target_os = "linux"))]
mod portable {
    use std::{
        io,
        pin::Pin,
        task::{Context, Poll},
        time::Duration,
    };

    use tokio::time::{Sleep, sleep};

    #[derive(Debug)]
    pub(crate) struct Tick(Option<Pin<Box<Sleep>>>);

    impl Tick {
        pub(crate) fn new() -> io::Result<Self> {
            Ok(Self(None))
        }

        pub(crate) fn poll(
            &mut self,
            wait: Duration,
            context: &mut Context<'_>,
        ) -> Poll<io::Result<()>> {
            let sleep = self.0.get_or_insert_with(|| Box::pin(sleep(wait)));
            let polled = sleep.as_mut().poll(context);
            if polled.is_ready() {
                self.0 = None;
            }
            polled.map(Ok)
        }
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::{future::poll_fn, time::Duration};

    use super::Tick;

    #[tokio::test]
    async fn it_ticks_again_and_again_and_never_early() {
        let mut tick = Tick::new().expect("a timer");
        for micros in [0, 1, 50, 300, 2_000] {
            let wait = Duration::from_micros(micros);
            let began = tokio::time::Instant::now();
            let ticked = poll_fn(|context| tick.poll(wait, context)).await;
            ticked.expect("a tick");
            assert!(began.elapsed() >= wait, "{wait:?}");
        }
    }
}
