//! Which folders are watched for changes.
//!
//! Files are replaced rather than written: by editors, by `mv`, and by the kubelet, which swaps the
//! symlink `..data` beside them. A watch on a file would stay with the replaced one, so folders are
//! watched: the one in which a path is named, and the one in which it really lies.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    sync::Arc,
};

use notify::{RecommendedWatcher, RecursiveMode, Watcher};

use super::announced::Announced;

/// Announces changes in folders.
#[derive(Debug)]
pub(super) struct Folders {
    /// None where the operating system announces nothing.
    watcher: Option<RecommendedWatcher>,
    watched: BTreeSet<PathBuf>,
    announced: Arc<Announced>,
}

impl Folders {
    /// No folders yet. What happens in those to come is told to `announced`.
    pub(super) fn new(announced: Arc<Announced>) -> Self {
        let hearing = Arc::clone(&announced);
        let watcher = notify::recommended_watcher(move |event| hearing.hear(event))
            .inspect_err(|error| {
                tracing::warn!(%error, "changes of policy files are found only by looking at times");
            })
            .ok();
        Self {
            watcher,
            watched: BTreeSet::new(),
            announced,
        }
    }

    /// Watches the folders that hold `paths` now, and no others.
    pub(super) fn watch(&mut self, paths: &[PathBuf]) {
        let Some(watcher) = &mut self.watcher else {
            return;
        };
        let wanted: BTreeSet<PathBuf> = paths.iter().flat_map(|path| folders_of(path)).collect();
        for folder in self.watched.difference(&wanted) {
            let _ = watcher.unwatch(folder); // it may be gone, and its watch with it
            self.announced.forget();
        }
        for folder in &wanted {
            // Again and again: a folder may have been replaced by another of that name, and to
            // watch one twice changes nothing.
            if let Err(error) = watcher.watch(folder, RecursiveMode::NonRecursive)
                && !self.watched.contains(folder)
            {
                tracing::debug!(folder = %folder.display(), %error, "folder is not watched");
            }
        }
        self.watched = wanted;
    }
}

fn folders_of(path: &Path) -> Vec<PathBuf> {
    let parent = |path: &Path| match path.parent() {
        Some(parent) if parent.as_os_str().is_empty() => Some(PathBuf::from(".")),
        parent => parent.map(Path::to_owned),
    };
    let mut folders: Vec<PathBuf> = parent(path).into_iter().collect();
    if path.is_dir() {
        folders.push(path.to_owned());
    }
    // Where it really lies; a file that is a link may be written through it.
    if let Ok(real) = path.canonicalize() {
        folders.extend(parent(&real));
    }
    folders.retain(|folder| folder.is_dir());
    folders
}
