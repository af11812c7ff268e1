use super::*;

#[test]
fn a_long_line_is_shown_around_its_column() {
    let line = format!("{}here{}", "x".repeat(500), "y".repeat(500));
    let file = PathBuf::from("a.json");
    let mut report = Report::new(&file, &line);
    report.error(
        Place {
            line: 1,
            column: 501,
        },
        "wrong",
    );
    let shown = report.into_found()[0].to_string();
    let mut lines = shown.lines().skip(1);
    let (source, caret) = (lines.next().expect("line"), lines.next().expect("caret"));
    let column = caret.find('^').expect("caret");
    assert!(source[column..].starts_with("herey"), "{shown}");
    assert!(source.len() < 140, "{}", source.len());
}

#[test]
fn control_characters_do_not_reach_the_terminal() {
    let file = PathBuf::from("a.yaml");
    let mut report = Report::new(&file, "\tkey: \u{1b}[31m");
    report.error(Place { line: 1, column: 2 }, "wrong \u{1b}[2J");
    let shown = report.into_found()[0].to_string();
    assert_eq!(
        shown,
        "a.yaml:1:2: error: wrong  [2J\n  1 |  key:  [31m\n    |  ^"
    );
}

#[test]
fn findings_come_in_the_order_of_files_lines_and_columns() {
    let (a, b) = (PathBuf::from("a.yaml"), PathBuf::from("b.yaml"));
    let mut found = vec![Diagnostic::of_file(&b, Severity::Error, "whole file")];
    for (file, line, column) in [(&b, 1, 1), (&a, 10, 1), (&a, 2, 9), (&a, 2, 3)] {
        let mut report = Report::new(file, "");
        report.warning(Place { line, column }, "wrong");
        found.extend(report.into_found());
    }
    let diagnostics = Diagnostics::from(found);
    let shown = diagnostics.to_string();
    let places: Vec<_> = shown.lines().map(|line| line.split(' ').next()).collect();
    let expected = [
        "a.yaml:2:3:",
        "a.yaml:2:9:",
        "a.yaml:10:1:",
        "b.yaml:",
        "b.yaml:1:1:",
    ];
    assert_eq!(places, expected.map(Some));
    assert_eq!(diagnostics.errors().count(), 1);
    assert_eq!(diagnostics.warnings().count(), 4);
}

/// YAML ends a line with a carriage return too. A finding below one showed another line than its own.
#[test]
fn a_finding_below_a_carriage_return_shows_its_own_line() {
    let text = "a: 1\rb: 2\r\nc: 3\n\rd: 4\n";
    let file = PathBuf::from("a.yaml");
    let mut report = Report::new(&file, text);
    for line in 1..=6 {
        report.error(Place { line, column: 1 }, "wrong");
    }
    let found = report.into_found();
    let shown: Vec<_> = found.iter().map(Diagnostic::source_line).collect();
    assert_eq!(shown, ["a: 1", "b: 2", "c: 3", "", "d: 4", ""]);
}
