//! The trace and the span in which a line of JSON was written, so that one leads to the other.

use std::fmt;

use opentelemetry::{Context, trace::TraceContextExt as _};
use tracing::{Event, Subscriber};
use tracing_subscriber::{
    fmt::{
        FmtContext, FormatFields,
        format::{FormatEvent, Writer},
    },
    registry::LookupSpan,
};

/// Adds `trace_id` and `span_id` to the JSON objects that another format writes.
#[derive(Debug)]
pub(super) struct Traced<F>(pub(super) F);

impl<S, N, F> FormatEvent<S, N> for Traced<F>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
    F: FormatEvent<S, N>,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        // That of the span which is entered, as the OpenTelemetry layer makes it current.
        let current = Context::map_current(|current| {
            let span = current.span();
            let span = span.span_context();
            span.is_valid().then(|| (span.trace_id(), span.span_id()))
        });
        let Some((trace, span)) = current else {
            return self.0.format_event(context, writer, event);
        };
        let mut line = String::new();
        self.0
            .format_event(context, Writer::new(&mut line), event)?;
        match line.trim_end().strip_suffix('}') {
            Some(object) => writeln!(
                writer,
                r#"{object},"trace_id":"{trace}","span_id":"{span}"}}"#
            ),
            None => writer.write_str(&line),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io,
        sync::{Arc, Mutex},
    };

    use opentelemetry::trace::TracerProvider as _;
    use opentelemetry_sdk::trace::SdkTracerProvider;
    use tracing::{info, info_span, subscriber::with_default};
    use tracing_subscriber::{fmt, layer::SubscriberExt as _};

    use super::*;

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_line_within_a_traced_span_names_its_trace_and_others_none() {
        let provider = SdkTracerProvider::builder().build();
        let spans = tracing_opentelemetry::layer().with_tracer(provider.tracer("test"));
        let written = Lines::default();
        let writer = written.clone();
        let lines = fmt::layer()
            .with_writer(move || writer.clone())
            .json()
            .map_event_format(Traced);
        let subscriber = tracing_subscriber::registry().with(spans).with(lines);
        with_default(subscriber, || {
            info!("before");
            info_span!("call").in_scope(|| info!(note = "a}\nb", "within"));
        });
        let text = String::from_utf8(written.0.lock().unwrap().clone()).unwrap();
        let lines: Vec<_> = text.lines().collect();
        let [before, within] = lines[..] else {
            panic!("{text}");
        };
        assert!(
            !before.contains("trace_id") && before.ends_with('}'),
            "{before}"
        );
        let (start, ids) = within.split_once(r#","trace_id":""#).unwrap();
        assert!(
            start.contains("within") && start.contains(r"a}\nb"),
            "{start}"
        );
        let (trace, span) = ids.split_once(r#"","span_id":""#).unwrap();
        let span = span.strip_suffix("\"}").unwrap();
        assert_eq!((trace.len(), span.len()), (32, 16), "{ids}");
        assert_ne!(trace, "0".repeat(32));
    }
}
