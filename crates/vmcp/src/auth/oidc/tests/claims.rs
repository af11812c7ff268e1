//! What tokens say, and what must not depend on it.

use super::*;

#[tokio::test]
async fn odd_groups_lock_nobody_out() {
    let key = Key::new("k1");
    let issuer = Issuer::start(&[&key]).await;
    let oidc = issuer.oidc();
    let long = "x".repeat(257);
    for (groups, expected) in [
        (json!(null), vec![]),
        (json!("admins"), vec!["admins"]),
        (json!(""), vec![]),
        (json!({"name": "admins"}), vec![]),
        (json!(7), vec![]),
        (
            json!(["a", 7, null, {"name": "b"}, "c", ""]),
            vec!["a", "c"],
        ),
        (json!(["a", long, "c"]), vec!["a", "c"]),
    ] {
        let token = key.sign(&issuer.claims_with("groups", groups.clone()));
        let identity = ask(&oidc, &token).await.unwrap();
        assert_eq!(identity.groups(), expected, "{groups}");
    }
    let many: Vec<_> = (0..2_000).map(|n| n.to_string()).collect();
    let token = key.sign(&issuer.claims_with("groups", json!(many)));
    let identity = ask(&oidc, &token).await.unwrap();
    assert_eq!(identity.groups(), &many[..1_024]);
    // More than fits into a check, and a short name that still does.
    let mut long: Vec<_> = (0..100).map(|n| format!("{n:0>250}")).collect();
    long.push("staff".to_owned());
    let token = key.sign(&issuer.claims_with("groups", json!(long)));
    let identity = ask(&oidc, &token).await.unwrap();
    assert_eq!(identity.groups(), [&long[..32], &long[100..]].concat());
}

#[tokio::test]
async fn a_token_without_a_subject_is_told_so() {
    let key = Key::new("k1");
    let issuer = Issuer::start(&[&key]).await;
    let oidc = issuer.oidc();
    let mut without = issuer.claims();
    without.as_object_mut().unwrap().remove("sub");
    for claims in [without, issuer.claims_with("sub", json!(null))] {
        let reason = reason(&oidc, &key.sign(&claims)).await;
        assert_eq!(reason, "the token has no sub", "{claims}");
    }
    let number = key.sign(&issuer.claims_with("sub", json!(7)));
    assert_eq!(reason(&oidc, &number).await, "the token's sub is not text");
}

#[tokio::test]
async fn a_token_with_a_critical_header_is_refused() {
    // RFC 7515, section 4.1.11: what must be understood and is not makes a token invalid.
    let key = Key::new("k1");
    let issuer = Issuer::start(&[&key]).await;
    let oidc = issuer.oidc();
    let mut header = Header::new(Algorithm::ES256);
    header.kid = Some("k1".to_owned());
    for critical in [vec!["exp".to_owned()], vec![]] {
        header.crit = Some(critical);
        let token = encode(&header, &issuer.claims(), &key.encoding).unwrap();
        let reason = reason(&oidc, &token).await;
        assert!(reason.contains("critical"), "{reason}");
    }
}

#[tokio::test]
async fn a_leeway_of_less_than_a_second_is_not_none() {
    let issuer = Issuer::start(&[]).await;
    for (leeway, expected) in [(0, 0), (1, 1), (500, 1), (1_000, 1), (1_001, 2)] {
        let oidc = Oidc::new(OidcSettings {
            leeway: Duration::from_millis(leeway),
            ..settings(KeysSettings::of(&issuer.url))
        });
        let validation = oidc.unwrap().validation(Algorithm::ES256);
        assert_eq!(validation.leeway, expected, "{leeway} ms");
    }
}
