//! The id by which a request is found again in the log.

use std::fmt;

use http::HeaderMap;

/// The header, or metadata, in which a caller says its id and is told it.
pub const REQUEST_ID: &str = "x-request-id";

/// The longest id that a caller may choose.
const LONGEST: usize = 128;

/// The id of one request: the caller's own, if it is short and plain, else one that is made here.
///
/// ```
/// use http::HeaderMap;
/// use toolgate_telemetry::{REQUEST_ID, RequestId};
///
/// let mut headers = HeaderMap::new();
/// assert_eq!(RequestId::of(&headers).as_str().len(), 16);
/// headers.insert(REQUEST_ID, "agent-7".parse().unwrap());
/// assert_eq!(RequestId::of(&headers).as_str(), "agent-7");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestId(String);

impl RequestId {
    /// That of the request with these headers, which is made if they have none.
    pub fn of(headers: &HeaderMap) -> Self {
        Self::given(headers).unwrap_or_else(Self::make)
    }

    /// The one that these headers have, if its caller may choose it.
    pub fn given(headers: &HeaderMap) -> Option<Self> {
        Self::chosen(headers.get(REQUEST_ID)?.to_str().ok()?)
    }

    /// The one that a caller has chosen, if it may.
    pub fn chosen(id: &str) -> Option<Self> {
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.:;=+/@".contains(&byte);
        let is_one = (1..=LONGEST).contains(&id.len()) && id.bytes().all(is_plain);
        is_one.then(|| Self(id.to_owned()))
    }

    /// One that nobody else has: 16 hexadecimal digits.
    pub fn make() -> Self {
        Self(format!("{:016x}", fastrand::u64(..)))
    }

    /// As it stands in a header.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn given(id: &str) -> Option<RequestId> {
        let mut headers = HeaderMap::new();
        headers.insert(REQUEST_ID, id.parse().unwrap());
        RequestId::given(&headers)
    }

    #[test]
    fn what_could_forge_a_line_of_a_log_or_fill_it_is_no_id() {
        for id in [
            "a",
            "0af7651916cd43dd8448eb211c80319c",
            "Root=1-67891233-abcdef012345678912345678;Self=1",
            &"a".repeat(LONGEST),
        ] {
            assert_eq!(given(id).unwrap().as_str(), id);
        }
        for wrong in [
            "",
            "a b",
            "a\"",
            "a\tb",
            "é",
            "{}",
            &"a".repeat(LONGEST + 1),
        ] {
            assert_eq!(given(wrong), None, "{wrong:?}");
        }
    }

    #[test]
    fn ids_that_are_made_differ() {
        assert_ne!(RequestId::make(), RequestId::make());
    }
}
