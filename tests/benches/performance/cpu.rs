//! CPU time of a process, from `/proc`.

use std::{fs, time::Duration};

/// User and system time of all threads so far. The scheduler's account, to the nanosecond, where
/// the kernel keeps one; else clock ticks of 10 ms. Threads that have ended are not in it; none of
/// those measured ends one.
pub(crate) fn of(pid: u32) -> Duration {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).expect("the process runs");
    tasks
        .map(|task| {
            let task = task.expect("a thread").path();
            let exact = fs::read_to_string(task.join("schedstat")).ok();
            let exact = exact.and_then(|text| text.split(' ').next()?.parse().ok());
            exact.map_or_else(
                || ticks(&fs::read_to_string(task.join("stat")).unwrap_or_default()),
                Duration::from_nanos,
            )
        })
        .sum()
}

/// `utime + stime` of a `stat` line. Its second field may hold blanks, and ends at the last `)`.
fn ticks(stat: &str) -> Duration {
    let after_name = stat.rsplit(')').next().unwrap_or_default();
    let fields = after_name.split_whitespace().skip(11).take(2);
    let ticks: u64 = fields.filter_map(|field| field.parse::<u64>().ok()).sum();
    Duration::from_millis(ticks * 10)
}

/// Resident memory, in bytes.
pub(crate) fn resident(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("the process runs");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.split_whitespace().next());
    kib.and_then(|kib| kib.parse::<u64>().ok())
        .expect("a number")
        * 1024
}
