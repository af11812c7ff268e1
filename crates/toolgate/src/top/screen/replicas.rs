//! The replicas, and what is wrong with them.

use std::time::Duration;

use ratatui::text::Span;
use toolgate_limit::GoDuration;

use super::{
    Look,
    list::{Column, List},
};
use crate::{
    output::text,
    top::{
        rate::rate,
        view::{Replica, State, View},
    },
};

pub(super) fn list(view: &View, look: Look) -> List {
    let rows = view.replicas.iter().map(|replica| row(replica, look));
    let longest = |name: fn(&Replica) -> &str, most| {
        let lengths = view.replicas.iter().map(|it| name(it).chars().count());
        u16::try_from(lengths.max().unwrap_or_default()).map_or(most, |it| it.clamp(10, most))
    };
    // What is wrong is worth more than rates, which are in the other lists too.
    let is_troubled = view.replicas.iter().any(|it| !why(it).is_empty());
    let (reason, rank) = if is_troubled { (26, 1) } else { (10, 9) };
    List {
        columns: vec![
            Column::fixed("REPLICA", longest(|it| &it.endpoint, 40), 0),
            Column::fixed("STATE", 19, 0),
            Column::number("POLICIES", 8, 2),
            Column::number("CHECKS/S", 9, 3),
            Column::number("DENIED/S", 9, 4),
            Column::number("IN FLIGHT", 9, 5),
            Column::fixed("HOST", longest(|it| &it.name, 30), 6),
            Column::fixed("VERSION", 8, 7),
            Column::number("UP", 7, 8),
            Column::text("WHY", reason, rank),
        ],
        rows: rows.collect(),
        instead: "no replicas",
    }
}

fn row(replica: &Replica, look: Look) -> Vec<Span<'static>> {
    let is_known = !replica.name.is_empty();
    let known = |text: String| {
        if is_known {
            text
        } else {
            text::NONE.to_owned()
        }
    };
    let shown = |number: Option<f64>| number.map_or_else(|| text::NONE.to_owned(), rate);
    let rates = replica.sum.rates;
    vec![
        replica.endpoint.clone().into(),
        Span::styled(state(&replica.state), look.of(&replica.state)),
        policies(replica, look),
        shown(rates.map(|rates| rates.all())).into(),
        shown(rates.map(|rates| rates.denied)).into(),
        known(replica.in_flight.to_string()).into(),
        known(replica.name.clone()).into(),
        known(replica.version.clone()).into(),
        replica
            .up
            .map_or_else(|| text::NONE.to_owned(), coarse)
            .into(),
        Span::from(why(replica)),
    ]
}

/// `degraded 1m5s`.
fn state(state: &State) -> String {
    match state.trouble() {
        None => state.as_str().to_owned(),
        Some(trouble) => format!("{} {}", state.as_str(), coarse(trouble.lasts)),
    }
}

/// The generation, with a mark where it is not what others enforce, or not the newest.
fn policies(replica: &Replica, look: Look) -> Span<'static> {
    if replica.generation == 0 {
        return Span::from(text::NONE);
    }
    let generation = format!("#{}", replica.generation);
    if replica.is_other || !replica.reload_errors.is_empty() {
        Span::styled(format!("!{generation}"), look.bad())
    } else {
        Span::from(generation)
    }
}

/// All that is wrong.
fn why(replica: &Replica) -> String {
    let trouble = replica
        .state
        .trouble()
        .map(|trouble| trouble.reason.clone());
    let reload = replica.reload_errors.first().map(|error| {
        let error = error.lines().next().unwrap_or_default();
        format!(
            "the newest policies are not in force: {}",
            text::printable(error)
        )
    });
    let other = replica
        .is_other
        .then(|| "enforces other policies than most".to_owned());
    let blind = replica
        .counts_nothing
        .then(|| "counts nothing, as its metrics are off".to_owned());
    let all: Vec<_> = [trouble, reload, other, blind]
        .into_iter()
        .flatten()
        .collect();
    all.join("; ")
}

/// In its two largest units: `5s`, `1m5s`, `3h20m`, `12d3h`.
fn coarse(span: Duration) -> String {
    const DAY: u64 = 24 * 60 * 60;
    let seconds = span.as_secs();
    if seconds >= DAY {
        return format!("{}d{}h", seconds / DAY, seconds % DAY / 3_600);
    }
    let seconds = if seconds >= 3_600 {
        seconds / 60 * 60
    } else {
        seconds
    };
    GoDuration(Duration::from_secs(seconds)).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_is_told_in_two_units() {
        for (seconds, expected) in [
            (0, "0s"),
            (5, "5s"),
            (65, "1m5s"),
            (12_059, "3h20m"),
            (12 * 86_400 + 11_000, "12d3h"),
        ] {
            assert_eq!(coarse(Duration::from_secs(seconds)), expected);
        }
    }
}
