//! The sessions of one replica, each the successor of the one before.
//!
//! A limiter that stops, or finds a connection too old, says so on the stream and goes on for a
//! while. Then a new connection is opened beside the old one; checks go to the new one from the
//! moment it is there, and the old one is kept until all that was sent over it is answered. So no
//! check is lost, and none waits.

use std::sync::Arc;

use futures::{StreamExt as _, stream::FuturesUnordered};
use tokio::{
    sync::Notify,
    time::{Instant, sleep},
};
use tonic::Streaming;
use toolgate_proto::pb::CheckStreamResponse;

use super::Replica;
use crate::{
    ClientConfig,
    backoff::Waits,
    connection::{self, Connection},
    session::{End, Session},
};

impl Replica {
    /// Sends checks over `connection` and its successors, until one of them ends that has none.
    pub(super) async fn serve(
        &self,
        mut connection: Connection,
        config: &ClientConfig,
        lost: &Notify,
    ) -> End {
        let mut waits = Waits::new(config.reconnect);
        // None lasts longer than a check may take.
        let mut finishing = FuturesUnordered::new();
        loop {
            let (session, answers) = Session::new(connection);
            let session = Arc::new(session);
            self.connect(Arc::clone(&session));
            let mut reading = Box::pin(self.read(Arc::clone(&session), answers));
            let began = Instant::now();
            connection = {
                let successor = async {
                    session.asked_to_leave().await;
                    // There may be others to ask.
                    lost.notify_one();
                    if began.elapsed() > config.reconnect.longest {
                        waits.reset();
                    } else {
                        // One that asks again and again must not be asked in a circle.
                        sleep(waits.next(&mut fastrand::Rng::new())).await;
                    }
                    self.reconnect(config, &mut waits).await
                };
                let mut successor = Box::pin(successor);
                loop {
                    tokio::select! {
                        connection = &mut successor => break connection,
                        end = &mut reading => {
                            while finishing.next().await.is_some() {}
                            return end;
                        }
                        Some(_) = finishing.next() => {}
                    }
                }
            };
            session.finish();
            finishing.push(reading);
        }
    }

    async fn reconnect(&self, config: &ClientConfig, waits: &mut Waits) -> Connection {
        loop {
            match connection::open(&self.address, config).await {
                Ok(connection) => return connection,
                Err(error) => {
                    let limiter = self.endpoint();
                    self.faults.see_connection(limiter, &error);
                    tracing::debug!(%limiter, %error, "no connection yet in place of the old one");
                }
            }
            sleep(waits.next(&mut fastrand::Rng::new())).await;
        }
    }

    /// Hands out the answers of one session, to its end.
    async fn read(&self, session: Arc<Session>, answers: Streaming<CheckStreamResponse>) -> End {
        let end = session.read(answers, || self.fell_silent(&session)).await;
        // First out of the choice, so that nobody whose check fails finds it there.
        self.disconnect(&session);
        // A connection that ends while nobody waits has let nobody down, and one that was given up
        // has been counted.
        let to_blame = (end.condemned || session.is_waited_for()) && session.take_blame();
        if to_blame && !end.condemned {
            let change = self.breaker().strike(Instant::now());
            self.log(change, &end.reason);
        }
        session.end(&end.reason);
        end
    }

    /// Checks no longer go out by `session`. Only the replica's own task changes sessions.
    fn disconnect(&self, session: &Arc<Session>) {
        let current = self.session.load();
        if current
            .as_ref()
            .is_some_and(|current| Arc::ptr_eq(current, session))
        {
            self.session.store(None);
        }
    }
}
