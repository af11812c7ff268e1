//! The screen: totals, and three lists that share the height.

mod buckets;
mod limits;
mod list;
mod replicas;
mod totals;

use ratatui::{
    Frame,
    layout::Rect,
    style::{Color, Modifier, Style},
    text::Line,
};

use super::view::{Sort, State, View};
use crate::output::Palette;

/// With colours or without.
#[derive(Clone, Copy, Debug)]
pub(super) struct Look {
    pub(super) colour: bool,
}

/// What the keys have chosen.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Choice {
    pub(super) sort: Sort,
    /// The list that is scrolled.
    focus: Focus,
    /// Rows of each list above the first that is shown.
    offsets: [usize; 3],
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Focus {
    #[default]
    Limits,
    Buckets,
    Replicas,
}

/// A way to scroll.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scroll {
    Up(usize),
    Down(usize),
    Home,
}

impl Look {
    fn good(self) -> Style {
        self.colour(Color::Green)
    }

    fn doubtful(self) -> Style {
        self.colour(Color::Yellow)
    }

    /// Told apart without colours too.
    fn bad(self) -> Style {
        self.colour(Color::Red).add_modifier(Modifier::BOLD)
    }

    fn of(self, state: &State) -> Style {
        match state {
            State::Serving => self.good(),
            State::Connecting => Style::new(),
            State::Degraded(_) => self.doubtful(),
            State::NotDeciding(_) | State::Unreachable(_) | State::Refusing(_) => self.bad(),
        }
    }

    fn colour(self, colour: Color) -> Style {
        if self.colour {
            Style::new().fg(colour)
        } else {
            Style::new()
        }
    }
}

impl Choice {
    pub(super) fn scroll(&mut self, scroll: Scroll) {
        let offset = &mut self.offsets[self.focus as usize];
        *offset = match scroll {
            Scroll::Up(rows) => offset.saturating_sub(rows),
            Scroll::Down(rows) => offset.saturating_add(rows),
            Scroll::Home => 0,
        };
    }

    pub(super) const fn next_list(&mut self) {
        self.focus = match self.focus {
            Focus::Limits => Focus::Buckets,
            Focus::Buckets => Focus::Replicas,
            Focus::Replicas => Focus::Limits,
        };
    }
}

impl Focus {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Limits => "limits",
            Self::Buckets => "buckets",
            Self::Replicas => "replicas",
        }
    }
}

/// Shows `view` on the whole of `frame`. Scrolls back what was scrolled too far.
pub(super) fn draw(frame: &mut Frame, view: &View, choice: &mut Choice, look: Look) {
    let mut area = frame.area();
    let totals = take_top(&mut area, 2);
    totals::draw(frame, totals, view, look);
    let keys = take_bottom(&mut area, 1);
    frame.render_widget(footer(*choice), keys);

    let limits = limits::list(view, look);
    let buckets = buckets::list(view, look);
    let replicas = replicas::list(view, look);
    // Replicas are few; the other two share what is left, and neither gets more than it needs while
    // the other wants it.
    let of_replicas = replicas.height().min((area.height / 3).max(2));
    let rest = area.height.saturating_sub(of_replicas + 2);
    let half = rest / 2;
    let of_limits = limits
        .height()
        .min(half.max(rest.saturating_sub(buckets.height())));
    let of_buckets = rest.saturating_sub(of_limits);
    for (place, (list, height)) in [
        (limits, of_limits),
        (buckets, of_buckets),
        (replicas, of_replicas),
    ]
    .into_iter()
    .enumerate()
    {
        take_top(&mut area, u16::from(place > 0));
        let area = take_top(&mut area, height);
        list.draw(frame, area, &mut choice.offsets[place]);
    }
}

/// The same lists one below the other, with all their rows.
pub(super) fn to_text(view: &View, palette: Palette) -> String {
    let look = Look { colour: false };
    let lists = [
        limits::list(view, look),
        buckets::list(view, look),
        replicas::list(view, look),
    ];
    let lists = lists.map(|list| list.to_text(palette)).join("\n\n");
    format!("{}\n\n{lists}", totals::to_text(view))
}

fn footer(choice: Choice) -> Line<'static> {
    let (sort, list) = (choice.sort.as_str(), choice.focus.as_str());
    let text = format!("q quit   s sort: {sort}   Tab and arrows scroll: {list}");
    Line::styled(text, Style::new().add_modifier(Modifier::DIM))
}

fn take_top(area: &mut Rect, height: u16) -> Rect {
    let height = height.min(area.height);
    let top = Rect { height, ..*area };
    area.y += height;
    area.height -= height;
    top
}

fn take_bottom(area: &mut Rect, height: u16) -> Rect {
    let height = height.min(area.height);
    area.height -= height;
    Rect {
        y: area.y + area.height,
        height,
        ..*area
    }
}

#[cfg(test)]
mod tests;
