//! Servers that no policy names, so that nothing limits their calls.
//!
//! It may be meant so, and it may be a mistyped name, on either side. So each of them is a warning
//! once: again only if a policy has named the server in between, and then at most once a minute, as
//! limiters that do not have the same policies answer in turn.

use std::{
    collections::HashMap,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::time::Instant;
use toolgate_limit::{Answer, ServerId};

use crate::counters::Counter;

/// The most servers that are told apart. Calls of those beyond are counted and not logged.
const MAX_SERVERS: usize = 1_024;

/// A server is not logged twice within so long.
const CALM: Duration = Duration::from_mins(1);

/// The servers that no policy names, as far as answers have said so.
#[derive(Debug, Default)]
pub(crate) struct Unnamed {
    /// Checks of such servers.
    pub(crate) checks: Counter,
    /// Whether there has been any; where not, no answer costs more than a look at this.
    any: AtomicBool,
    servers: Mutex<HashMap<ServerId, Server>>,
}

#[derive(Debug)]
struct Server {
    logged: Instant,
    is_named: bool,
}

impl Unnamed {
    /// A limiter has given `answer` to a check of `server`.
    pub(crate) fn see(&self, server: &ServerId, answer: &Answer) {
        if answer.unlimited && answer.policy.is_none() {
            self.checks.increment();
            self.any.store(true, Ordering::Relaxed);
            if self.is_news(server, Instant::now()) {
                tracing::warn!(
                    %server,
                    "no policy names this server, so its calls are not limited: check its name and the policies"
                );
            }
        } else if self.any.load(Ordering::Relaxed)
            && let Some(server) = self.lock().get_mut(server)
        {
            server.is_named = true;
        }
    }

    fn is_news(&self, server: &ServerId, now: Instant) -> bool {
        let mut servers = self.lock();
        if let Some(known) = servers.get_mut(server) {
            let is_over = now.saturating_duration_since(known.logged) >= CALM;
            let is_news = std::mem::take(&mut known.is_named) && is_over;
            if is_news {
                known.logged = now;
            }
            return is_news;
        }
        let has_room = servers.len() < MAX_SERVERS;
        if has_room {
            let known = Server {
                logged: now,
                is_named: false,
            };
            servers.insert(server.clone(), known);
        }
        has_room
    }

    /// It is changed in one step, so a poisoned lock is as good as any.
    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<ServerId, Server>> {
        self.servers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;
    use crate::fail_open::tests::Log;

    fn server(name: &str) -> ServerId {
        ServerId::new("test", name).expect("valid")
    }

    /// A policy of the server that does not limit this tool.
    fn named() -> Answer {
        Answer {
            policy: Some(server("a")),
            ..Answer::unlimited()
        }
    }

    /// A server whose name was mistyped ran unlimited, and nobody was told.
    #[tokio::test(start_paused = true)]
    async fn a_server_is_a_warning_once_and_again_after_a_policy_has_named_it() {
        let (unnamed, log) = (Unnamed::default(), Log::default());
        let _captured = log.capture();
        let lines = || log.text().lines().filter(|l| l.contains("WARN")).count();
        unnamed.see(&server("a"), &named());
        let allowed = Answer {
            unlimited: false,
            ..Answer::unlimited()
        };
        unnamed.see(&server("a"), &allowed);
        assert_eq!((lines(), unnamed.checks.get()), (0, 0));
        for _ in 0..100 {
            unnamed.see(&server("a"), &Answer::unlimited());
            advance(CALM).await;
        }
        assert_eq!((lines(), unnamed.checks.get()), (1, 100));
        assert!(log.text().contains("test/a"), "{}", log.text());
        unnamed.see(&server("b"), &Answer::unlimited());
        assert_eq!(lines(), 2);

        unnamed.see(&server("a"), &named());
        unnamed.see(&server("a"), &Answer::unlimited());
        assert_eq!(lines(), 3);
        // Limiters with other policies each, in turn.
        for _ in 0..100 {
            unnamed.see(&server("a"), &named());
            unnamed.see(&server("a"), &Answer::unlimited());
        }
        assert_eq!(lines(), 3);
    }

    #[tokio::test(start_paused = true)]
    async fn any_number_of_servers_is_no_flood() {
        let (unnamed, log) = (Unnamed::default(), Log::default());
        let _captured = log.capture();
        for number in 0..2 * MAX_SERVERS {
            unnamed.see(&server(&format!("s-{number}")), &Answer::unlimited());
        }
        assert_eq!(log.text().lines().count(), MAX_SERVERS);
        assert_eq!(unnamed.lock().len(), MAX_SERVERS);
    }
}
