//! One look at the files: is there something new, is it at rest, is it right?

use std::path::PathBuf;

use toolgate_limit::{Policies, ServerId};

use crate::{
    Diagnostic, Diagnostics, Loaded, Registry, Severity,
    files::{Files, Fingerprint},
    manifest::inline::BLOCK,
    read::{load, load_inline},
};

/// Brings a [`Registry`] up to date with files, one look at a time.
#[derive(Debug)]
pub(crate) struct Reloader {
    paths: Vec<PathBuf>,
    contents: Contents,
    /// Of what the registry was last told, good or bad.
    told: Option<Fingerprint>,
    /// Of what was seen at the last look and is not yet known to be at rest.
    unsettled: Option<Fingerprint>,
}

/// What the files are.
#[derive(Debug)]
enum Contents {
    Manifests,
    /// The configuration of a gateway, with the limits of this server.
    Inline(ServerId),
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
    /// Of manifests.
    pub(crate) const fn new(paths: Vec<PathBuf>) -> Self {
        Self::of(paths, Contents::Manifests)
    }

    /// Of the limits of `server` in the configuration `file` of a gateway.
    pub(crate) fn inline(file: PathBuf, server: ServerId) -> Self {
        Self::of(vec![file], Contents::Inline(server))
    }

    const fn of(paths: Vec<PathBuf>, contents: Contents) -> Self {
        Self {
            paths,
            contents,
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
        tell(registry, self.contents.load(files))
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
        if let Err(diagnostics) = tell(registry, self.contents.load(files)) {
            let generation = registry.snapshot().generation();
            tracing::error!(
                generation,
                "policies keep their last good generation:\n{diagnostics}"
            );
        }
        Look::Told
    }
}

impl Contents {
    fn load(&self, files: Files) -> Loaded {
        let server = match self {
            Self::Manifests => return load(files),
            Self::Inline(server) => server,
        };
        let named = files.texts.first().map(|(file, _)| file.clone());
        let mut loaded = load_inline(files, server);
        // Without its limits a gateway would go on, and let all calls pass.
        if let Some(file) = named
            && loaded.policies.is_empty()
            && !loaded.diagnostics.has_errors()
        {
            let message = format!("{BLOCK} is missing");
            let missing = Diagnostic::of_file(&file, Severity::Error, message);
            loaded.diagnostics = vec![missing].into();
        }
        loaded
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
