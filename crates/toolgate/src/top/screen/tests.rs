use std::time::Duration;

use ratatui::{Terminal, backend::TestBackend, style::Color};
use toolgate_proto::pb::{self, CheckOutcome, Scope, limit::Operation};

use super::*;
use crate::top::{
    fixture::{Fixture, failed, limit, of_tool, view},
    watch::Event,
};

const PLAIN: Look = Look { colour: false };
const SERVER: &str = "default/research";

fn drawn(view: &View, (width, height): (u16, u16), choice: &mut Choice) -> Terminal<TestBackend> {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).expect("a terminal");
    let draw = |frame: &mut Frame| draw(frame, view, choice, PLAIN);
    terminal.draw(draw).expect("drawn");
    terminal
}

fn screen(view: &View, size: (u16, u16)) -> String {
    drawn(view, size, &mut Choice::default())
        .backend()
        .to_string()
}

fn seen(events: impl IntoIterator<Item = Event>) -> View {
    view(events, Duration::from_secs(5))
}

/// Two readings of a replica under load.
fn busy(number: u16) -> [Event; 2] {
    let counts = |it: Fixture, scale: u64| {
        it.count(SERVER, CheckOutcome::Allowed, 9_000 * scale)
            .denied(SERVER, of_tool("github_search"), 1_000 * scale)
            .denied(SERVER, limit(Scope::PerUser, None), 40 * scale)
            .count("default/files", CheckOutcome::ShadowDenied, 12 * scale)
            .count("", CheckOutcome::Unlimited, 300 * scale)
    };
    let mut later = counts(Fixture::new(number).read_at(61.0), 2)
        .hot(limit(Scope::Global, None), None, (10_040.0, 0.0), Some(64))
        .hot(
            of_tool("github_search"),
            Some("alice"),
            (1_200.0, 980.0),
            Some(0),
        )
        .hot(
            limit(Scope::PerUser, None),
            Some("alice"),
            (1_210.0, 0.0),
            Some(37),
        )
        .hot(of_tool("github_search"), Some("bob"), (31.4, 0.0), Some(99))
        .hot(limit(Scope::PerUser, None), Some(""), (3.5, 1.2), None);
    later.activity.in_flight = 17;
    [counts(Fixture::new(number), 1).answer(), later.answer()]
}

fn all_is_well() -> View {
    seen(busy(1).into_iter().chain(busy(2)))
}

#[test]
fn under_load_all_of_it_fits_a_plain_terminal() {
    insta::assert_snapshot!(screen(&all_is_well(), (80, 24)));
}

#[test]
fn a_wide_terminal_shows_every_column() {
    insta::assert_snapshot!(screen(&all_is_well(), (200, 50)));
}

#[test]
fn a_narrow_terminal_shows_what_matters_most() {
    insta::assert_snapshot!(screen(&all_is_well(), (44, 20)));
}

#[test]
fn before_the_first_answer_it_says_what_it_waits_for() {
    let joined = Event::Joined("http://10.0.0.1:7070".to_owned());
    insta::assert_snapshot!(screen(&seen([joined]), (80, 24)));
}

#[test]
fn a_limiter_that_nobody_asks_is_shown_with_nothing() {
    let quiet = [
        Fixture::new(1).answer(),
        Fixture::new(1).read_at(61.0).answer(),
    ];
    insta::assert_snapshot!(screen(&seen(quiet), (80, 24)));
}

#[test]
fn replicas_in_trouble_say_for_how_long_and_why() {
    let mut blind = Fixture::new(6);
    blind.activity.counts_checks = false;
    let mut refused = Fixture::new(5);
    refused.activity.policies = "of yesterday".to_owned();
    let reload = refused.activity.reload.as_mut().expect("a status");
    reload.errors = vec!["policies.yaml:12:3: error: unknown field `perUsr`\n  perUsr:".to_owned()];
    let troubled = [
        Fixture::new(2).degraded(48.0, true).answer(),
        Fixture::new(3).degraded(60.0 - 90.0, false).answer(),
        failed("http://10.0.0.4:7070"),
        blind.answer(),
        refused.answer(),
    ];
    let view = seen(busy(1).into_iter().chain(troubled));
    insta::assert_snapshot!("trouble", screen(&view, (80, 24)));
    insta::assert_snapshot!("trouble_wide", screen(&view, (160, 24)));
}

