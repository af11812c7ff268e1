//! `RateLimitPolicy` of `toolgate.dev/v1alpha1`, in which an unknown field is an error.

use toolgate_limit::Mode;

use super::{
    Manifest,
    limits::{Dialect, Limits},
    metadata::{Metadata, read_object_name},
};
use crate::{
    diagnostic::{Place, Report},
    fields::Fields,
};

/// What the manifest says. `place` is where it begins.
pub(super) fn read(place: Place, mut fields: Fields<'_>, report: &mut Report<'_>) -> Manifest {
    let metadata = Metadata::read(&mut fields, place, true, report);
    fields.entry("status"); // written by a controller; says nothing about limits
    let spec = fields.optional("spec");
    let spec_fields = spec.and_then(|spec| Fields::of(&spec.node, "spec".to_owned(), report));
    if spec.is_none() {
        report.error(place, "spec is missing");
    }
    fields.refuse_unknown(report);
    let (Some(spec), Some(mut spec_fields)) = (spec, spec_fields) else {
        return Manifest {
            server: metadata.server(None),
            policy: None,
        };
    };

    let named = spec_fields.entry("server").is_some();
    let name = read_object_name(&mut spec_fields, "server", report);
    let server = metadata.server(name).filter(|_| named == name.is_some());
    let mode = read_mode(&mut spec_fields, report);
    let limits = Limits::read(spec_fields, spec.place, Dialect::Toolgate, report);
    let policy = server
        .clone()
        .and_then(|(server, _)| limits.into_policy(server, mode, spec.place, report));
    Manifest { server, policy }
}

/// How the limits of a block are used; by default they are enforced.
pub(super) fn read_mode(spec: &mut Fields<'_>, report: &mut Report<'_>) -> Mode {
    match spec.text("mode", report) {
        None | Some(("Enforce", _)) => Mode::Enforce,
        Some(("Shadow", _)) => Mode::Shadow,
        Some((other, place)) => {
            let path = spec.path_of("mode");
            let message = format!("{path} must be Enforce or Shadow, not {other:?}");
            report.error(place, message);
            Mode::Enforce
        }
    }
}
