//! A quota: `{maxTokens: 100, refillPeriod: 1m}`.

use std::time::Duration;

use toolgate_limit::{GoDuration, Quota, QuotaError};

use super::limits::Dialect;
use crate::{
    diagnostic::Report,
    fields::Fields,
    node::{Node, Value},
};

/// The longest text of a refill period, in characters. An API server bounds what it spends on reading one.
pub const MAX_DURATION_CHARS: usize = 64;

/// The quota at `path`. Whatever is wrong with either field is reported.
pub(super) fn read_quota(
    node: &Node,
    path: String,
    dialect: Dialect,
    report: &mut Report<'_>,
) -> Option<Quota> {
    let mut fields = Fields::of(node, path, report)?;
    let read_period = match dialect {
        Dialect::Toolgate => read_period,
        Dialect::ToolHive => read_wrapped_period,
    };
    let capacity = read_field(&mut fields, "maxTokens", node, read_capacity, report);
    let period = read_field(&mut fields, "refillPeriod", node, read_period, report);
    fields.refuse_unknown(report);
    Quota::new(capacity?, period?).ok() // each was checked alone
}

fn read_field<T>(
    fields: &mut Fields<'_>,
    key: &'static str,
    parent: &Node,
    read: fn(&Node, &str, &mut Report<'_>) -> Option<T>,
    report: &mut Report<'_>,
) -> Option<T> {
    let path = fields.path_of(key);
    let Some(entry) = fields.entry(key) else {
        report.error(parent.place, format!("{path} is missing"));
        return None;
    };
    read(&entry.node, &path, report)
}

fn read_capacity(node: &Node, path: &str, report: &mut Report<'_>) -> Option<u32> {
    let max = Quota::MAX_CAPACITY;
    let given = match &node.value {
        Value::Integer(tokens) => match u32::try_from(*tokens) {
            Ok(capacity) if (1..=max).contains(&capacity) => return Some(capacity),
            _ => {
                report.error(node.place, QuotaError::Capacity(*tokens));
                return None;
            }
        },
        Value::Float(number) => format!("{number:?}"),
        Value::Text(text) => format!("the text {text:?}"),
        _ => node.kind().to_owned(),
    };
    report.error(
        node.place,
        format!("{path} must be a whole number between 1 and {max}, not {given}"),
    );
    None
}

/// As Go's metav1.Duration too, `{duration: 1m0s}`, which `ToolHive` writes into its runtime config.
fn read_wrapped_period(node: &Node, path: &str, report: &mut Report<'_>) -> Option<Duration> {
    let Value::Mapping(_) = node.value else {
        return read_period(node, path, report);
    };
    let mut fields = Fields::of(node, path.to_owned(), report)?;
    let period = read_field(&mut fields, "duration", node, read_period, report);
    fields.refuse_unknown(report);
    period
}

fn read_period(node: &Node, path: &str, report: &mut Report<'_>) -> Option<Duration> {
    let written = match &node.value {
        Value::Text(text) => text.clone(),
        // A number lacks its unit, and the error for that says which there are.
        Value::Integer(number) => number.to_string(),
        Value::Float(number) => number.to_string(),
        _ => {
            let kind = node.kind();
            let message = format!("{path} must be a duration like 1m, not {kind}");
            report.error(node.place, message);
            return None;
        }
    };
    let length = written.chars().count();
    if length > MAX_DURATION_CHARS {
        let message =
            format!("{path} must be at most {MAX_DURATION_CHARS} characters long, not {length}");
        report.error(node.place, message);
        return None;
    }
    let period = match written.parse::<GoDuration>() {
        Ok(GoDuration(period)) => period,
        Err(error) => {
            report.error(node.place, format!("{path}: {error}"));
            return None;
        }
    };
    match Quota::new(1, period) {
        Ok(_) => Some(period),
        Err(error) => {
            report.error(node.place, error);
            None
        }
    }
}
