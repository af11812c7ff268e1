//! The block that all kinds share: `global`, `perUser`, `tools`, `prompts`, `resources`.

use std::collections::HashMap;

use toolgate_limit::{Mode, Operation, OperationKind, Policy, PolicyError, Quotas, ServerId};

use super::{name::read_name, quota::read_quota};
use crate::{
    diagnostic::{Place, Report},
    fields::Fields,
    node::{Entry, Node, Value},
};

/// The most tools that one manifest may limit; and so prompts, and resources. An API server bounds
/// what it spends on the rules of a resource, and for that the lists in it must be bounded.
pub const MAX_OPERATIONS: usize = 4_096;

/// Whose words the block is written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Dialect {
    /// `global` alone.
    Toolgate,
    /// `global`, or `shared`, its deprecated name.
    ToolHive,
}

/// All that one block configures. Broken parts are reported and left out.
#[derive(Debug, Default)]
pub(super) struct Limits {
    own: Quotas,
    operations: Vec<(Operation, Quotas)>,
    /// The first `perUser` of the server itself.
    pub(super) per_user: Option<Place>,
    /// The first `perUser` of an operation of each kind.
    pub(super) operations_per_user: Vec<(OperationKind, Place)>,
}

impl Limits {
    /// The limits of a block whose key stands at `place`.
    pub(super) fn read(
        mut block: Fields<'_>,
        place: Place,
        dialect: Dialect,
        report: &mut Report<'_>,
    ) -> Self {
        let before = report.errors();
        let target = read_target(&mut block, dialect, report);
        let mut limits = Self {
            own: target.quotas,
            per_user: target.per_user,
            ..Self::default()
        };
        for (key, kind) in [
            ("tools", OperationKind::Tool),
            ("prompts", OperationKind::Prompt),
            ("resources", OperationKind::Resource),
        ] {
            if let Some(entry) = block.entry(key) {
                limits.read_operations(entry, &block.path_of(key), kind, dialect, report);
            }
        }
        block.refuse_unknown_with(|key| dialect.instead(key), report);
        if !target.named && limits.operations.is_empty() && report.errors() == before {
            report.error(place, PolicyError::NoLimit);
        }
        limits
    }

    fn read_operations(
        &mut self,
        list: &Entry,
        path: &str,
        kind: OperationKind,
        dialect: Dialect,
        report: &mut Report<'_>,
    ) {
        let Value::List(items) = &list.node.value else {
            let message = format!("{path} must be a list, not {}", list.node.kind());
            report.error(list.node.place, message);
            return;
        };
        if items.len() > MAX_OPERATIONS {
            let message = format!(
                "{path} must have at most {MAX_OPERATIONS} items, not {}",
                items.len()
            );
            report.error(list.node.place, message);
            return;
        }
        let mut first_places = HashMap::new();
        for (i, item) in items.iter().enumerate() {
            let path = format!("{path}[{i}]");
            let Some(read) = self.read_operation(item, path, kind, dialect, report) else {
                continue;
            };
            let (operation, quotas, place) = read;
            if let Some(first) = first_places.get(&operation) {
                let error = PolicyError::DuplicateOperation(operation);
                let first = report.locate(*first);
                report.error(place, format!("{error}; first in {first}"));
                continue;
            }
            first_places.insert(operation.clone(), place);
            self.operations.push((operation, quotas));
        }
    }

    /// One operation, its quotas and the place of its name.
    fn read_operation(
        &mut self,
        item: &Node,
        path: String,
        kind: OperationKind,
        dialect: Dialect,
        report: &mut Report<'_>,
    ) -> Option<(Operation, Quotas, Place)> {
        let before = report.errors();
        let name_path = format!("{path}.name");
        let mut fields = Fields::of(item, path, report)?;
        let named = fields.entry("name").is_some();
        let name = fields.text("name", report);
        if !named {
            report.error(item.place, format!("{name_path} is missing"));
        }
        let operation = name.and_then(|(text, place)| {
            let operation = read_name(kind, text).map_err(|message| report.error(place, message));
            Some((operation.ok()?, place))
        });
        let target = read_target(&mut fields, dialect, report);
        fields.refuse_unknown_with(|key| dialect.instead(key), report);

        if let Some(place) = target.per_user
            && self.operations_per_user.iter().all(|(of, _)| *of != kind)
        {
            self.operations_per_user.push((kind, place));
        }
        let (operation, place) = operation?;
        if !target.named && report.errors() == before {
            let error = PolicyError::OperationWithoutLimit(operation.clone());
            report.error(place, error);
        }
        Some((operation, target.quotas, place))
    }

    /// The policy of `server`; none, and reported at `place`, if something is wrong.
    pub(super) fn into_policy(
        self,
        server: ServerId,
        mode: Mode,
        place: Place,
        report: &mut Report<'_>,
    ) -> Option<Policy> {
        match Policy::new(server, mode, self.own, self.operations) {
            Ok(policy) => Some(policy),
            // What broken parts lack is no error of its own.
            Err(_) if report.errors() > 0 => None,
            Err(error) => {
                report.error(place, error);
                None
            }
        }
    }
}

impl Dialect {
    /// The field that is meant by the unknown field `key`.
    fn instead(self, key: &str) -> Option<&'static str> {
        (self == Self::Toolgate && key == "shared").then_some("global")
    }
}

/// The quotas of the server or of one operation.
struct Target {
    quotas: Quotas,
    /// Whether any is named at all, right or wrong.
    named: bool,
    /// The place of `perUser`.
    per_user: Option<Place>,
}

fn read_target(fields: &mut Fields<'_>, dialect: Dialect, report: &mut Report<'_>) -> Target {
    let mut global = fields.entry("global");
    let mut global_path = fields.path_of("global");
    if dialect == Dialect::ToolHive
        && let Some(shared) = fields.entry("shared")
    {
        if let Some(global) = global {
            let given = report.locate(global.place);
            let message = format!(
                "shared is the deprecated name of global, which is given in {given}; \
                 configure only one of them"
            );
            report.error(shared.place, message);
        } else {
            let message = "shared is the deprecated name of global; rename it, if the ToolHive that \
                           the manifest is for knows global";
            report.warning(shared.place, message);
            global_path = fields.path_of("shared");
            global = Some(shared);
        }
    }
    let per_user = fields.entry("perUser");
    let per_user_path = fields.path_of("perUser");
    let mut quota = |entry: Option<&Entry>, path| read_quota(&entry?.node, path, dialect, report);
    Target {
        quotas: Quotas {
            global: quota(global, global_path),
            per_user: quota(per_user, per_user_path),
        },
        named: global.is_some() || per_user.is_some(),
        per_user: per_user.map(|entry| entry.place),
    }
}
