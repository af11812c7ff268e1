//! Two users of one gateway, before a backend that keeps things in sessions and one whose answers may
//! be cached: nothing of one is in what the other is answered.

use serde_json::{Value, json};
use toolgate_tests::eventually;

use crate::{
    caller::{Caller, Outcome},
    everything::Everything,
    issuer::Issuer,
    modern::ModernBackend,
    replica::Replica,
};

const MAKE: &str = "every_gzip-file-as-resource";

/// A gateway before `backends`, and two of its users.
struct Users {
    alice: Caller,
    bob: Caller,
    replica: Replica,
    _issuer: Issuer,
}

impl Users {
    async fn start(backends: &str) -> Self {
        let issuer = Issuer::start().await;
        let replica = Replica::start(&format!(
            "
incomingAuth: {{type: oidc, oidc: {{issuer: '{}', audience: vmcp}}}}
backends: [{backends}]
",
            issuer.url
        ))
        .await;
        let caller = |name| Caller::new(&replica.url, Some(issuer.token(name)));
        let users = Self {
            alice: caller("alice"),
            bob: caller("bob"),
            replica,
            _issuer: issuer,
        };
        users.alice.until_listed(MAKE).await;
        users
    }
}

/// Makes a resource in the session of `user`, and says where.
async fn make(user: &Caller, name: &str) -> String {
    let arguments = json!({"name": name, "data": "data:text/plain,secret"});
    let made = user.call(MAKE, arguments).await.expect("made");
    let uri = made["content"][0]["uri"].as_str().expect("a link");
    uri.to_owned()
}

async fn read(user: &Caller, uri: &str) -> Outcome {
    user.ask("resources/read", json!({"uri": uri})).await
}

async fn resources(user: &Caller) -> Vec<String> {
    let listed = user.ask("resources/list", json!({})).await.expect("a list");
    let listed = listed["resources"].as_array().expect("resources");
    let uris = listed.iter().map(|it| it["uri"].as_str().expect("a URI"));
    uris.map(str::to_owned).collect()
}

async fn until_listed(user: &Caller, uri: &str) {
    eventually("the resource is listed", async || {
        let listed = resources(user).await;
        listed.iter().any(|is| is == uri).then_some(())
    })
    .await;
}

/// Bob listed and read what alice had made.
#[tokio::test]
async fn what_a_user_keeps_in_a_session_is_neither_listed_nor_read_by_another() {
    let everything = Everything::start().await;
    let over_http = format!("{{name: every, url: '{}'}}", everything.url);
    let as_child = "{name: every, command: mcp-server-everything}".to_owned();
    for backend in [over_http, as_child] {
        let Users {
            alice,
            bob,
            replica,
            ..
        } = &Users::start(&backend).await;
        // Bob has a session, too.
        let of_bob = make(bob, "bob.gz").await;
        let of_alice = make(alice, "alice.gz").await;
        until_listed(alice, &of_alice).await;
        until_listed(bob, &of_bob).await;
        assert!(!resources(bob).await.contains(&of_alice), "{backend}");
        assert!(!resources(alice).await.contains(&of_bob), "{backend}");
        read(alice, &of_alice).await.expect("her own");
        read(bob, &of_bob).await.expect("his own");
        read(bob, &of_alice).await.expect_err("hers");
        read(alice, &of_bob).await.expect_err("his");
        let metrics = replica.url.replace("/mcp", "/metrics");
        let metrics = crate::caller::http().get(metrics).send().await;
        let metrics = metrics.expect("an answer").text().await.expect("a text");
        assert!(
            metrics.contains("vmcp_backend_sessions{backend=\"every\"} 2"),
            "{metrics}"
        );
    }
}

#[tokio::test]
async fn a_backend_that_is_said_to_be_shared_has_one_session() {
    let backend = "{name: every, command: mcp-server-everything, sessions: shared}";
    let Users { alice, bob, .. } = &Users::start(backend).await;
    let of_alice = make(alice, "alice.gz").await;
    until_listed(bob, &of_alice).await;
    read(bob, &of_alice).await.expect("shared");
}

/// What one user does next.
#[derive(Clone, Copy, Debug)]
enum Step {
    Make,
    ListResources,
    ReadOwn,
    ReadOther,
    ReadCached,
    Echo,
    ListTools,
    Complete,
    Prompt,
    Subscribe,
    Log,
}

