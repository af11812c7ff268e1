//! JSON that passes this process unchanged, though rmcp's model cannot hold it.
//!
//! The model keeps free-form values as `serde_json::Value`: of 2⁶⁴ it makes
//! 18446744073709552000, and 1e400 it refuses. So a number that would not come out as it came in
//! gets a mark and travels as a text. Where JSON leaves this process the mark is taken away again.
//! A text that begins like a mark gets one as well, so that no text is ever taken for a number.
//!
//! ```text
//! caller  -> marked -> rmcp -> Vmcp -> rmcp -> unmarked -> backend
//! caller <- unmarked <- rmcp <- Vmcp <- rmcp <- marked  <- backend
//! ```

use std::{borrow::Cow, sync::LazyLock};

use serde_json::{Number, value::RawValue};

/// A noncharacter, which no text should hold.
const MARK: char = '\u{10fffe}';

/// As an escape.
const ESCAPED: &str = r"\udbff\udffe";

/// How a marked text begins in JSON.
static BEGIN: LazyLock<String> = LazyLock::new(|| format!("\"{MARK}"));

/// What follows the mark of a number, and of a text.
const NUMBER: char = 'n';
const TEXT: char = 't';

/// Marked JSON has at most so many times the bytes: of `-0` become nine, of `""` none more.
pub(crate) const MOST_GROWTH: usize = 5;

/// Members whose values are free-form, all the way down. Numbers elsewhere are MCP's own.
const FREE: [&str; 6] = [
    "arguments",
    "_meta",
    "structuredContent",
    "inputSchema",
    "outputSchema",
    "data",
];

/// Who has written a JSON text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Writer {
    /// What is wrong is said.
    Caller,
    /// What is wrong is replaced: a lone surrogate, a bare control character, `NaN` and
    /// `Infinity`, and a number of MCP's own that is too large.
    Backend,
}

/// `text` with marks. What is no JSON stays none.
pub(crate) fn marked(text: &str, writer: Writer) -> Cow<'_, str> {
    let mut marking = Marking {
        edit: Edit::of(text),
        is_lenient: writer == Writer::Backend,
        depth: 0,
        free: None,
        is_next_free: false,
    };
    marking.run();
    marking.edit.finish()
}

/// `text` without marks.
pub(crate) fn unmarked(text: &str) -> Cow<'_, str> {
    if !text.contains(BEGIN.as_str()) {
        return Cow::Borrowed(text);
    }
    let mut edit = Edit::of(text);
    let mut at = 0;
    while let Some(start) = text[at..].find('"').map(|found| at + found) {
        let Some(end) = end_of(text, start) else {
            break;
        };
        let mut content = text[start + 1..end].chars();
        let kind = (content.next() == Some(MARK)).then(|| content.next());
        match kind.flatten() {
            Some(NUMBER) if is_number(content.as_str()) => {
                edit.replace(start, end + 1, content.as_str());
            }
            Some(TEXT) => {
                edit.replace(start + 1, end - content.as_str().len(), "");
            }
            _ => {}
        }
        at = end + 1;
    }
    edit.finish()
}

/// What a text stands for that has a mark: a number as it was written, or a text.
pub(crate) fn unmarked_value(text: &str) -> Option<&str> {
    let marked = text.strip_prefix(MARK)?;
    let number = marked
        .strip_prefix(NUMBER)
        .filter(|number| is_number(number));
    number.or_else(|| marked.strip_prefix(TEXT))
}

/// As [`unmarked`], of JSON that serde has written.
pub(crate) fn unmarked_bytes(bytes: Vec<u8>) -> Vec<u8> {
    match std::str::from_utf8(&bytes).map(unmarked) {
        Ok(Cow::Owned(text)) => text.into_bytes(),
        Ok(Cow::Borrowed(_)) | Err(_) => bytes,
    }
}

