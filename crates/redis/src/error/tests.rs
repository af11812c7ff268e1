use redis::parse_redis_value;

use super::*;

fn refused(reply: &str) -> RedisError {
    let value = parse_redis_value(format!("-{reply}\r\n").as_bytes()).expect("a reply");
    value.extract_error().expect_err("an error")
}

#[test]
#[allow(clippy::too_many_lines, reason = "it is one table")]
fn what_redis_says_has_a_class_and_a_remedy() {
    for (reply, class, remedied) in [
        (
            "NOAUTH Authentication required.",
            "noauth",
            Remedy::Reconnect,
        ),
        (
            "WRONGPASS invalid username-password pair or user is disabled.",
            "wrongpass",
            Remedy::Reconnect,
        ),
        (
            "NOPERM this user has no permissions to run the 'evalsha' command",
            "noperm",
            Remedy::Keep,
        ),
        (
            "ERR ACL failure in script: User x has no permissions to run the 'hset' command script: 5, on @user_script:1.",
            "noperm",
            Remedy::Keep,
        ),
        (
            "ERR The user executing the script can't run this command or subcommand script: 5, on @user_script:1.",
            "noperm",
            Remedy::Keep,
        ),
        (
            "READONLY You can't write against a read only replica. script: 5, on @user_script:1.",
            "readonly",
            Remedy::Reconnect,
        ),
        (
            "LOADING Redis is loading the dataset in memory",
            "loading",
            Remedy::Keep,
        ),
        ("BUSY Redis is busy running a script.", "busy", Remedy::Keep),
        (
            "OOM command not allowed when used memory > 'maxmemory'. script: 5, on @user_script:1.",
            "oom",
            Remedy::Keep,
        ),
        (
            "MISCONF Redis is configured to save RDB snapshots",
            "misconf",
            Remedy::Keep,
        ),
        (
            "NOREPLICAS Not enough good replicas to write.",
            "noreplicas",
            Remedy::Keep,
        ),
        (
            "MASTERDOWN Link with MASTER is down",
            "masterdown",
            Remedy::Reconnect,
        ),
        (
            "CLUSTERDOWN The cluster is down",
            "clusterdown",
            Remedy::Keep,
        ),
        (
            "CLUSTERDOWN Hash slot not served",
            "clusterdown",
            Remedy::Keep,
        ),
        (
            "TRYAGAIN Multiple keys request during rehashing of slot",
            "tryagain",
            Remedy::Keep,
        ),
        ("MOVED 3999 127.0.0.1:6381", "moved", Remedy::Keep),
        (
            "ERR max number of clients reached",
            "maxclients",
            Remedy::Reconnect,
        ),
        (
            "EXECABORT Transaction discarded because of: NOPERM this user has no permissions",
            "noperm",
            Remedy::Keep,
        ),
        (
            "ERR unknown command 'EVALSHA', with args beginning with: ",
            "nocommand",
            Remedy::Keep,
        ),
        (
            "ERR Unknown Redis command called from script script: 4bcf, on @user_script:200.",
            "nocommand",
            Remedy::Keep,
        ),
        ("ERR something new", "other", Remedy::Keep),
    ] {
        let error = refused(reply);
        let fault = Fault::from(&error);
        assert_eq!(fault.class.as_str(), class, "{reply}");
        assert_eq!(remedy(&error), remedied, "{reply}");
        let code = reply.split(' ').next().expect("a code");
        assert!(fault.to_string().starts_with(code), "{fault}");
        assert!(!fault.to_string().contains("@user_script"), "{fault}");
        let error = StoreError::from(Failure::Refused(error));
        assert_eq!(error.kind(), class);
        assert!(error.is_outage(), "{error}");
    }
}

#[test]
fn a_key_that_is_no_hash_is_one_corrupt_value_and_no_outage() {
    let error = refused("WRONGTYPE Operation against a key holding the wrong kind of value");
    assert_eq!(remedy(&error), Remedy::Keep);
    let error = StoreError::from(Failure::Refused(error));
    assert_eq!(error.kind(), "corrupt");
    assert!(!error.is_outage());
}

#[test]
fn a_cut_connection_is_made_anew() {
    let error = RedisError::from(io::Error::from(io::ErrorKind::ConnectionReset));
    assert_eq!(ErrorClass::from(&error), ErrorClass::ConnectionLost);
    assert_eq!(remedy(&error), Remedy::Reconnect);
}

#[test]
fn tls_that_was_refused_is_told_from_a_cut_connection() {
    let alert = rustls::Error::AlertReceived(rustls::AlertDescription::CertificateRequired);
    let error = RedisError::from(io::Error::new(io::ErrorKind::InvalidData, alert));
    assert_eq!(ErrorClass::from(&error), ErrorClass::Tls);
    assert_eq!(remedy(&error), Remedy::Reconnect);
}

#[test]
fn every_class_is_among_all_of_them_with_a_label_of_its_own() {
    for (place, class) in ErrorClass::ALL.into_iter().enumerate() {
        assert_eq!(class as usize, place);
    }
    assert_eq!(ErrorClass::ALL.last(), Some(&ErrorClass::Other));
    let labels: std::collections::HashSet<_> = ErrorClass::ALL.map(ErrorClass::as_str).into();
    assert_eq!(labels.len(), ErrorClass::ALL.len());
}

/// Something else than Redis may answer, and say anything at any length; so may a parser of it.
#[test]
fn what_is_repeated_to_people_is_short_and_in_one_line() {
    let long = "x".repeat(100_000);
    for reply in [
        format!("-ERR {long}\r\n"),
        "!24\r\nSYNTAX first\nsecond\x1b[2J\x07\r\n".to_owned(),
    ] {
        let value = parse_redis_value(reply.as_bytes()).expect("a reply");
        let error = value.extract_error().expect_err("an error");
        let text = Fault::from(&error).to_string();
        assert!(text.len() < 600, "{} bytes", text.len());
        assert!(!text.contains(char::is_control), "{text:?}");
    }
    let cut = parse_redis_value(b"*2\r\n$5\r\nab").expect_err("no reply");
    let text = Fault::from(&cut).to_string();
    assert!(!text.contains(char::is_control), "{text:?}");
}
