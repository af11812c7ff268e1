//! A manifest in a file of the test's own.

use std::path::{Path, PathBuf};

use anyhow::Result;

/// A policy file that the test may change.
#[derive(Debug)]
pub struct PolicyFile {
    folder: tempfile::TempDir,
}

impl PolicyFile {
    /// A file that holds `manifest`.
    pub fn new(manifest: &str) -> Result<Self> {
        let file = Self {
            folder: tempfile::tempdir()?,
        };
        file.write(manifest)?;
        Ok(file)
    }

    /// A file with the policy of server `test/server`; `spec` is the YAML inside `spec: {}`.
    pub fn of_spec(spec: &str) -> Result<Self> {
        Self::new(&manifest("server", spec))
    }

    /// Replaces the manifest at once, as `mv` does.
    pub fn write(&self, manifest: &str) -> Result<()> {
        let new = self.folder.path().join("policies.yaml.new");
        std::fs::write(&new, manifest)?;
        Ok(std::fs::rename(new, self.path())?)
    }

    /// The file's path, for `--policies`.
    pub fn path(&self) -> PathBuf {
        self.folder.path().join("policies.yaml")
    }

    /// The folder in which the file lies, and nothing else.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }
}

/// A `RateLimitPolicy` of server `test/<name>`; `spec` is the YAML inside `spec: {}`.
pub fn manifest(name: &str, spec: &str) -> String {
    format!(
        "apiVersion: toolgate.dev/v1alpha1\nkind: RateLimitPolicy\n\
         metadata: {{namespace: test, name: {name}}}\nspec: {{{spec}}}\n"
    )
}
