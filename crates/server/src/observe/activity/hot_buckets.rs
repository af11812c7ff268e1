//! Hot buckets, of any number of workers.

use std::{
    collections::HashMap,
    hash::{Hash, Hasher},
    sync::Arc,
};

use toolgate_limit::{Identity, Limit, UserKey};

use super::sketch::Entry;

/// Rates below it are not shown, in checks a second: what is left of a check after a minute.
const COLD: f64 = 0.000_2;

/// A bucket by its name, whatever the quota of its limit is or was.
#[derive(Clone, Debug)]
pub(super) struct Key {
    pub(super) limit: Arc<Limit>,
    pub(super) user: Option<UserKey>,
}

/// A bucket that checks have touched of late. Rates are in checks a second.
#[derive(Clone, Debug)]
pub(crate) struct HotBucket {
    /// As it was when the bucket came in: of the limits in force its quota may be another one.
    pub(crate) limit: Arc<Limit>,
    /// Whose it is, without groups; none if all callers share it.
    pub(crate) identity: Option<Identity>,
    pub(crate) checks: f64,
    /// Of these, how many it has refused.
    pub(crate) denied: f64,
}

/// The buckets of any number of workers.
#[derive(Debug, Default)]
pub(crate) struct HotBuckets {
    buckets: HashMap<Key, HotBucket>,
    error: f64,
}

impl HotBuckets {
    /// By how much a rate may be too low, and the rate of a bucket that is missing, in checks a
    /// second.
    pub(crate) const fn error(&self) -> f64 {
        self.error
    }

    /// At each scope the `most` buckets with the highest rates: those that callers share first, then
    /// those of single users, the hottest first.
    pub(crate) fn hottest(self, most: usize) -> Vec<HotBucket> {
        let is_user = |bucket: &HotBucket| bucket.identity.is_some();
        let all = self.buckets.into_values();
        let (mut users, mut shared): (Vec<_>, Vec<_>) = all
            .filter(|bucket| bucket.checks >= COLD)
            .partition(is_user);
        for buckets in [&mut shared, &mut users] {
            buckets.sort_by(|a, b| b.checks.total_cmp(&a.checks));
            buckets.truncate(most);
        }
        shared.append(&mut users);
        shared
    }

    pub(super) fn add_error(&mut self, error: f64) {
        self.error += error;
    }

    /// Adds `entry`, in which a steady rate of one a second is `of_one`.
    pub(super) fn add<V>(
        &mut self,
        key: &Key,
        entry: &Entry<V>,
        of_one: f64,
        identity: impl FnOnce() -> Option<Identity>,
    ) {
        let known = self.buckets.entry(key.clone());
        let known = known.or_insert_with(|| HotBucket {
            limit: Arc::clone(&key.limit),
            identity: identity(),
            checks: 0.0,
            denied: 0.0,
        });
        // What was denied is known exactly since the key came in, and the whole at least.
        known.checks += entry.weight.max(entry.denied) / of_one;
        known.denied += entry.denied / of_one;
    }
}

impl PartialEq for Key {
    fn eq(&self, other: &Self) -> bool {
        is_same(&self.limit, &other.limit) && self.user == other.user
    }
}

impl Eq for Key {}

impl Hash for Key {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.limit.server().hash(state);
        self.limit.field().hash(state);
        self.user.hash(state);
    }
}

/// The same limit, whatever its quota is or was.
pub(super) fn is_same(one: &Limit, other: &Limit) -> bool {
    one.scope() == other.scope() && one.field() == other.field() && one.server() == other.server()
}
