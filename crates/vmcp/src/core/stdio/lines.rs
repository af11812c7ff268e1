//! What a child says, line by line.

use rmcp::model::RequestId;
use tokio::io::{AsyncBufReadExt as _, AsyncRead, BufReader};

use super::skim::Skim;
use crate::core::answer::MAX_BYTES;

/// Of a line that is too long, the most bytes that are passed over. Behind one without an end nothing is
/// ever read.
const MAX_SKIPPED: usize = 4 * MAX_BYTES;

/// Lines, as they come.
#[derive(Debug)]
pub(super) struct Lines<R> {
    read: BufReader<R>,
    /// What has come of the next one: a wait that is dropped loses nothing.
    line: Vec<u8>,
    /// What is known of a line that is too long, and its length so far.
    skipped: Option<(Skim, usize)>,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Line {
    Whole(Vec<u8>),
    /// One of more than [`MAX_BYTES`], and the request to which it is the answer, if it is one.
    TooLong(Option<RequestId>),
}

impl<R: AsyncRead + Unpin> Lines<R> {
    pub(super) fn of(read: R) -> Self {
        Self {
            read: BufReader::new(read),
            line: Vec::new(),
            skipped: None,
        }
    }

    /// The next one. None at the end, or if there is no reading on.
    pub(super) async fn next(&mut self) -> Option<Line> {
        loop {
            let there = self.read.fill_buf().await.ok()?;
            if there.is_empty() {
                return None;
            }
            let end = there.iter().position(|byte| *byte == b'\n');
            let part = &there[..end.unwrap_or(there.len())];
            if let Some((skim, length)) = &mut self.skipped {
                skim.feed(part);
                *length += part.len();
                if *length > MAX_SKIPPED {
                    tracing::warn!(most = MAX_SKIPPED, "a line of a backend has no end");
                    return None;
                }
            } else {
                self.line.extend_from_slice(part);
                if self.line.len() > MAX_BYTES {
                    tracing::warn!(most = MAX_BYTES, "a line of a backend is too long");
                    let line = std::mem::take(&mut self.line);
                    self.skipped = Some((Skim::of(&line), line.len()));
                }
            }
            let taken = part.len() + usize::from(end.is_some());
            self.read.consume(taken);
            if end.is_some() {
                return Some(match self.skipped.take() {
                    Some((skim, _)) => Line::TooLong(skim.answered()),
                    None => Line::Whole(std::mem::take(&mut self.line)),
                });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_line_that_is_too_long_says_whose_answer_it_is_and_the_next_is_read() {
        let long = "x".repeat(MAX_BYTES);
        let text = format!(
            "one\n{{\"result\":\"{long}\",\"jsonrpc\":\"2.0\",\"id\":7}}\n{long}!\n{long}\ntwo\nhalf"
        );
        let mut lines = Lines::of(text.as_bytes());
        let whole = |text: &str| Some(Line::Whole(text.as_bytes().to_vec()));
        assert_eq!(lines.next().await, whole("one"));
        assert_eq!(
            lines.next().await,
            Some(Line::TooLong(Some(RequestId::Number(7))))
        );
        assert_eq!(lines.next().await, Some(Line::TooLong(None)));
        assert_eq!(lines.next().await, whole(&long));
        assert_eq!(lines.next().await, whole("two"));
        assert_eq!(lines.next().await, None);
    }

    #[tokio::test]
    async fn a_line_without_end_is_not_read_for_ever() {
        let mut lines = Lines::of(tokio::io::repeat(b'x'));
        assert_eq!(lines.next().await, None);
    }
}
