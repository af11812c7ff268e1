//! Reloads: they are counted, and series come and go with the names of the policies.

use toolgate_tests::{Limiter, PolicyFile, eventually, manifest, of_tool};

use crate::{assert_counted, scrape};

const CHECKS: &str = "toolgate_checks_total";

fn spec(tools: &[&str]) -> String {
    let of_tool =
        |tool: &&str| format!("{{name: {tool}, perUser: {{maxTokens: 1000, refillPeriod: 24h}}}}");
    let tools: Vec<_> = tools.iter().map(of_tool).collect();
    format!("tools: [{}]", tools.join(", "))
}

fn allowed(operation: &str) -> String {
    format!("{{server=\"test/server\",decision=\"allowed\",scope=\"\",operation=\"{operation}\"}}")
}

async fn until(limiter: &Limiter, series: &str, value: u64) {
    eventually(series, async || {
        let is = scrape(limiter).await.value(series);
        (is == value).then_some(())
    })
    .await;
}

#[tokio::test]
async fn series_of_what_leaves_the_policies_go_and_those_of_what_stays_go_on() {
    let policies = PolicyFile::of_spec(&spec(&["stays", "leaves"])).expect("a file");
    let limiter = Limiter::start(&policies.path(), [""; 0]).await;
    let limiter = limiter.expect("a limiter");
    let ask = async |tool: &str| limiter.check(of_tool("alice", tool)).await;
    for tool in ["stays", "stays", "leaves"] {
        ask(tool).await.expect("an answer");
    }
    let (stays, leaves) = (allowed("tool:stays"), allowed("tool:leaves"));
    let both = [(stays.as_str(), 2), (leaves.as_str(), 1)];
    let exposition = scrape(&limiter).await;
    assert_counted(&exposition, CHECKS, &both);
    assert_counted(&exposition, "toolgate_policy_generation", &[("", 1)]);
    let last = "toolgate_policy_last_reload_successful";
    assert_counted(&exposition, last, &[("", 1)]);
    let reloads = [("{result=\"success\"}", 1)];
    assert_counted(&exposition, "toolgate_policy_reloads_total", &reloads);

    // Without a check that could have noticed.
    let one = manifest("server", &spec(&["stays"]));
    policies.write(&one).expect("written");
    until(&limiter, "toolgate_policy_generation", 2).await;
    assert_counted(&scrape(&limiter).await, CHECKS, &[(&stays, 2)]);

    policies.write("no policy").expect("written");
    until(
        &limiter,
        "toolgate_policy_reloads_total{result=\"failure\"}",
        1,
    )
    .await;
    ask("stays").await.expect("an answer");
    ask("leaves").await.expect("an answer");
    let unlimited =
        "{server=\"test/server\",decision=\"unlimited\",scope=\"\",operation=\"other\"}";
    let exposition = scrape(&limiter).await;
    assert_counted(&exposition, CHECKS, &[(&stays, 3), (unlimited, 1)]);
    assert_counted(&exposition, "toolgate_policy_generation", &[("", 2)]);
    assert_counted(&exposition, last, &[]);
    let reloads = [("{result=\"success\"}", 2), ("{result=\"failure\"}", 1)];
    assert_counted(&exposition, "toolgate_policy_reloads_total", &reloads);

    let mended = manifest("server", &spec(&["stays", "comes"]));
    policies.write(&mended).expect("written");
    until(&limiter, last, 1).await;
}
