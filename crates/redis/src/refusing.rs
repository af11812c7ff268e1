//! For tests: a server that speaks Redis's protocol and refuses whatever it is asked. That is enough
//! to see that a check came to it.

use std::sync::{
    Arc,
    atomic::{AtomicU32, Ordering},
};

use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};
use toolgate_limit::{Check, Identity, Mode, Plan, Policy, Quota, Quotas, StoreError};
use toolgate_tasks::Tasks;

use crate::config::RedisConfig;

const REFUSAL: &str = "ERR nothing is decided here";

/// Lives as long as this value.
pub(crate) struct Refusing {
    url: String,
    /// So many of the next calls are refused with bad luck.
    unlucky: Arc<AtomicU32>,
    serving: JoinHandle<()>,
}

impl Refusing {
    /// What a refusal says that makes the task of the connection panic.
    pub(crate) const BAD_LUCK: &str = "READONLY bad luck";

    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("redis://{}", listener.local_addr().expect("bound"));
        let unlucky = Arc::<AtomicU32>::default();
        let serving = tokio::spawn({
            let unlucky = Arc::clone(&unlucky);
            async move {
                while let Ok((stream, _)) = listener.accept().await {
                    tokio::spawn(serve(stream, Arc::clone(&unlucky)));
                }
            }
        });
        Self {
            url,
            unlucky,
            serving,
        }
    }

    /// For a store on it that is patient.
    pub(crate) fn config(&self) -> RedisConfig {
        let mut config = RedisConfig::new(&self.url);
        config.timeout = std::time::Duration::from_mins(1);
        config
    }

    pub(crate) fn be_unlucky(&self) {
        self.unlucky.store(1, Ordering::SeqCst);
    }

    /// Whether each of `errors` is its own.
    pub(crate) fn has_refused(errors: &[StoreError]) -> bool {
        errors
            .iter()
            .all(|error| error.to_string().contains(REFUSAL))
    }
}

impl Drop for Refusing {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

async fn serve(stream: TcpStream, unlucky: Arc<AtomicU32>) {
    let mut stream = BufReader::new(stream);
    while let Some(verb) = command(&mut stream).await {
        let lucky = |left: u32| left.checked_sub(1);
        let reply = if verb == "HELLO" {
            "%1\r\n+proto\r\n:3\r\n".to_owned()
        } else if (unlucky.fetch_update(Ordering::SeqCst, Ordering::SeqCst, lucky)).is_ok() {
            format!("-{}\r\n", Refusing::BAD_LUCK)
        } else {
            format!("-{REFUSAL}\r\n")
        };
        if stream.write_all(reply.as_bytes()).await.is_err() {
            return;
        }
    }
}

/// The first word of the next command; none at the end of the connection.
async fn command(stream: &mut BufReader<TcpStream>) -> Option<String> {
    let words = number(stream).await?;
    let mut verb = None;
    for _ in 0..words {
        let length = number(stream).await?;
        let mut word = vec![0; length + 2];
        stream.read_exact(&mut word).await.ok()?;
        let word = String::from_utf8_lossy(&word[..length]).into_owned();
        verb.get_or_insert(word);
    }
    verb
}

/// The number in the next line, which begins with the kind of what follows.
async fn number(stream: &mut BufReader<TcpStream>) -> Option<usize> {
    let mut line = String::new();
    stream.read_line(&mut line).await.ok()?;
    line.get(1..)?.trim_end().parse().ok()
}

/// One check of `server`.
pub(crate) fn plan(server: &str) -> Plan {
    let quota = Quota::new(10, std::time::Duration::from_mins(1)).expect("a valid quota");
    let own = Quotas {
        global: Some(quota),
        per_user: None,
    };
    let server = server.parse().expect("a valid server");
    let policy = Policy::new(server, Mode::Enforce, own, []).expect("a valid policy");
    policy.plan(&Check {
        server: policy.server().clone(),
        identity: Identity::anonymous(),
        operation: None,
        cost: Check::COST_OF_ONE,
        trace: None,
    })
}

/// How often tasks of this name have begun anew.
pub(crate) fn restarts(tasks: &Tasks, name: &str) -> u64 {
    let known = tasks.restarts();
    let found = known.iter().find(|(known, _)| *known == name);
    found.expect("a task of this name").1
}
