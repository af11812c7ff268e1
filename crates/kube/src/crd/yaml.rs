//! The definition as text.

use kube::CustomResourceExt as _;
use serde_json::{Number, Value};
use serde_saphyr::{ser::Error, ser_options};

use super::RateLimitPolicy;

/// The definition of `RateLimitPolicy` as YAML, which `kubectl apply -f -` takes.
///
/// # Errors
///
/// If the library that writes YAML cannot write it; none is known.
pub fn definition_yaml() -> Result<String, Error> {
    let mut definition =
        serde_json::to_value(RateLimitPolicy::crd()).map_err(|error| Error::Unexpected {
            msg: error.to_string(),
        })?;
    tidy(&mut definition);
    let options = ser_options! { prefer_block_scalars: false };
    serde_saphyr::to_string_with_options(&definition, options)
}

/// Writes whole numbers as such, which the schema's type holds as floats, and descriptions in one
/// line.
fn tidy(value: &mut Value) {
    match value {
        #[expect(
            clippy::cast_possible_truncation,
            reason = "the bounds of a schema are small"
        )]
        Value::Number(number) => {
            if let Some(float) = number.as_f64().filter(|float| float.fract() == 0.0) {
                *number = Number::from(float as i64);
            }
        }
        Value::String(text) => *text = text.replace('\n', " "),
        Value::Array(items) => items.iter_mut().for_each(tidy),
        Value::Object(fields) => fields.values_mut().for_each(tidy),
        Value::Null | Value::Bool(_) => {}
    }
}
