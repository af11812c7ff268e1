//! How output looks.

use std::fmt;

use clap::builder::styling::{AnsiColor, Style};
use comfy_table::{Attribute, Cell, CellAlignment, Color, Table, TableComponent, presets};

/// With colours or without.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Palette {
    colour: bool,
}

impl Palette {
    pub(super) const fn new(colour: bool) -> Self {
        Self { colour }
    }

    /// Without colours.
    #[cfg(test)]
    pub(crate) const fn plain() -> Self {
        Self::new(false)
    }

    pub(crate) const fn is_coloured(self) -> bool {
        self.colour
    }

    /// A table of that header: a line below it, and no other.
    pub(crate) fn table<T: Into<String>>(self, header: impl IntoIterator<Item = T>) -> Table {
        let mut table = Table::new();
        table
            .load_preset(presets::NOTHING)
            .set_style(TableComponent::HeaderLines, '─')
            .set_header(header.into_iter().map(|name| {
                let cell = Cell::new(name.into());
                if self.colour {
                    cell.add_attribute(Attribute::Bold)
                } else {
                    cell
                }
            }));
        let last = table.column_count().saturating_sub(1);
        for (index, column) in table.column_iter_mut().enumerate() {
            column.set_padding((0, if index == last { 0 } else { 2 }));
        }
        table
    }

    /// A cell in that colour.
    pub(super) fn coloured(self, text: impl fmt::Display, colour: Color) -> Cell {
        let cell = Cell::new(text);
        if self.colour { cell.fg(colour) } else { cell }
    }

    /// The table as text without trailing blanks.
    pub(crate) fn render(self, mut table: Table) -> String {
        if self.colour {
            table.enforce_styling();
        } else {
            table.force_no_tty();
        }
        table.trim_fmt()
    }

    /// Good news.
    pub(super) fn good(self, text: impl fmt::Display) -> String {
        self.styled(text, AnsiColor::Green.on_default())
    }

    /// Bad news.
    pub(super) fn bad(self, text: impl fmt::Display) -> String {
        self.styled(text, AnsiColor::Red.on_default().bold())
    }

    fn styled(self, text: impl fmt::Display, style: Style) -> String {
        if self.colour {
            format!("{style}{text}{style:#}")
        } else {
            text.to_string()
        }
    }
}

/// A number, which stands at the right of its column.
pub(crate) fn number(number: impl fmt::Display) -> Cell {
    Cell::new(number).set_alignment(CellAlignment::Right)
}
