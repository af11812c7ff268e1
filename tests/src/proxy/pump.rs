//! One direction of a connection.

use std::{
    pin::pin,
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    sync::{mpsc, watch},
    time::{Instant, sleep, sleep_until},
};

use super::Fault;

/// Pieces on their way at a time. More wait in the socket, as they would before a slow network.
const IN_FLIGHT: usize = 256;

/// A throttled network carries so much at a time, in bytes.
const TRICKLE: usize = 64;

/// What is sent.
pub(super) async fn requests(
    from: impl AsyncRead + Unpin,
    to: impl AsyncWrite + Unpin,
    fault: watch::Receiver<Fault>,
) {
    // What follows a packet that is lost again and again is not delivered either.
    let is_stuck = AtomicBool::new(false);
    let keep = |fault, piece: &mut Vec<u8>| {
        if matches!(fault, Fault::LargeRequests(most) if piece.len() > most) {
            is_stuck.store(true, Ordering::Relaxed);
        }
        !is_stuck.load(Ordering::Relaxed)
    };
    carry(from, to, fault, keep).await;
}

/// What comes back.
pub(super) async fn replies(
    from: impl AsyncRead + Unpin,
    to: impl AsyncWrite + Unpin,
    fault: watch::Receiver<Fault>,
) {
    let spoil = |fault, piece: &mut Vec<u8>| {
        if let (Fault::Corrupt, Some(first)) = (fault, piece.first_mut()) {
            *first ^= 0x55;
        }
        fault != Fault::NoReplies
    };
    carry(from, to, fault, spoil).await;
}

/// Carries pieces as the fault of their time says; `keep` may change one, or drop it.
async fn carry(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    fault: watch::Receiver<Fault>,
    keep: impl Fn(Fault, &mut Vec<u8>) -> bool,
) {
    let at_reading = fault.clone();
    let (send, mut on_their_way) = mpsc::channel::<(Instant, Vec<u8>)>(IN_FLIGHT);
    let read = async move {
        let mut bytes = vec![0; 16_384];
        while let Ok(count @ 1..) = from.read(&mut bytes).await {
            let now = *at_reading.borrow();
            let mut piece = bytes[..count].to_vec();
            let delay = match now {
                Fault::Delay(delay) => delay,
                _ => Duration::ZERO,
            };
            let kept = keep(now, &mut piece);
            if kept && send.send((Instant::now() + delay, piece)).await.is_err() {
                return;
            }
        }
    };
    let write = async {
        while let Some((due, piece)) = on_their_way.recv().await {
            sleep_until(due).await;
            if deliver(&mut to, &piece, &fault).await.is_err() {
                return;
            }
        }
    };
    let mut write = pin!(write);
    tokio::select! {
        () = read => {}
        () = &mut write => return,
    }
    // Nothing more comes; what is on its way arrives.
    write.await;
}

async fn deliver(
    to: &mut (impl AsyncWrite + Unpin),
    mut piece: &[u8],
    fault: &watch::Receiver<Fault>,
) -> std::io::Result<()> {
    while !piece.is_empty() {
        let Fault::Throttle(bytes_a_second) = *fault.borrow() else {
            break;
        };
        let (first, rest) = piece.split_at(piece.len().min(TRICKLE));
        let share = u32::try_from(first.len()).unwrap_or(u32::MAX);
        sleep(Duration::from_secs(1) * share / bytes_a_second.max(1)).await;
        to.write_all(first).await?;
        piece = rest;
    }
    to.write_all(piece).await
}

/// Reads and answers nothing, until the other side gives up.
pub(super) async fn swallow(near: &mut (impl AsyncRead + Unpin)) {
    let mut bytes = vec![0; 4_096];
    while near.read(&mut bytes).await.is_ok_and(|read| read > 0) {}
}
