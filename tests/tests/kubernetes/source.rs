//! Policies come from the objects of a cluster.

mod many;
mod metrics;
mod objects;
mod outage;
mod reach;
