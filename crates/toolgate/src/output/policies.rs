//! Policies for people.

use toolgate_proto::pb;

use super::{
    style::{Palette, number},
    text,
};

/// How the last reload went, and one row a policy.
pub(crate) fn list(list: &pb::ListPoliciesResponse, palette: Palette) -> String {
    let reload = reload(&list.reload.clone().unwrap_or_default(), palette);
    if list.policies.is_empty() {
        return format!("{reload}\nno policies: every call is allowed");
    }
    let header = [
        "server",
        "mode",
        "global",
        "per user",
        "operation limits",
        "origin",
    ];
    let mut table = palette.table(header);
    for policy in &list.policies {
        let of_server = |scope| {
            let own = |limit: &pb::Limit| limit.scope() == scope && limit.operation.is_none();
            let mut limits = policy.limits.iter();
            limits
                .find(|limit| limit.limit.as_ref().is_some_and(own))
                .map_or_else(|| text::NONE.to_owned(), text::quota)
        };
        table.add_row([
            text::printable(&policy.server).into(),
            mode(policy).into(),
            of_server(pb::Scope::Global).into(),
            of_server(pb::Scope::PerUser).into(),
            number(operation_limits(policy)),
            text::printable(&policy.origin).into(),
        ]);
    }
    format!("{reload}\n{}", palette.render(table))
}

/// One row a limit.
pub(crate) fn limits(policy: &pb::Policy, palette: Palette) -> String {
    let mut table = palette.table(["limit", "capacity", "refill period"]);
    for limit in &policy.limits {
        table.add_row([
            text::limit(limit.limit.as_ref()).into(),
            number(limit.capacity),
            number(text::period(limit.refill_period)),
        ]);
    }
    let (server, origin) = (
        text::printable(&policy.server),
        text::printable(&policy.origin),
    );
    let title = format!("{server}, mode {}, from {origin}", mode(policy));
    format!("{title}\n\n{}", palette.render(table))
}

/// Which snapshot is in force, and why not the newest. Ends in an empty line.
pub(crate) fn reload(status: &pb::ReloadStatus, palette: Palette) -> String {
    let loaded = status.loaded_at.map_or_else(String::new, |at| {
        format!(", loaded {}", text::timestamp(at))
    });
    let in_force = format!("generation {}{loaded}\n", status.generation);
    let mut shown = String::new();
    if !status.errors.is_empty() {
        let count = text::count(status.errors.len(), "error");
        let title = format!("RELOAD FAILED: the newest manifests are not in force ({count})");
        shown.push_str(&list_of(title, &status.errors, palette));
    }
    if !status.rejected.is_empty() {
        let count = text::count(status.rejected.len(), "error");
        let title =
            format!("REJECTED: some objects are not in force as they are written ({count})");
        shown.push_str(&list_of(title, &status.rejected, palette));
    }
    let still = if shown.is_empty() {
        ""
    } else {
        "still in force: "
    };
    format!("{shown}{still}{in_force}")
}

fn list_of(title: String, errors: &[String], palette: Palette) -> String {
    let mut list = palette.bad(title);
    for error in errors {
        let error = text::printable_lines(error.trim_end()).replace('\n', "\n  ");
        list.push_str("\n  ");
        list.push_str(&palette.bad(error));
    }
    list.push('\n');
    list
}

/// As manifests write it.
fn mode(policy: &pb::Policy) -> &'static str {
    match policy.mode() {
        pb::Mode::Enforce => "Enforce",
        pb::Mode::Shadow => "Shadow",
        pb::Mode::Unspecified => "unknown",
    }
}

fn operation_limits(policy: &pb::Policy) -> usize {
    let limits = policy
        .limits
        .iter()
        .filter_map(|limit| limit.limit.as_ref());
    limits.filter(|limit| limit.operation.is_some()).count()
}

#[cfg(test)]
mod tests;
