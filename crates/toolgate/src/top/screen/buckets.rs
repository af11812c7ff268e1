//! Hot buckets, with bars of their tokens.

use ratatui::{style::Style, text::Span};

use super::{
    Look,
    list::{Column, List},
};
use crate::{
    output::text,
    top::{
        rate::rate,
        view::{Hot, View},
    },
};

/// Of a bar, in cells.
const BAR: usize = 10;

pub(super) fn list(view: &View, look: Look) -> List {
    let server = |hot: &Hot| text::printable(&hot.server);
    let rows = view.hot.iter().map(|hot| {
        let is_refusing = hot.denied >= 0.005;
        let style = if is_refusing {
            look.bad()
        } else {
            Style::new()
        };
        vec![
            server(hot).into(),
            text::target(&hot.limit).into(),
            hot.user().into(),
            rate(hot.checks).into(),
            Span::styled(rate(hot.denied), style),
            bar(hot, look),
            tokens(hot).into(),
        ]
    });
    // Where it is the same in every row it is of no use.
    let has_several = view.servers.iter().filter(|it| !it.name.is_empty()).count() > 1;
    List {
        columns: vec![
            Column::text("SERVER", 16, if has_several { 2 } else { 5 }),
            Column::text("HOT BUCKET", 18, 0),
            Column::text("USER", 12, 0),
            Column::number("CHECKS/S", 8, 1),
            Column::number("DENIED/S", 8, 2),
            Column::fixed("TOKENS", 12, 3),
            Column::number("LEFT", 9, 4),
        ],
        rows: rows.collect(),
        instead: "no checks of late",
    }
}

/// In plain characters: a terminal may know no others.
fn bar(hot: &Hot, look: Look) -> Span<'static> {
    let Some(fill) = hot.fill() else {
        return Span::from(format!("[{:^BAR$}]", "?"));
    };
    let style = match fill {
        fill if fill < 0.1 => look.bad(),
        fill if fill < 0.5 => look.doubtful(),
        _ => look.good(),
    };
    Span::styled(format!("[{:<BAR$}]", "#".repeat(cells(fill))), style)
}

/// Of an empty bucket none, of a full one all, and of any other neither.
#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "from 0 to 10"
)]
fn cells(fill: f64) -> usize {
    match fill {
        fill if fill <= 0.0 => 0,
        fill if fill >= 1.0 => BAR,
        fill => ((fill * BAR as f64).round() as usize).clamp(1, BAR - 1),
    }
}

/// `12/100`.
fn tokens(hot: &Hot) -> String {
    let Some(status) = &hot.status else {
        return text::NONE.to_owned();
    };
    format!("{}/{}", short(status.remaining), short(status.capacity))
}

/// In at most four characters, never more than there is: `9999`, `12k`, `1.2M`, `2.1G`.
fn short(number: u32) -> String {
    let tenths = |unit: u32, name: &str| {
        let tenths = number / (unit / 10);
        if tenths < 100 {
            format!("{}.{}{name}", tenths / 10, tenths % 10)
        } else {
            format!("{}{name}", tenths / 10)
        }
    };
    match number {
        0..10_000 => number.to_string(),
        10_000..1_000_000 => tenths(1_000, "k"),
        1_000_000..1_000_000_000 => tenths(1_000_000, "M"),
        _ => tenths(1_000_000_000, "G"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_is_empty_or_full_only_where_the_bucket_is() {
        for (fill, expected) in [
            (0.0, 0),
            (0.001, 1),
            (0.14, 1),
            (0.5, 5),
            (0.999, 9),
            (1.0, 10),
        ] {
            assert_eq!(cells(fill), expected, "{fill}");
        }
    }

    #[test]
    fn tokens_are_short_and_never_more_than_there_are() {
        for (number, expected) in [
            (0, "0"),
            (9_999, "9999"),
            (10_000, "10k"),
            (999_999, "999k"),
            (1_299_999, "1.2M"),
            (10_000_000, "10M"),
            (2_147_483_647, "2.1G"),
        ] {
            assert_eq!(short(number), expected);
            assert!(expected.len() <= 4);
        }
    }
}
