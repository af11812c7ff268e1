//! Running `check.lua`, by its hash where the server knows it.

use redis::{Cmd, ErrorKind, RedisResult, ServerErrorKind, Value, aio::MultiplexedConnection};

use crate::{
    batch::Batch,
    call::{Asking, begin, last},
    key::KeyPrefix,
};

const TEXT: &str = include_str!("check.lua");

/// `check.lua`, its SHA-1, and the keys that it is given.
#[derive(Debug)]
pub(crate) struct CheckScript {
    sha1: String,
    keys: KeyPrefix,
}

impl CheckScript {
    pub(crate) fn new(keys: KeyPrefix) -> Self {
        Self {
            sha1: redis::Script::new(TEXT).get_hash().to_owned(),
            keys,
        }
    }

    /// What the names of its keys begin with.
    pub(crate) fn keys(&self) -> &KeyPrefix {
        &self.keys
    }

    /// Decides `batch`. A server that does not know the script yet, or has lost it in a restart or
    /// a fail-over, is sent the text.
    pub(crate) async fn run(
        &self,
        connection: &mut MultiplexedConnection,
        batch: &Batch,
    ) -> RedisResult<Value> {
        let by_hash = batch.command("EVALSHA", &self.sha1, &self.keys);
        match call(connection, &by_hash).await {
            Err(error) if error.kind() == ErrorKind::Server(ServerErrorKind::NoScript) => {
                call(connection, &batch.command("EVAL", TEXT, &self.keys)).await
            }
            reply => reply,
        }
    }

    /// As [`CheckScript::run`], on a node that the batch's slot is on its way to.
    pub(crate) async fn run_asking(
        &self,
        connection: &mut MultiplexedConnection,
        batch: &Batch,
    ) -> RedisResult<Value> {
        let by_hash = batch.command("EVALSHA", &self.sha1, &self.keys);
        match call_asking(connection, by_hash).await {
            Err(error) if error.kind() == ErrorKind::Server(ServerErrorKind::NoScript) => {
                call_asking(connection, batch.command("EVAL", TEXT, &self.keys)).await
            }
            reply => reply,
        }
    }
}

async fn call_asking(connection: &mut MultiplexedConnection, command: Cmd) -> RedisResult<Value> {
    last(begin(Asking::Yes).add_command(command), connection).await
}

async fn call(connection: &mut MultiplexedConnection, command: &Cmd) -> RedisResult<Value> {
    connection
        .send_packed_command(command)
        .await?
        .extract_error()
}
