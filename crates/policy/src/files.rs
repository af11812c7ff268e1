//! The files that paths name, each read once and bounded in size.

use std::{
    collections::BTreeSet,
    fs::{self, File},
    hash::{DefaultHasher, Hash, Hasher},
    io::Read,
    path::{Path, PathBuf},
};

use crate::diagnostic::{Diagnostic, Severity};

/// The largest file that is read, in bytes.
const MAX_FILE_BYTES: u64 = 16 * 1024 * 1024;

/// What lies at a set of paths at one time.
#[derive(Debug, Default)]
pub(crate) struct Files {
    /// Path and text of each file, in the order of reading.
    pub(crate) texts: Vec<(PathBuf, String)>,
    /// What could not be read.
    pub(crate) problems: Vec<Diagnostic>,
}

/// Tells one content of [`Files`] from another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Fingerprint(u64);

impl Files {
    /// Reads files as they are, and of folders the manifests in them.
    pub(crate) fn read(paths: &[PathBuf]) -> Self {
        let mut files = Self::default();
        for path in paths {
            match fs::metadata(path) {
                Ok(found) if found.is_dir() => files.read_folder(path),
                Ok(found) if found.is_file() => files.read_file(path.clone()),
                Ok(_) => files.problem(path, Severity::Error, "is neither a file nor a folder"),
                Err(error) => files.cannot_read(path, &error),
            }
        }
        files
    }

    fn read_folder(&mut self, folder: &Path) {
        let names = match fs::read_dir(folder).and_then(Iterator::collect::<Result<Vec<_>, _>>) {
            Ok(entries) => entries.into_iter().map(|entry| entry.file_name()),
            Err(error) => return self.cannot_read(folder, &error),
        };
        let manifests: BTreeSet<PathBuf> = names
            .map(PathBuf::from)
            .filter(|name| is_manifest(name))
            .map(|name| folder.join(name))
            // Through symlinks: a ConfigMap's files are links into its `..data`. A link to nowhere
            // stays, and is an error when it is read.
            .filter(|path| !path.is_dir())
            .collect();
        if manifests.is_empty() {
            let message = "has no manifests (*.yaml or *.yml)";
            self.problem(folder, Severity::Warning, message);
        }
        for path in manifests {
            self.read_file(path);
        }
    }

    fn read_file(&mut self, path: PathBuf) {
        let mut bytes = Vec::new();
        let read = File::open(&path)
            .and_then(|file| file.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes));
        if let Err(error) = read {
            return self.cannot_read(&path, &error);
        }
        if bytes.len() as u64 > MAX_FILE_BYTES {
            let message = format!("is larger than {MAX_FILE_BYTES} bytes, the most that is read");
            return self.problem(&path, Severity::Error, message);
        }
        match String::from_utf8(bytes) {
            Ok(text) => self.texts.push((path, text)),
            Err(error) => {
                let valid = error.utf8_error().valid_up_to();
                let message = format!("is not UTF-8 text: byte {valid} is none of it");
                self.problem(&path, Severity::Error, message);
            }
        }
    }

    fn cannot_read(&mut self, path: &Path, error: &std::io::Error) {
        self.problem(path, Severity::Error, format!("cannot be read: {error}"));
    }

    fn problem(&mut self, path: &Path, severity: Severity, message: impl Into<String>) {
        self.problems
            .push(Diagnostic::of_file(path, severity, message));
    }

    /// The fingerprint of everything that was read and everything that could not be.
    pub(crate) fn fingerprint(&self) -> Fingerprint {
        let mut hasher = DefaultHasher::new();
        self.texts.hash(&mut hasher);
        for problem in &self.problems {
            problem.file().hash(&mut hasher);
            problem.message().hash(&mut hasher);
        }
        Fingerprint(hasher.finish())
    }
}

/// `*.yaml` and `*.yml`. Hidden files are not, nor are a ConfigMap mount's own `..` entries.
fn is_manifest(name: &Path) -> bool {
    let extension = name.extension().and_then(|extension| extension.to_str());
    let hidden = name.as_os_str().as_encoded_bytes().starts_with(b".");
    !hidden && matches!(extension, Some("yaml" | "yml"))
}

#[cfg(test)]
mod tests;
