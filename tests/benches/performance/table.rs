//! Rounds, medians, ratios, and Markdown.

use std::{collections::HashMap, fmt};

/// What one side of a comparison came to in one round, by name.
pub(crate) type Figures = HashMap<&'static str, f64>;

/// One side of a comparison.
pub(crate) struct Side<'a> {
    pub(crate) name: String,
    pub(crate) run: Box<dyn FnMut() -> Figures + 'a>,
}

impl<'a> Side<'a> {
    pub(crate) fn new(name: impl Into<String>, run: impl FnMut() -> Figures + 'a) -> Self {
        Self {
            name: name.into(),
            run: Box::new(run),
        }
    }
}

/// What to show of the figures.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Column {
    pub(crate) title: &'static str,
    /// The figure's name.
    pub(crate) of: &'static str,
    /// Divided by that figure of the side with that number, in the same round.
    pub(crate) over: Option<(usize, &'static str)>,
    pub(crate) digits: usize,
}

impl Column {
    pub(crate) const fn new(title: &'static str, of: &'static str, digits: usize) -> Self {
        Self {
            title,
            of,
            over: None,
            digits,
        }
    }

    /// The ratio to the same figure of another side.
    pub(crate) const fn ratio(title: &'static str, of: &'static str, side: usize) -> Self {
        Self {
            title,
            of,
            over: Some((side, of)),
            digits: 2,
        }
    }
}

/// All rounds of a comparison.
#[derive(Debug)]
pub(crate) struct Rounds {
    names: Vec<String>,
    /// By round, then by side.
    figures: Vec<Vec<Figures>>,
}

/// Runs all sides in turn, that many rounds.
pub(crate) fn interleaved(rounds: usize, mut sides: Vec<Side<'_>>) -> Rounds {
    Rounds {
        figures: (0..rounds)
            .map(|_| sides.iter_mut().map(|side| (side.run)()).collect())
            .collect(),
        names: sides.into_iter().map(|side| side.name).collect(),
    }
}

impl Rounds {
    /// One row a side; an absent figure is a dash.
    pub(crate) fn print(&self, title: &str, columns: &[Column]) {
        println!("**{title}**\n");
        let titles: Vec<_> = columns.iter().map(|column| column.title).collect();
        println!("| | {} |", titles.join(" | "));
        println!("|---|{}", "---:|".repeat(columns.len()));
        for (side, name) in self.names.iter().enumerate() {
            let cells = columns.iter().map(|column| {
                let spread = self.spread(side, *column);
                spread.map_or_else(|| "-".to_owned(), |spread| spread.show(column.digits))
            });
            println!("| {name} | {} |", cells.collect::<Vec<_>>().join(" | "));
        }
        println!();
    }

    /// None if a round of that side lacks the figure.
    pub(crate) fn spread(&self, side: usize, column: Column) -> Option<Spread> {
        let values = self.figures.iter().map(|round| {
            let value = *round[side].get(column.of)?;
            match column.over {
                None => Some(value),
                Some((other, of)) => Some(value / round[other].get(of)?),
            }
        });
        Some(Spread::of(values.collect::<Option<Vec<_>>>()?))
    }
}

/// A median, and what lies around it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Spread {
    pub(crate) least: f64,
    pub(crate) median: f64,
    pub(crate) most: f64,
}

impl Spread {
    pub(crate) fn of(mut values: Vec<f64>) -> Self {
        values.sort_by(f64::total_cmp);
        Self {
            least: values[0],
            median: values[values.len() / 2],
            most: values[values.len() - 1],
        }
    }

    fn show(self, digits: usize) -> String {
        let number = |value| Number(value, digits);
        let (least, median, most) = (number(self.least), number(self.median), number(self.most));
        format!("{median} ({least} to {most})")
    }
}

/// With that many digits after the point, and thousands apart.
pub(crate) struct Number(pub(crate) f64, pub(crate) usize);

impl fmt::Display for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = format!("{:.*}", self.1, self.0);
        let (whole, rest) = text.split_at(text.find('.').unwrap_or(text.len()));
        for (place, digit) in whole.char_indices() {
            let to_go = whole.len() - place;
            if place > 0 && to_go.is_multiple_of(3) && !whole[..place].ends_with('-') {
                f.write_str(",")?;
            }
            write!(f, "{digit}")?;
        }
        f.write_str(rest)
    }
}
