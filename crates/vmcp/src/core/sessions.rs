//! A session of its own for each user of a backend that keeps something in sessions.
//!
//! A session is opened by a user's first request and kept while it is used. There is a bound on how
//! many there are: a new user takes the place of the one who has been idle longest. When a session has
//! ended, the next request opens a new one.

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    time::Duration,
};

use tokio::time::{Instant, sleep};
use tokio_util::task::AbortOnDropHandle;

use super::{
    BackendSettings,
    connection::{Life, Session},
    link::Link,
    metrics::Metrics,
    transport::Lifecycle,
    user::User,
};

/// Whose sessions a backend sees.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Sessions {
    /// One, of all users. What the backend keeps in it for one, the others can see.
    #[default]
    Shared,
    /// One of each user, if the backend has sessions at all.
    PerUser {
        /// The most at a time.
        most: usize,
        /// A session that is idle for so long is closed.
        idle: Duration,
    },
}

/// The sessions of the users of one backend.
#[derive(Debug)]
pub(super) struct UserSessions {
    open: Arc<Open>,
    _sweep: AbortOnDropHandle<()>,
}

#[derive(Debug)]
struct Open {
    settings: BackendSettings,
    most: usize,
    idle: Duration,
    users: Mutex<HashMap<User, Entry>>,
    metrics: Metrics,
}

#[derive(Debug)]
struct Entry {
    link: Arc<Link>,
    /// Requests that use it.
    in_use: usize,
    /// When the last one has ended.
    idle_since: Instant,
}

/// The use of a user's session, until it is dropped.
#[derive(Debug)]
pub(super) struct Lease {
    open: Arc<Open>,
    user: User,
    link: Arc<Link>,
}

/// All sessions that there may be are in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct AllInUse(usize);

impl UserSessions {
    /// None are open yet. Needs a tokio runtime.
    pub(super) fn new(
        settings: BackendSettings,
        most: usize,
        idle: Duration,
        metrics: Metrics,
    ) -> Self {
        let open = Arc::new(Open {
            settings,
            most,
            idle,
            users: Mutex::default(),
            metrics,
        });
        let swept = Arc::downgrade(&open);
        Self {
            open,
            _sweep: AbortOnDropHandle::new(tokio::spawn(sweep(swept, idle))),
        }
    }

    /// The session of `user`, which is opened if there is none or it has ended. It begins as `lifecycle`
    /// says.
    pub(super) fn lease(&self, user: User, lifecycle: Lifecycle) -> Result<Lease, AllInUse> {
        let mut users = self.open.users();
        users.retain(|_, entry| entry.in_use > 0 || !entry.link.is_down());
        let known = users.get_mut(&user).filter(|entry| !entry.link.is_down());
        let link = if let Some(entry) = known {
            entry.in_use += 1;
            Arc::clone(&entry.link)
        } else {
            // One that has ended in mid-use leaves its place.
            users.remove(&user);
            self.open.make_room(&mut users)?;
            let link = Arc::new(Link::start(
                self.open.settings.clone(),
                Life::Once(lifecycle),
            ));
            let entry = Entry {
                link: Arc::clone(&link),
                in_use: 1,
                idle_since: Instant::now(),
            };
            users.insert(user.clone(), entry);
            link
        };
        self.open.count(&users);
        drop(users);
        Ok(Lease {
            open: Arc::clone(&self.open),
            user,
            link,
        })
    }

    /// The session of `user`, if it is open. What it lists is looked at again if that was long ago.
    pub(super) fn of(&self, user: &User) -> Option<Arc<Session>> {
        let users = self.open.users();
        let link = &users.get(user)?.link;
        let session = link.session().ok()?;
        if session.looked_at.elapsed() > self.open.settings.timing.relist {
            link.look();
        }
        Some(session)
    }
}

impl Open {
    /// Makes room for one more.
    fn make_room(&self, users: &mut HashMap<User, Entry>) -> Result<(), AllInUse> {
        if users.len() < self.most {
            return Ok(());
        }
        let idle = users.iter().filter(|(_, entry)| entry.in_use == 0);
        let longest = idle.min_by_key(|(_, entry)| entry.idle_since);
        let longest = longest.map(|(user, _)| user.clone());
        let longest = longest.ok_or(AllInUse(self.most))?;
        users.remove(&longest);
        Ok(())
    }

    fn close_idle(&self) {
        let mut users = self.users();
        users.retain(|_, entry| {
            entry.in_use > 0 || (entry.idle_since.elapsed() < self.idle && !entry.link.is_down())
        });
        self.count(&users);
    }

    fn count(&self, users: &HashMap<User, Entry>) {
        self.metrics.sessions(users.len());
    }

    /// Each change is made as a whole, so a poisoned lock is as good as any.
    fn users(&self) -> MutexGuard<'_, HashMap<User, Entry>> {
        self.users.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Closes idle sessions, at most a quarter of `idle` late.
async fn sweep(open: Weak<Open>, idle: Duration) {
    const LEAST: Duration = Duration::from_millis(10);
    loop {
        sleep((idle / 4).max(LEAST)).await;
        let Some(open) = open.upgrade() else { return };
        open.close_idle();
    }
}

impl Lease {
    pub(super) fn link(&self) -> &Link {
        &self.link
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let mut users = self.open.users();
        let entry = users.get_mut(&self.user);
        // Another one may have taken its place.
        if let Some(entry) = entry.filter(|entry| Arc::ptr_eq(&entry.link, &self.link)) {
            entry.in_use = entry.in_use.saturating_sub(1);
            entry.idle_since = Instant::now();
        }
    }
}

impl fmt::Display for AllInUse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(most) = self;
        write!(f, "not sent, as all of its {most} sessions are in use")
    }
}
