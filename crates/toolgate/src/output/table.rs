//! Decisions and buckets for people.

use comfy_table::{Cell, CellAlignment, Color};
use toolgate_proto::pb;

use super::{
    style::{Palette, number},
    text,
};

/// One row a check, one column a bucket, and how many were allowed and denied.
pub(crate) fn checks(answers: &[pb::CheckResponse], palette: Palette) -> String {
    let buckets = bucket_names(answers);
    let header = ["#", "decision", "refused by", "retry after"].map(str::to_owned);
    let mut table = palette.table(header.into_iter().chain(buckets.iter().cloned()));
    for (answer, row) in answers.iter().zip(1..) {
        let remaining = buckets.iter().map(|name| {
            let bucket = answer
                .buckets
                .iter()
                .find(|bucket| name_of(bucket) == *name);
            bucket.map_or_else(|| number(text::NONE), |bucket| number(bucket.remaining))
        });
        let decision = [
            number(row),
            decision(answer, palette),
            Cell::new(refused_by(answer)),
            Cell::new(retry_after(answer)),
        ];
        table.add_row(decision.into_iter().chain(remaining));
    }
    format!("{}\n\n{}", palette.render(table), summary(answers, palette))
}

/// The decision, and the buckets as they are.
pub(crate) fn peek(answer: &pb::CheckResponse, palette: Palette) -> String {
    let mut decision = match &answer.denial {
        Some(denial) => palette.bad(format!("denied: {}", text::printable(&denial.message))),
        None if is_denied(answer) => palette.bad("denied"),
        None => palette.good("allowed"),
    };
    if let Some(note) = note(answer) {
        decision = format!("{decision} ({note})");
    }
    if answer.buckets.is_empty() {
        return decision;
    }
    format!("{decision}\n\n{}", buckets(&answer.buckets, palette))
}

/// One row a bucket.
pub(crate) fn buckets(buckets: &[pb::BucketStatus], palette: Palette) -> String {
    if buckets.is_empty() {
        return "no buckets: the policy has no limit at this scope".to_owned();
    }
    let header = [
        "bucket",
        "remaining",
        "capacity",
        "refill period",
        "full after",
    ];
    let mut table = palette.table(header);
    for bucket in buckets {
        let remaining = match bucket.remaining {
            0 => palette.coloured(0, Color::Red),
            remaining => Cell::new(remaining),
        };
        table.add_row([
            Cell::new(name_of(bucket)),
            remaining.set_alignment(CellAlignment::Right),
            number(bucket.capacity),
            number(text::period(bucket.refill_period)),
            number(
                bucket
                    .full_after
                    .map_or_else(|| text::NONE.to_owned(), text::wait),
            ),
        ]);
    }
    palette.render(table)
}

/// How many buckets are full now.
pub(crate) fn reset(reset: pb::ResetBucketsResponse) -> String {
    match reset.reset_count {
        0 => "no bucket was reset: the policy has no such limit".to_owned(),
        1 => "1 bucket is full now".to_owned(),
        count => format!("{count} buckets are full now"),
    }
}

/// In the order of the answers; a reload between two checks may bring new ones.
fn bucket_names(answers: &[pb::CheckResponse]) -> Vec<String> {
    let mut names = Vec::new();
    for name in answers
        .iter()
        .flat_map(|answer| &answer.buckets)
        .map(name_of)
    {
        if !names.contains(&name) {
            names.push(name);
        }
    }
    names
}

fn name_of(bucket: &pb::BucketStatus) -> String {
    text::limit(bucket.limit.as_ref())
}

fn decision(answer: &pb::CheckResponse, palette: Palette) -> Cell {
    let (decision, colour) = if is_denied(answer) {
        ("denied", Color::Red)
    } else {
        ("allowed", Color::Green)
    };
    match note(answer) {
        Some(note) => palette.coloured(format!("{decision} ({note})"), colour),
        None => palette.coloured(decision, colour),
    }
}

fn is_denied(answer: &pb::CheckResponse) -> bool {
    answer.decision() == pb::Decision::Denied
}

/// What else to know about a decision.
fn note(answer: &pb::CheckResponse) -> Option<&'static str> {
    if answer.degraded {
        Some("degraded")
    } else if answer.unlimited && answer.policy.is_empty() {
        Some("unlimited: no policy names this server")
    } else if answer.buckets.is_empty() && !is_denied(answer) {
        // What an older limiter answers says no more.
        Some("unlimited")
    } else {
        None
    }
}

fn refused_by(answer: &pb::CheckResponse) -> String {
    let limit = answer
        .denial
        .as_ref()
        .and_then(|denial| denial.limit.as_ref());
    text::limit(limit)
}

fn retry_after(answer: &pb::CheckResponse) -> String {
    match &answer.denial {
        None => text::NONE.to_owned(),
        Some(denial) => denial
            .retry_after
            .map_or_else(|| "never".to_owned(), text::wait),
    }
}

/// `3 allowed, 2 denied`.
fn summary(answers: &[pb::CheckResponse], palette: Palette) -> String {
    let denied = answers.iter().filter(|answer| is_denied(answer)).count();
    let allowed = answers.len() - denied;
    let summary = format!("{allowed} allowed, {denied} denied");
    if denied == 0 {
        palette.good(summary)
    } else {
        palette.bad(summary)
    }
}

#[cfg(test)]
mod tests;
