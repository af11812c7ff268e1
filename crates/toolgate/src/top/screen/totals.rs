//! The first two lines: who answers, and what all of them decide.

use ratatui::{
    Frame,
    layout::Rect,
    style::{Modifier, Style},
    text::{Line, Span, Text},
};

use super::Look;
use crate::top::{
    rate::rate,
    view::{Replica, State, View},
};

pub(super) fn draw(frame: &mut Frame, area: Rect, view: &View, look: Look) {
    frame.render_widget(
        Text::from(vec![replicas(view, look), checks(view, look)]),
        area,
    );
}

/// Both lines.
pub(super) fn to_text(view: &View) -> String {
    let look = Look { colour: false };
    format!("{}\n{}", replicas(view, look), checks(view, look))
}

/// `toolgate top   3 replicas: 1 serving, 1 degraded, 1 unreachable`
fn replicas(view: &View, look: Look) -> Line<'static> {
    let title = Span::styled("toolgate top", Style::new().add_modifier(Modifier::BOLD));
    let count = view.replicas.len();
    let plural = if count == 1 { "" } else { "s" };
    let mut line = vec![title, format!("   {count} replica{plural}").into()];
    let mut states: Vec<(&State, usize)> = Vec::new();
    for Replica { state, .. } in &view.replicas {
        let mut known = states.iter_mut();
        match known.find(|(known, _)| known.as_str() == state.as_str()) {
            Some((_, count)) => *count += 1,
            None => states.push((state, 1)),
        }
    }
    for (place, (state, count)) in states.into_iter().enumerate() {
        line.push(if place == 0 { ": " } else { ", " }.into());
        let text = format!("{count} {}", state.as_str());
        line.push(Span::styled(text, look.of(state)));
    }
    if view
        .replicas
        .iter()
        .any(|replica: &Replica| replica.is_other)
    {
        line.push(Span::styled(", policies differ", look.bad()));
    }
    line.into()
}

/// `checks/s 1,234   denied/s 120 (9.7 %)`, and what else there is.
fn checks(view: &View, look: Look) -> Line<'static> {
    let Some(rates) = view.sum.rates else {
        return Line::from("checks/s -   (rates come with the second reading)");
    };
    let all = rates.all();
    let mut line = vec![Span::from(format!("checks/s {}", rate(all)))];
    let share = if all > 0.0 {
        100.0 * rates.denied / all
    } else {
        0.0
    };
    let denied = format!("   denied/s {} ({share:.1} %)", rate(rates.denied));
    let style = if rates.denied > 0.0 {
        look.bad()
    } else {
        Style::new()
    };
    line.push(Span::styled(denied, style));
    for (name, number, style) in [
        ("errors", rates.error, look.bad()),
        ("shadow denied", rates.shadow_denied, look.doubtful()),
        ("unlimited", rates.unlimited, look.doubtful()),
    ] {
        if number > 0.0 {
            line.push(Span::styled(format!("   {name}/s {}", rate(number)), style));
        }
    }
    line.push(format!("   in flight {}", view.in_flight).into());
    line.into()
}
