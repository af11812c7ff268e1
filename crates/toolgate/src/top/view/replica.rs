//! Replicas and how they do.

use std::time::Duration;

use tokio::time::Instant;

use super::Sum;
use crate::{
    output::text,
    top::replicas::{Watched, span},
};

/// One replica.
#[derive(Clone, Debug)]
pub(in crate::top) struct Replica {
    pub(in crate::top) endpoint: String,
    /// The host that it runs on. Empty: not known, as for all that follows.
    pub(in crate::top) name: String,
    pub(in crate::top) version: String,
    pub(in crate::top) state: State,
    pub(in crate::top) sum: Sum,
    pub(in crate::top) in_flight: u64,
    /// Counts the snapshots of this process.
    pub(in crate::top) generation: u64,
    policies: String,
    /// It enforces other policies than most.
    pub(in crate::top) is_other: bool,
    /// It was told to count nothing.
    pub(in crate::top) counts_nothing: bool,
    /// Why the newest manifests are not in force.
    pub(in crate::top) reload_errors: Vec<String>,
    pub(in crate::top) up: Option<Duration>,
}

/// Whether it answers, and decides.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::top) enum State {
    /// It has not answered yet.
    Connecting,
    /// All is well.
    Serving,
    /// It decides without its store.
    Degraded(Trouble),
    /// It does not decide, for want of its store.
    NotDeciding(Trouble),
    /// It does not answer.
    Unreachable(Trouble),
    /// It answers with an error.
    Refusing(Trouble),
}

/// For how long, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::top) struct Trouble {
    pub(in crate::top) lasts: Duration,
    pub(in crate::top) reason: String,
}

impl Replica {
    pub(super) fn of(replica: &Watched, sum: Sum, now: Instant) -> Self {
        let activity = replica.activity();
        let process = activity.and_then(|it| it.replica.as_ref());
        let reload = activity.and_then(|it| it.reload.as_ref());
        let name = |name: &String| text::printable(name);
        Self {
            endpoint: text::printable(&replica.endpoint),
            name: process.map(|it| name(&it.name)).unwrap_or_default(),
            version: process.map(|it| name(&it.version)).unwrap_or_default(),
            state: State::of(replica, now),
            sum,
            in_flight: activity.map_or(0, |it| it.in_flight),
            generation: reload.map_or(0, |it| it.generation),
            policies: activity.map(|it| it.policies.clone()).unwrap_or_default(),
            is_other: false,
            counts_nothing: activity.is_some_and(|it| !it.counts_checks),
            reload_errors: reload.map(|it| it.errors.clone()).unwrap_or_default(),
            up: process.zip(activity).and_then(|(process, activity)| {
                span(process.started_at.as_ref(), activity.read_at.as_ref())
            }),
        }
    }
}

impl State {
    fn of(replica: &Watched, now: Instant) -> Self {
        if let Some(failure) = &replica.failure {
            let trouble = Trouble {
                lasts: now.saturating_duration_since(failure.since),
                reason: text::printable(&failure.reason),
            };
            return if failure.is_answer {
                Self::Refusing(trouble)
            } else {
                Self::Unreachable(trouble)
            };
        }
        let Some(activity) = replica.activity() else {
            return Self::Connecting;
        };
        let Some(store) = activity.store.as_ref() else {
            return Self::Serving;
        };
        let Some(since) = &store.degraded_since else {
            return Self::Serving;
        };
        let trouble = Trouble {
            // By the replica's own clock on both ends.
            lasts: span(Some(since), activity.read_at.as_ref()).unwrap_or_default(),
            reason: text::printable(&store.reason),
        };
        if store.decides_alone {
            Self::Degraded(trouble)
        } else {
            Self::NotDeciding(trouble)
        }
    }

    /// In a word or two.
    pub(in crate::top) const fn as_str(&self) -> &'static str {
        match self {
            Self::Connecting => "connecting",
            Self::Serving => "serving",
            Self::Degraded(_) => "degraded",
            Self::NotDeciding(_) => "not deciding",
            Self::Unreachable(_) => "unreachable",
            Self::Refusing(_) => "refusing",
        }
    }

    /// What is wrong, if something is.
    pub(in crate::top) const fn trouble(&self) -> Option<&Trouble> {
        match self {
            Self::Connecting | Self::Serving => None,
            Self::Degraded(trouble)
            | Self::NotDeciding(trouble)
            | Self::Unreachable(trouble)
            | Self::Refusing(trouble) => Some(trouble),
        }
    }
}

/// Marks those whose policies are not those of most others. Where no policies are those of most, all
/// but the ones of the first replica are marked.
pub(super) fn mark_others(replicas: &mut [Replica]) {
    let policies = |replica: &Replica| replica.policies.clone();
    let known: Vec<_> = replicas
        .iter()
        .map(policies)
        .filter(|it| !it.is_empty())
        .collect();
    let count = |policies: &String| known.iter().filter(|it| *it == policies).count();
    // The first of the largest; `max_by_key` would take the last.
    let usual = known
        .iter()
        .rev()
        .max_by_key(|policies| count(policies))
        .cloned();
    for replica in replicas {
        replica.is_other =
            !replica.policies.is_empty() && Some(&replica.policies) != usual.as_ref();
    }
}
