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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::variables::tests::with;

    fn read(pairs: &[(&str, &str)]) -> Result<String, String> {
        let sampler = with(pairs, sampler).map_err(|error| error.to_string())?;
        Ok(format!("{sampler:?}"))
    }

    #[test]
    fn each_sampler_of_the_specification_is_known_by_its_name() {
        assert_eq!(read(&[]).unwrap(), "None");
        for (name, sampler) in [
            ("always_on", "AlwaysOn"),
            ("always_off", "AlwaysOff"),
            ("traceidratio", "TraceIdRatioBased(0.25)"),
            ("parentbased_always_on", "ParentBased(AlwaysOn)"),
            ("parentbased_always_off", "ParentBased(AlwaysOff)"),
            (
                "parentbased_traceidratio",
                "ParentBased(TraceIdRatioBased(0.25))",
            ),
        ] {
            let pairs = [(NAME, name), (ARG, "0.25")];
            assert_eq!(read(&pairs).unwrap(), format!("Some({sampler})"));
        }
        let all = read(&[(NAME, "traceidratio")]);
        assert_eq!(all.unwrap(), "Some(TraceIdRatioBased(1.0))");
    }

    #[test]
    fn what_is_no_sampler_or_ratio_is_told_by_name() {
        let error = read(&[(NAME, "sometimes")]).unwrap_err();
        assert!(error.starts_with("OTEL_TRACES_SAMPLER=\"sometimes\": "));
        for wrong in ["-0.1", "1.5", "NaN", "half"] {
            let error = read(&[(NAME, "traceidratio"), (ARG, wrong)]).unwrap_err();
            let expected = format!("OTEL_TRACES_SAMPLER_ARG={wrong:?}: ");
            assert!(error.starts_with(&expected), "{error}");
        }
    }
}
