//! Which traces are taken: `OTEL_TRACES_SAMPLER` and `OTEL_TRACES_SAMPLER_ARG`.

use opentelemetry_sdk::trace::Sampler;

use crate::variables::{InvalidSetting, Variables};

const NAME: &str = "OTEL_TRACES_SAMPLER";
const ARG: &str = "OTEL_TRACES_SAMPLER_ARG";

/// The sampler that is asked for; none if none is. By default it is `parentbased_always_on`.
pub(crate) fn sampler(variables: Variables<'_>) -> Result<Option<Sampler>, InvalidSetting> {
    let Some(variable) = variables.get(NAME)? else {
        return Ok(None);
    };
    let sampler = match variable.value.as_str() {
        "always_on" => Sampler::AlwaysOn,
        "always_off" => Sampler::AlwaysOff,
        "traceidratio" => Sampler::TraceIdRatioBased(ratio(variables)?),
        "parentbased_always_on" => parent_based(Sampler::AlwaysOn),
        "parentbased_always_off" => parent_based(Sampler::AlwaysOff),
        "parentbased_traceidratio" => parent_based(Sampler::TraceIdRatioBased(ratio(variables)?)),
        _ => {
            return Err(variable.invalid(
                "it must be always_on, always_off, traceidratio, parentbased_always_on, \
                 parentbased_always_off or parentbased_traceidratio",
            ));
        }
    };
    Ok(Some(sampler))
}

pub(crate) fn default() -> Sampler {
    parent_based(Sampler::AlwaysOn)
}

fn parent_based(root: Sampler) -> Sampler {
    Sampler::ParentBased(Box::new(root))
}

/// By default all, as the specification has it.
fn ratio(variables: Variables<'_>) -> Result<f64, InvalidSetting> {
    let Some(variable) = variables.get(ARG)? else {
        return Ok(1.0);
    };
    match variable.value.parse() {
        Ok(ratio) if (0.0..=1.0).contains(&ratio) => Ok(ratio),
        _ => Err(variable.invalid("it must be a number from 0 to 1")),
    }
}
