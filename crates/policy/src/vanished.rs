//! Policies that are there no more without anybody having said so.
//!
//! An editor that fails, a full disk and a volume that is not mounted leave an empty file or an empty
//! folder. To read that as "no limits" would open the gate. One file that is removed from a folder which
//! still has others is a decision, and takes effect (DESIGN, section 3).

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use toolgate_limit::{Mode, Policy, Snapshot};

use crate::{
    Origin,
    diagnostic::{Diagnostic, Severity},
};

/// How many documents each file has.
pub(crate) type Documents = BTreeMap<PathBuf, usize>;

/// What had documents `before` and has none `now`: files, and named paths as a whole.
pub(crate) fn find(paths: &[PathBuf], before: &Documents, now: &Documents) -> Vec<Diagnostic> {
    let emptied = |file: &&PathBuf| count(before, file) > 0 && now.get(*file) == Some(&0);
    let mut vanished: Vec<&PathBuf> = now.keys().filter(emptied).collect();
    for path in paths {
        let is_known = vanished.iter().any(|file| is_below(path, file));
        if !is_known && count(before, path) > 0 && count(now, path) == 0 {
            vanished.push(path);
        }
    }
    let error = |path: &PathBuf| {
        let message = "has no manifests any more; its last policies stay in force until it has some, \
                       or until the process restarts";
        Diagnostic::of_file(path, Severity::Error, message)
    };
    vanished.into_iter().map(error).collect()
}

/// The documents in the file `path`, or in the files of the folder `path`.
fn count(documents: &Documents, path: &Path) -> usize {
    let below = documents.iter().filter(|(file, _)| is_below(path, file));
    below.map(|(_, count)| count).sum()
}

/// Whether `file` is read because `path` is named: itself, or the folder that it is in.
fn is_below(path: &Path, file: &Path) -> bool {
    file == path || file.parent() == Some(path)
}

/// Whether `policies` limit less than the `snapshot` in force: a limit or a server is missing, or a
/// server is only observed any more. Half of a file may read like that.
pub(crate) fn limits_less(snapshot: &Snapshot, policies: &[(Policy, Origin)]) -> bool {
    snapshot.policies().into_iter().any(|before| {
        let same_server = |(policy, _): &&(Policy, Origin)| policy.server() == before.server();
        let Some((now, _)) = policies.iter().find(same_server) else {
            return true;
        };
        let kept = now.limits();
        let is_kept = |limit: &toolgate_limit::Limit| {
            kept.iter()
                .any(|kept| (kept.operation(), kept.scope()) == (limit.operation(), limit.scope()))
        };
        let is_relaxed = before.mode() == Mode::Enforce && now.mode() == Mode::Shadow;
        is_relaxed || !before.limits().into_iter().all(|limit| is_kept(limit))
    })
}
