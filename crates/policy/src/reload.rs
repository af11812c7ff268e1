//! One look at the files: is there something new, is it at rest, is it right?

use std::path::PathBuf;

use toolgate_limit::Policies;

use crate::{
    Diagnostics, Loaded, Registry,
    files::{Files, Fingerprint},
    read::load,
};

/// Brings a [`Registry`] up to date with files, one look at a time.
#[derive(Debug)]
pub(crate) struct Reloader {
    paths: Vec<PathBuf>,
    /// Of what the registry was last told, good or bad.
    told: Option<Fingerprint>,
    /// Of what was seen at the last look and is not yet known to be at rest.
    unsettled: Option<Fingerprint>,
}

/// What a look at the files found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Look {
    /// What the registry knows.
    Unchanged,
    /// Something new that may still be half written: look again soon.
    Unsettled,
    /// Something new, of which the registry has been told.
    Told,
}

impl Reloader {
    pub(crate) const fn new(paths: Vec<PathBuf>) -> Self {
        Self {
            paths,
            told: None,
            unsettled: None,
        }
    }

    pub(crate) fn paths(&self) -> &[PathBuf] {
        &self.paths
    }

    /// Reads the files and tells the registry, whatever it knows.
    pub(crate) fn load(&mut self, registry: &Registry) -> Result<(), Diagnostics> {
        let files = Files::read(&self.paths);
        self.told = Some(files.fingerprint());
        self.unsettled = None;
        tell(registry, load(files))
    }

    /// Looks at the files. Something new counts once two looks in a row have found the same: a file
    /// that is truncated and then written would else be in force as an empty one for a moment.
    pub(crate) fn look(&mut self, registry: &Registry) -> Look {
        let files = Files::read(&self.paths);
        let seen = Some(files.fingerprint());
        if seen == self.told {
            self.unsettled = None;
            return Look::Unchanged;
        }
        if seen != self.unsettled {
            self.unsettled = seen;
            return Look::Unsettled;
        }
        self.told = seen;
        self.unsettled = None;
        if let Err(diagnostics) = tell(registry, load(files)) {
            let generation = registry.snapshot().generation();
            tracing::error!(
                generation,
                "policies keep their last good generation:\n{diagnostics}"
            );
        }
        Look::Told
    }
}

fn tell(registry: &Registry, loaded: Loaded) -> Result<(), Diagnostics> {
    let (policies, warnings) = loaded
        .into_result()
        .inspect_err(|diagnostics| registry.fail(diagnostics.clone()))?;
    for warning in &warnings {
        tracing::warn!("{warning}");
    }
    let count = policies.len();
    let generation = registry.publish(policies);
    tracing::info!(generation, policies = count, "policies are in force");
    Ok(())
}

#[cfg(test)]
pub(crate) mod tests;
