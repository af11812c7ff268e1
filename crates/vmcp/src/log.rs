//! What is logged.

use std::ffi::OsString;

use tracing_subscriber::{EnvFilter, filter::ParseError};

/// The variable that says what is logged, in the directives of [`EnvFilter`].
pub(crate) const VARIABLE: &str = "RUST_LOG";

/// rmcp warns of every error that it sends, with all that it says, resource URIs too. What its
/// transports log has the URLs of backends and headers of answers, and this process says itself that
/// one is down or that a request has failed.
const QUIET: &str = "rmcp=error,rmcp::transport::worker=off,rmcp::transport::common::reqwest=off";

/// Why it is not clear what to log.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FilterError {
    #[error("RUST_LOG is not text")]
    Text,
    #[error("RUST_LOG={0:?}: {1}")]
    Directives(String, #[source] ParseError),
}

/// The filter that `directives` ask for. rmcp is quiet unless they name it.
pub(crate) fn filter(directives: Option<OsString>) -> Result<EnvFilter, FilterError> {
    let directives = directives.unwrap_or_default().into_string();
    let directives = directives.map_err(|_| FilterError::Text)?;
    let asked = if directives.trim().is_empty() {
        "info"
    } else {
        &directives
    };
    let text = if names_rmcp(asked) {
        asked.to_owned()
    } else {
        format!("{asked},{QUIET}")
    };
    EnvFilter::try_new(text).map_err(|error| FilterError::Directives(directives, error))
}

fn names_rmcp(directives: &str) -> bool {
    let mut directives = directives.split(',');
    directives.any(|directive| directive.trim_start().starts_with("rmcp"))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "these are tests")]
mod tests {
    use super::*;

    fn shown(directives: &str) -> Vec<String> {
        let filter = filter(Some(directives.into())).unwrap().to_string();
        let mut shown: Vec<_> = filter.split(',').map(str::to_owned).collect();
        shown.sort();
        shown
    }

    /// `RUST_LOG=info` put resource URIs into the log.
    #[test]
    fn rmcp_is_quiet_unless_it_is_asked_for() {
        let quiet = [
            "rmcp::transport::common::reqwest=off",
            "rmcp::transport::worker=off",
            "rmcp=error",
        ];
        assert_eq!(shown(""), ["info", quiet[0], quiet[1], quiet[2]]);
        assert_eq!(shown("info"), ["info", quiet[0], quiet[1], quiet[2]]);
        assert_eq!(shown("debug,vmcp=trace").len(), 5);
        assert_eq!(shown("info,rmcp=warn"), ["info", "rmcp=warn"]);
        assert_eq!(shown("rmcp::service=debug"), ["rmcp::service=debug"]);
    }

    #[test]
    fn what_is_no_filter_is_an_error_that_says_so() {
        for wrong in ["info,vmcp=loud", "vmcp==info"] {
            let error = filter(Some(wrong.into())).unwrap_err().to_string();
            assert!(
                error.starts_with("RUST_LOG=") && error.contains(wrong),
                "{error}"
            );
        }
    }
}
