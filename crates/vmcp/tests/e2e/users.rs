//! Users of one gateway do not see each other.

use rmcp::model::{ReadResourceRequestParams, ReadResourceResponse, ResourceContents};
use tokio::time::{Duration, sleep, timeout};
use toolgate_limit::Identity;
use vmcp::{Vmcp, VmcpError, core::Core};

use crate::{
    backend::{over_http, url},
    modern::ModernBackend,
};

const PATIENCE: Duration = Duration::from_mins(1);

/// Waits until something is so.
async fn until(what: &str, is: impl AsyncFn() -> bool) {
    let wait = async {
        while !is().await {
            sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(PATIENCE, wait).await.expect(what);
}

/// The resources that `name` sees.
async fn resources(core: &Core, name: &str) -> Vec<String> {
    let listed = core.list_resources(&user(name), None).await.unwrap();
    let uris = listed.resources.into_iter().map(|resource| resource.uri);
    uris.collect()
}

fn user(name: &str) -> Identity {
    Identity::new(name).unwrap()
}

async fn read(core: &Core, name: &str, uri: &str) -> Result<String, VmcpError> {
    let read = ReadResourceRequestParams::new(uri);
    match core.read_resource(&user(name), read).await? {
        ReadResourceResponse::Complete(result) => match &result.contents[0] {
            ResourceContents::TextResourceContents { text, .. } => Ok(text.clone()),
            other => panic!("{other:?}"),
        },
        other => panic!("{other:?}"),
    }
}

/// rmcp's client answered the second user from its cache, and went on to when the backend failed
/// and when it was gone.
#[tokio::test]
async fn no_user_is_answered_from_what_the_backend_said_to_another() {
    for scope in ["private", "public"] {
        let backend = ModernBackend::start(scope).await;
        let core = Core::start(vec![over_http("a", url(backend.address))]);
        until("it is listed", async || {
            !resources(&core, "alice").await.is_empty()
        })
        .await;
        for (n, name) in ["alice", "bob", "alice"].into_iter().enumerate() {
            let text = read(&core, name, "note://mine").await.unwrap();
            assert_eq!(text, format!("read {}", n + 1), "{name}, {scope}");
        }
        assert_eq!(backend.reads(), 3);
        backend.fail();
        let failed = read(&core, "alice", "note://mine").await;
        assert!(matches!(failed, Err(VmcpError::Backend(_))), "{failed:?}");
        drop(backend);
        let gone = read(&core, "bob", "note://mine").await.unwrap_err();
        assert!(!matches!(gone, VmcpError::Backend(_)), "{gone}");
    }
}
