//! An issuer that is slow, down, or sends too much.

use futures::FutureExt as _;
use tokio::{sync::mpsc, task::spawn_blocking, time::Instant};

use super::{log::Log, *};

/// A token of a key that nobody has.
fn junk(issuer: &Issuer) -> String {
    Key::new("nobody's").sign(&issuer.claims())
}

#[tokio::test]
async fn whoever_hangs_up_in_the_middle_of_a_fetch_takes_it_from_nobody() {
    // A client with junk that hung up at once kept everybody out: with it went the fetch, and the
    // next was ten seconds away.
    let key = Key::new("k1");
    let issuer = Issuer::start(&[&key]).await;
    let oidc = Arc::new(issuer.oidc());
    let held = Arc::clone(&issuer.served.before_keys).write_owned().await;
    for _ in 0..3 {
        let (oidc, token) = (Arc::clone(&oidc), junk(&issuer));
        let caller = tokio::spawn(async move { ask(&oidc, &token).await });
        Served::until(&issuer.served.fetches, 1).await;
        caller.abort();
        assert!(caller.await.unwrap_err().is_cancelled());
    }
    let token = key.sign(&issuer.claims());
    let valid = tokio::spawn(async move { ask(&oidc, &token).await });
    tokio::task::yield_now().await;
    drop(held);
    assert_eq!(valid.await.unwrap().unwrap().subject(), Some("alice"));
    assert_eq!(issuer.fetches(), 1);
}

#[tokio::test]
async fn callers_who_come_together_share_one_fetch() {
    let key = Key::new("k1");
    let issuer = Issuer::start(&[&key]).await;
    let oidc = issuer.oidc();
    let token = key.sign(&issuer.claims());
    let callers = (0..20).map(|_| ask(&oidc, &token));
    for answer in futures::future::join_all(callers).await {
        answer.unwrap();
    }
    assert_eq!(issuer.fetches(), 1);
}

#[tokio::test]
async fn a_fetch_has_one_deadline_for_all_its_documents() {
    let key = Key::new("k1");
    let issuer = Issuer::start(&[&key]).await;
    let oidc = issuer.oidc();
    let discovery = Arc::clone(&issuer.served.before_discovery);
    let discovery = discovery.write_owned().await;
    let _keys = issuer.served.before_keys.write().await;
    // Time stands still as long as a blocking task runs, and moves only as it is told.
    let (release, mut released) = mpsc::channel::<()>(1);
    let blocked = spawn_blocking(move || released.blocking_recv());
    tokio::time::pause();
    let began = Instant::now();

    let token = key.sign(&issuer.claims());
    let caller = tokio::spawn(async move { ask(&oidc, &token).await });
    Served::until(&issuer.served.discoveries, 1).await;
    tokio::time::advance(Duration::from_secs(3)).await;
    drop(discovery);
    Served::until(&issuer.served.fetches, 1).await;
    drop(release);
    blocked.await.unwrap();

    let error = caller.await.unwrap().unwrap_err();
    assert!(matches!(error, Unauthorized::Unavailable(_)), "{error:?}");
    let took = began.elapsed();
    assert!(took < Duration::from_millis(5_500), "{took:?}");
}

#[tokio::test]
async fn of_a_document_no_more_than_a_mebibyte_is_read() {
    let key = Key::new("k1");
    let issuer = Issuer::start(&[&key]).await;
    let document = issuer.served.keys.lock().unwrap().clone();
    for (padding, is_read) in [(1_000_000, true), (1_100_000, false)] {
        issuer.publish_document(&format!("{}{document}", " ".repeat(padding)));
        match ask(&issuer.oidc(), &key.sign(&issuer.claims())).await {
            Ok(_) => assert!(is_read, "{padding}"),
            Err(Unauthorized::Unavailable(error)) => {
                assert!(!is_read, "{error}");
                assert!(error.to_string().contains("longer than 1048576 bytes"));
            }
            Err(error) => panic!("{error}"),
        }
    }
}

