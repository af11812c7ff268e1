//! What is wrong with a manifest, and where.

use std::{
    fmt,
    ops::Range,
    path::{Path, PathBuf},
};

use crate::{Origin, object::Fields as ObjectFields};

/// Whether a finding stops its manifests from coming into force.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// Nothing of what was read comes into force.
    Error,
    /// It works, but somebody should change it.
    Warning,
}

/// A place in a text: line and column, both from 1, in characters. In an object of a cluster, which
/// has no lines, `line` is the number of the field; the [`Report`] knows its path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Place {
    pub(crate) line: usize,
    pub(crate) column: usize,
}

/// One finding, with its place.
///
/// Displayed as compilers do it, or, of an object in a cluster, with the path of the field:
///
/// ```text
/// research.yaml:7:23: error: maxTokens must be between 1 and 2147483647, not 0
///   7 |   global: {maxTokens: 0, refillPeriod: 1m}
///     |                       ^
/// RateLimitPolicy default/research: spec.global.maxTokens: error: maxTokens must be between 1 and …
/// ```
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Diagnostic {
    file: PathBuf,
    place: Option<Place>,
    field: Option<String>,
    severity: Severity,
    message: String,
    source_line: String,
}

impl Diagnostic {
    /// A finding about `file` as a whole.
    pub(crate) fn of_file(file: &Path, severity: Severity, message: impl Into<String>) -> Self {
        Self {
            file: file.to_owned(),
            place: None,
            field: None,
            severity,
            message: message.into(),
            source_line: String::new(),
        }
    }

    /// An error about the manifest at `origin` as a whole.
    pub fn error_in(origin: &Origin, message: impl Into<String>) -> Self {
        let name = match origin {
            Origin::File { file, .. } => file.clone(),
            Origin::Object { .. } => origin.to_string().into(),
        };
        Self::of_file(&name, Severity::Error, message)
    }

    /// Error or warning.
    pub const fn severity(&self) -> Severity {
        self.severity
    }

    /// The file or folder as it was named to be read, or the object's kind, namespace and name.
    pub fn file(&self) -> &Path {
        &self.file
    }

    /// Line in the file, from 1; none in an object, and if the file as a whole is meant.
    pub fn line(&self) -> Option<usize> {
        self.place.map(|place| place.line)
    }

    /// Column in the line, from 1, in characters; none where there is no line.
    pub fn column(&self) -> Option<usize> {
        self.place.map(|place| place.column)
    }

    /// Path of the field in an object of a cluster, for example `spec.tools[0].name`; none in a file,
    /// and if the object as a whole is meant.
    pub fn field(&self) -> Option<&str> {
        self.field.as_deref()
    }

    /// What is wrong: lower case, no full stop.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// The line as it stands in the file; empty if the file as a whole is meant, and where it may
    /// hold secrets.
    pub fn source_line(&self) -> &str {
        &self.source_line
    }
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.file.display())?;
        if let Some(Place { line, column }) = self.place {
            write!(f, ":{line}:{column}")?;
        }
        if let Some(field) = &self.field {
            write!(f, ": {}", printable(field.chars()))?;
        }
        let severity = match self.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
        };
        write!(f, ": {severity}: {}", printable(self.message.chars()))?;
        match self.place {
            Some(place) if !self.source_line.is_empty() => write_caret(f, place, &self.source_line),
            _ => Ok(()),
        }
    }
}

/// The line and a caret below its column. Of a long line, as JSON has it, only what is near.
fn write_caret(f: &mut fmt::Formatter<'_>, place: Place, source_line: &str) -> fmt::Result {
    const BEFORE: usize = 60;
    const SHOWN: usize = 120;
    let column = place.column.saturating_sub(1);
    let skipped = column.saturating_sub(BEFORE);
    let shown = printable(source_line.chars().skip(skipped).take(SHOWN));
    let number = place.line.to_string();
    writeln!(f, "\n  {number} | {}", shown.trim_end())?;
    let (margin, indent) = (number.len(), column - skipped);
    write!(f, "  {:margin$} | {:indent$}^", "", "")
}

