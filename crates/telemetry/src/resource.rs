//! Who sends: the attributes that all of a process's spans and metrics carry.

use opentelemetry::KeyValue;
use opentelemetry_sdk::{Resource, resource::TelemetryResourceDetector};
use percent_encoding::percent_decode_str;

use crate::{
    Program,
    variables::{InvalidSetting, Variables},
};

/// `OTEL_SERVICE_NAME` over `OTEL_RESOURCE_ATTRIBUTES` over what `program` says of itself.
pub(crate) fn resource(
    program: Program,
    variables: Variables<'_>,
) -> Result<Resource, InvalidSetting> {
    let mut attributes = vec![
        KeyValue::new("service.name", program.name),
        KeyValue::new("service.namespace", "toolgate"),
        KeyValue::new("service.version", program.version),
        KeyValue::new("service.instance.id", instance()),
    ];
    attributes.extend(given(variables)?);
    if let Some(name) = variables.get("OTEL_SERVICE_NAME")? {
        attributes.push(KeyValue::new("service.name", name.value));
    }
    // Of two with one key, the last one stays.
    let resource = Resource::builder_empty()
        .with_detector(Box::new(TelemetryResourceDetector))
        .with_attributes(attributes);
    Ok(resource.build())
}

/// `key=value,...`, the values percent-encoded.
fn given(variables: Variables<'_>) -> Result<Vec<KeyValue>, InvalidSetting> {
    let Some(variable) = variables.get("OTEL_RESOURCE_ATTRIBUTES")? else {
        return Ok(Vec::new());
    };
    let pairs = variable.value.split_terminator(',');
    let pairs = pairs.map(|pair| {
        let (key, value) = pair.split_once('=')?;
        let value = percent_decode_str(value.trim()).decode_utf8().ok()?;
        let key = key.trim();
        (!key.is_empty()).then(|| KeyValue::new(key.to_owned(), value.into_owned()))
    });
    let pairs: Option<Vec<_>> = pairs.collect();
    pairs.ok_or_else(|| variable.invalid("it must be key=value,key=value, percent-encoded"))
}

/// A random UUID (version 4), as the semantic conventions recommend it.
fn instance() -> String {
    let random = fastrand::u128(..);
    let version = random & !(0xf << 76) | 0x4 << 76;
    let bits = version & !(0b11 << 62) | 0b10 << 62;
    let hex = format!("{bits:032x}");
    let parts = [
        &hex[..8],
        &hex[8..12],
        &hex[12..16],
        &hex[16..20],
        &hex[20..],
    ];
    parts.join("-")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::variables::tests::with;

    const PROGRAM: Program = Program {
        name: "vmcp",
        version: "1.2.3",
        spans_of: &[],
    };

    fn read(pairs: &[(&str, &str)]) -> Result<BTreeMap<String, String>, InvalidSetting> {
        let resource = with(pairs, |variables| resource(PROGRAM, variables))?;
        let pairs = resource.iter();
        Ok(pairs
            .map(|(key, value)| (key.to_string(), value.to_string()))
            .collect())
    }

    #[test]
    fn a_process_says_who_it_is() {
        let (one, other) = (read(&[]).unwrap(), read(&[]).unwrap());
        assert_eq!(one["service.name"], "vmcp");
        assert_eq!(one["service.namespace"], "toolgate");
        assert_eq!(one["service.version"], "1.2.3");
        assert_eq!(one["telemetry.sdk.name"], "opentelemetry");
        let instance = &one["service.instance.id"];
        assert_ne!(instance, &other["service.instance.id"]);
        assert_eq!((instance.len(), &instance[14..15]), (36, "4"), "{instance}");
    }

    #[test]
    fn the_environment_knows_better() {
        let attributes = (
            "OTEL_RESOURCE_ATTRIBUTES",
            "service.name=a,k8s.pod.name=limiter-0, host.name = n%2C1,service.instance.id=i",
        );
        let read_of = |pairs: &[_]| read(pairs).unwrap();
        let got = read_of(&[attributes]);
        assert_eq!(got["service.name"], "a");
        assert_eq!(got["k8s.pod.name"], "limiter-0");
        assert_eq!(got["host.name"], "n,1");
        assert_eq!(got["service.instance.id"], "i");
        let got = read_of(&[attributes, ("OTEL_SERVICE_NAME", "b")]);
        assert_eq!(got["service.name"], "b");
    }

    #[test]
    fn attributes_that_are_none_are_an_error() {
        for wrong in ["a", "a=1,b", "=1", "a=%ff"] {
            let error = read(&[("OTEL_RESOURCE_ATTRIBUTES", wrong)]).unwrap_err();
            let error = error.to_string();
            assert!(error.starts_with("OTEL_RESOURCE_ATTRIBUTES="), "{error}");
        }
    }
}
