//! What the processes of Toolgate have in common where they touch the system: sockets, file
//! descriptors and signals.
//!
//! # The problem
//!
//! A connection that says nothing costs its sender nothing, and this process one of the files that
//! it may have open. When they run out nothing works any more: no call is taken, no probe is
//! answered, no policy is read.
//!
//! # The words
//!
//! - An [`Acceptor`] takes connections of a [`Listener`], and says once when it cannot.
//! - [`http::serve`] serves HTTP/1 on at most so many of them. Where there are too many, those that
//!   wait for their other side make room.
//! - A [`Host`] is what a request names as its server.
//! - [`read_authorities`] reads a file with authorities, and refuses one that holds none.
//! - [`descriptors`] are the files that a process may have open.
//!
//! ```text
//! descriptors::raise                at the start
//! Listener -> Acceptor -> http::serve -> any tower service
//!                      `-> the caller's own server
//! stop_signal                       SIGTERM and SIGINT end a process, SIGHUP does not
//! ```

mod accept;
mod address;
mod authority;
pub mod descriptors;
mod host;
pub mod http;
mod signal;

pub use accept::{Acceptor, Listener, Stream};
pub use address::Address;
pub use authority::{InvalidAuthority, check_authorities, read_authorities};
pub use host::Host;
pub use signal::stop_signal;
