//! Checks as the tests make them.

use std::time::Duration;

use tokio::time::{sleep, timeout};
use toolgate_proto::pb::{CheckRequest, Identity, check_request::Operation};

use crate::PATIENCE;

/// One call of `user` to server `test/server`.
pub fn of_user(user: &str) -> CheckRequest {
    CheckRequest {
        server: "test/server".to_owned(),
        identity: Some(Identity {
            subject: user.to_owned(),
            ..Identity::default()
        }),
        ..CheckRequest::default()
    }
}

/// The same call, to one tool.
pub fn of_tool(user: &str, tool: &str) -> CheckRequest {
    CheckRequest {
        operation: Some(Operation::Tool(tool.to_owned())),
        ..of_user(user)
    }
}

/// Asks again and again until there is an answer.
///
/// # Panics
///
/// When there is none for as long as a very busy machine could need.
pub async fn eventually<T>(what: &str, ask: impl AsyncFn() -> Option<T>) -> T {
    let answer = async {
        loop {
            if let Some(answer) = ask().await {
                return answer;
            }
            sleep(Duration::from_millis(10)).await;
        }
    };
    let Ok(answer) = timeout(PATIENCE, answer).await else {
        panic!("never came: {what}");
    };
    answer
}