#[tokio::test]
async fn an_outage_is_logged_once_when_it_begins_with_its_cause_and_once_when_it_ends() {
    let key = Key::new("k1");
    let issuer = Issuer::start(&[&key]).await;
    let (log, token) = (Log::default(), key.sign(&issuer.claims()));
    let _captured = log.capture();
    let lines = |part: &str| log.text().lines().filter(|l| l.contains(part)).count();

    let unreachable = oidc_with(KeysSettings {
        jwks_url: Some("http://127.0.0.1:1/keys".to_owned()),
        min_interval: Duration::ZERO,
        ..KeysSettings::of(&issuer.url)
    });
    for _ in 0..50 {
        ask(&unreachable, &token).await.unwrap_err();
    }
    assert_eq!(lines("WARN"), 1, "{}", log.text());
    assert!(log.text().contains("Connection refused"), "{}", log.text());

    let oidc = issuer.oidc_that_fetches_again_after(Duration::ZERO);
    issuer.served.is_down.store(true, Ordering::SeqCst);
    for _ in 0..50 {
        ask(&oidc, &token).await.unwrap_err();
    }
    assert_eq!(lines("WARN"), 2, "{}", log.text());
    assert!(log.text().contains("503"), "{}", log.text());
    issuer.served.is_down.store(false, Ordering::SeqCst);
    for _ in 0..50 {
        ask(&oidc, &token).await.unwrap();
        reason(&oidc, &junk(&issuer)).await;
    }
    assert_eq!(lines("WARN"), 2, "{}", log.text());
    assert_eq!(lines("can be had again"), 1, "{}", log.text());
}

/// All callers without a good token kept their connections for the 5 s that each fetch had, a third of the
/// time.
#[tokio::test]
async fn nobody_waits_for_an_issuer_that_has_failed_but_the_one_who_asks_it_again() {
    let (key, other) = (Key::new("k1"), Key::new("k2"));
    for has_keys in [true, false] {
        let issuer = Issuer::start(&[&key]).await;
        let oidc = Arc::new(issuer.oidc_that_fetches_again_after(Duration::ZERO));
        if has_keys {
            ask(&oidc, &key.sign(&issuer.claims())).await.unwrap();
        }
        issuer.served.is_down.store(true, Ordering::SeqCst);
        let unknown = other.sign(&issuer.claims());
        ask(&oidc, &unknown).await.unwrap_err();

        let held = Arc::clone(&issuer.served.before_discovery)
            .write_owned()
            .await;
        issuer.served.is_down.store(false, Ordering::SeqCst);
        issuer.publish(&[&key, &other]);
        let discoveries = issuer.served.discoveries.load(Ordering::SeqCst);
        let waits = tokio::spawn({
            let (oidc, unknown) = (Arc::clone(&oidc), unknown.clone());
            async move { ask(&oidc, &unknown).await }
        });
        Served::until(&issuer.served.discoveries, discoveries + 1).await;
        for token in [&unknown, &junk(&issuer)] {
            let answer = ask(&oidc, token).now_or_never().expect("at once");
            let error = answer.unwrap_err();
            let is_told = match error {
                Unauthorized::Invalid(_) => has_keys,
                Unauthorized::Unavailable(_) => !has_keys,
                Unauthorized::Missing => false,
            };
            assert!(is_told, "{error:?}");
        }
        assert!(!waits.is_finished());
        drop(held);
        assert_eq!(waits.await.unwrap().unwrap().subject(), Some("alice"));
        ask(&oidc, &unknown).await.unwrap();
    }
}

/// A reason had in it all that an issuer wrote, up to a mebibyte.
#[tokio::test]
async fn what_an_issuer_writes_makes_no_log_line_long() {
    let key = Key::new("k1");
    let many = "ü".repeat(200_000);
    let mut odd = json!(key.jwk());
    odd["kty"] = json!(many);
    let mut wrong = json!(key.jwk());
    wrong["crv"] = json!(many);
    for document in [
        json!({"keys": [odd, wrong, key.jwk()]}),
        json!({"keys": [odd, wrong]}),
        json!({"keys": many}),
    ] {
        let log = Log::default();
        let _captured = log.capture();
        let issuer = Issuer::start(&[]).await;
        issuer.publish_document(&document.to_string());
        let _ = ask(&issuer.oidc(), &key.sign(&issuer.claims())).await;
        let text = log.text();
        assert!(text.contains("WARN"), "{text}");
        let most = text.lines().map(str::len).max();
        assert!(most < Some(4_096), "{most:?}");
    }
}
