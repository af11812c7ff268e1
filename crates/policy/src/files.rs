//! The files that paths name, each read once and bounded in size.
//!
//! Only regular files are read. A FIFO would keep the reader waiting for a writer, and a device may
//! act on being opened.

use std::{
    collections::BTreeSet,
    fs::{self, File, FileType},
    hash::{DefaultHasher, Hash, Hasher},
    io::{self, Read},
    os::unix::fs::{FileTypeExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use rustix::fs::OFlags;

use crate::diagnostic::{Diagnostic, Severity};

mod strays;

/// The largest file that is read, in bytes.
const MAX_FILE_BYTES: u64 = 16 * 1024 * 1024;

/// The most bytes that are read of all files together.
const MAX_BYTES: u64 = 64 * 1024 * 1024;

/// The most entries of a folder that are looked at.
const MAX_ENTRIES: usize = 10_000;

/// What lies at a set of paths at one time.
#[derive(Debug, Default)]
pub(crate) struct Files {
    /// Path and text of each file, in the order of reading.
    pub(crate) texts: Vec<(PathBuf, String)>,
    /// What could not be read.
    pub(crate) problems: Vec<Diagnostic>,
    /// How many bytes were read.
    bytes: u64,
}

/// Tells one content of [`Files`] from another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Fingerprint(u64);

/// Why a file has no text.
#[derive(Debug, thiserror::Error)]
enum Unreadable {
    #[error("cannot be read: {0}")]
    Io(#[from] io::Error),
    #[error("is {0}, not a regular file")]
    Irregular(&'static str),
    #[error("is larger than {MAX_FILE_BYTES} bytes, the most that is read")]
    TooLarge,
    #[error("is not read: all files together are larger than {MAX_BYTES} bytes")]
    TooMuch,
}

impl Files {
    /// One text, which is not a file's.
    pub(crate) fn of_text(file: &Path, text: &str) -> Self {
        Self {
            texts: vec![(file.to_owned(), text.to_owned())],
            ..Self::default()
        }
    }

    /// Reads files as they are, and of folders the manifests in them.
    pub(crate) fn read(paths: &[PathBuf]) -> Self {
        let mut files = Self::default();
        for path in paths {
            if path.is_dir() {
                files.read_folder(path);
            } else {
                files.read_file(path.clone());
            }
        }
        files
    }

    fn read_folder(&mut self, folder: &Path) {
        let names = match names_in(folder, MAX_ENTRIES + 1) {
            Ok(names) => names,
            Err(error) => return self.problem(folder, Severity::Error, &Unreadable::from(error)),
        };
        if names.len() > MAX_ENTRIES {
            let message = format!("has more than {MAX_ENTRIES} entries, the most that are read");
            return self.problem(folder, Severity::Error, &message);
        }
        let (manifests, others): (Vec<_>, Vec<_>) =
            names.into_iter().partition(|name| is_manifest(name));
        if manifests.is_empty() {
            let message = "has no manifests (*.yaml, *.yml or *.json)";
            self.problem(folder, Severity::Warning, &message);
        }
        for name in manifests {
            // Through symlinks: a ConfigMap's files are links into its `..data`. A link to nowhere
            // is an error, and so is a folder of that name.
            self.read_file(folder.join(name));
        }
        for (path, message) in strays::find(folder, &others) {
            self.problem(&path, Severity::Warning, &message);
        }
    }

    fn read_file(&mut self, path: PathBuf) {
        let bytes = match self.bytes_of(&path) {
            Ok(bytes) => bytes,
            Err(error) => return self.problem(&path, Severity::Error, &error),
        };
        match String::from_utf8(bytes) {
            Ok(text) => self.texts.push((path, text)),
            Err(error) => {
                let valid = error.utf8_error().valid_up_to();
                let message = format!("is not UTF-8 text: byte {valid} is none of it");
                self.problem(&path, Severity::Error, &message);
            }
        }
    }

    fn bytes_of(&mut self, path: &Path) -> Result<Vec<u8>, Unreadable> {
        let file = open(path)?;
        let mut bytes = Vec::new();
        file.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes)?;
        let length = bytes.len() as u64;
        if length > MAX_FILE_BYTES {
            return Err(Unreadable::TooLarge);
        }
        if self.bytes + length > MAX_BYTES {
            return Err(Unreadable::TooMuch);
        }
        self.bytes += length;
        Ok(bytes)
    }

    fn problem(&mut self, path: &Path, severity: Severity, message: &impl ToString) {
        self.problems
            .push(Diagnostic::of_file(path, severity, message.to_string()));
    }

    /// The files that were read, or that could not be.
    pub(crate) fn paths(&self) -> impl Iterator<Item = &Path> {
        let read = self.texts.iter().map(|(path, _)| path.as_path());
        read.chain(self.problems.iter().map(Diagnostic::file))
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

/// Opens the regular file at `path`, and nothing else.
fn open(path: &Path) -> Result<File, Unreadable> {
    let regular = |found: fs::Metadata| match irregular(found.file_type()) {
        None => Ok(()),
        Some(kind) => Err(Unreadable::Irregular(kind)),
    };
    regular(fs::metadata(path)?)?;
    // Another one may stand there by now: opening it must not wait, and it is looked at again.
    let flags = (OFlags::NONBLOCK | OFlags::NOCTTY).bits().cast_signed();
    let file = File::options().read(true).custom_flags(flags).open(path)?;
    regular(file.metadata()?)?;
    Ok(file)
}

fn irregular(found: FileType) -> Option<&'static str> {
    if found.is_file() {
        None
    } else if found.is_dir() {
        Some("a folder")
    } else if found.is_fifo() {
        Some("a FIFO")
    } else if found.is_socket() {
        Some("a socket")
    } else {
        Some("a device")
    }
}

/// The names of up to `most` entries of `folder`, in order.
fn names_in(folder: &Path, most: usize) -> io::Result<BTreeSet<PathBuf>> {
    let entries = fs::read_dir(folder)?.take(most);
    entries
        .map(|entry| Ok(PathBuf::from(entry?.file_name())))
        .collect()
}

/// `*.yaml`, `*.yml` and `*.json`. Hidden files are not, nor are a ConfigMap mount's own `..` entries.
fn is_manifest(name: &Path) -> bool {
    let extension = name.extension().and_then(|extension| extension.to_str());
    !is_hidden(name) && matches!(extension, Some("yaml" | "yml" | "json"))
}

fn is_hidden(name: &Path) -> bool {
    name.as_os_str().as_encoded_bytes().starts_with(b".")
}

#[cfg(test)]
mod tests;
