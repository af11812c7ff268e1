//! What is wrong with what a backend lists, for its operator to read.

use std::{collections::HashSet, fmt::Display};

use tracing::warn;

use super::{BackendName, Lists};

/// The longest name of a tool in a policy, in characters.
const MAX_TOOL_NAME: usize = 128;

/// The longest name of a prompt in a policy, in bytes.
const MAX_PROMPT_NAME: usize = 1_024;

/// Names that a fault gives as examples.
const EXAMPLES: usize = 5;

/// Said once, and again when they have changed.
#[derive(Clone, Debug, Default)]
pub(super) struct Faults(Vec<Fault>);

#[derive(Clone, Debug)]
struct Fault {
    list: &'static str,
    what: String,
    /// The backend's own words. Others make no other fault: they may hold a time or an id.
    said: String,
}

impl Faults {
    /// `list` could not be fetched; what was listed before stays.
    pub(super) fn failed(&mut self, list: &'static str, why: &impl Display, said: &str) {
        let what = format!("it could not be fetched, and stays as it was: {why}");
        self.add(list, what, said);
    }

    /// `list` was not read to its end.
    pub(super) fn cut(&mut self, list: &'static str, why: &impl Display) {
        self.add(
            list,
            format!("the rest of it is not shown: it has {why}"),
            "",
        );
    }

    /// Items of `list` could not be read: `which`, and why.
    pub(super) fn left_out(&mut self, list: &'static str, which: &[String]) {
        self.told(list, "these cannot be read and are left out", which);
    }

    /// Finds names that limits cannot tell apart, or cannot name at all.
    pub(super) fn inspect(&mut self, lists: &Lists) {
        let tools = || lists.tools.iter().map(|tool| tool.name.as_ref());
        let prompts = || lists.prompts.iter().map(|prompt| prompt.name.as_str());
        self.names("tools/list", tools(), is_tool_name);
        self.names("prompts/list", prompts(), is_prompt_name);
        let uris = lists.resources.iter().map(|resource| resource.uri.as_str());
        self.names("resources/list", uris, |_| true);
    }

    fn names<'a>(
        &mut self,
        list: &'static str,
        names: impl Iterator<Item = &'a str>,
        is_name: impl Fn(&str) -> bool,
    ) {
        let mut seen = HashSet::new();
        let (mut twice, mut odd) = (Vec::new(), Vec::new());
        for name in names {
            if !seen.insert(name) {
                twice.push(name);
            } else if !is_name(name) {
                odd.push(name);
            }
        }
        for (names, what) in [
            (odd, "no policy can limit these by name"),
            (twice, "these are listed more than once"),
        ] {
            self.told(list, what, &names);
        }
    }

    fn told(&mut self, list: &'static str, what: &str, which: &[impl AsRef<str>]) {
        if which.is_empty() {
            return;
        }
        let examples = which.iter().take(EXAMPLES);
        let examples: Vec<_> = examples.map(|name| start_of(name.as_ref())).collect();
        self.add(
            list,
            format!("{what}: {}, as {examples:?}", which.len()),
            "",
        );
    }

    fn add(&mut self, list: &'static str, what: String, said: &str) {
        let said = start_of(said).to_owned();
        self.0.push(Fault { list, what, said });
    }

    /// Says what was not so `before`.
    pub(super) fn warn(&self, before: &Self, backend: &BackendName) {
        for Fault { list, what, said } in self.new_since(before) {
            warn!(%backend, list, said, "{what}");
        }
    }

    fn new_since<'a>(&'a self, before: &'a Self) -> impl Iterator<Item = &'a Fault> {
        let was = |fault: &Fault| {
            let mut before = before.0.iter();
            before.any(|b| (b.list, &b.what) == (fault.list, &fault.what))
        };
        self.0.iter().filter(move |fault| !was(fault))
    }
}

/// As in a `RateLimitPolicy`.
fn is_tool_name(name: &str) -> bool {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b"_-./".contains(&b);
    (1..=MAX_TOOL_NAME).contains(&name.len()) && name.bytes().all(allowed)
}

/// As in a `RateLimitPolicy`.
fn is_prompt_name(name: &str) -> bool {
    (1..=MAX_PROMPT_NAME).contains(&name.len()) && !name.contains(char::is_control)
}

/// As much of a text that somebody else has chosen as belongs in a log.
fn start_of(text: &str) -> &str {
    const MOST: usize = 200;
    &text[..text.floor_char_boundary(MOST)]
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use rmcp::model::{Prompt, Tool};

    use super::*;

    fn of(tools: &[&str], prompts: &[&str]) -> Faults {
        let tool = |name: &&str| Tool::new((*name).to_owned(), "", Arc::default());
        let prompt = |name: &&str| Prompt::new(*name, None::<String>, None);
        let mut faults = Faults::default();
        faults.inspect(&Lists {
            tools: tools.iter().map(tool).collect(),
            prompts: prompts.iter().map(prompt).collect(),
            ..Lists::default()
        });
        faults
    }

    #[test]
    fn names_that_no_policy_can_hold_and_names_listed_twice_are_faults() {
        let long = format!("a_{}", "x".repeat(127));
        let faults = of(&["a_x", "a_x y", "a_x", "a_ü", &long], &["a_p q", "a_p\n"]);
        let said: Vec<_> = faults.0.iter().map(|f| (f.list, f.what.as_str())).collect();
        assert_eq!(
            said,
            [
                (
                    "tools/list",
                    format!(
                        "no policy can limit these by name: 3, as [\"a_x y\", \"a_ü\", {long:?}]"
                    )
                    .as_str()
                ),
                (
                    "tools/list",
                    "these are listed more than once: 1, as [\"a_x\"]"
                ),
                (
                    "prompts/list",
                    "no policy can limit these by name: 1, as [\"a_p\\n\"]"
                ),
            ]
        );
        assert!(of(&["a_x.y/Z-1"], &["a_weekly report"]).0.is_empty());
    }

    #[test]
    fn a_fault_is_news_until_it_was_said_and_again_after_it_was_gone() {
        let (odd, other, none) = (of(&["a_!"], &[]), of(&["a_?"], &[]), of(&[], &[]));
        let news = |now: &Faults, before: &Faults| now.new_since(before).count();
        assert_eq!(news(&odd, &none), 1);
        assert_eq!(news(&odd, &odd.clone()), 0);
        assert_eq!(news(&other, &odd), 1);
        assert_eq!(news(&odd, &none), 1);
    }

    #[test]
    fn the_backends_own_words_make_no_other_fault() {
        let failed = |said| {
            let mut faults = Faults::default();
            faults.failed("prompts/list", &"error -32603", said);
            faults
        };
        let (first, second) = (failed("at 10:00"), failed("at 10:01"));
        assert_eq!(second.new_since(&first).count(), 0);
    }
}
