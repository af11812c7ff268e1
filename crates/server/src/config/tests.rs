use clap::Parser;

use super::*;

#[derive(Parser)]
struct Flags {
    #[command(flatten)]
    settings: Settings,
}

pub(super) fn flags(arguments: &[&str]) -> Settings {
    let arguments = [&["test"], arguments].concat();
    Flags::try_parse_from(arguments).expect("valid").settings
}

pub(super) fn file(text: &str) -> Result<Settings, String> {
    let file = tempfile::NamedTempFile::new().expect("a file");
    fs::write(file.path(), text).expect("written");
    Settings::read(file.path().to_owned()).map_err(|error| error.to_string())
}

#[test]
fn a_flag_wins_over_the_file_and_the_file_over_the_default() {
    let below = file(
        "policies: [a.yaml, b/]\ngrpcListen: unix:///run/x.sock\nstore: redis://127.0.0.1\nstoreTimeout: 20ms\noutage: unavailable\n",
    );
    let above = flags(&["--grpc-listen", "127.0.0.1:1", "--drain-timeout", "3s"]);
    let silent = Config::try_from(flags(&["--policies=x"])).expect("valid");
    assert_eq!(silent.outage, OnOutage::Local);
    let config = Config::try_from(above.over(below.expect("valid"))).expect("valid");
    assert_eq!(
        config.policies,
        PolicySource::Files(vec!["a.yaml".into(), "b/".into()])
    );
    assert_eq!(config.grpc_listen.to_string(), "127.0.0.1:1");
    assert_eq!(config.http_listen.to_string(), "127.0.0.1:7071");
    assert_eq!(config.drain_timeout, Duration::from_secs(3));
    assert_eq!(config.outage, OnOutage::Unavailable);
    assert_eq!(config.memory_max_users, 1_000_000);
    let StoreConfig::Redis(redis) = config.store else {
        panic!("not Redis");
    };
    assert_eq!(redis.timeout, Duration::from_millis(20));
    assert_eq!(redis.connect_timeout, Duration::from_secs(1));
}

#[test]
fn a_wrong_setting_in_the_file_is_named_with_its_line() {
    for (text, parts) in [
        ("policies: [x]\nstores: memory\n", ["stores", "line 2"]),
        ("\n\nstoreTimeout: 5\n", ["storeTimeout: ", "line 3"]),
        ("grpcListen: 7070\n", ["grpcListen: ", "line 1"]),
        ("store: [x]\n", ["store: ", "line 1"]),
        ("outage: open\n", ["outage: ", "line 1"]),
    ] {
        let error = file(text).expect_err(text);
        for part in parts {
            assert!(error.contains(part), "{text:?}: {error}");
        }
    }
}

#[test]
fn without_policies_there_is_no_config() {
    let error = Config::try_from(Settings::default()).expect_err("no policies");
    assert!(error.to_string().contains("--policies"), "{error}");
}

#[test]
fn a_deadline_of_zero_is_refused() {
    let settings = flags(&["--policies=x", "--store=redis://h", "--store-timeout=0s"]);
    let error = Config::try_from(settings).expect_err("zero");
    assert_eq!(error.to_string(), "storeTimeout must be longer than 0s");
}

#[test]
fn a_memory_store_for_nobody_is_refused() {
    let settings = flags(&["--policies=x", "--memory-max-users=0"]);
    let error = Config::try_from(settings).expect_err("zero");
    assert_eq!(error.to_string(), "memoryMaxUsers must be at least 1");
}

#[test]
fn a_password_is_never_printed_right_or_wrong() {
    let right = flags(&["--policies=x", "--store=redis://user:hunter2@h:1"]);
    let wrong = flags(&["--policies=x", "--store=redi://user:hunter2@h:1"]);
    let shown = [
        format!("{right:?} {:?}", Config::try_from(right.clone())),
        Config::try_from(wrong).expect_err("no store").to_string(),
        file("store: redi://user:hunter2@h\nstoreTimeout: [wrong]\n").expect_err("wrong"),
        file("storeTimeout: 1\nstore: redis://user:hunter2@h\n").expect_err("wrong"),
    ];
    for shown in shown {
        assert!(!shown.contains("hunter2"), "{shown}");
    }
}

const TLS: &str = "policies: [x]\ngrpcTls: {certificate: a.crt, key: a.key, clientCa: ca.crt}\n";

