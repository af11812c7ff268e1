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
