//! The activity of all replicas, live.
//!
//! ```text
//! Watch: each replica is asked by a task of its own, with a deadline -> Event
//! Replicas: what each has answered last, and before -> View: summed, sorted, as it is shown
//! View -> screen.rs (live) or once.rs (a table, or JSON)
//! ```
//!
//! A replica counts and a viewer divides: the rates are the difference of two readings of one process
//! over the time between them, by that process's own clock.

#[cfg(test)]
mod fixture;
mod live;
mod once;
mod outcomes;
mod rate;
mod replicas;
mod screen;
mod terminal;
mod view;
mod watch;

pub(crate) use self::{live::live, once::once, watch::Targets};
