//! Each way in which Redis fails to decide, done and undone.

use toolgate_tests::Fault;

use crate::stage::Stage;

/// What is wrong with Redis, or with the way there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Down {
    /// Killed, and started anew without its data.
    Killed,
    /// Stopped by a signal, as by a hypervisor.
    Paused,
    /// The network does this.
    Network(Fault),
    /// A replica, as an old master after a fail-over.
    ReadOnly,
    /// `maxmemory` is reached.
    OutOfMemory,
    /// It reads its data after a start.
    Loading,
    /// Somebody's script runs and runs.
    Busy,
    /// The password was changed.
    NoAuth,
}

impl Down {
    /// With what Redis must be started for this fault.
    pub(crate) const fn redis_arguments(self) -> &'static [&'static str] {
        match self {
            // So that it says LOADING between two keys, 5 ms apart.
            Self::Loading => &[
                "--enable-debug-command",
                "yes",
                "--loading-process-events-interval-bytes",
                "1024",
            ],
            Self::Busy => &["--busy-reply-threshold", "10"],
            _ => &[],
        }
    }

    pub(crate) async fn inject(self, stage: &mut Stage) {
        match self {
            Self::Killed => stage.redis.kill().await.expect("killed"),
            Self::Paused => stage.redis.pause().expect("paused"),
            Self::Network(fault) => stage.proxy.inject(fault),
            Self::ReadOnly => stage.order(&["REPLICAOF", "127.0.0.1", "1"]).await,
            Self::OutOfMemory => stage.order(&["CONFIG", "SET", "maxmemory", "1"]).await,
            Self::Loading => {
                // A minute of it.
                let fill = "for i = 1, 12000 do redis.call('SET', i, string.rep('x', 1024)) end";
                stage.order(&["EVAL", fill, "0"]).await;
                stage
                    .order(&["CONFIG", "SET", "rdbcompression", "no"])
                    .await;
                stage
                    .order(&["CONFIG", "SET", "key-load-delay", "5000"])
                    .await;
                stage.order_without_reply(&["DEBUG", "RELOAD"]);
            }
            Self::Busy => stage.order_without_reply(&["EVAL", "while true do end", "0"]),
            Self::NoAuth => {
                stage
                    .order(&["ACL", "SETUSER", "default", "resetpass", ">new"])
                    .await;
                stage.order(&["CLIENT", "KILL", "TYPE", "normal"]).await;
            }
        }
    }

    pub(crate) async fn undo(self, stage: &mut Stage) {
        match self {
            Self::Killed | Self::Loading => stage.redis.restart().await.expect("restarted"),
            Self::Paused => stage.redis.resume().expect("resumed"),
            Self::Network(_) => stage.proxy.inject(Fault::None),
            Self::ReadOnly => stage.order(&["REPLICAOF", "NO", "ONE"]).await,
            Self::OutOfMemory => stage.order(&["CONFIG", "SET", "maxmemory", "0"]).await,
            Self::Busy => stage
                .redis
                .command(&["SCRIPT", "KILL"])
                .await
                .expect("killed"),
            Self::NoAuth => stage.order(&["ACL", "SETUSER", "default", "nopass"]).await,
        }
    }
}

impl Stage {
    /// Sends a command on the connection that was there before all faults.
    async fn order(&mut self, words: &[&str]) {
        let done = command(words).exec_async(&mut self.operator).await;
        done.unwrap_or_else(|error| panic!("{words:?}: {error}"));
    }

    /// The same, on a connection of its own that waits as long as it takes.
    fn order_without_reply(&self, words: &[&str]) {
        let command = command(words);
        let client = redis::Client::open(self.redis.url()).expect("a URL");
        tokio::spawn(async move {
            let config = redis::AsyncConnectionConfig::new().set_response_timeout(None);
            let connection = client.get_multiplexed_async_connection_with_config(&config);
            // It is killed in the end.
            let _ = command
                .exec_async(&mut connection.await.expect("a connection"))
                .await;
        });
    }
}

fn command(words: &[&str]) -> redis::Cmd {
    let mut command = redis::cmd(words[0]);
    command.arg(&words[1..]);
    command
}
