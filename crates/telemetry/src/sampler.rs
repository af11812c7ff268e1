//! Which traces are taken: `OTEL_TRACES_SAMPLER` and `OTEL_TRACES_SAMPLER_ARG`.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use opentelemetry::{
    Context, KeyValue,
    trace::{Link, SpanKind, TraceContextExt as _, TraceId, TraceState},
};
use opentelemetry_sdk::trace::{Sampler, SamplingDecision, SamplingResult, ShouldSample};
use tokio::time::Instant;

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

/// The most spans in a second that are taken because another process's span is.
const FORCED_A_SECOND: u64 = 1_000;

/// Decides as `sampler`, but takes no more spans than [`FORCED_A_SECOND`] on the word of callers: each can
/// say of each of its calls that its trace is sampled.
#[derive(Clone, Debug)]
pub(crate) struct AtMost {
    sampler: Sampler,
    began: Instant,
    /// The second since then, and how many were taken in it.
    taken: Arc<AtomicU64>,
}

impl AtMost {
    pub(crate) fn new(sampler: Sampler) -> Self {
        Self {
            sampler,
            began: Instant::now(),
            taken: Arc::default(),
        }
    }

    /// Whether there is room for one more in this second.
    fn has_room(&self) -> bool {
        let second = self.began.elapsed().as_secs() << 32;
        let next = |taken: u64| {
            let taken = taken.max(second);
            (taken - second < FORCED_A_SECOND).then_some(taken + 1)
        };
        (self.taken)
            .try_update(Ordering::Relaxed, Ordering::Relaxed, next)
            .is_ok()
    }
}

impl ShouldSample for AtMost {
    fn should_sample(
        &self,
        parent: Option<&Context>,
        trace_id: TraceId,
        name: &str,
        kind: &SpanKind,
        attributes: &[KeyValue],
        links: &[Link],
    ) -> SamplingResult {
        let result = (self.sampler).should_sample(parent, trace_id, name, kind, attributes, links);
        let above = parent.map(|parent| parent.span().span_context().clone());
        let above = above.filter(|above| above.is_remote() && above.is_sampled());
        if above.is_none() || result.decision == SamplingDecision::Drop || self.has_room() {
            return result;
        }
        SamplingResult {
            decision: SamplingDecision::Drop,
            attributes: Vec::new(),
            trace_state: above.map_or_else(TraceState::default, |it| it.trace_state().clone()),
        }
    }
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

    /// How many of `spans` are taken beneath a span that is sampled, in this process or another.
    fn taken(sampler: &AtMost, spans: u64, is_remote: bool) -> u64 {
        use opentelemetry::trace::{SpanContext, SpanId, TraceFlags};
        let above = SpanContext::new(
            TraceId::from(7),
            SpanId::from(7),
            TraceFlags::SAMPLED,
            is_remote,
            TraceState::default(),
        );
        let above = Context::new().with_remote_span_context(above);
        let decide = |_| {
            let decided =
                sampler.should_sample(Some(&above), 7.into(), "call", &SpanKind::Server, &[], &[]);
            decided.decision == SamplingDecision::RecordAndSample
        };
        (0..spans).map(decide).filter(|taken| *taken).count() as u64
    }

    /// Ten thousand calls a second that said so had ten thousand spans.
    #[tokio::test(start_paused = true)]
    async fn callers_force_no_more_spans_than_the_bound() {
        let sampler = AtMost::new(default());
        for _ in 0..3 {
            assert_eq!(taken(&sampler, 10_000, true), FORCED_A_SECOND);
            assert_eq!(taken(&sampler, 10_000, false), 10_000, "its own go on");
            tokio::time::advance(std::time::Duration::from_secs(1)).await;
        }
        let root = sampler.should_sample(None, 7.into(), "call", &SpanKind::Server, &[], &[]);
        assert_eq!(root.decision, SamplingDecision::RecordAndSample);
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
