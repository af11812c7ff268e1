use rcgen::{CertificateParams, KeyPair, SanType};
use tonic::Code;

use super::*;

fn certificate(names: &[&str]) -> CertificateDer<'static> {
    let mut params = CertificateParams::new(Vec::new()).expect("no names");
    params.subject_alt_names = names
        .iter()
        .map(|name| {
            let text = (*name).try_into().expect("ASCII");
            if name.contains("://") {
                SanType::URI(text)
            } else {
                SanType::DnsName(text)
            }
        })
        .collect();
    let key = KeyPair::generate().expect("a key");
    params.self_signed(&key).expect("signed").into()
}

fn rule(san: &str, servers: &[&str], admin: bool) -> CallerRule {
    CallerRule {
        san: san.parse().expect(san),
        servers: servers.iter().map(|s| s.parse().expect(s)).collect(),
        admin,
    }
}

fn rules(callers: Vec<CallerRule>) -> CallerRules {
    CallerRules {
        callers,
        open_admin: false,
    }
}

fn may_check(caller: &Caller, server: &str) -> bool {
    match caller.may_check(&server.parse().expect("a server")) {
        Ok(()) => true,
        Err(status) => {
            assert_eq!(status.code(), Code::PermissionDenied);
            false
        }
    }
}

#[test]
fn what_the_rules_of_a_certificate_grant_adds_up() {
    let rules = rules(vec![
        rule("spiffe://c/ns/a/*", &["team-a/*"], false),
        rule("gateway.svc", &["shared/search"], false),
        rule("ops.svc", &[], true),
    ]);
    let both = rules.caller(Some(&certificate(&["gateway.svc", "spiffe://c/ns/a/gw"])));
    assert!(may_check(&both, "team-a/x"));
    assert!(may_check(&both, "shared/search"));
    assert!(!may_check(&both, "shared/other"));
    assert!(!may_check(&both, "team-b/x"));
    assert!(both.may_administer().is_err());

    let ops = rules.caller(Some(&certificate(&["ops.svc"])));
    assert!(!may_check(&ops, "team-a/x"));
    assert!(ops.may_administer().is_ok());

    for stranger in [Some(certificate(&["x.svc"])), Some(certificate(&[])), None] {
        let stranger = rules.caller(stranger.as_ref());
        assert!(!may_check(&stranger, "team-a/x"));
        let refused = stranger.may_administer().expect_err("not listed");
        assert_eq!(refused.code(), Code::PermissionDenied);
        assert!(refused.message().contains("admin: true"), "{refused}");
    }
}

/// A wildcard certificate would else be whoever its authority has not thought of.
#[test]
fn a_wildcard_in_a_certificate_fits_no_name() {
    let rules = rules(vec![rule("gateway.svc", &["*"], true)]);
    let wild = rules.caller(Some(&certificate(&["*.svc"])));
    assert!(!may_check(&wild, "team-a/x"));
    assert!(wild.may_administer().is_err());
}

#[test]
fn where_nobody_is_listed_a_certificate_or_the_setting_opens_administration() {
    let nobody = rules(Vec::new());
    let known = nobody.caller(Some(&certificate(&["any.svc"])));
    assert!(may_check(&known, "team-a/x") && known.may_administer().is_ok());
    let unknown = nobody.caller(None);
    assert!(may_check(&unknown, "team-a/x"));
    let refused = unknown.may_administer().expect_err("unknown");
    assert_eq!(refused.code(), Code::PermissionDenied);
    assert!(refused.message().contains("insecureAdmin"), "{refused}");
    let open = CallerRules {
        open_admin: true,
        ..nobody
    };
    assert!(open.caller(None).may_administer().is_ok());
}
