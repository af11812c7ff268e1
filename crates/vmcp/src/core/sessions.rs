//! A session of its own for each user of a backend that keeps something in sessions.
//!
//! A session is opened by a user's first request, once that is paid for, and kept while it is used. There
//! is a bound on how many there are: a new user takes the place of the one who has been idle longest. When
//! a session has ended, the next request opens a new one. One that cannot be opened is not tried again at
//! each request.

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
    backoff::Backoff,
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
    backoff: Backoff,
    /// When the next one may be opened, once it is known that this one has ended.
    again_at: Option<Instant>,
}

/// The use of a user's session, until it is dropped.
#[derive(Debug)]
pub(super) struct Lease {
    open: Arc<Open>,
    user: User,
    link: Arc<Link>,
}

/// Why there is no session for a user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum NoSession {
    /// All sessions that there may be are in use.
    AllInUse(usize),
    /// All are taken, and the request is none that may close another user's.
    AllTaken(usize),
    /// It could not be opened, or ended, a moment ago.
    Failed(Arc<str>),
}

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

    /// The session of `user`, if there is one. None if one may be opened.
    pub(super) fn lease(&self, user: &User) -> Result<Option<Lease>, NoSession> {
        let mut users = self.open.users();
        if let Some(lease) = self.open.lease(&mut users, user) {
            return Ok(Some(lease));
        }
        if let Some(entry) = users.get_mut(user) {
            entry.may_open()?;
        } else if users.len() >= self.open.most && users.values().all(|entry| entry.in_use > 0) {
            return Err(NoSession::AllInUse(self.open.most));
        }
        Ok(None)
    }

    /// As [`UserSessions::lease`], but one is opened if there is none. It begins as `lifecycle` says. For a
    /// request that `is_paid` another user's idle one is closed if there is no room.
    pub(super) fn open(
        &self,
        user: User,
        lifecycle: Lifecycle,
        is_paid: bool,
    ) -> Result<Lease, NoSession> {
        let mut users = self.open.users();
        if let Some(lease) = self.open.lease(&mut users, &user) {
            return Ok(lease);
        }
        let timing = self.open.settings.timing;
        let mut backoff = Backoff::new(timing.first_backoff, timing.longest_backoff);
        if let Some(entry) = users.get_mut(&user) {
            entry.may_open()?;
            backoff = entry.backoff.clone();
            // One that has ended in mid-use leaves its place.
            users.remove(&user);
        }
        if is_paid {
            self.open.make_room(&mut users)?;
        } else if users.len() >= self.open.most {
            return Err(NoSession::AllTaken(self.open.most));
        }
        let link = Link::start(self.open.settings.clone(), Life::Once(lifecycle));
        let link = Arc::new(link);
        let entry = Entry {
            link: Arc::clone(&link),
            in_use: 1,
            idle_since: Instant::now(),
            backoff,
            again_at: None,
        };
        users.insert(user.clone(), entry);
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

impl Entry {
    /// Whether a session may be opened in place of this one, which has ended. A first one may at once.
    fn may_open(&mut self) -> Result<(), NoSession> {
        let Some(down) = self.link.down() else {
            return Ok(());
        };
        let backoff = &mut self.backoff;
        let again_at = *self.again_at.get_or_insert_with(|| {
            let wait = match down.lost {
                Some(lost) => backoff.after_loss(lost.lived),
                None => backoff.after_failure(),
            };
            down.since + wait
        });
        if Instant::now() < again_at {
            return Err(NoSession::Failed(down.reason));
        }
        Ok(())
    }
}

impl Open {
    fn lease(self: &Arc<Self>, users: &mut HashMap<User, Entry>, user: &User) -> Option<Lease> {
        let entry = users.get_mut(user)?;
        if entry.link.down().is_some() {
            return None;
        }
        entry.in_use += 1;
        Some(Lease {
            open: Arc::clone(self),
            user: user.clone(),
            link: Arc::clone(&entry.link),
        })
    }

    /// Makes room for one more: those that have ended go first.
    fn make_room(&self, users: &mut HashMap<User, Entry>) -> Result<(), NoSession> {
        if users.len() < self.most {
            return Ok(());
        }
        let idle = users.iter().filter(|(_, entry)| entry.in_use == 0);
        let longest = idle.min_by_key(|(_, entry)| (entry.link.down().is_none(), entry.idle_since));
        let longest = longest.map(|(user, _)| user.clone());
        let longest = longest.ok_or(NoSession::AllInUse(self.most))?;
        users.remove(&longest);
        Ok(())
    }

    fn close_idle(&self) {
        let mut users = self.users();
        // One that has ended is remembered for as long as it may not be opened again.
        let remembered = self.idle.max(self.settings.timing.longest_backoff);
        users.retain(|_, entry| {
            let most = match entry.link.down() {
                Some(_) => remembered,
                None => self.idle,
            };
            entry.in_use > 0 || entry.idle_since.elapsed() < most
        });
        self.count(&users);
    }

    fn count(&self, users: &HashMap<User, Entry>) {
        let open = users.values().filter(|entry| entry.link.down().is_none());
        self.metrics.sessions(open.count());
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

impl fmt::Display for NoSession {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AllInUse(most) => {
                write!(f, "not sent, as all of its {most} sessions are in use")
            }
            Self::AllTaken(most) => write!(f, "not sent, as all of its {most} sessions are taken"),
            Self::Failed(reason) => write!(f, "no session for this caller: {reason}"),
        }
    }
}
