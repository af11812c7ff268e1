use super::*;
use crate::variables::tests::with;

fn find(
    signal: Signal,
    own: &OtlpSettings,
    pairs: &[(&str, &str)],
) -> Result<Option<Destination>, String> {
    with(pairs, |variables| Destination::of(signal, own, variables))
        .map_err(|error| error.to_string())
}

/// Where traces and metrics go.
fn endpoints(own: &OtlpSettings, pairs: &[(&str, &str)]) -> [Option<String>; 2] {
    [Signal::Traces, Signal::Metrics].map(|signal| {
        let destination = find(signal, own, pairs).unwrap();
        destination.map(|destination| destination.endpoint.to_string())
    })
}

fn nothing_own() -> OtlpSettings {
    OtlpSettings::default()
}

#[test]
fn nothing_is_exported_unless_an_endpoint_or_an_exporter_is_named() {
    let own = nothing_own();
    assert_eq!(endpoints(&own, &[]), [None, None]);
    assert_eq!(
        endpoints(&own, &[("OTEL_TRACES_EXPORTER", "otlp")]),
        [Some("http://localhost:4318/v1/traces".to_owned()), None]
    );
    let pairs = [
        ("OTEL_METRICS_EXPORTER", "otlp"),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"),
    ];
    assert_eq!(
        endpoints(&own, &pairs),
        [None, Some("http://localhost:4317/".to_owned())]
    );
    let pairs = [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://c:4318"),
        ("OTEL_TRACES_EXPORTER", "none"),
    ];
    assert_eq!(
        endpoints(&own, &pairs),
        [None, Some("http://c:4318/v1/metrics".to_owned())]
    );
}

#[test]
fn over_http_the_path_is_that_of_the_signal_unless_the_endpoint_is() {
    let pairs = [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "https://c:4318/base/"),
        ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://t:1/as/it/is"),
    ];
    assert_eq!(
        endpoints(&nothing_own(), &pairs),
        [
            Some("http://t:1/as/it/is".to_owned()),
            Some("https://c:4318/base/v1/metrics".to_owned())
        ]
    );
}

#[test]
fn own_settings_go_before_the_variables_for_all_and_after_those_of_a_signal() {
    let own = OtlpSettings {
        endpoint: Some("http://own:4317".to_owned()),
        protocol: Some(Protocol::Grpc),
    };
    let pairs = [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://c:4318"),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf"),
        ("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", "http://m:1/x"),
        ("OTEL_EXPORTER_OTLP_METRICS_PROTOCOL", "http/protobuf"),
    ];
    let traces = find(Signal::Traces, &own, &pairs).unwrap().unwrap();
    assert_eq!(traces.protocol, Protocol::Grpc);
    assert_eq!(traces.endpoint, "http://own:4317/");
    let metrics = find(Signal::Metrics, &own, &pairs).unwrap().unwrap();
    assert_eq!(metrics.protocol, Protocol::HttpProtobuf);
    assert_eq!(metrics.endpoint, "http://m:1/x");
}

#[test]
fn headers_timeouts_and_compression_are_those_of_the_signal_first() {
    let pairs = [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://c:4318"),
        (
            "OTEL_EXPORTER_OTLP_HEADERS",
            "a=1, Authorization=Basic%20QQ==",
        ),
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "250"),
        ("OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", "500"),
        ("OTEL_EXPORTER_OTLP_METRICS_COMPRESSION", "gzip"),
    ];
    let find = |signal| find(signal, &nothing_own(), &pairs).unwrap().unwrap();
    let (traces, metrics) = (find(Signal::Traces), find(Signal::Metrics));
    assert_eq!(traces.timeout, Duration::from_millis(500));
    assert_eq!(metrics.timeout, Duration::from_millis(250));
    assert_eq!((traces.is_gzip, metrics.is_gzip), (false, true));
    assert_eq!(metrics.headers["authorization"], "Basic QQ==");
    assert_eq!(metrics.headers["a"], "1");
    let shown = format!("{:?}", metrics.headers);
    assert!(!shown.contains("QQ"), "{shown}");
}

#[test]
fn a_wrong_setting_is_told_by_its_name() {
    let endpoint = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://c:4318");
    for (name, wrong) in [
        ("OTEL_TRACES_EXPORTER", "console"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "collector:4317"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "ftp://c:1"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://c:123456"),
        ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "c"),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/json"),
        ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "GRPC"),
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "10s"),
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "0"),
        ("OTEL_EXPORTER_OTLP_COMPRESSION", "zstd"),
        ("OTEL_EXPORTER_OTLP_CERTIFICATE", "/no/such/file"),
    ] {
        let error = find(Signal::Traces, &nothing_own(), &[(name, wrong), endpoint]);
        let expected = format!("{name}={wrong:?}: ");
        assert!(
            error.as_ref().unwrap_err().starts_with(&expected),
            "{error:?}"
        );
    }
    let own = OtlpSettings {
        endpoint: Some("collector".to_owned()),
        protocol: None,
    };
    let error = find(Signal::Traces, &own, &[]).unwrap_err();
    assert!(
        error.starts_with("otlp.endpoint=\"collector\": "),
        "{error}"
    );
}

#[test]
fn a_secret_is_not_shown_with_the_error_about_it() {
    for (name, wrong) in [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://me:s3cret@c:4318"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://me:s3cret@c:123456"),
        ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "me:s3cret@"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "authorization: s3cret"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "a b=s3cret"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "a=s3cret%0a"),
    ] {
        let endpoint = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://c:4318");
        let error = find(Signal::Traces, &nothing_own(), &[(name, wrong), endpoint]);
        let error = error.unwrap_err();
        assert!(error.starts_with(&format!("{name}: ")), "{error}");
        assert!(!error.contains("s3cret"), "{error}");
    }
}

/// Of all mistakes the likeliest: an endpoint of one protocol, and the other by default.
#[test]
fn the_port_that_is_registered_for_grpc_means_grpc_unless_a_protocol_is_named() {
    let pairs = [("OTEL_EXPORTER_OTLP_ENDPOINT", "http://c:4317")];
    let found = find(Signal::Metrics, &nothing_own(), &pairs)
        .unwrap()
        .unwrap();
    assert_eq!(found.protocol, Protocol::Grpc);
    assert_eq!(found.endpoint, "http://c:4317/");
    let pairs = [pairs[0], ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf")];
    let found = find(Signal::Metrics, &nothing_own(), &pairs)
        .unwrap()
        .unwrap();
    assert_eq!(found.protocol, Protocol::HttpProtobuf);
    assert_eq!(found.endpoint, "http://c:4317/v1/metrics");
}

#[test]
fn grpc_has_no_path() {
    let pairs = [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://c:4317/v1/traces"),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"),
    ];
    let error = find(Signal::Traces, &nothing_own(), &pairs).unwrap_err();
    assert!(error.contains("no path"), "{error}");
}
