//! Policies come from the objects of a cluster.

mod many;
mod objects;
mod outage;
mod reach;
