use std::time::Duration;

use super::*;
use crate::core::{BackendSettings, Sessions};

fn parse(rest: &str) -> Result<(Config, Vec<String>), String> {
    let base = "name: research\nincomingAuth: {type: anonymous}\nbackends: []\n";
    Config::parse(&format!("{base}{rest}")).map_err(|error| error.to_string())
}

#[test]
fn what_is_left_out_has_a_default() {
    let (config, unknown) = parse("").unwrap();
    assert_eq!(unknown, [""; 0]);
    assert_eq!(config.listen.to_string(), "127.0.0.1:4483");
    assert!(config.limiter.is_none() && config.optimizer.is_none());
    assert_eq!(config.rejection, Rejection::default());
}

#[test]
fn who_may_call_must_be_said() {
    let error = Config::parse("name: a\nbackends: []\n")
        .unwrap_err()
        .to_string();
    assert!(error.contains("incomingAuth"), "{error}");
    let error = Config::parse("name: a\nbackends: []\nincomingAuth: {type: oidc}\n").unwrap_err();
    assert!(error.to_string().contains("oidc"), "{error}");
    let no_audience = "{type: oidc, oidc: {issuer: 'https://i'}}";
    let error = Config::parse(&format!(
        "name: a\nbackends: []\nincomingAuth: {no_audience}\n"
    ));
    assert!(error.unwrap_err().to_string().contains("audience"));
}

#[test]
fn an_issuer_comes_with_all_that_is_said_of_it() {
    let oidc = "{issuer: 'https://i', audience: a, jwksUrl: 'https://i/k', resource: 'https://r/mcp', leeway: 500ms}";
    let text = format!("name: a\nbackends: []\nincomingAuth: {{type: oidc, oidc: {oidc}}}\n");
    let (config, unknown) = Config::parse(&text).unwrap();
    assert_eq!(unknown, [""; 0]);
    let IncomingAuth::Oidc { oidc } = config.incoming_auth else {
        panic!("not read");
    };
    let settings = oidc.settings();
    assert_eq!(settings.keys.issuer, "https://i");
    assert_eq!(settings.keys.jwks_url.as_deref(), Some("https://i/k"));
    assert_eq!(settings.audience, "a");
    assert_eq!(settings.resource.as_deref(), Some("https://r/mcp"));
    assert_eq!(settings.leeway, Duration::from_millis(500));
}

#[test]
fn unknown_fields_are_named_with_their_path() {
    let (_, unknown) = parse("groupRef: g\noptimizer: {embeddingService: e}\n").unwrap();
    assert_eq!(unknown, ["groupRef", "optimizer.?.embeddingService"]);
}

#[test]
fn a_limiter_is_embedded_or_somewhere() {
    let limiter =
        |text: &str| parse(&format!("limiter: {text}\n")).map(|(c, _)| c.limiter.unwrap());
    assert!(matches!(limiter("embedded"), Ok(LimiterConfig::Embedded)));
    let remote = "{endpoint: 'dns:///limiter:7070', timeout: 20ms, onUnavailable: deny}";
    let Ok(LimiterConfig::Remote(remote)) = limiter(remote) else {
        panic!("not read");
    };
    assert_eq!(
        remote.client_config().unwrap().timeout,
        Duration::from_millis(20)
    );
    assert_eq!(remote.on_unavailable, OnUnavailableConfig::Deny);
    let remembers = |settings: &str| {
        let Ok(LimiterConfig::Remote(remote)) = limiter(settings) else {
            panic!("not read: {settings}");
        };
        remote.client_config().unwrap().remember_denials
    };
    for (settings, longest) in [
        ("{endpoint: 'http://l:1'}", Duration::from_secs(1)),
        (
            "{endpoint: 'http://l:1', rememberDenials: 200ms}",
            Duration::from_millis(200),
        ),
        (
            "{endpoint: 'http://l:1', rememberDenials: 0s}",
            Duration::ZERO,
        ),
    ] {
        assert_eq!(remembers(settings), longest);
    }

    for (wrong, part) in [
        ("embeded", "embedded"),
        ("{endpoint: 'limiter:7070'}", "no endpoint"),
        (
            "{endpoint: 'http://l:1', onUnavailabel: deny}",
            "onUnavailabel",
        ),
        ("{endpoint: 'http://l:1', timeout: 0s}", "positive"),
    ] {
        let error = limiter(wrong).unwrap_err();
        assert!(error.contains(part), "{wrong}: {error}");
    }
}

#[test]
fn half_an_identity_is_refused() {
    let tls = "{endpoint: 'https://l:1', tls: {ca: ca.pem, certificate: c.pem}}";
    let Some(LimiterConfig::Remote(remote)) =
        parse(&format!("limiter: {tls}\n")).unwrap().0.limiter
    else {
        panic!("not read");
    };
    assert_eq!(remote.client_config().unwrap_err(), "limiter.tls.key");
}

