//! Tasks of a process that begin anew if they panic.
//!
//! # The problem
//!
//! A task that panics ends in silence. Whoever depends on it waits, or goes by what it said last: a
//! limiter whose probes have ended says for ever that it decides.
//!
//! # The words
//!
//! - [`Tasks`] are the tasks of one process. A task has a name, and there may be several of one name.
//! - A task begins anew with the state that it had. Whoever waits for what it had under way gets an
//!   error.
//! - [`Tasks::restarts`] says how often tasks of each name have begun anew, and [`Tasks::fault`]
//!   which have done so of late.
//!
//! ```text
//! spawn, run -> a panic -> log, count -> a pause -> the same task, on the same state
//! ```

mod tasks;

pub use tasks::Tasks;
