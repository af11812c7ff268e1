//! The live view: readings and keys in, frames out.

use std::{future::Future, io, time::Duration};

use anyhow::Context as _;
use ratatui::crossterm::event::{Event, KeyCode, KeyEvent, KeyModifiers};
use tokio::{
    signal::unix::{SignalKind, signal},
    time::{Instant, interval},
};

use super::{
    replicas::Replicas,
    screen::{Choice, Look, Scroll, draw},
    terminal::{Screen, events},
    view::View,
    watch::Targets,
};
use crate::output::Palette;

/// At most so often a frame is drawn for readings, which come one by one; for a key at once.
const FRAME: Duration = Duration::from_millis(100);

/// At least so often one is drawn, as it tells how long something lasts.
const IDLE_FRAMES: u32 = 10;

/// Rows of a page.
const PAGE: usize = 10;

/// Shows `targets` until a key or a signal ends it.
pub(crate) async fn live(targets: Targets, palette: Palette) -> anyhow::Result<()> {
    let look = Look {
        colour: palette.is_coloured(),
    };
    let ended = end_signals()?;
    tokio::pin!(ended);
    let (mut news, mut tasks) = targets.watch()?;
    let mut screen = Screen::enter().context("cannot draw on this terminal; try --once")?;
    let mut events = events();
    let mut frames = interval(FRAME);
    let (mut replicas, mut choice) = (Replicas::default(), Choice::default());
    let mut idle = IDLE_FRAMES;
    loop {
        let is_due = tokio::select! {
            event = events.recv() => {
                let event = event.unwrap_or_else(|| Err(io::ErrorKind::UnexpectedEof.into()));
                let event = event.context("cannot read keys from this terminal")?;
                if is_end(&event, &mut choice) {
                    return Ok(());
                }
                true
            }
            () = &mut ended => return Ok(()),
            Some(news) = news.recv() => {
                replicas.take(news, Instant::now());
                idle = IDLE_FRAMES;
                false
            }
            // They only end when they panic.
            Some(panicked) = tasks.join_next() => return panicked.context("watching has failed"),
            _ = frames.tick() => {
                idle = idle.saturating_add(1);
                idle > IDLE_FRAMES
            }
        };
        if is_due {
            idle = 0;
            let mut view = View::of(&replicas, Instant::now());
            view.sort(choice.sort);
            screen
                .draw(|frame| draw(frame, &view, &mut choice, look))
                .context("cannot draw on this terminal")?;
        }
    }
}

/// Whether `event` ends the view. Else `choice` is what it asks for.
fn is_end(event: &Event, choice: &mut Choice) -> bool {
    let Event::Key(KeyEvent {
        code, modifiers, ..
    }) = event
    else {
        return false;
    };
    match code {
        KeyCode::Char('q') | KeyCode::Esc => return true,
        KeyCode::Char('c') if modifiers.contains(KeyModifiers::CONTROL) => return true,
        KeyCode::Char('s') => choice.sort = choice.sort.next(),
        KeyCode::Tab => choice.next_list(),
        KeyCode::Up | KeyCode::Char('k') => choice.scroll(Scroll::Up(1)),
        KeyCode::Down | KeyCode::Char('j') => choice.scroll(Scroll::Down(1)),
        KeyCode::PageUp => choice.scroll(Scroll::Up(PAGE)),
        KeyCode::PageDown => choice.scroll(Scroll::Down(PAGE)),
        KeyCode::Home => choice.scroll(Scroll::Home),
        _ => {}
    }
    false
}

/// Done when the process is asked to end. By its own it would leave the terminal as it is.
fn end_signals() -> io::Result<impl Future<Output = ()>> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut hang_up = signal(SignalKind::hangup())?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
            _ = hang_up.recv() => {}
        }
    })
}