/// What the backend `item` is set to where `auth` says who may call.
fn settings(auth: &str, item: &str) -> Result<BackendSettings, String> {
    let text = format!("name: a\nincomingAuth: {auth}\nbackends: [{item}]\n");
    let (config, _) = Config::parse(&text).map_err(|error| error.to_string())?;
    config.backends[0]
        .settings(&config.incoming_auth)
        .map_err(|error| error.to_string())
}

#[test]
fn one_caller_has_a_quarter_of_the_slots_of_a_backend_where_callers_are_told_apart() {
    let oidc = "{type: oidc, oidc: {issuer: 'https://a', audience: b}}";
    for (auth, rest, expected) in [
        ("{type: anonymous}", "", (256, 256)),
        (oidc, "", (256, 64)),
        (oidc, ", maxInFlight: 7", (7, 2)),
        (oidc, ", maxInFlight: 1", (1, 1)),
        (oidc, ", maxInFlight: 7, maxInFlightPerUser: 5", (7, 5)),
        ("{type: anonymous}", ", maxInFlightPerUser: 5", (256, 5)),
    ] {
        let settings = settings(auth, &format!("{{name: a, command: x{rest}}}")).unwrap();
        let timing = settings.timing;
        let bounds = (timing.max_in_flight, timing.max_in_flight_per_user);
        assert_eq!(bounds, expected, "{auth} {rest}");
    }
}

#[test]
fn users_have_sessions_of_their_own_where_callers_are_told_apart() {
    let oidc = "{type: oidc, oidc: {issuer: 'https://a', audience: b}}";
    let anonymous = "{type: anonymous}";
    let per_user = |most, minutes| Sessions::PerUser {
        most,
        idle: Duration::from_mins(minutes),
    };
    let bounds = ", maxSessions: 3, sessionIdleTimeout: 1m";
    for (auth, rest, expected) in [
        (anonymous, ", url: 'http://a'", Sessions::Shared),
        (oidc, ", url: 'http://a'", per_user(256, 10)),
        (oidc, ", command: x", per_user(32, 10)),
        (oidc, &format!(", command: x{bounds}"), per_user(3, 1)),
        (oidc, ", command: x, sessions: shared", Sessions::Shared),
        (
            anonymous,
            ", command: x, sessions: perUser",
            per_user(32, 10),
        ),
    ] {
        let settings = settings(auth, &format!("{{name: a{rest}}}")).unwrap();
        assert_eq!(settings.sessions, expected, "{auth} {rest}");
    }
}

#[test]
fn a_backend_is_reached_in_one_way() {
    let settings = |item: &str| settings("{type: anonymous}", item);
    assert!(settings("{name: a, url: 'http://a/mcp', timeout: 5s}").is_ok());
    assert!(settings("{name: a, command: npx, args: [x]}").is_ok());
    for (item, part) in [
        ("{name: a}", "either url or command"),
        (
            "{name: a, url: 'http://a', command: x}",
            "either url or command",
        ),
        ("{name: a_b, url: 'http://a'}", "no name for a backend"),
        ("{name: a, command: x, maxInFlight: 0}", "nonzero"),
        ("{name: a, command: x, maxInFlightPerUser: 0}", "nonzero"),
        ("{name: a, command: x, maxSessions: 0}", "nonzero"),
        ("{name: a, command: x, sessions: mine}", "mine"),
        ("{name: a, url: 'http://a', headers: {'a b': c}}", "header"),
        (
            "{name: a, url: 'http://a', headersFromEnv: {a: VMCP_UNSET}}",
            "VMCP_UNSET",
        ),
    ] {
        let error = settings(item).unwrap_err();
        assert!(error.contains(part), "{item}: {error}");
    }
}

#[test]
fn denials_can_be_shown_in_other_ways() {
    let (config, _) = parse("rejection: {form: toolResult, httpStatus: 429}\n").unwrap();
    assert_eq!(
        config.rejection.http_status,
        crate::rejection::HttpStatus::TooManyRequests
    );
    assert!(parse("rejection: {httpStatus: 418}\n").is_err());
}

#[test]
fn secrets_are_not_printed() {
    let text = "name: a\nincomingAuth: {type: anonymous}\n\
                backends: [{name: a, url: 'http://a', headers: {authorization: s3cret}}]\n";
    let (config, _) = Config::parse(text).unwrap();
    assert!(!format!("{config:?}").contains("s3cret"));

    let broken = text.replace("s3cret}}", "s3cret}, nonsense: [}");
    let error = Config::parse(&broken).unwrap_err().to_string();
    assert!(!error.contains("s3cret"), "{error}");
}

