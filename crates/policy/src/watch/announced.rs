//! What the operating system says of files: that something was written, and what still is.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError, mpsc::SyncSender},
};

use notify::{
    Event, EventKind,
    event::{AccessKind, AccessMode, ModifyKind},
};

use crate::{files::Files, reload::Signs};

/// The most files that are known to be open. Of one more it is not known, and its content only has to
/// be at rest.
const MAX_OPEN: usize = 1_024;

/// Takes events in, and wakes whoever looks at the files.
#[derive(Debug)]
pub(super) struct Announced {
    wake: SyncSender<()>,
    heard: Mutex<Heard>,
}

#[derive(Debug, Default)]
struct Heard {
    was_written: bool,
    /// Files that were written to and not closed since.
    open: BTreeSet<PathBuf>,
}

impl Announced {
    pub(super) fn new(wake: SyncSender<()>) -> Self {
        Self {
            wake,
            heard: Mutex::default(),
        }
    }

    /// Each change sends one message, unless one is already waiting.
    pub(super) fn hear(&self, event: notify::Result<Event>) {
        match event {
            Ok(event) if !is_change(event.kind) => return,
            Ok(event) if !event.need_rescan() => self.heard().take_over(event),
            // Events were lost.
            Ok(_) | Err(_) => self.forget(),
        }
        let _ = self.wake.try_send(());
    }

    /// Nothing is known of any file: the end of what is being written may be missed from here on.
    pub(super) fn forget(&self) {
        self.heard().open.clear();
    }

    fn heard(&self) -> MutexGuard<'_, Heard> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Heard {
    fn take_over(&mut self, event: Event) {
        self.was_written = true;
        let is_written = matches!(event.kind, EventKind::Modify(ModifyKind::Data(_)));
        for path in event.paths {
            if !is_written {
                // Closed, renamed or removed. Who renames it has written it, and what is renamed over
                // another file was written under another name.
                self.open.remove(&path);
            } else if self.open.len() < MAX_OPEN {
                self.open.insert(path);
            }
        }
    }
}

impl Signs for Announced {
    fn was_written(&self) -> bool {
        std::mem::take(&mut self.heard().was_written)
    }

    fn is_being_written(&self, files: &Files) -> bool {
        let open = self.heard().open.clone();
        // Through links, on both sides: a folder is watched where it is named and where it lies.
        let real = |path: &Path| path.canonicalize().ok();
        let open: BTreeSet<_> = open.iter().filter_map(|path| real(path)).collect();
        !open.is_empty()
            && files
                .paths()
                .filter_map(real)
                .any(|path| open.contains(&path))
    }
}

/// Reading a file is an event too; our own looks must not announce themselves.
fn is_change(kind: EventKind) -> bool {
    match kind {
        EventKind::Access(kind) => kind == AccessKind::Close(AccessMode::Write),
        _ => true,
    }
}
