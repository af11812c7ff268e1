//! The report for people.

use std::{fmt::Write as _, time::Duration};

use super::{GoDuration, Report};

impl Report {
    pub(crate) fn to_text(&self) -> String {
        let mut text = String::new();
        // Writing to a string cannot fail.
        let mut line = |name: &str, value: String| {
            let _ = writeln!(text, "{name:<12}{value}");
        };
        let load = &self.load;
        let pace = load.rate.map_or_else(
            || "closed loop".to_owned(),
            |rate| format!("open loop, {rate}/s"),
        );
        line(
            "load",
            format!(
                "{}, {pace}, {} connections x {} in flight, {} users x {} tools, {}",
                load.mode, load.connections, load.in_flight, load.users, load.tools, load.keys
            ),
        );
        line("measured", format!("{:.1} s", self.measured_seconds));
        line("rate", format!("{:.0} checks/s", self.checks_per_second));
        let checks = &self.checks;
        line(
            "checks",
            format!(
                "{} sent, {} answered: {} allowed, {} denied ({} degraded)",
                checks.sent, checks.answered, checks.allowed, checks.denied, checks.degraded
            ),
        );
        for (code, count) in &checks.failed {
            line("failed", format!("{count} {code}"));
        }
        if checks.unanswered > 0 {
            line("unanswered", checks.unanswered.to_string());
        }
        if let Some(latency) = &self.latency_micros {
            line(
                "latency us",
                format!(
                    "min {:.1}  p50 {:.1}  p90 {:.1}  p99 {:.1}  p99.9 {:.1}  p99.99 {:.1}  max {:.1}",
                    latency.min,
                    latency.p50,
                    latency.p90,
                    latency.p99,
                    latency.p999,
                    latency.p9999,
                    latency.max
                ),
            );
        }
        if let Some(behind) = &self.behind {
            line(
                "behind us",
                format!(
                    "p50 {:.1}  p99 {:.1}  max {:.1}, {} never sent",
                    behind.p50_micros, behind.p99_micros, behind.max_micros, behind.unsent
                ),
            );
        }
        if let Some(cpu) = self.generator_cpu_micros_per_check {
            line("generator", format!("{cpu:.2} us of CPU a check"));
        }
        let admission = &self.admission;
        for limit in &admission.limits {
            let worst = &limit.worst;
            let of_whom: Vec<_> = [&worst.user, &worst.tool]
                .into_iter()
                .flatten()
                .map(String::as_str)
                .collect();
            let period = GoDuration(Duration::from_secs_f64(worst.refill_period_seconds));
            line(
                "admitted",
                format!(
                    "{}: {} of {} ({:.3}) by {} per {period}; {} of {} buckets over{}{}",
                    [limit.kind, &of_whom.join(" ")].join(" ").trim_end(),
                    worst.admitted,
                    worst.bound,
                    worst.ratio,
                    worst.capacity,
                    limit.over,
                    limit.buckets,
                    if limit.quota_changed {
                        "; its quota changed"
                    } else {
                        ""
                    },
                    match limit.users_left_out {
                        0 => String::new(),
                        users => format!("; {users} users left out"),
                    },
                ),
            );
        }
        line("bounds", self.conclusion());
        text.truncate(text.trim_end().len());
        text
    }

    fn conclusion(&self) -> String {
        let admission = &self.admission;
        let unknown = self.checks.unanswered
            + self.warm_up_checks.unanswered
            + self.checks.failed.values().sum::<u64>()
            + self.warm_up_checks.failed.values().sum::<u64>();
        let degraded = self.checks.degraded + self.warm_up_checks.degraded;
        let mut text = match (admission.limits.is_empty(), admission.over) {
            (true, _) => "no answer names a bucket that has paid".to_owned(),
            (_, 0) => format!("kept by every bucket over {:.1} s", admission.span_seconds),
            (_, over) => format!(
                "NOT KEPT by {over} buckets over {:.1} s",
                admission.span_seconds
            ),
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
