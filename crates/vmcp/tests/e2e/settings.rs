//! What the process makes of its settings.

use tokio::io::AsyncBufReadExt as _;

use crate::process::Process;

const CONFIG: &str = "
name: research
listen: 127.0.0.1:0
incomingAuth: {type: anonymous}
backends: []
";

#[tokio::test]
async fn metrics_and_probes_can_have_an_address_of_their_own() {
    let yaml = format!("{CONFIG}adminListen: 127.0.0.1:0\n");
    let mut process = Process::start(&yaml, ":").await;
    let mut second = String::new();
    process.stdout.read_line(&mut second).await.unwrap();
    let admin = second.trim().rsplit('/').next().unwrap();
    let status = async |address: &str, path: &str| {
        let got = reqwest::get(format!("http://{address}{path}")).await;
        got.unwrap().status().as_u16()
    };
    let public = process.address.to_string();
    for path in ["/metrics", "/livez", "/readyz"] {
        assert_eq!(status(&public, path).await, 404, "{path}");
        assert_ne!(status(admin, path).await, 404, "{path}");
    }
    assert_eq!(status(admin, "/mcp").await, 404);
    assert_eq!(status(admin, "/livez").await, 200);
    process.stopped().await;
}
