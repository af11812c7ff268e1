//! One look at the files: is there something new, is it at rest, is it right?

use std::{path::PathBuf, time::Duration};

use toolgate_limit::{Policies, ServerId};

use crate::{
    Diagnostic, Diagnostics, Loaded, Registry, Severity,
    aside::{Aside, NoResult},
    files::{Files, Fingerprint},
    manifest::inline::BLOCK,
    read::{load, load_inline},
    vanished::{self, Documents},
};

/// How often in a row the same must be seen until it counts: a file that is truncated and then written
/// would else be in force as an empty one for a moment.
const AT_REST: u32 = 2;

/// How often, if it may be half of a file: it has errors, it takes limits away, or the system has not
/// said that somebody wrote it. At [`DEBOUNCE`](crate::watch::DEBOUNCE) between looks this is 3 s.
const IN_DOUBT: u32 = 30;

/// How often, if the system says that somebody still has the file open to write it: 30 s.
const BEING_WRITTEN: u32 = 300;

/// How long reading may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// Brings a [`Registry`] up to date with files, one look at a time.
#[derive(Debug)]
pub(crate) struct Reloader {
    paths: Vec<PathBuf>,
    contents: Contents,
    allow_empty: bool,
    /// Of what the registry was last told, good or bad.
    told: Option<Fingerprint>,
    /// What is new, and not yet known to be at rest.
    news: Option<News>,
    /// Of what is in force.
    documents: Documents,
    reading: Reading,
}

/// What the files are.
#[derive(Clone, Debug)]
enum Contents {
    Manifests,
    /// The configuration of a gateway, with the limits of this server.
    Inline(ServerId),
}

/// Something new.
#[derive(Debug)]
struct News {
    fingerprint: Fingerprint,
    /// In how many looks in a row it was seen.
    looks: u32,
    /// Whether the system has said that something was written.
    is_announced: bool,
    /// What it says, once that was asked for.
    loaded: Option<Loaded>,
}

/// How files are read.
#[derive(Debug)]
struct Reading {
    read: fn(&[PathBuf]) -> Files,
    parse: fn(&Contents, Files) -> Loaded,
    patience: Duration,
    /// What takes longer than that.
    late: Option<Aside<Files>>,
    /// Whether the registry was told that they cannot be read.
    is_failing: bool,
}

