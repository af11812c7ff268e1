//! The files that this process may have open, sockets among them.

use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// The limit is raised no further. Programs that this process starts inherit it, and some close
/// every number below it, one by one.
const HIGHEST: u64 = 1 << 20;

/// What a process needs beside its connections: its libraries, logs, watches, pipes, and files that
/// are open for a moment.
const OTHERS: u64 = 64;

/// How many files may be open; `u64::MAX` if nothing bounds them.
pub fn limit() -> u64 {
    getrlimit(Resource::RLIMIT_NOFILE).map_or(u64::MAX, |(soft, _)| soft)
}

/// Raises the soft limit to the hard one, up to a million, and returns what may be open then.
///
/// Systems have a low soft limit for programs that use `select`, which knows no number above 1,023.
/// Nothing here does.
pub fn raise() -> u64 {
    if let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE) {
        let wanted = hard.min(HIGHEST);
        if soft < wanted
            && let Err(error) = setrlimit(Resource::RLIMIT_NOFILE, wanted, hard)
        {
            tracing::warn!(%error, soft, hard, "the limit of open files cannot be raised");
        }
    }
    limit()
}

/// Warns if fewer files may be open than as many `connections` take, with what else a process needs.
/// `setting` bounds most of them.
pub fn compare(connections: usize, setting: &str) {
    if let Some((may_be_open, needed)) = lacks(limit(), connections) {
        tracing::warn!(
            may_be_open,
            needed,
            "fewer files may be open than all connections take: raise the limit (ulimit -n, \
             LimitNOFILE), or lower {setting}"
        );
    }
}

fn lacks(may_be_open: u64, connections: usize) -> Option<(u64, u64)> {
    let connections = u64::try_from(connections).unwrap_or(u64::MAX);
    let needed = connections.saturating_add(OTHERS);
    (may_be_open < needed).then_some((may_be_open, needed))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_told_with_both_numbers() {
        assert_eq!(lacks(1_024, 4_096), Some((1_024, 4_160)));
        assert_eq!(lacks(4_160, 4_096), None);
        assert_eq!(lacks(u64::MAX, usize::MAX), None);
    }
}