#[test]
fn a_mistake_in_inline_limits_is_shown_in_its_line_of_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("vmcp.yaml");
    let text = "name: a\nincomingAuth: {type: anonymous}\nbackends: []\nrateLimiting:\n  \
                global: {maxTokens: 0, refillPeriod: 1m}\n";
    fs::write(&file, text).unwrap();
    let error = Config::read(&file).unwrap_err().to_string();
    let expected = format!(
        "the limits are not valid:\n\
         {}:5:23: error: maxTokens must be between 1 and 2147483647, not 0\n  \
           5 |   global: {{maxTokens: 0, refillPeriod: 1m}}\n    \
             |                       ^",
        file.display()
    );
    assert_eq!(error, expected);
}

#[test]
fn a_toolhive_config_keeps_its_limits_and_names_what_is_not_known() {
    let (config, unknown) = parse(
        "groupRef: g\nrateLimiting:\n  shared: {maxTokens: 5, refillPeriod: {duration: 1m0s}}\n",
    )
    .unwrap();
    assert_eq!(unknown, ["groupRef"]);
    let limits = config.rate_limiting.unwrap();
    assert_eq!(limits.policy.0.limits()[0].quota().capacity(), 5);
    let warning = limits.warnings.to_string();
    assert!(
        warning.contains("config.yaml:6:3: warning: shared is the deprecated"),
        "{warning}"
    );
}

#[test]
fn limits_that_seem_to_be_meant_are_never_ignored() {
    for wrong in [
        "ratelimiting: {}",
        "rateLimits: {}",
        "rateLimiting: {perUsers: 1}",
        "rateLimiting: {}",
    ] {
        assert!(parse(&format!("{wrong}\n")).is_err(), "{wrong}");
    }
    assert!(parse("rateLimiting:\n").unwrap().0.rate_limiting.is_none());
}

/// `limitter: {…}` was ignored with a warning, and all calls ran unlimited.
#[test]
fn a_misspelt_limiter_is_never_ignored() {
    for wrong in [
        "limitter",
        "Limiter",
        "limter",
        "limiters",
        "lmiiter",
        "toolLimiter",
        "limits",
    ] {
        let error = parse(&format!("{wrong}: {{endpoint: 'http://l:1'}}\n")).unwrap_err();
        assert_eq!(
            error,
            format!("unknown field {wrong:?}; did you mean limiter?")
        );
    }
    for other in ["telemetry", "groupRef", "aggregation", "operational"] {
        assert_eq!(parse(&format!("{other}: {{}}\n")).unwrap().1, [other]);
    }
}

#[test]
fn connections_and_the_drain_have_bounds_that_can_be_set() {
    let (config, unknown) =
        parse("adminListen: 127.0.0.1:9\nmaxConnections: 7\ndrainTimeout: 5s\n").unwrap();
    assert_eq!(unknown, [""; 0]);
    assert_eq!(config.admin_listen.unwrap().port(), 9);
    assert_eq!(config.max_connections.unwrap().get(), 7);
    assert_eq!(config.drain_timeout, Some(Duration::from_secs(5)));
    assert!(parse("maxConnections: 0\n").is_err());
    assert!(parse("drainTimeout: 0s\n").is_err());
}

#[test]
fn limits_that_fit_badly_are_warned_of() {
    let warning = |rest: &str| parse(rest).unwrap().0.warning();
    let global = "{global: {maxTokens: 1, refillPeriod: 1m}}";
    let per_user = "{tools: [{name: t, perUser: {maxTokens: 1, refillPeriod: 1m}}]}";
    assert_eq!(warning(""), None);
    assert_eq!(warning(&format!("rateLimiting: {global}\n")), None);
    let shared = warning(&format!("rateLimiting: {per_user}\n")).unwrap();
    assert!(shared.contains("all callers are one user"), "{shared}");
    let remote = format!("limiter: {{endpoint: 'http://l:1'}}\nrateLimiting: {global}\n");
    assert!(warning(&remote).unwrap().contains("not used here"));

    let oidc = "{type: oidc, oidc: {issuer: 'https://i', audience: a}}";
    let text = format!("name: a\nbackends: []\nincomingAuth: {oidc}\nrateLimiting: {per_user}\n");
    assert_eq!(Config::parse(&text).unwrap().0.warning(), None);
}

