//! A name whose addresses a test changes.

use std::{
    io,
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
};

use toolgate_client::Resolve;

/// A name server that says what the test wants of one name. Clones say the same.
#[derive(Clone, Debug)]
pub struct Names(Arc<Mutex<Result<Vec<SocketAddr>, String>>>);

impl Names {
    /// The one name, as an endpoint of a client.
    pub const ENDPOINT: &str = "dns:///limiters.test:7070";

    /// The name leads to `addresses`.
    pub fn at(addresses: &[SocketAddr]) -> Self {
        Self(Arc::new(Mutex::new(Ok(addresses.to_vec()))))
    }

    /// From now on the name leads to `addresses`.
    pub fn lead_to(&self, addresses: &[SocketAddr]) {
        self.say(Ok(addresses.to_vec()));
    }

    /// From now on the name cannot be looked up.
    pub fn fail(&self) {
        self.say(Err("no name server".to_owned()));
    }

    fn say(&self, answer: Result<Vec<SocketAddr>, String>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = answer;
    }
}

#[tonic::async_trait]
impl Resolve for Names {
    async fn resolve(&self, name: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
        if format!("dns:///{name}:{port}") != Self::ENDPOINT {
            return Err(io::Error::other(format!("{name} is another name")));
        }
        let answer = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        answer.clone().map_err(io::Error::other)
    }
}
