//! Entries of a folder that look like manifests, and are not read.
//!
//! `limits.yaml.bak` or `limits.txt` is often a mistake: its author believes that it is in force.

use std::{
    io::Read,
    path::{Path, PathBuf},
};

use super::{is_hidden, is_manifest, names_in, open};

/// The most entries that are looked into.
const MAX_STRAYS: usize = 100;

/// How much of a file is looked at, in bytes: its manifest may begin with a long comment.
const HEAD: u64 = 64 * 1024;

/// What stands in the `apiVersion` of every manifest.
const GROUPS: [&[u8]; 2] = [b"toolgate.dev/", b"toolhive.stacklok.dev/"];

/// Those among the entries `names` of `folder`, and what to say of each. Hidden ones are left alone:
/// editors write them, and a ConfigMap mount has its versions there.
pub(super) fn find(folder: &Path, names: &[PathBuf]) -> Vec<(PathBuf, &'static str)> {
    let visible = names.iter().filter(|name| !is_hidden(name));
    let paths = visible.take(MAX_STRAYS).map(|name| folder.join(name));
    paths
        .filter_map(|path| Some((what_is_wrong(&path)?, path)))
        .map(|(message, path)| (path, message))
        .collect()
}

fn what_is_wrong(path: &Path) -> Option<&'static str> {
    if path.is_dir() {
        let names = names_in(path, MAX_STRAYS).ok()?;
        let holds_manifests = names.iter().any(|name| is_manifest(name));
        return holds_manifests
            .then_some("is a folder in a folder, and is not read: name it as a path of its own");
    }
    let mut head = Vec::new();
    open(path).ok()?.take(HEAD).read_to_end(&mut head).ok()?;
    let mentions = |group: &[u8]| head.windows(group.len()).any(|window| window == group);
    GROUPS
        .into_iter()
        .any(mentions)
        .then_some("looks like a manifest, and is not read: only *.yaml, *.yml and *.json are")
}