#[test]
fn tls_connections_and_callers_are_objects_in_the_file_and_flags_win_over_each_of_their_fields() {
    let below = file(&format!(
        "{TLS}connections: {{max: 7, maxAge: 1m}}\n\
         callers: [{{san: ops.svc, admin: true}}, {{san: \"spiffe://c/a/*\", servers: [\"a/*\"]}}]\n"
    ));
    let above = flags(&["--grpc-tls-key=b.key", "--connections-max-age=0s"]);
    let config = Config::try_from(above.over(below.expect("valid"))).expect("valid");
    let tls = config.grpc_tls.expect("TLS");
    assert_eq!(tls.certificate, PathBuf::from("a.crt"));
    assert_eq!(tls.key, PathBuf::from("b.key"));
    assert_eq!(tls.client_ca, Some(PathBuf::from("ca.crt")));
    assert_eq!(config.connections.max, 7);
    assert_eq!(config.connections.max_age, None);
    let (ops, team) = (&config.callers[0], &config.callers[1]);
    assert!(ops.admin && ops.servers.is_empty());
    assert!(!team.admin && team.servers[0].to_string() == "a/*");
}

#[test]
fn a_caller_has_half_of_what_all_have_and_never_less_than_one_gateway_needs() {
    let shares = |connections: &str, in_flight: usize| {
        let text =
            format!("policies: [x]\nmaxInFlight: {in_flight}\nconnections: {{{connections}}}\n");
        let settings = file(&text).expect("settings");
        let bounds = Config::try_from(settings).expect("valid").connections;
        let of_caller = (bounds.max_per_caller, bounds.max_calls_per_caller);
        (of_caller, bounds.max_checks_per_caller)
    };
    assert_eq!(shares("", 10_000), ((2_048, 8_192), 5_000));
    assert_eq!(
        shares("max: 100, maxCalls: 1500", 1_500),
        ((64, 1_024), 1_024)
    );
    assert_eq!(shares("max: 7, maxCalls: 8", 9), ((7, 8), 9));
    let given = "max: 7, maxPerCaller: 3, maxCallsPerCaller: 4, maxChecksPerCaller: 5";
    assert_eq!(shares(given, 100), ((3, 4), 5));
}

#[test]
fn a_wrong_rule_for_callers_is_named_with_its_line() {
    for (rule, parts) in [
        (
            "{san: \"*\", servers: [\"*\"]}",
            ["callers[0].san", "names no callers"],
        ),
        (
            "{san: a, servers: [team]}",
            ["callers[0].servers[0]", "names no servers"],
        ),
        ("{san: a, server: x/y}", ["callers[0]", "server"]),
        ("{servers: [x/y]}", ["callers[0]", "san"]),
    ] {
        let error = file(&format!("callers:\n  - {rule}\n")).expect_err(rule);
        for part in parts.into_iter().chain(["line 2"]) {
            assert!(error.contains(part), "{rule}: {error}");
        }
    }
}

#[test]
fn settings_that_would_not_protect_are_refused() {
    let ca = "callers: [{san: a, servers: [x/y]}]\n";
    for (text, part) in [
        (
            format!("policies: [x]\n{ca}"),
            "callers need grpcTls.clientCa",
        ),
        (
            format!("{TLS}{ca}insecureAdmin: true\n"),
            "insecureAdmin does not go with callers",
        ),
        (
            format!("{TLS}callers: [{{san: a}}]\n"),
            "the rule of a grants nothing",
        ),
        (
            format!("{TLS}grpcListen: unix:///x\n"),
            "does not go with a Unix socket",
        ),
        (
            format!("{TLS}connections: {{max: 0}}\n"),
            "connections.max must be at least 1",
        ),
        (
            "policies: [x]\ngrpcTls: {certificate: a}\n".to_owned(),
            "grpcTls.key is missing",
        ),
        (
            "policies: [x]\ngrpcTls: {clientCa: a}\n".to_owned(),
            "grpcTls.certificate is missing",
        ),
    ] {
        let settings = file(&text).expect("it can be read");
        let error = Config::try_from(settings).expect_err(&text).to_string();
        assert!(error.contains(part), "{text}: {error}");
    }
}

#[test]
fn the_settings_that_the_documentation_shows_are_settings() {
    let page = include_str!("../../../../docs/security.md");
    let (_, after) = page.split_once("```yaml\n").expect("an example");
    let (example, _) = after.split_once("```").expect("its end");
    let settings = file(example).expect("it can be read");
    let config = Config::try_from(settings).expect("it is valid");
    assert_eq!(config.callers.len(), 3);
}

#[test]
fn metrics_are_on_unless_they_are_turned_off() {
    let is_on = |settings: Settings| Config::try_from(settings).expect("valid").metrics;
    let below = || file("policies: [x]\nmetrics: false\n").expect("valid");
    assert!(is_on(flags(&["--policies=x"])));
    assert!(!is_on(flags(&["--policies=x", "--metrics=false"])));
    assert!(!is_on(flags(&[]).over(below())));
    assert!(is_on(flags(&["--metrics"]).over(below())));
}