/// What the system says of files.
pub(crate) trait Signs {
    /// Whether something was written since this was last asked.
    fn was_written(&self) -> bool;
    /// Whether somebody has one of these open to write it.
    fn is_being_written(&self, files: &Files) -> bool;
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
            allow_empty: false,
            told: None,
            news: None,
            documents: Documents::new(),
            reading: Reading {
                read: Files::read,
                parse: Contents::load,
                patience: PATIENCE,
                late: None,
                is_failing: false,
            },
        }
    }

    /// Whether a start without any policy is no error.
    pub(crate) fn allow_empty(self, allow_empty: bool) -> Self {
        Self {
            allow_empty,
            ..self
        }
    }

    pub(crate) fn paths(&self) -> &[PathBuf] {
        &self.paths
    }

    /// Reads the files and tells the registry, whatever it knows.
    pub(crate) fn load(&mut self, registry: &Registry) -> Result<(), Diagnostics> {
        self.news = None;
        let files = self.reading.files(&self.paths);
        let loaded = files.and_then(|files| {
            self.told = Some(files.fingerprint());
            self.reading.parsed(&self.contents, files)
        });
        let mut loaded = loaded.unwrap_or_else(|error| self.unread(&error));
        if loaded.policies.is_empty() && !loaded.diagnostics.has_errors() && !self.allow_empty {
            loaded.diagnostics = self.nothing();
        }
        self.tell(registry, loaded)
    }

    /// Looks at the files, and tells the registry of what is new once it is at rest.
    pub(crate) fn look(&mut self, registry: &Registry, signs: &impl Signs) -> Look {
        let files = match self.reading.files(&self.paths) {
            Ok(files) => files,
            Err(error) => return self.fail(registry, &error),
        };
        let seen = files.fingerprint();
        let was_written = signs.was_written();
        if self.told == Some(seen) && !self.reading.is_failing {
            self.news = None;
            return Look::Unchanged;
        }
        let before = self.news.take();
        let mut news = match before.filter(|news| news.fingerprint == seen) {
            Some(news) => News {
                looks: news.looks + 1,
                is_announced: news.is_announced || was_written,
                ..news
            },
            None => News {
                fingerprint: seen,
                looks: 1,
                is_announced: was_written,
                loaded: None,
            },
        };
        let mut needed = AT_REST;
        if signs.is_being_written(&files) {
            needed = BEING_WRITTEN;
        } else if news.looks >= AT_REST {
            let loaded = match news.loaded.take() {
                Some(loaded) => loaded,
                None => match self.reading.parsed(&self.contents, files) {
                    Ok(loaded) => self.refuse_vanished(loaded),
                    Err(error) => self.unread(&error),
                },
            };
            let is_doubtful = !news.is_announced
                || loaded.diagnostics.has_errors()
                || vanished::limits_less(&registry.snapshot(), &loaded.policies);
            if is_doubtful {
                needed = IN_DOUBT;
            }
            news.loaded = Some(loaded);
        }
        if news.looks < needed {
            self.news = Some(news);
            return Look::Unsettled;
        }
        self.told = Some(seen);
        self.reading.is_failing = false;
        let loaded = news.loaded.unwrap_or_default();
        if let Err(diagnostics) = self.tell(registry, loaded) {
            complain(registry, &diagnostics);
        }
        Look::Told
    }

    fn refuse_vanished(&self, mut loaded: Loaded) -> Loaded {
        let vanished = vanished::find(&self.paths, &self.documents, &loaded.documents);
        if !vanished.is_empty() {
            let found = loaded.diagnostics.iter().cloned();
            loaded.diagnostics = found.chain(vanished).collect::<Vec<_>>().into();
        }
        loaded
    }

    /// The files cannot be read at all; what is in force stays in force. It is told once.
    fn fail(&mut self, registry: &Registry, error: &NoResult) -> Look {
        self.news = None;
        if self.reading.is_failing {
            return Look::Unchanged;
        }
        self.reading.is_failing = true;
        let diagnostics = self.unread(error).diagnostics;
        registry.fail(diagnostics.clone());
        complain(registry, &diagnostics);
        Look::Told
    }

    fn unread(&self, error: &NoResult) -> Loaded {
        Loaded {
            diagnostics: self.error_of_each(&error.to_string()),
            ..Loaded::default()
        }
    }

    fn nothing(&self) -> Diagnostics {
        self.error_of_each(
            "has no policy, so that nothing would be limited; add one, or allow this with --allow-empty",
        )
    }

    fn error_of_each(&self, message: &str) -> Diagnostics {
        let error = |path: &PathBuf| Diagnostic::of_file(path, Severity::Error, message);
        self.paths.iter().map(error).collect::<Vec<_>>().into()
    }

    fn tell(&mut self, registry: &Registry, loaded: Loaded) -> Result<(), Diagnostics> {
        let documents = loaded.documents.clone();
        let (policies, warnings) = loaded
            .into_result()
            .inspect_err(|diagnostics| registry.fail(diagnostics.clone()))?;
        for warning in &warnings {
            tracing::warn!("{warning}");
        }
        let count = policies.len();
        let generation = registry.publish(policies);
        tracing::info!(generation, policies = count, "policies are in force");
        self.documents = documents;
        Ok(())
    }
}

fn complain(registry: &Registry, diagnostics: &Diagnostics) {
    let generation = registry.snapshot().generation();
    tracing::error!(
        generation,
        "policies keep their last good generation:\n{diagnostics}"
    );
}

impl Reading {
    fn files(&mut self, paths: &[PathBuf]) -> Result<Files, NoResult> {
        let reading = if let Some(late) = self.late.take() {
            late
        } else {
            let (read, paths) = (self.read, paths.to_owned());
            Aside::start(move || read(&paths))?
        };
        let files = reading.wait(self.patience);
        if matches!(files, Err(NoResult::Late(_))) {
            self.late = Some(reading);
        }
        files
    }

    fn parsed(&self, contents: &Contents, files: Files) -> Result<Loaded, NoResult> {
        let (parse, contents) = (self.parse, contents.clone());
        Aside::start(move || parse(&contents, files))?.wait(self.patience)
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

#[cfg(test)]
pub(crate) mod tests;
