//! What a caller sees who was not let in.

use axum::{
    http::{HeaderValue, StatusCode, header::WWW_AUTHENTICATE},
    response::{IntoResponse, Response},
};

use crate::auth::{ProtectedResource, Unauthorized};

/// 401 with a challenge, by RFC 6750 section 3 and RFC 9728 section 5.1; 503 where nobody could be
/// let in.
pub(super) fn unauthorized(error: &Unauthorized, resource: Option<&ProtectedResource>) -> Response {
    let mut parameters = Vec::new();
    match error {
        Unauthorized::Missing => {}
        Unauthorized::Invalid(reason) => {
            let reason = quotable(reason);
            parameters.push(r#"error="invalid_token""#.to_owned());
            parameters.push(format!(r#"error_description="{reason}""#));
        }
        // Who fetches the keys logs why they cannot be had, not each caller who comes.
        Unauthorized::Unavailable(_) => {
            return (StatusCode::SERVICE_UNAVAILABLE, error.to_string()).into_response();
        }
    }
    if let Some(resource) = resource {
        let url = resource.metadata_url();
        parameters.push(format!(r#"resource_metadata="{url}""#));
    }
    let challenge = format!("Bearer {}", parameters.join(", "));
    let mut response = (StatusCode::UNAUTHORIZED, error.to_string()).into_response();
    if let Ok(challenge) = HeaderValue::try_from(challenge.trim_end()) {
        response.headers_mut().insert(WWW_AUTHENTICATE, challenge);
    }
    response
}

/// What RFC 6750 lets an `error_description` hold.
fn quotable(text: &str) -> String {
    let is_fine = |c: &char| matches!(c, ' '..='~') && !matches!(c, '"' | '\\');
    text.chars().filter(is_fine).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_challenge_says_what_is_wrong_and_stays_one_header() {
        let challenge = |error| {
            let response = unauthorized(&error, None);
            assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
            response.headers()[WWW_AUTHENTICATE]
                .to_str()
                .unwrap()
                .to_owned()
        };
        assert_eq!(challenge(Unauthorized::Missing), "Bearer");
        assert_eq!(
            challenge(Unauthorized::Invalid(
                "the \"token\"\r\nhas expired".to_owned()
            )),
            r#"Bearer error="invalid_token", error_description="the tokenhas expired""#
        );
    }
}
