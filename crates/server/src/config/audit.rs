//! The audit stream.

use std::{num::NonZeroU32, path::PathBuf, str::FromStr};

use clap::Args;
use serde::Deserialize;

use super::{ConfigError, from_text};

/// Lines a second if nobody says how many: some 30 kB.
const PER_SECOND: NonZeroU32 = NonZeroU32::new(100).expect("not zero");

/// The audit stream, as one source gives it: `audit` in the file, and flags and variables that begin
/// with `--audit-` and `TOOLGATE_AUDIT_`.
#[derive(Args, Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct AuditSettings {
    /// Where to write one JSON line for each denial: `stdout` or a file, which is appended to; none
    /// by default
    #[arg(
        id = "audit_to",
        long = "audit-to",
        value_name = "DESTINATION",
        env = "TOOLGATE_AUDIT_TO"
    )]
    #[serde(deserialize_with = "from_text")]
    pub to: Option<AuditDestination>,

    /// File with the secret by which the audit stream makes pseudonyms of users: at least 16 bytes,
    /// the same for all replicas
    #[arg(
        id = "audit_salt_file",
        long = "audit-salt-file",
        value_name = "FILE",
        env = "TOOLGATE_AUDIT_SALT_FILE"
    )]
    pub salt_file: Option<PathBuf>,

    /// The share of denials in the audit stream, above 0 and at most 1 [default: 1]
    #[arg(
        id = "audit_sample_ratio",
        long = "audit-sample-ratio",
        value_name = "RATIO",
        env = "TOOLGATE_AUDIT_SAMPLE_RATIO"
    )]
    pub sample_ratio: Option<f64>,

    /// The most lines a second in the audit stream [default: 100]
    #[arg(
        id = "audit_max_per_second",
        long = "audit-max-per-second",
        value_name = "COUNT",
        env = "TOOLGATE_AUDIT_MAX_PER_SECOND"
    )]
    pub max_per_second: Option<NonZeroU32>,
}

/// Where the audit stream goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AuditDestination {
    /// The standard output of this process, which then says nothing else there.
    Stdout,
    /// The end of this file. One that is renamed or removed is made anew, as rotation of logs needs
    /// it.
    File(PathBuf),
}

impl FromStr for AuditDestination {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "" => Err("must be `stdout` or the path of a file"),
            "stdout" => Ok(Self::Stdout),
            path => Ok(Self::File(path.into())),
        }
    }
}

/// An audit stream.
#[derive(Clone, Debug, PartialEq)]
pub struct AuditConfig {
    /// Where it goes.
    pub to: AuditDestination,
    /// Where the secret is that makes pseudonyms.
    pub salt_file: PathBuf,
    /// The share of denials that it shows, above 0 and at most 1.
    pub sample_ratio: f64,
    /// The most lines a second.
    pub max_per_second: NonZeroU32,
}

impl AuditSettings {
    pub(super) fn over(self, below: Self) -> Self {
        Self {
            to: self.to.or(below.to),
            salt_file: self.salt_file.or(below.salt_file),
            sample_ratio: self.sample_ratio.or(below.sample_ratio),
            max_per_second: self.max_per_second.or(below.max_per_second),
        }
    }

    pub(super) fn into_config(self) -> Result<Option<AuditConfig>, ConfigError> {
        let Some(to) = self.to else {
            let is_silent = self.salt_file.is_none()
                && self.sample_ratio.is_none()
                && self.max_per_second.is_none();
            return if is_silent {
                Ok(None)
            } else {
                Err(ConfigError::Together(
                    "audit.saltFile, audit.sampleRatio and audit.maxPerSecond need audit.to",
                ))
            };
        };
        let salt_file = self.salt_file.ok_or(ConfigError::Together(
            "audit.to needs audit.saltFile: users are shown by pseudonyms",
        ))?;
        let sample_ratio = self.sample_ratio.unwrap_or(1.0);
        if !(sample_ratio > 0.0 && sample_ratio <= 1.0) {
            return Err(ConfigError::SampleRatio(sample_ratio));
        }
        Ok(Some(AuditConfig {
            to,
            salt_file,
            sample_ratio,
            max_per_second: self.max_per_second.unwrap_or(PER_SECOND),
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::{
        super::tests::{file, flags},
        *,
    };
    use crate::Config;

    fn audit(arguments: &[&str]) -> Result<Option<AuditConfig>, String> {
        let arguments = [&["--policies=x"], arguments].concat();
        match Config::try_from(flags(&arguments)) {
            Ok(config) => Ok(config.audit),
            Err(error) => Err(error.to_string()),
        }
    }

    #[test]
    fn there_is_no_audit_stream_unless_it_is_asked_for() {
        assert_eq!(audit(&[]), Ok(None));
        let stdout = audit(&["--audit-to=stdout", "--audit-salt-file=s"]);
        let stdout = stdout.expect("valid").expect("asked for");
        assert_eq!(stdout.to, AuditDestination::Stdout);
        assert!((stdout.sample_ratio - 1.0).abs() < f64::EPSILON);
        assert_eq!(stdout.max_per_second.get(), 100);
        let text = "policies: [x]\naudit: {to: /a, saltFile: s, sampleRatio: 0.1, maxPerSecond: 7}";
        let config = Config::try_from(file(text).expect("read")).expect("valid");
        let audit = config.audit.expect("asked for");
        assert_eq!(audit.to, AuditDestination::File("/a".into()));
        assert_eq!(audit.max_per_second.get(), 7);
    }

    #[test]
    fn settings_that_make_no_audit_stream_are_refused_by_name() {
        let asked = ["--audit-to=stdout", "--audit-salt-file=s"];
        for (arguments, part) in [
            (&["--audit-to=stdout"][..], "audit.saltFile"),
            (&["--audit-salt-file=s"], "need audit.to"),
            (
                &[asked[0], asked[1], "--audit-sample-ratio=0"],
                "audit.sampleRatio",
            ),
            (
                &[asked[0], asked[1], "--audit-sample-ratio=1.1"],
                "audit.sampleRatio",
            ),
            (
                &[asked[0], asked[1], "--audit-sample-ratio=NaN"],
                "audit.sampleRatio",
            ),
        ] {
            let error = audit(arguments).expect_err(part);
            assert!(error.contains(part), "{error}");
        }
    }
}
