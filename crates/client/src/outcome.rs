//! From what came over the wire to an answer, and what that says about the limiter.

use std::{error::Error as _, time::Duration};

use tonic::{Code, Status};
use toolgate_limit::{Answer, Check, LimiterError};
use toolgate_proto::{
    InvalidField,
    pb::{PeekResponse, check_stream_response::Result as Outcome},
};

use crate::reading;

/// What one check says about the limiter, for its breaker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sign {
    /// It works.
    Good,
    /// It does not.
    Bad,
    /// Its connection is lost, which counts once for all whom that concerns.
    Lost,
    /// Nothing: the check never came to it.
    None,
}

/// The one place that sorts answers from failures. A denial is an answer, and a limiter that
/// rejects one check as invalid works.
pub(crate) fn sign(result: &Result<Answer, LimiterError>) -> Sign {
    match result {
        Ok(_) | Err(LimiterError::Rejected { .. }) => Sign::Good,
        Err(
            LimiterError::Unreachable { .. }
            | LimiterError::BreakerOpen { .. }
            | LimiterError::Overloaded { .. },
        ) => Sign::None,
        Err(LimiterError::ConnectionLost { .. }) => Sign::Lost,
        Err(_) => Sign::Bad,
    }
}

/// The answer to `check` in the message about it, from a limiter that was given `patience`.
pub(crate) fn of_stream(
    outcome: Option<Outcome>,
    check: &Check,
    patience: Duration,
) -> Result<Answer, LimiterError> {
    match outcome {
        Some(Outcome::Response(reply)) => reading::answer(reply, check).map_err(unreadable),
        Some(Outcome::Error(status)) => {
            Err(undecided(status.code.into(), status.message, patience))
        }
        None => Err(LimiterError::Malformed("result: must be set".to_owned())),
    }
}

/// The answer to `check` in the reply to a peek.
pub(crate) fn of_peek(
    reply: Result<tonic::Response<PeekResponse>, Status>,
    check: &Check,
    patience: Duration,
) -> Result<Answer, LimiterError> {
    match reply {
        Ok(reply) => match reply.into_inner().check {
            Some(reply) => reading::answer(reply, check).map_err(unreadable),
            None => Err(LimiterError::Malformed("check: must be set".to_owned())),
        },
        // What a limiter says has no source; what became of the connection has.
        Err(status) if status.source().is_some() => Err(LimiterError::ConnectionLost {
            reason: status.message().into(),
        }),
        Err(status) => {
            let message = status.message().to_owned();
            Err(undecided(status.code(), message, patience))
        }
    }
}

/// The limiter says that it has made no decision.
fn undecided(code: Code, message: String, patience: Duration) -> LimiterError {
    let name = format!("{code:?}");
    match code {
        Code::InvalidArgument | Code::PermissionDenied => LimiterError::Rejected {
            code: name,
            message,
        },
        Code::DeadlineExceeded => LimiterError::Timeout { after: patience },
        Code::Ok => LimiterError::Malformed("error.code: must not be OK".to_owned()),
        _ => LimiterError::Failed {
            code: name,
            message,
        },
    }
}

#[allow(clippy::needless_pass_by_value, reason = "as map_err takes it")]
fn unreadable(field: InvalidField) -> LimiterError {
    LimiterError::Malformed(field.to_string())
}

#[cfg(test)]
mod tests {
    use toolgate_limit::Identity;
    use toolgate_proto::pb::{CheckResponse, Decision};

    use super::*;

    fn sign_of(outcome: Option<Outcome>) -> Sign {
        let check = Check {
            server: "test/server".parse().expect("valid"),
            identity: Identity::anonymous(),
            operation: None,
            cost: Check::COST_OF_ONE,
            trace: None,
        };
        sign(&of_stream(outcome, &check, Duration::from_millis(50)))
    }

    fn error(code: Code) -> Outcome {
        Outcome::Error(tonic_types::Status {
            code: code.into(),
            ..tonic_types::Status::default()
        })
    }

    #[test]
    fn only_answers_and_rejections_of_one_check_are_a_good_sign() {
        let allowed = CheckResponse {
            decision: Decision::Allowed.into(),
            ..CheckResponse::default()
        };
        assert_eq!(sign_of(Some(Outcome::Response(allowed))), Sign::Good);
        assert_eq!(sign_of(Some(error(Code::InvalidArgument))), Sign::Good);
        assert_eq!(sign_of(Some(error(Code::PermissionDenied))), Sign::Good);
        for code in 0..=17 {
            let code = Code::from(code);
            if !matches!(code, Code::InvalidArgument | Code::PermissionDenied) {
                assert_eq!(sign_of(Some(error(code))), Sign::Bad, "{code:?}");
            }
        }
        assert_eq!(sign_of(None), Sign::Bad);
        let garbage = Outcome::Response(CheckResponse::default());
        assert_eq!(sign_of(Some(garbage)), Sign::Bad);
    }
}
