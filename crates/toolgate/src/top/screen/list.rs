//! A list under a header, in as many columns as fit.

use ratatui::{
    Frame,
    layout::{Alignment, Constraint, Rect},
    style::{Modifier, Style},
    text::{Line, Span},
    widgets::{Cell, Row, Table},
};

use crate::output::{Palette, number};

/// Between two columns.
const GAP: u16 = 1;

/// Rows of one kind.
pub(super) struct List {
    pub(super) columns: Vec<Column>,
    /// One cell a column.
    pub(super) rows: Vec<Vec<Span<'static>>>,
    /// Where there are no rows.
    pub(super) instead: &'static str,
}

/// One column.
#[derive(Clone, Copy, Debug)]
pub(super) struct Column {
    title: &'static str,
    width: Width,
    /// Where there is no room the highest go first; 0 stays.
    rank: u8,
    alignment: Alignment,
}

#[derive(Clone, Copy, Debug)]
enum Width {
    Fixed(u16),
    /// At least so much, and its share of the rest.
    Share(u16),
}

impl Column {
    /// Text that takes what room there is.
    pub(super) const fn text(title: &'static str, least: u16, rank: u8) -> Self {
        Self {
            title,
            width: Width::Share(least),
            rank,
            alignment: Alignment::Left,
        }
    }

    /// Text of a known length.
    pub(super) const fn fixed(title: &'static str, width: u16, rank: u8) -> Self {
        Self {
            width: Width::Fixed(width),
            ..Self::text(title, width, rank)
        }
    }

    /// A number, at the right.
    pub(super) const fn number(title: &'static str, width: u16, rank: u8) -> Self {
        Self {
            alignment: Alignment::Right,
            ..Self::fixed(title, width, rank)
        }
    }

    const fn least(self) -> u16 {
        match self.width {
            Width::Fixed(width) | Width::Share(width) => width,
        }
    }

    const fn constraint(self) -> Constraint {
        match self.width {
            Width::Fixed(width) => Constraint::Length(width),
            Width::Share(least) => Constraint::Fill(least),
        }
    }
}

impl List {
    /// What it needs to show all, in lines.
    pub(super) fn height(&self) -> u16 {
        let rows = self.rows.len().max(1);
        u16::try_from(rows).unwrap_or(u16::MAX - 1) + 1
    }

    /// Shows as many rows as fit, from `offset` on, which is set back if it is too far.
    pub(super) fn draw(self, frame: &mut Frame, area: Rect, offset: &mut usize) {
        let room = usize::from(area.height.saturating_sub(1));
        *offset = (*offset).min(self.rows.len().saturating_sub(room));
        let last = (*offset + room).min(self.rows.len());
        let chosen = self.fitting(area.width);
        let style = Style::new().add_modifier(Modifier::REVERSED);
        // The first column of which it is sure that it has room for it.
        let place_of_count = chosen.iter().position(|&it| self.columns[it].rank == 0);
        let titles = chosen.iter().enumerate().map(|(place, &column)| {
            let column = self.columns[column];
            let mut title = column.title.to_owned();
            if Some(place) == place_of_count && last - *offset < self.rows.len() {
                title = format!("{title} {}-{last}/{}", *offset + 1, self.rows.len());
            }
            Cell::new(Line::from(title).alignment(column.alignment))
        });
        let header = Row::new(titles.collect::<Vec<_>>()).style(style);
        let widths: Vec<_> = chosen
            .iter()
            .map(|&it| self.columns[it].constraint())
            .collect();
        let rows: Vec<_> = self.rows[*offset..last]
            .iter()
            .map(|row| {
                let cell = |&place: &usize| {
                    let cell = Line::from(row[place].clone());
                    Cell::new(cell.alignment(self.columns[place].alignment))
                };
                Row::new(chosen.iter().map(cell).collect::<Vec<_>>())
            })
            .collect();
        if self.rows.is_empty() {
            let below = Rect {
                y: area.y + 1,
                height: area.height.saturating_sub(1).min(1),
                ..area
            };
            frame.render_widget(Line::from(self.instead), below);
        }
        let table = Table::new(rows, widths).header(header).column_spacing(GAP);
        frame.render_widget(table, area);
    }

    /// All rows, as wide as they are.
    pub(super) fn to_text(&self, palette: Palette) -> String {
        let mut table = palette.table(self.columns.iter().map(|column| column.title));
        if self.rows.is_empty() {
            return format!("{}: {}", self.columns[0].title, self.instead);
        }
        for row in &self.rows {
            table.add_row(row.iter().zip(&self.columns).map(|(cell, column)| {
                if column.alignment == Alignment::Right {
                    number(&cell.content)
                } else {
                    comfy_table::Cell::new(&cell.content)
                }
            }));
        }
        palette.render(table)
    }

    /// The columns that fit in `width`.
    fn fitting(&self, width: u16) -> Vec<usize> {
        let mut chosen: Vec<_> = (0..self.columns.len()).collect();
        loop {
            let needed: u16 = chosen
                .iter()
                .map(|&it| self.columns[it].least() + GAP)
                .sum();
            let first_to_go = chosen
                .iter()
                .enumerate()
                .max_by_key(|(_, it)| self.columns[**it].rank);
            match first_to_go {
                Some((place, &column)) if needed > width + GAP && self.columns[column].rank > 0 => {
                    chosen.remove(place);
                }
                _ => return chosen,
            }
        }
    }
}
