//! Ids of requests, which an answer must carry just as they came.
//!
//! rmcp reads an id as an `i64` or a text. It refuses larger numbers, and gives `1.0` back as `1`.
//! Where it would not give back the very text that came, it gets a stand-in, and the answer gets
//! the id. That is rare: all other messages pass untouched.

use std::borrow::Cow;

use axum::body::Bytes;
use rmcp::model::RequestId;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::value::RawValue;

use super::params;

/// What is looked at of a message before rmcp reads it.
#[derive(Debug, Deserialize)]
pub(super) struct Message<'a> {
    #[serde(borrow)]
    jsonrpc: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "even_null")]
    id: Option<&'a RawValue>,
    #[serde(borrow)]
    method: Option<Cow<'a, str>>,
    #[serde(borrow)]
    params: Option<&'a RawValue>,
}

/// What an id asks for.
#[derive(Clone, Copy, Debug)]
pub(super) enum Id<'a> {
    /// Nothing: there is none, or rmcp gives it back as it came.
    Plain,
    /// A stand-in.
    Odd(&'a RawValue),
    /// A refusal: MCP's ids are texts and numbers.
    Wrong(&'a RawValue),
}

impl<'a> Message<'a> {
    /// None if `body` is no JSON object of that form; rmcp then says what is wrong.
    pub(super) fn read(body: &'a [u8]) -> Option<Self> {
        // JSON is UTF-8 throughout. Of bytes, serde_json looks only at those that are asked for.
        serde_json::from_str(std::str::from_utf8(body).ok()?).ok()
    }

    pub(super) fn method(&self) -> Option<&str> {
        self.method.as_deref()
    }

    /// The id of the request that it cancels, if it is a notification that does.
    pub(super) fn cancels(&self) -> Option<&'a RawValue> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Cancelled<'a> {
            #[serde(borrow)]
            request_id: &'a RawValue,
        }
        let is_notification = self.id.is_none() && self.method() == Some("notifications/cancelled");
        let params = self.params.filter(|_| is_notification)?;
        let cancelled = serde_json::from_str::<Cancelled<'a>>(params.get());
        Some(cancelled.ok()?.request_id)
    }

    /// The id as it stands in the message, whatever it is.
    pub(super) const fn raw_id(&self) -> Option<&'a RawValue> {
        self.id
    }

    /// The id of a request; a message without a method is none.
    pub(super) fn id(&self) -> Id<'a> {
        let Some(id) = self.id.filter(|_| self.method.is_some()) else {
            return Id::Plain;
        };
        let read = serde_json::from_str::<RequestId>(id.get());
        match read.and_then(|id| serde_json::to_string(&id)) {
            Ok(echo) if echo == id.get() => Id::Plain,
            Ok(_) => Id::Odd(id),
            Err(_)
                if id
                    .get()
                    .starts_with(|c: char| c == '-' || c.is_ascii_digit()) =>
            {
                Id::Odd(id)
            }
            Err(_) => Id::Wrong(id),
        }
    }

    /// What is wrong with the parameters of a 2.0 message; none if its method is not served here.
    pub(super) fn fault(&self) -> Option<String> {
        self.jsonrpc.filter(|version| version.get() == r#""2.0""#)?;
        let params = self.params.map(|params| serde_json::from_str(params.get()));
        params::fault(self.method()?, params.transpose().ok()?)
    }

    /// The message with an id that rmcp takes.
    pub(super) fn with_stand_in(&self) -> serde_json::Result<Bytes> {
        #[derive(Serialize)]
        struct StandIn<'a> {
            #[serde(skip_serializing_if = "Option::is_none")]
            jsonrpc: Option<&'a RawValue>,
            id: u8,
            method: Option<&'a str>,
            #[serde(skip_serializing_if = "Option::is_none")]
            params: Option<&'a RawValue>,
        }
        let message = StandIn {
            jsonrpc: self.jsonrpc,
            id: 0,
            method: self.method(),
            params: self.params,
        };
        serde_json::to_vec(&message).map(Bytes::from)
    }
}

/// `null` is an id, if a wrong one, and none is not.
fn even_null<'de, D>(deserializer: D) -> Result<Option<&'de RawValue>, D::Error>
where
    D: Deserializer<'de>,
{
    <&RawValue>::deserialize(deserializer).map(Some)
}

/// A JSON-RPC answer.
#[derive(Debug, Deserialize, Serialize)]
pub(super) struct Answer<'a> {
    #[serde(borrow)]
    jsonrpc: &'a RawValue,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    id: Option<&'a RawValue>,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    result: Option<&'a RawValue>,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    error: Option<&'a RawValue>,
}

impl<'a> Answer<'a> {
    /// None if `body` is none.
    pub(super) fn read(body: &'a [u8]) -> Option<Self> {
        serde_json::from_slice(body).ok()
    }

    pub(super) const fn is_error(&self) -> bool {
        self.error.is_some()
    }

    /// The same answer, to the request `id`.
    pub(super) fn to(self, id: &'a RawValue) -> serde_json::Result<Bytes> {
        let answer = Self {
            id: Some(id),
            ..self
        };
        serde_json::to_vec(&answer).map(Bytes::from)
    }
}
