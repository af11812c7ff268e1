//! Running `check.lua`, by its hash where the server knows it.

use redis::{
    Cmd, ErrorKind, RedisError, RedisResult, ServerErrorKind, Value, aio::MultiplexedConnection,
};

use crate::{
    batch::{Batch, probe},
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
            Err(error) if is_unknown(&error) => {
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
        let command = |verb, script: &str| batch.command(verb, script, &self.keys);
        self.run_seldom(connection, Asking::Yes, command).await
    }

    /// Decides a check on a bucket of its own, in the hash `key`.
    pub(crate) async fn probe(
        &self,
        connection: &mut MultiplexedConnection,
        key: &str,
        asking: Asking,
    ) -> RedisResult<Value> {
        let command = |verb, script: &str| probe(verb, script, key);
        self.run_seldom(connection, asking, command).await
    }

    async fn run_seldom(
        &self,
        connection: &mut MultiplexedConnection,
        asking: Asking,
        command: impl Fn(&'static str, &str) -> Cmd,
    ) -> RedisResult<Value> {
        let mut by_hash = begin(asking);
        let by_hash = by_hash.add_command(command("EVALSHA", &self.sha1));
        match last(by_hash, connection).await {
            Err(error) if is_unknown(&error) => {
                let mut by_text = begin(asking);
                last(by_text.add_command(command("EVAL", TEXT)), connection).await
            }
            reply => reply,
        }
    }
}

fn is_unknown(error: &RedisError) -> bool {
    error.kind() == ErrorKind::Server(ServerErrorKind::NoScript)
}

async fn call(connection: &mut MultiplexedConnection, command: &Cmd) -> RedisResult<Value> {
    connection
        .send_packed_command(command)
        .await?
        .extract_error()
}