/// The end quote of the string that begins at `start`.
fn end_of(text: &str, start: usize) -> Option<usize> {
    let bytes = text.as_bytes();
    let mut at = start + 1;
    loop {
        match bytes.get(at)? {
            b'"' => return Some(at),
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
}

fn is_number(token: &str) -> bool {
    token.starts_with(|c: char| c == '-' || c.is_ascii_digit())
        && serde_json::from_str::<&RawValue>(token).is_ok_and(|raw| raw.get() == token)
}

/// Whether a `Value` gives `number` back as it is.
fn survives(number: &str) -> bool {
    let is_short = number.len() < 19 && number.bytes().all(|byte| byte.is_ascii_digit());
    if is_short && (number == "0" || !number.starts_with('0')) {
        return true;
    }
    serde_json::from_str::<Number>(number).is_ok_and(|read| read.to_string() == number)
}

struct Marking<'a> {
    edit: Edit<'a>,
    is_lenient: bool,
    depth: usize,
    /// The depth at which the values became free-form.
    free: Option<usize>,
    is_next_free: bool,
}

impl Marking<'_> {
    fn run(&mut self) {
        let text = self.edit.text;
        let mut at = 0;
        while let Some(byte) = text.as_bytes().get(at) {
            at = match byte {
                b'"' => self.string(at),
                b'-' | b'0'..=b'9' | b'A'..=b'Z' | b'a'..=b'z' => self.token(at),
                b'{' | b'[' => {
                    self.depth += 1;
                    if self.is_next_free && self.free.is_none() {
                        self.free = Some(self.depth);
                    }
                    self.is_next_free = false;
                    at + 1
                }
                b'}' | b']' => {
                    if self.free == Some(self.depth) {
                        self.free = None;
                    }
                    self.depth = self.depth.saturating_sub(1);
                    self.is_next_free = false;
                    at + 1
                }
                b',' => {
                    self.is_next_free = false;
                    at + 1
                }
                _ => at + 1,
            };
        }
    }

    /// Past the string that begins at `start`.
    fn string(&mut self, start: usize) -> usize {
        let text = self.edit.text;
        let Some(end) = end_of(text, start) else {
            return text.len();
        };
        let content = &text[start + 1..end];
        let begin = content.get(..ESCAPED.len()).unwrap_or_default();
        if content.starts_with(MARK) || begin.eq_ignore_ascii_case(ESCAPED) {
            let mark = format!("{MARK}{TEXT}");
            self.edit.replace(start + 1, start + 1, &mark);
        }
        if self.is_lenient {
            self.repair(start + 1, end);
        }
        let after = text[end + 1..].trim_start_matches([' ', '\t', '\r', '\n']);
        if after.starts_with(':') {
            self.is_next_free = FREE.contains(&content);
        }
        end + 1
    }

    /// Makes what stands between `at` and `end` a text.
    fn repair(&mut self, mut at: usize, end: usize) {
        let text = self.edit.text;
        let unit = |at: usize| {
            let digits = text.get(at..at + 6)?.strip_prefix(r"\u")?;
            u16::from_str_radix(digits, 16).ok()
        };
        while at < end {
            let byte = text.as_bytes()[at];
            if byte < 0x20 {
                self.edit.replace(at, at + 1, &format!(r"\u{byte:04x}"));
            }
            if byte != b'\\' {
                at += 1;
                continue;
            }
            at += match unit(at) {
                Some(0xd800..0xdc00) if matches!(unit(at + 6), Some(0xdc00..0xe000)) => 12,
                Some(0xd800..0xe000) => {
                    self.edit.replace(at, at + 6, r"\ufffd");
                    6
                }
                _ => 2,
            };
        }
    }

    /// Past the number or word that begins at `start`.
    fn token(&mut self, start: usize) -> usize {
        let text = self.edit.text;
        let is_part = |c: char| c.is_ascii_alphanumeric() || "+-.".contains(c);
        let length = text[start..].find(|c| !is_part(c));
        let end = length.map_or(text.len(), |length| start + length);
        let token = &text[start..end];
        let is_free = self.free.is_some() || (self.is_lenient && self.is_next_free);
        if is_free && !survives(token) && is_number(token) {
            let marked = format!("{}{NUMBER}{token}\"", *BEGIN);
            self.edit.replace(start, end, &marked);
        } else if self.is_lenient
            && (["NaN", "Infinity", "-Infinity"].contains(&token)
                || (is_number(token) && token.parse().is_ok_and(f64::is_infinite)))
        {
            self.edit.replace(start, end, "null");
        }
        end
    }
}

/// A text with some parts replaced, in their order.
struct Edit<'a> {
    text: &'a str,
    done: String,
    /// How much of `text` is in `done`.
    copied: usize,
}

impl<'a> Edit<'a> {
    const fn of(text: &'a str) -> Self {
        Self {
            text,
            done: String::new(),
            copied: 0,
        }
    }

    fn replace(&mut self, from: usize, to: usize, by: &str) {
        self.done.push_str(&self.text[self.copied..from]);
        self.done.push_str(by);
        self.copied = to;
    }

    fn finish(mut self) -> Cow<'a, str> {
        if self.copied == 0 {
            return Cow::Borrowed(self.text);
        }
        self.done.push_str(&self.text[self.copied..]);
        Cow::Owned(self.done)
    }
}

#[cfg(test)]
mod tests;
