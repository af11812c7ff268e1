//! A backend that counts the calls that reach it.

use std::process::Stdio;

use tokio::process::Command;
use toolgate_tests::{Process, counting_backend};

/// A process with the tools `echo` and `reverse`, the prompt `greet` and the resource
/// `file:///greeting`, among others.
pub(crate) struct Backend {
    pub(crate) url: String,
    _process: Process,
}

impl Backend {
    pub(crate) async fn start() -> Self {
        let mut command = Command::new(counting_backend().expect("built"));
        command.arg("127.0.0.1:0").stdout(Stdio::piped());
        let mut process = Process::start(&mut command).expect("a backend");
        Self {
            url: process.greeting().await.expect("a greeting"),
            _process: process,
        }
    }

    /// Tool calls that have reached it.
    pub(crate) async fn calls(&self) -> usize {
        let url = self.url.replace("/mcp", "/calls");
        let answer = crate::caller::http().get(url).send().await;
        let text = answer.expect("an answer").text().await;
        text.expect("a text").parse().expect("a number")
    }
}
