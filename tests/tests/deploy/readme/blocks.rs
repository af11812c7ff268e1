//! The parts of a page that promise something: its commands, and its files.

/// A part, in the order of the page.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Part {
    /// A line after `$ `, with those that it is continued on, and what the page shows as its output.
    Command { line: String, output: String },
    /// YAML that begins with a comment, which names it.
    File { name: String, text: String },
}

/// All parts of `page`.
///
/// # Panics
///
/// If a block is of a kind of which nobody could say whether it is right.
pub(super) fn parts(page: &str) -> Vec<Part> {
    let mut parts = Vec::new();
    let mut lines = page.lines();
    while let Some(line) = lines.next() {
        let Some(kind) = line.strip_prefix("```") else {
            continue;
        };
        let block: Vec<_> = lines.by_ref().take_while(|line| *line != "```").collect();
        match kind {
            "console" => parts.extend(commands(&block)),
            "yaml" => {
                let name = block.first().and_then(|line| line.strip_prefix("# "));
                let name = name.filter(|name| name.strip_suffix(".yaml").is_some());
                let name = name.unwrap_or_else(|| panic!("a file without a name: {block:?}"));
                parts.push(Part::File {
                    name: name.to_owned(),
                    text: block.join("\n") + "\n",
                });
            }
            other => panic!("nobody checks a block of {other:?}"),
        }
    }
    parts
}

fn commands(block: &[&str]) -> Vec<Part> {
    let mut commands: Vec<(String, Vec<&str>)> = Vec::new();
    let mut is_continued = false;
    for line in block {
        if is_continued {
            let (command, _) = commands.last_mut().expect("one that is continued");
            command.push('\n');
            command.push_str(line);
        } else if let Some(command) = line.strip_prefix("$ ") {
            commands.push((command.to_owned(), Vec::new()));
        } else {
            let last = commands.last_mut();
            let (_, output) = last.unwrap_or_else(|| panic!("output of nothing: {line}"));
            output.push(line);
            continue;
        }
        is_continued = line.ends_with('\\');
    }
    let part = |(line, output): (String, Vec<&str>)| Part::Command {
        line,
        output: output.join("\n"),
    };
    commands.into_iter().map(part).collect()
}

#[test]
fn a_page_is_read_with_its_commands_outputs_and_files() {
    let page =
        "text\n```console\n$ a \\\n  b\nout\n\nput\n$ c\n```\n```yaml\n# f.yaml\nk: v\n```\n";
    let command = |line: &str, output: &str| Part::Command {
        line: line.to_owned(),
        output: output.to_owned(),
    };
    let file = Part::File {
        name: "f.yaml".to_owned(),
        text: "# f.yaml\nk: v\n".to_owned(),
    };
    assert_eq!(
        parts(page),
        [command("a \\\n  b", "out\n\nput"), command("c", ""), file]
    );
}
