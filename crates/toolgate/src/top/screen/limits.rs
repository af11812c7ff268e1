//! Servers, each with the limits that refuse.

use ratatui::{style::Style, text::Span};

use super::{
    Look,
    list::{Column, List},
};
use crate::{
    output::text,
    top::{
        rate::rate,
        view::{Sum, View},
    },
};

pub(super) fn list(view: &View, look: Look) -> List {
    let mut rows = Vec::new();
    for server in &view.servers {
        let name = match &*server.name {
            "" => "(no policy)".to_owned(),
            name => text::printable(name),
        };
        rows.push(row(name, server.sum, true, look));
        for refusals in &server.limits {
            let name = format!("  {}", text::limit(Some(&refusals.limit)));
            rows.push(row(name, refusals.sum, false, look));
        }
    }
    List {
        columns: vec![
            Column::text("SERVER, LIMIT", 34, 0),
            Column::number("CHECKS/S", 9, 1),
            Column::number("DENIED/S", 9, 0),
            Column::number("SHADOW/S", 9, 2),
            Column::number("DENIED SO FAR", 13, 3),
            Column::number("CHECKS SO FAR", 13, 4),
        ],
        rows,
        instead: "no checks yet",
    }
}

/// Of a limit it is not counted how many checks it has let through.
fn row(name: String, sum: Sum, is_server: bool, look: Look) -> Vec<Span<'static>> {
    let shown = |number: Option<f64>| number.map_or_else(|| text::NONE.to_owned(), rate);
    let unless_limit = |text: String| if is_server { text } else { String::new() };
    let (counts, rates) = (sum.counts, sum.rates);
    let denied = rates.map(|rates| rates.denied);
    let shadow_denied = rates.map(|rates| rates.shadow_denied);
    let alarm = |number: Option<f64>, style| match number {
        Some(number) if number > 0.0 => style,
        _ => Style::new(),
    };
    vec![
        name.into(),
        unless_limit(shown(rates.map(|rates| rates.all()))).into(),
        Span::styled(shown(denied), alarm(denied, look.bad())),
        Span::styled(shown(shadow_denied), alarm(shadow_denied, look.doubtful())),
        (counts.denied + counts.shadow_denied).to_string().into(),
        unless_limit(counts.all().to_string()).into(),
    ]
}
