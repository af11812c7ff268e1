//! The report for people: a name and a value a line.

use std::{fmt::Write as _, time::Duration};

use super::{GoDuration, LimitFinding, Report};

#[derive(Default)]
struct Lines(String);

impl Lines {
    fn add(&mut self, name: &str, value: impl AsRef<str>) {
        // Writing to a string cannot fail.
        let _ = writeln!(self.0, "{name:<12}{}", value.as_ref());
    }
}

impl Report {
    pub(crate) fn to_text(&self) -> String {
        let mut lines = Lines::default();
        self.load(&mut lines);
        self.checks(&mut lines);
        self.times(&mut lines);
        for limit in &self.admission.limits {
            lines.add("admitted", limit.to_text());
        }
        lines.add("bounds", self.conclusion());
        lines.0.truncate(lines.0.trim_end().len());
        lines.0
    }

    fn load(&self, lines: &mut Lines) {
        let load = &self.load;
        let pace = load.rate.map_or_else(
            || "closed loop".to_owned(),
            |rate| format!("open loop, {rate}/s"),
        );
        let value = format!(
            "{}, {pace}, {} connections x {} in flight, {} users x {} tools, {}",
            load.mode, load.connections, load.in_flight, load.users, load.tools, load.keys
        );
        lines.add("load", value);
    }

    fn checks(&self, lines: &mut Lines) {
        lines.add("measured", format!("{:.1} s", self.measured_seconds));
        lines.add("rate", format!("{:.0} checks/s", self.checks_per_second));
        let checks = &self.checks;
        let value = format!(
            "{} sent, {} answered: {} allowed, {} denied ({} degraded)",
            checks.sent, checks.answered, checks.allowed, checks.denied, checks.degraded
        );
        lines.add("checks", value);
        for (code, count) in &checks.failed {
            lines.add("failed", format!("{count} {code}"));
        }
        if checks.unanswered > 0 {
            lines.add("unanswered", checks.unanswered.to_string());
        }
        if self.unexpected_answers > 0 {
            let count = self.unexpected_answers;
            lines.add(
                "unexpected",
                format!("{count} answers to nothing that was asked"),
            );
        }
    }

    fn times(&self, lines: &mut Lines) {
        if let Some(latency) = &self.latency_micros {
            let quantiles = [
                ("min", latency.min),
                ("p50", latency.p50),
                ("p90", latency.p90),
                ("p99", latency.p99),
                ("p99.9", latency.p999),
                ("p99.99", latency.p9999),
                ("max", latency.max),
            ];
            let value = quantiles.map(|(name, micros)| format!("{name} {micros:.1}"));
            lines.add("latency us", value.join("  "));
        }
        if let Some(behind) = &self.behind {
            let value = format!(
                "p50 {:.1}  p99 {:.1}  max {:.1}, {} never sent",
                behind.p50_micros, behind.p99_micros, behind.max_micros, behind.unsent
            );
            lines.add("behind us", value);
        }
        if let Some(cpu) = self.generator_cpu_micros_per_check {
            lines.add("generator", format!("{cpu:.2} us of CPU a check"));
        }
    }

    fn conclusion(&self) -> String {
        let admission = &self.admission;
        let both = [&self.checks, &self.warm_up_checks];
        let unknown = both.map(|checks| checks.unanswered + checks.failed.values().sum::<u64>());
        let unknown: u64 = unknown.into_iter().sum();
        let degraded: u64 = both.into_iter().map(|checks| checks.degraded).sum();
        let seconds = admission.span_seconds;
        let mut text = match (admission.limits.is_empty(), admission.over) {
            (true, _) => match &admission.policy_unread {
                None => "no bucket has paid".to_owned(),
                Some(reason) => format!("not known: {reason}"),
            },
            (_, 0) => format!("kept by every bucket over {seconds:.1} s"),
            (_, over) => format!("NOT KEPT by {over} buckets over {seconds:.1} s"),
        };
        if unknown > 0 {
            let _ = write!(
                text,
                "; {unknown} checks without an answer count as not admitted"
            );
        }
        if degraded > 0 {
            let _ = write!(text, "; {degraded} degraded answers are left out");
        }
        text
    }
}

impl LimitFinding {
    fn to_text(&self) -> String {
        let worst = &self.worst;
        let whose = [
            Some(self.kind),
            worst.user.as_deref(),
            worst.tool.as_deref(),
        ];
        let whose: Vec<_> = whose.into_iter().flatten().collect();
        let period = GoDuration(Duration::from_secs_f64(worst.refill_period_seconds));
        let mut text = format!(
            "{}: {} of {} ({:.3}) by {} per {period}; {} of {} buckets over",
            whose.join(" "),
            worst.admitted,
            worst.bound,
            worst.ratio,
            worst.capacity,
            self.over,
            self.buckets,
        );
        if self.quota_changed {
            text += "; its quota changed";
        }
        if self.users_left_out > 0 {
            let _ = write!(text, "; {} users left out", self.users_left_out);
        }
        text
    }
}
