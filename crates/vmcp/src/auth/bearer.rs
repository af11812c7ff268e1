//! The bearer token of a request, by RFC 6750 section 2.1.

use axum::http::{HeaderMap, header::AUTHORIZATION};

use super::Unauthorized;

/// The token in the one `Authorization` header. Tokens in queries and bodies are not looked for.
pub(super) fn token(headers: &HeaderMap) -> Result<&str, Unauthorized> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let value = values.next().ok_or(Unauthorized::Missing)?;
    if values.next().is_some() {
        let reason = "more than one Authorization header".to_owned();
        return Err(Unauthorized::Invalid(reason));
    }
    let (scheme, token) = value
        .to_str()
        .ok()
        .and_then(|value| value.split_once(' '))
        .ok_or(Unauthorized::Missing)?;
    if scheme.eq_ignore_ascii_case("bearer") {
        Ok(token.trim())
    } else {
        Err(Unauthorized::Missing)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_one_token_or_none() {
        let of = |values: &[&str]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(AUTHORIZATION, value.parse().unwrap());
            }
            token(&headers).map(str::to_owned)
        };
        assert_eq!(of(&["Bearer abc"]).unwrap(), "abc");
        assert_eq!(of(&["bearer  abc"]).unwrap(), "abc");
        assert!(matches!(of(&[]), Err(Unauthorized::Missing)));
        assert!(matches!(of(&["Basic abc"]), Err(Unauthorized::Missing)));
        assert!(matches!(of(&["Bearer"]), Err(Unauthorized::Missing)));
        let two = of(&["Bearer a", "Bearer b"]);
        assert!(matches!(two, Err(Unauthorized::Invalid(_))));
    }
}
