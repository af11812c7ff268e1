//! The signals that a process is told by.

use std::{future::Future, io};

use tokio::signal::unix::{SignalKind, signal};

/// Done at the first SIGTERM or SIGINT. From the call on, no signal is missed.
///
/// SIGHUP, by which many services are told to read their files again, ends nothing: files are watched
/// here, and what changed is in force already. It is logged.
pub fn stop_signal() -> io::Result<impl Future<Output = ()>> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut hangup = signal(SignalKind::hangup())?;
    Ok(async move {
        loop {
            tokio::select! {
                _ = terminate.recv() => return,
                _ = interrupt.recv() => return,
                _ = hangup.recv() => tracing::info!(
                    "SIGHUP changes nothing: policies and certificates are watched, and what has \
                     changed is in use already; other settings are read at the start only"
                ),
            }
        }
    })
}
