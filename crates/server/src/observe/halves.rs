//! What one thread counts all the time and others read now and then.

use std::sync::{Mutex, MutexGuard, PoisonError, TryLockError};

/// Two halves, which together are what was counted.
///
/// The writer takes the half that nobody reads; a reader holds one half at a time, however long that
/// takes. So the writer, on the road of a check, never waits for a reader.
#[derive(Debug)]
pub(super) struct Halves<T> {
    halves: [Mutex<T>; 2],
    /// Of readers there is one at a time.
    turn: Mutex<()>,
}

impl<T> Halves<T> {
    /// Both as `half` makes them.
    pub(super) fn new(half: impl Fn() -> T) -> Self {
        Self {
            halves: [Mutex::new(half()), Mutex::new(half())],
            turn: Mutex::default(),
        }
    }

    /// Lets the one writer change a half.
    pub(super) fn write(&self, change: impl FnOnce(&mut T)) {
        let free = self.halves.iter().find_map(|half| match half.try_lock() {
            Ok(free) => Some(free),
            // No update is ever left half done by a panic, so a poisoned lock is as good as any.
            Err(TryLockError::Poisoned(free)) => Some(free.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        });
        // A reader may have gone from one to the other meanwhile, and has left the first.
        change(&mut free.unwrap_or_else(|| lock(&self.halves[0])));
    }

    /// Shows each half to `look`, one after the other.
    pub(super) fn read(&self, mut look: impl FnMut(&mut T)) {
        let _turn = lock(&self.turn);
        for half in &self.halves {
            look(&mut lock(half));
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::{sync::mpsc, thread};

    use super::*;

    /// A scrape copied all counts of a worker under the lock that each of its checks takes.
    #[test]
    fn a_writer_waits_for_no_reader_and_nothing_is_lost() {
        let halves = Halves::new(|| 0);
        halves.write(|count| *count += 1);
        thread::scope(|scope| {
            let (reading, is_reading) = mpsc::channel();
            let (go_on, may_go_on) = mpsc::channel();
            let halves = &halves;
            scope.spawn(move || {
                halves.read(|_| {
                    reading.send(()).expect("waited for");
                    may_go_on.recv().expect("told");
                });
            });
            for _ in 0..2 {
                is_reading.recv().expect("it reads");
                for _ in 0..100 {
                    halves.write(|count| *count += 1);
                }
                go_on.send(()).expect("waited for");
            }
        });
        let mut sum = 0;
        halves.read(|count| sum += *count);
        assert_eq!(sum, 201);
    }
}