const STEPS: [Step; 11] = [
    Step::Make,
    Step::ListResources,
    Step::ReadOwn,
    Step::ReadOther,
    Step::ReadCached,
    Step::Echo,
    Step::ListTools,
    Step::Complete,
    Step::Prompt,
    Step::Subscribe,
    Step::Log,
];

/// A user, and what was made.
struct User<'a> {
    name: &'static str,
    caller: &'a Caller,
    made: Vec<String>,
}

/// Does one step of `me`, and says what was answered. Only the user's own secrets may be in that.
async fn step(step: Step, n: usize, me: &mut User<'_>, other: &User<'_>) -> Value {
    let ask = |method: &'static str, params| me.caller.ask(method, params);
    let secret = format!("{}-secret-{n}", me.name);
    let answer = match step {
        Step::Make => {
            let uri = make(me.caller, &secret).await;
            me.made.push(uri.clone());
            until_listed(me.caller, &uri).await;
            Ok(json!(uri))
        }
        Step::ListResources => ask("resources/list", json!({})).await,
        Step::ReadOwn => match me.made.last() {
            Some(uri) => Ok(read(me.caller, uri).await.expect("one's own")),
            None => Ok(Value::Null),
        },
        Step::ReadOther => {
            if let Some(uri) = other.made.last() {
                read(me.caller, uri).await.expect_err("the other's");
            }
            // The error names what was asked for.
            Ok(Value::Null)
        }
        Step::ReadCached => read(me.caller, "note://mine").await,
        Step::Echo => {
            me.caller
                .call("every_echo", json!({"message": secret}))
                .await
        }
        Step::ListTools => ask("tools/list", json!({})).await,
        Step::Complete => {
            let argument = json!({"name": "department", "value": "E"});
            let reference = json!({"type": "ref/prompt", "name": "every_completable-prompt"});
            ask(
                "completion/complete",
                json!({"ref": reference, "argument": argument}),
            )
            .await
        }
        Step::Prompt => {
            let arguments = json!({"city": secret});
            ask(
                "prompts/get",
                json!({"name": "every_args-prompt", "arguments": arguments}),
            )
            .await
        }
        Step::Subscribe => {
            let uri = me.made.last().cloned().unwrap_or_default();
            let refused = ask("resources/subscribe", json!({"uri": uri})).await;
            assert_eq!(
                refused.expect_err("nothing is sent unasked")["code"],
                -32601
            );
            Ok(Value::Null)
        }
        Step::Log => {
            me.caller
                .call("every_toggle-simulated-logging", json!({}))
                .await
        }
    };
    answer.unwrap_or_else(|error| panic!("{step:?} of {}: {error}", me.name))
}

#[tokio::test]
async fn nothing_of_one_user_is_in_what_the_other_is_answered_in_any_order() {
    let (everything, cached) = tokio::join!(Everything::start(), ModernBackend::start("private"));
    let backends = format!(
        "{{name: every, url: '{}'}}, {{name: cached, url: 'http://{}/mcp'}}",
        everything.url, cached.address
    );
    let Users { alice, bob, .. } = &Users::start(&backends).await;
    alice.until_listed("cached_now").await;
    for (run, seed) in [1, 2].into_iter().enumerate() {
        let mut random = fastrand::Rng::with_seed(seed);
        let user = |name, caller| User {
            name,
            caller,
            made: Vec::new(),
        };
        let mut users = [user("alice", alice), user("bob", bob)];
        let mut reads = Vec::new();
        for n in 0..50 {
            let (who, next) = (random.usize(..2), STEPS[random.usize(..STEPS.len())]);
            let [one, two] = &mut users;
            let (me, other) = if who == 0 { (one, two) } else { (two, one) };
            // Names of one run are no names of another.
            let answer = step(next, n + 1_000 * run, me, other).await.to_string();
            let of_other = format!("{}-secret-", other.name);
            assert!(
                !answer.contains(&of_other),
                "seed {seed}, step {n}: {next:?} of {}: {answer}",
                me.name
            );
            if matches!(next, Step::ReadCached) {
                reads.push(answer);
            }
        }
        // Each read was answered by the backend, whoever had read before.
        let count = reads.len();
        reads.sort();
        reads.dedup();
        assert_eq!(reads.len(), count, "{reads:?}");
        assert!(count > 1, "seed {seed}");
        assert!(
            users.iter().all(|user| !user.made.is_empty()),
            "seed {seed}"
        );
    }
}