fn many_servers() -> View {
    let reading = |seconds, scale: u64| {
        let mut reading = Fixture::new(1).read_at(seconds);
        for number in 0..40_u64 {
            let server = format!("team-{number}/research");
            let limit = of_tool("search");
            reading = reading.denied(&server, limit, (100 - number) * scale);
        }
        reading.answer()
    };
    seen([reading(60.0, 0), reading(61.0, 1)])
}

#[test]
fn of_many_servers_those_that_deny_most_come_first_and_the_rest_is_scrolled() {
    let view = many_servers();
    let mut choice = Choice::default();
    insta::assert_snapshot!("many", drawn(&view, (80, 24), &mut choice).backend());
    choice.scroll(Scroll::Down(4));
    insta::assert_snapshot!(
        "many_scrolled",
        drawn(&view, (80, 24), &mut choice).backend()
    );
    // Further than there are rows: the last page, and one step up from there moves.
    choice.scroll(Scroll::Down(10_000));
    let last = drawn(&view, (80, 24), &mut choice).backend().to_string();
    assert!(
        last.contains("67-80/80") && last.contains("team-39/research"),
        "{last}"
    );
    choice.scroll(Scroll::Up(1));
    assert_ne!(
        last,
        drawn(&view, (80, 24), &mut choice).backend().to_string()
    );
}

/// Subjects, resources and what replicas say come from elsewhere.
#[test]
fn hostile_names_neither_drive_the_terminal_nor_break_the_lines() {
    let clear = "\x1b[2J\x1b[31mroot\r\n\t\u{7}";
    let reversed = "\u{202e}evil\u{200b}\u{feff}";
    let wide = "🦀".repeat(60);
    let resource = pb::Limit {
        scope: Scope::PerUser.into(),
        operation: Some(Operation::Resource(format!("file:///{clear}"))),
    };
    let mut hostile = Fixture::new(1)
        .read_at(61.0)
        .denied("default/x", resource.clone(), 7)
        .denied(clear, of_tool(reversed), 7)
        .hot(resource, Some(clear), (9.0, 3.0), Some(1))
        .hot(of_tool("x"), Some(reversed), (8.0, 2.0), Some(1))
        .hot(of_tool("x"), Some(&wide), (7.0, 1.0), Some(1));
    hostile.activity.replica.as_mut().expect("a replica").name = clear.to_owned();
    hostile.activity.store = Some(pb::StoreStatus {
        reason: clear.to_owned(),
        ..hostile.activity.store.unwrap_or_default()
    });
    let view = seen([
        Fixture::new(1).answer(),
        hostile.degraded(1.0, true).answer(),
    ]);
    for size in [(80, 24), (200, 50)] {
        let drawn = drawn(&view, size, &mut Choice::default());
        for cell in drawn.backend().buffer().content() {
            let hidden = |c: char| c.is_control() || "\u{202e}\u{200b}\u{feff}".contains(c);
            assert!(!cell.symbol().contains(hidden), "{cell:?}");
        }
    }
    insta::assert_snapshot!(screen(&view, (100, 24)));
}

#[test]
fn any_size_is_drawn() {
    let view = all_is_well();
    for width in [1, 2, 10, 33, 79, 500] {
        for height in [1, 2, 3, 4, 5, 9, 100] {
            screen(&view, (width, height));
        }
    }
}

#[test]
fn without_colour_there_is_none() {
    let view = all_is_well();
    let colours = |colour| {
        let mut terminal = Terminal::new(TestBackend::new(80, 24)).expect("a terminal");
        let draw = |frame: &mut Frame| draw(frame, &view, &mut Choice::default(), Look { colour });
        terminal.draw(draw).expect("drawn");
        let cells = terminal.backend().buffer().content();
        cells.iter().filter(|cell| cell.fg != Color::Reset).count()
    };
    assert_eq!(colours(false), 0);
    assert!(colours(true) > 0);
}

#[test]
fn as_text_all_rows_are_whole() {
    insta::assert_snapshot!(to_text(&all_is_well(), Palette::plain()));
}
