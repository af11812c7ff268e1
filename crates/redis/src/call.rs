//! What is said to a server.

use redis::{Cmd, Pipeline, RedisResult, Value, aio::MultiplexedConnection, cmd, pipe};

use crate::{batch::Batch, script::CheckScript};

/// A call to one server, whose keys, if any, share a slot.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Call<'a> {
    /// Decides a batch; the reply is that of the script.
    Decide {
        script: &'a CheckScript,
        batch: &'a Batch,
    },
    /// These, as one transaction; the reply is an array of theirs.
    Transaction(&'a [Cmd]),
    /// Decides a check on a bucket of the limiter's own, with all that a check may need: a server
    /// that only reads, that does not let us, or that is sent nothing of a batch's size cannot decide.
    /// The reply is that of the script.
    Probe {
        script: &'a CheckScript,
        /// A hash of this probe alone, which lives for some seconds.
        key: &'a str,
    },
    /// Who serves which slot.
    Slots,
}

/// Whether a call comes on account of a node that its slot is leaving, which `ASKING` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Asking {
    No,
    Yes,
}

impl Call<'_> {
    pub(crate) async fn send(
        self,
        connection: &mut MultiplexedConnection,
        asking: Asking,
    ) -> RedisResult<Value> {
        match (self, asking) {
            (Self::Decide { script, batch }, Asking::No) => script.run(connection, batch).await,
            // What is sent seldom does not make the future of what is sent always any larger.
            (seldom, asking) => Box::pin(seldom.send_seldom(connection, asking)).await,
        }
    }

    async fn send_seldom(
        self,
        connection: &mut MultiplexedConnection,
        asking: Asking,
    ) -> RedisResult<Value> {
        match self {
            Self::Decide { script, batch } => script.run_asking(connection, batch).await,
            Self::Transaction(commands) => {
                let mut all = begin(asking);
                all.cmd("MULTI").ignore();
                for command in commands {
                    all.add_command(command.clone()).ignore();
                }
                last(all.cmd("EXEC"), connection).await
            }
            Self::Probe { script, key } => script.probe(connection, key, asking).await,
            Self::Slots => cmd("CLUSTER").arg("SLOTS").query_async(connection).await,
        }
    }
}

/// What `ASKING` allows is the next command or transaction, so it goes with them.
pub(crate) fn begin(asking: Asking) -> Pipeline {
    let mut commands = pipe();
    if asking == Asking::Yes {
        commands.cmd("ASKING").ignore();
    }
    commands
}

/// The reply to the last of `commands`, where those to the others are ignored.
pub(crate) async fn last(
    commands: &Pipeline,
    connection: &mut MultiplexedConnection,
) -> RedisResult<Value> {
    let (reply,) = commands.query_async::<(Value,)>(connection).await?;
    Ok(reply)
}