#[test]
fn a_collector_may_be_named() {
    let (config, unknown) = parse("otlp: {endpoint: 'http://a:4317'}\n").unwrap();
    assert_eq!(config.otlp.endpoint.as_deref(), Some("http://a:4317"));
    assert_eq!(config.otlp.protocol, None);
    assert_eq!(unknown, [""; 0]);
    let error = parse("otlp: {endpoint: 'http://a:4317', port: 1}\n").unwrap_err();
    assert_eq!(error, r#"unknown field "otlp.port""#);
}

#[test]
fn hosts_and_origins_are_read_at_the_start() {
    let (config, unknown) = parse(
        "allowedHosts: [a.example, 'b.example:8443']\nallowedOrigins: ['https://a.example:443']\n",
    )
    .unwrap();
    assert_eq!(unknown, [""; 0]);
    assert_eq!(config.allowed_hosts.unwrap().len(), 2);
    assert_eq!(
        config.allowed_origins,
        ["https://a.example".parse().unwrap()]
    );
    for wrong in [
        "allowedHosts: []",
        "allowedHosts: ['https://a.example']",
        "allowedOrigins: ['*']",
        "allowedOrigins: ['null']",
        "allowedOrigins: [https://a.example/]",
    ] {
        assert!(parse(&format!("{wrong}\n")).is_err(), "{wrong}");
    }
}

/// `requiredScopes` within `incomingAuth` vanished without a warning, and everybody was let in.
#[test]
fn no_unknown_field_vanishes_wherever_it_stands() {
    let good = [
        "name: a",
        "backends: [{name: b, url: 'http://b/mcp'EXTRA}]",
        "incomingAuth: {type: oidc, oidc: {issuer: 'https://i', audience: a}EXTRA}",
        "incomingAuth: {type: oidc, oidc: {issuer: 'https://i', audience: aEXTRA}}",
        "incomingAuth: {type: anonymousEXTRA}",
        "limiter: {endpoint: 'http://l:1'EXTRA}",
        "limiter: {endpoint: 'https://l:1', tls: {ca: aEXTRA}}",
        "optimizer: {enabled: trueEXTRA}",
        "rejection: {form: errorEXTRA}",
        "otlp: {endpoint: 'http://o:4317'EXTRA}",
        "rateLimiting: {global: {maxTokens: 1, refillPeriod: 1m}EXTRA}",
        "rateLimiting: {global: {maxTokens: 1, refillPeriod: 1mEXTRA}}",
    ];
    for line in good {
        let mut text = "namespace: n\n".to_owned();
        for (field, rest) in [
            ("name", "name: a"),
            ("backends", "backends: []"),
            ("incomingAuth", "incomingAuth: {type: anonymous}"),
        ] {
            if !line.starts_with(&format!("{field}:")) {
                text = format!("{text}{rest}\n");
            }
        }
        let with = |extra: &str| format!("{text}{}\n", line.replace("EXTRA", extra));
        assert_eq!(Config::parse(&with("")).unwrap().1, [""; 0], "{line}");
        if !line.contains("EXTRA") {
            continue;
        }
        let error = Config::parse(&with(", requiredScopes: [a]")).unwrap_err();
        assert!(
            error.to_string().contains("requiredScopes"),
            "{line}: {error}"
        );
    }
}

#[test]
fn misspelt_allowed_hosts_do_not_let_in_any() {
    for wrong in ["allowedHost", "allowed_hosts", "AllowedHosts"] {
        let error = parse(&format!("{wrong}: [a.example]\n")).unwrap_err();
        let meant = format!("unknown field {wrong:?}; did you mean allowedHosts?");
        assert_eq!(error, meant);
    }
}

/// A misspelt bound was a warning, and the bound that was meant did not hold.
#[test]
fn a_misspelt_bound_is_an_error_and_what_toolhive_has_is_not() {
    let base = "name: a\nincomingAuth: {type: anonymous}\n";
    for (wrong, error) in [
        (
            "maxConection: 7\nbackends: []",
            r#"unknown field "maxConection"; did you mean maxConnections?"#,
        ),
        ("timeout: 1s\nbackends: []", r#"unknown field "timeout""#),
        (
            "backends: [{name: b, url: 'http://b', maxInflight: 3}]",
            r#"unknown field "backends.0.maxInflight""#,
        ),
        (
            "backends: []\noptimizer: {maxToolsToRetrun: 3}",
            r#"unknown field "optimizer.?.maxToolsToRetrun""#,
        ),
        (
            "backends: []\nrejection: {transport: sse}",
            r#"unknown field "rejection.transport""#,
        ),
    ] {
        let is = Config::parse(&format!("{base}{wrong}\n")).unwrap_err();
        assert_eq!(is.to_string(), error);
    }
    let (_, ignored) = Config::parse(&format!(
        "{base}groupRef: g
outgoingAuth: {{source: inline}}
aggregation: {{conflictResolution: prefix}}
operational: {{timeouts: {{default: 30s}}}}
compositeTools: []
backends: [{{name: b, url: 'http://b', transport: streamable-http, metadata: {{env: prod}}}}]
optimizer: {{embeddingService: e, hybridSearchSemanticRatio: '0.5'}}
"
    ))
    .unwrap();
    assert_eq!(ignored.len(), 9, "{ignored:?}");
}
