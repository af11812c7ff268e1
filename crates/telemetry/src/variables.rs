//! The environment, read strictly: what is set and wrong is an error that names the variable.
//!
//! The SDK's own reading falls back to defaults in silence.

use std::{ffi::OsString, fmt, time::Duration};

/// A setting of the export whose value cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct InvalidSetting {
    name: String,
    /// None where it could be a secret.
    value: Option<String>,
    reason: String,
}

impl fmt::Display for InvalidSetting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.value {
            Some(value) => write!(f, "{}={value:?}: {}", self.name, self.reason),
            None => write!(f, "{}: {}", self.name, self.reason),
        }
    }
}

/// A setting that is made, and not to nothing: the specification takes an empty variable for none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Setting {
    /// The variable, or where it stands in the program's own configuration.
    pub(crate) name: String,
    pub(crate) value: String,
}

impl Setting {
    pub(crate) fn invalid(&self, reason: impl fmt::Display) -> InvalidSetting {
        InvalidSetting {
            name: self.name.clone(),
            value: Some(self.value.clone()),
            reason: reason.to_string(),
        }
    }

    /// As [`Setting::invalid`], of a value that may not be shown.
    pub(crate) fn invalid_secret(&self, reason: impl fmt::Display) -> InvalidSetting {
        InvalidSetting {
            value: None,
            ..self.invalid(reason)
        }
    }
}

/// What is exported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Signal {
    Traces,
    Metrics,
}

impl Signal {
    /// As the names of variables have it.
    pub(crate) const fn upper(self) -> &'static str {
        match self {
            Self::Traces => "TRACES",
            Self::Metrics => "METRICS",
        }
    }

    /// As the paths of OTLP over HTTP have it.
    pub(crate) const fn lower(self) -> &'static str {
        match self {
            Self::Traces => "traces",
            Self::Metrics => "metrics",
        }
    }
}

/// The environment.
#[derive(Clone, Copy)]
pub(crate) struct Variables<'a>(pub(crate) &'a dyn Fn(&str) -> Option<OsString>);

impl Variables<'_> {
    pub(crate) fn get(self, name: &str) -> Result<Option<Setting>, InvalidSetting> {
        let name = name.to_owned();
        match (self.0)(&name).map(OsString::into_string) {
            None => Ok(None),
            Some(Ok(value)) if value.trim().is_empty() => Ok(None),
            Some(Ok(value)) => Ok(Some(Setting {
                name,
                value: value.trim().to_owned(),
            })),
            Some(Err(_)) => Err(InvalidSetting {
                name,
                value: None,
                reason: "it is not text".to_owned(),
            }),
        }
    }

    /// `OTEL_EXPORTER_OTLP_{SIGNAL}_{setting}`, else `OTEL_EXPORTER_OTLP_{setting}`.
    pub(crate) fn of_exporter(
        self,
        signal: Signal,
        setting: &str,
    ) -> Result<Option<Setting>, InvalidSetting> {
        let own = self.get(&format!("OTEL_EXPORTER_OTLP_{}_{setting}", signal.upper()))?;
        match own {
            Some(own) => Ok(Some(own)),
            None => self.get(&format!("OTEL_EXPORTER_OTLP_{setting}")),
        }
    }

    /// `true` or `false`; by default false.
    pub(crate) fn is_true(self, name: &str) -> Result<bool, InvalidSetting> {
        let Some(variable) = self.get(name)? else {
            return Ok(false);
        };
        match variable.value.to_ascii_lowercase().as_str() {
            "true" => Ok(true),
            "false" => Ok(false),
            _ => Err(variable.invalid("it must be true or false")),
        }
    }

    /// Milliseconds, more than 0.
    pub(crate) fn milliseconds(
        self,
        name: &str,
        default: Duration,
    ) -> Result<Duration, InvalidSetting> {
        let variable = self.get(name)?;
        variable.map_or(Ok(default), |variable| milliseconds(&variable))
    }

    /// A number, at least 1.
    pub(crate) fn count(self, name: &str, default: usize) -> Result<usize, InvalidSetting> {
        let Some(variable) = self.get(name)? else {
            return Ok(default);
        };
        match variable.value.parse() {
            Ok(count) if (1..=MOST).contains(&count) => Ok(count),
            _ => Err(variable.invalid(format_args!("it must be a number from 1 to {MOST}"))),
        }
    }
}

/// Far above what anybody needs; a queue of that many is set up at once.
const MOST: usize = 1_000_000;

/// A day: no timer of the export is meant to be longer, and none overflows.
const LONGEST_MS: u64 = 24 * 60 * 60 * 1_000;

pub(crate) fn milliseconds(variable: &Setting) -> Result<Duration, InvalidSetting> {
    match variable.value.parse() {
        Ok(ms) if (1..=LONGEST_MS).contains(&ms) => Ok(Duration::from_millis(ms)),
        _ => Err(variable.invalid(format_args!(
            "it must be a number of milliseconds from 1 to {LONGEST_MS}"
        ))),
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// Runs `read` in an environment of these variables alone.
    pub(crate) fn with<T>(pairs: &[(&str, &str)], read: impl FnOnce(Variables<'_>) -> T) -> T {
        read(Variables(&|name| {
            let pair = pairs.iter().find(|(key, _)| *key == name)?;
            Some(pair.1.into())
        }))
    }

    #[test]
    fn a_wrong_value_is_told_with_its_name() {
        let pairs = [("OTEL_SDK_DISABLED", "yes"), ("TIME", "1s"), ("COUNT", "0")];
        with(&pairs, |variables| {
            let error = variables.is_true("OTEL_SDK_DISABLED").unwrap_err();
            let expected = "OTEL_SDK_DISABLED=\"yes\": it must be true or false";
            assert_eq!(error.to_string(), expected);
            let error = variables.milliseconds("TIME", Duration::ZERO).unwrap_err();
            assert!(error.to_string().starts_with("TIME=\"1s\": "), "{error}");
            let error = variables.count("COUNT", 1).unwrap_err();
            assert!(error.to_string().contains("from 1 to"), "{error}");
        });
        let not_text = |_: &str| {
            use std::os::unix::ffi::OsStringExt as _;
            Some(OsString::from_vec(vec![0xff]))
        };
        let error = Variables(&not_text).get("A").unwrap_err();
        assert_eq!(error.to_string(), "A: it is not text");
    }

    #[test]
    fn an_empty_variable_is_none() {
        with(&[("OTEL_SDK_DISABLED", " "), ("COUNT", "")], |variables| {
            assert_eq!(variables.is_true("OTEL_SDK_DISABLED"), Ok(false));
            assert_eq!(variables.count("COUNT", 7), Ok(7));
        });
    }
}