/// Each control character, a tab included, as one blank: a caret stays in its column, and no
/// manifest can steer the terminal that shows it.
fn printable(text: impl Iterator<Item = char>) -> String {
    text.map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// All findings of one reading, in the order of files, lines and columns.
///
/// As an error it displays every one of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Diagnostics(Vec<Diagnostic>);

impl Diagnostics {
    /// Whether there is an error among them.
    pub fn has_errors(&self) -> bool {
        self.errors().next().is_some()
    }

    /// The errors alone.
    pub fn errors(&self) -> impl Iterator<Item = &Diagnostic> {
        self.of(Severity::Error)
    }

    /// The warnings alone.
    pub fn warnings(&self) -> impl Iterator<Item = &Diagnostic> {
        self.of(Severity::Warning)
    }

    fn of(&self, severity: Severity) -> impl Iterator<Item = &Diagnostic> {
        self.iter()
            .filter(move |diagnostic| diagnostic.severity == severity)
    }

    /// All of them.
    pub fn iter(&self) -> std::slice::Iter<'_, Diagnostic> {
        self.0.iter()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl From<Vec<Diagnostic>> for Diagnostics {
    fn from(mut diagnostics: Vec<Diagnostic>) -> Self {
        diagnostics.sort();
        Self(diagnostics)
    }
}

impl<'a> IntoIterator for &'a Diagnostics {
    type Item = &'a Diagnostic;
    type IntoIter = std::slice::Iter<'a, Diagnostic>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl fmt::Display for Diagnostics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, diagnostic) in self.iter().enumerate() {
            if i > 0 {
                writeln!(f)?;
            }
            write!(f, "{diagnostic}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Diagnostics {}

/// The lines of `text` as YAML counts them: each ends with a line feed, a carriage return or both
/// (YAML 1.2.2, section 5.4).
pub(crate) fn lines(text: &str) -> impl Iterator<Item = &str> {
    text.split('\n')
        .flat_map(|line| line.strip_suffix('\r').unwrap_or(line).split('\r'))
}

/// Collects the findings in one file, or in one object of a cluster.
#[derive(Debug)]
pub(crate) struct Report<'a> {
    file: &'a Path,
    lines: Vec<&'a str>,
    /// Of an object: its fields, by their number. None: there are lines.
    fields: Option<&'a ObjectFields>,
    found: Vec<Diagnostic>,
    errors: usize,
}

impl<'a> Report<'a> {
    pub(crate) fn new(file: &'a Path, text: &'a str) -> Self {
        Self {
            file,
            lines: lines(text).collect(),
            fields: None,
            found: Vec::new(),
            errors: 0,
        }
    }

    /// Of the object `name`, which has these fields.
    pub(crate) const fn of_object(name: &'a Path, fields: &'a ObjectFields) -> Self {
        Self {
            file: name,
            lines: Vec::new(),
            fields: Some(fields),
            found: Vec::new(),
            errors: 0,
        }
    }

    /// Where `place` is, for a message about another place.
    pub(crate) fn locate(&self, place: Place) -> String {
        match self.field(place) {
            Some(field) => field,
            None => format!("line {}", place.line),
        }
    }

    fn field(&self, place: Place) -> Option<String> {
        self.fields?.path(place.line)
    }

    /// Lets findings to come show only the lines `range` of `text`, counted from 1.
    pub(crate) fn show(&mut self, text: &'a str, range: Range<usize>) {
        let shown = |(number, line)| if range.contains(&number) { line } else { "" };
        self.lines = (1..).zip(lines(text)).map(shown).collect();
    }

    pub(crate) fn error(&mut self, place: Place, message: impl fmt::Display) {
        self.errors += 1;
        self.add(Severity::Error, place, &message);
    }

    pub(crate) fn warning(&mut self, place: Place, message: impl fmt::Display) {
        self.add(Severity::Warning, place, &message);
    }

    fn add(&mut self, severity: Severity, place: Place, message: &dyn fmt::Display) {
        let line = self.lines.get(place.line.saturating_sub(1));
        self.found.push(Diagnostic {
            file: self.file.to_owned(),
            place: (place.line > 0 && self.fields.is_none()).then_some(place),
            field: self.field(place),
            severity,
            message: message.to_string(),
            source_line: line.copied().unwrap_or_default().to_owned(),
        });
    }

    /// How many errors there are so far: a rule that speaks of a whole block keeps silent when its
    /// parts were already found wrong.
    pub(crate) const fn errors(&self) -> usize {
        self.errors
    }

    pub(crate) fn into_found(self) -> Vec<Diagnostic> {
        self.found
    }
}

#[cfg(test)]
mod tests;
