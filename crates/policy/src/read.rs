//! From files to validated policies.

use std::{
    collections::{BTreeMap, HashMap, hash_map::Entry},
    fmt,
    path::{Path, PathBuf},
};

use toolgate_limit::{Policy, ServerId};

use crate::{
    Diagnostics,
    diagnostic::{Diagnostic, Report, Severity},
    files::Files,
    manifest::{Manifest, inline},
    node,
};

/// Where a policy was written. Displayed as `policies.yaml:12` or `RateLimitPolicy default/research`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// In a file.
    File {
        /// The file, as it was named to be read.
        file: PathBuf,
        /// The first line of the manifest in it, from 1.
        line: usize,
    },
    /// In an object of a cluster.
    Object {
        /// Its kind, for example `RateLimitPolicy`.
        kind: &'static str,
        /// Its namespace and name, `namespace/name`.
        name: String,
    },
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { file, line } => write!(f, "{}:{line}", file.display()),
            Self::Object { kind, name } => write!(f, "{kind} {name}"),
        }
    }
}

/// Everything that was read.
#[derive(Debug, Default)]
pub struct Loaded {
    /// The policies of the manifests that are right, no server twice, in the order of reading. If
    /// there are errors beside them they must not come into force: what is missing here would be
    /// unlimited.
    pub policies: Vec<(Policy, Origin)>,
    /// All that is wrong with the others, and warnings.
    pub diagnostics: Diagnostics,
    /// How many documents each file has that could be read.
    pub(crate) documents: BTreeMap<PathBuf, usize>,
}

impl Loaded {
    /// The policies with any warnings, or, if there is any error, all diagnostics.
    pub fn into_result(self) -> Result<(Vec<(Policy, Origin)>, Diagnostics), Diagnostics> {
        if self.diagnostics.has_errors() {
            Err(self.diagnostics)
        } else {
            Ok((self.policies, self.diagnostics))
        }
    }
}

/// Reads the manifests in files and folders.
///
/// Of a folder every `*.yaml`, `*.yml` and `*.json` is read, by name, but no hidden file and no folder
/// in it. A path that cannot be read, one that is no regular file, a file over 16 MiB and more than
/// 64 MiB in all are errors. A folder or a file without manifests is a warning, and so is a file of
/// another name, or a folder in the folder, that seems to hold manifests.
pub fn read_paths(paths: &[PathBuf]) -> Loaded {
    load(Files::read(paths))
}

/// Reads the manifests in `text`; diagnostics and origins name it as `file`, which is not opened.
pub fn read_text(file: &Path, text: &str) -> Loaded {
    load(Files::of_text(file, text))
}

/// Reads the limits of `server` from the configuration file of a gateway: the block `rateLimiting`
/// at its top level, which is what `RateLimitPolicy` has in `spec`, without `server`.
///
/// `ToolHive` has such a block too: `shared`, its deprecated name of `global`, is taken with a
/// warning, and so is its form `{duration: 1m0s}`. In the block an unknown field is an error. Fields
/// around it are not looked at, but one that seems to be a misspelt `rateLimiting` is an error. With
/// no block, or a null, there is no policy.
///
/// Diagnostics name the file as `file`, which is not opened, and show no line of it outside the
/// block.
pub fn read_inline(file: &Path, text: &str, server: &ServerId) -> Loaded {
    load_inline(Files::of_text(file, text), server)
}

/// The policy of `server` in `files`, which are configuration files of a gateway.
pub(crate) fn load_inline(files: Files, server: &ServerId) -> Loaded {
    let mut reader = Reader::new(files.problems);
    for (path, text) in &files.texts {
        reader.read_inline(path, text, server);
    }
    reader.into_loaded()
}

/// The policies in `files`.
pub(crate) fn load(files: Files) -> Loaded {
    let mut reader = Reader::new(files.problems);
    for (path, text) in &files.texts {
        reader.read(path, text);
    }
    reader.into_loaded()
}

#[derive(Default)]
struct Reader {
    policies: Vec<(Policy, Origin)>,
    /// Where each server was first named.
    first: HashMap<ServerId, Origin>,
    diagnostics: Vec<Diagnostic>,
    documents: BTreeMap<PathBuf, usize>,
}

impl Reader {
    fn new(problems: Vec<Diagnostic>) -> Self {
        Self {
            diagnostics: problems,
            ..Self::default()
        }
    }

    fn into_loaded(self) -> Loaded {
        Loaded {
            policies: self.policies,
            diagnostics: self.diagnostics.into(),
            documents: self.documents,
        }
    }

    fn read(&mut self, file: &Path, text: &str) {
        let mut report = Report::new(file, text);
        let documents = node::documents(text, &mut report);
        self.documents.insert(file.to_owned(), documents.len());
        if documents.is_empty() && report.errors() == 0 {
            let message = "has no manifests";
            let warning = Diagnostic::of_file(file, Severity::Warning, message);
            self.diagnostics.push(warning);
        }
        for document in documents {
            let manifest = Manifest::read(&document, &mut report);
            let origin = Origin::File {
                file: file.to_owned(),
                line: document.place.line,
            };
            self.keep(manifest, origin, &mut report);
        }
        self.diagnostics.extend(report.into_found());
    }

    fn read_inline(&mut self, file: &Path, text: &str, server: &ServerId) {
        // No text: nothing of the file is to be shown unless it is known to be of the block.
        let mut report = Report::new(file, "");
        let documents = node::documents(text, &mut report);
        if let [_, second, ..] = &*documents {
            report.error(second.place, "a configuration file has one document");
        }
        if let Some(document) = documents.first() {
            let manifest = inline::read(document, text, server, &mut report);
            let line = manifest.server.as_ref().map_or(1, |(_, place)| place.line);
            let origin = Origin::File {
                file: file.to_owned(),
                line,
            };
            self.keep(manifest, origin, &mut report);
        }
        self.diagnostics.extend(report.into_found());
    }

    fn keep(&mut self, manifest: Manifest, origin: Origin, report: &mut Report<'_>) {
        let Some((server, place)) = manifest.server else {
            return;
        };
        match self.first.entry(server) {
            Entry::Occupied(first) => {
                let (server, first) = (first.key(), first.get());
                let message = format!("server {server} is configured twice; first in {first}");
                report.error(place, message);
            }
            Entry::Vacant(first) => {
                first.insert(origin.clone());
                self.policies
                    .extend(manifest.policy.map(|policy| (policy, origin)));
            }
        }
    }
}
