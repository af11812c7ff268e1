//! Redis beyond one node that always decides: sentinels, clusters, TLS, ACL users, and each error
//! that Redis answers with. All on real servers, and under load where a change happens under load.

#![allow(clippy::expect_used, reason = "a test that cannot go on fails")]

mod access;
mod announce;
mod aside;
mod authority;
mod cluster;
mod load;
mod migration;
mod prefix;
mod refusals;
mod sentinel;
mod store;
mod tls;
