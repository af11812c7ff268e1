//! Limits in the configuration file of a gateway: the block `rateLimiting` at its top level, in
//! the words of `ToolHive`, which has it there too, and with `mode` as in a `RateLimitPolicy`.
//!
//! The rest of the file is the gateway's own business. In the block an unknown field is an error,
//! as it is in manifests, and so is a block whose name is misspelt: a typo must not open the gate.

use std::ops::Range;

use toolgate_limit::{Policy, ServerId};

use super::{
    Manifest,
    limits::{Dialect, Limits},
    rate_limit_policy::read_mode,
};
use crate::{
    diagnostic::{Report, lines},
    fields::{Fields, plain},
    node::{Entry, Node, Value},
};

/// The name of the block.
pub(crate) const BLOCK: &str = "rateLimiting";

/// What the block in `document` says of `server`; nothing if there is no block, or a null.
///
/// Of `text` only lines of the block are shown with what is wrong in them: others may hold secrets.
pub(crate) fn read<'t>(
    document: &Node,
    text: &'t str,
    server: &ServerId,
    report: &mut Report<'t>,
) -> Manifest {
    let Value::Mapping(entries) = &document.value else {
        let message = format!("the file must be a mapping, not {}", document.kind());
        report.error(document.place, message);
        return Manifest::default();
    };
    let Some(mut fields) = Fields::of(document, String::new(), report) else {
        return Manifest::default();
    };
    if fields.entry(BLOCK).is_none() {
        refuse_misspelt(entries, report);
    }
    let Some(block) = fields.optional(BLOCK) else {
        return Manifest::default();
    };
    report.show(text, own_lines(block, entries, text));
    Manifest {
        server: Some((server.clone(), block.place)),
        policy: read_block(block, server, report),
    }
}

fn read_block(block: &Entry, server: &ServerId, report: &mut Report<'_>) -> Option<Policy> {
    let mut fields = Fields::of(&block.node, BLOCK.to_owned(), report)?;
    let mode = read_mode(&mut fields, report);
    let limits = Limits::read(fields, block.place, Dialect::ToolHive, report);
    let policy = limits.into_policy(server.clone(), mode, block.place, report);
    policy.filter(|_| report.errors() == 0)
}

/// `rate_limiting`, `rateLimits`: ignored, as other fields of the file are, it would open the gate.
fn refuse_misspelt(entries: &[Entry], report: &mut Report<'_>) {
    for Entry { key, place, .. } in entries {
        if plain(key).starts_with("ratelimit") {
            let message = format!("unknown field {key:?}; did you mean {BLOCK}?");
            report.error(*place, message);
        }
    }
}

/// The lines that hold nothing but the block: from its key to the next field of the file. None if
/// the key does not begin its line, as in a file of one line.
fn own_lines(block: &Entry, entries: &[Entry], text: &str) -> Range<usize> {
    let first = block.place.line;
    let before = lines(text).nth(first.saturating_sub(1)).unwrap_or_default();
    let mut before = before.chars().take(block.place.column.saturating_sub(1));
    if !before.all(char::is_whitespace) {
        return first..first;
    }
    let places = entries.iter().map(|entry| entry.place);
    let next = places.filter(|place| *place > block.place).min();
    first..next.map_or(usize::MAX, |next| next.line)
}
