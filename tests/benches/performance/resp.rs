//! As much of Redis's protocol as it takes to tell where a message ends.

use std::fmt::Write as _;

/// The length of the first message, or none if it is not all there.
pub(crate) fn length(bytes: &[u8]) -> Option<usize> {
    let line_end = bytes.windows(2).position(|two| two == b"\r\n")?;
    let after_line = line_end + 2;
    let number = || -> i64 {
        let text = std::str::from_utf8(&bytes[1..line_end]).expect("a number");
        text.parse().expect("a number")
    };
    match bytes[0] {
        b'*' | b'%' | b'~' => {
            let each = if bytes[0] == b'%' { 2 } else { 1 };
            let mut end = after_line;
            for _ in 0..number() * each {
                end += length(bytes.get(end..)?)?;
            }
            Some(end)
        }
        b'$' => {
            let content = usize::try_from(number()).ok(); // -1: none
            let end = content.map_or(after_line, |content| after_line + content + 2);
            (bytes.len() >= end).then_some(end)
        }
        _ => Some(after_line),
    }
}

/// The first message and what follows it.
pub(crate) fn split(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    bytes.split_at_checked(length(bytes)?)
}

/// A command as it travels.
pub(crate) fn command(parts: &[&str]) -> Vec<u8> {
    let mut command = format!("*{}\r\n", parts.len());
    for part in parts {
        // Writing to a string cannot fail.
        let _ = write!(command, "${}\r\n{part}\r\n", part.len());
    }
    command.into_bytes()
}
