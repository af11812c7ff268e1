//! What makes a request and reads an answer: the one place that knows `toolgate.v1`.
//!
//! Another protocol is another file with a [`Codec`] from [`Flight`] to [`Answer`] and the paths of
//! its methods; nothing else here knows a message.
//!
//! The generated types would allocate each name of each request and each status of each answer. The
//! generator shares the machine with what it measures, so it writes requests from their parts and
//! of an answer reads the decision and the quotas, and skips the rest. Tests hold both against the
//! generated types.

use std::sync::Arc;

use prost::{
    DecodeError,
    bytes::{Buf, BufMut},
    encoding::{self, DecodeContext, WireType},
};
use tonic::{
    Code, Status,
    codec::{BufferSettings, Codec, DecodeBuf, Decoder, EncodeBuf, Encoder},
};
use toolgate_proto::pb;

use super::{
    admission::{Kind, Quota},
    keys::Key,
    lane::Flight,
};

/// A way to ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Mode {
    /// One call a check
    Unary,
    /// One stream a connection, which all its checks share
    Stream,
}

impl Mode {
    pub(crate) const fn path(self) -> &'static str {
        match self {
            Self::Unary => "/toolgate.v1.LimiterService/Check",
            Self::Stream => "/toolgate.v1.LimiterService/CheckStream",
        }
    }
}

/// What all requests have in common.
#[derive(Debug)]
pub(crate) struct Template {
    /// As `namespace/name`.
    pub(crate) server: String,
    /// What subjects begin with; without one the checks are anonymous.
    pub(crate) user_prefix: Option<String>,
    /// What tools begin with; without one the checks name no operation.
    pub(crate) tool_prefix: Option<String>,
    /// In tokens.
    pub(crate) cost: u32,
    /// Of answers on a stream that allow.
    pub(crate) omit_buckets: bool,
}

/// What came back for one check.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Answer {
    /// The slot of the check; only a stream says it.
    pub(crate) slot: u64,
    pub(crate) outcome: Result<Verdict, Code>,
}

impl Answer {
    /// The slot of what answers no check, but says that the stream will end soon.
    pub(crate) const NOTICE: u64 = u64::MAX;
}

/// A decision, and the quotas behind it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Verdict {
    pub(crate) allowed: bool,
    pub(crate) degraded: bool,
    /// One for each kind of bucket that the check touched.
    pub(crate) quotas: [Option<Quota>; Kind::COUNT],
}

impl Template {
    /// Writes the `CheckRequest` about `key`.
    fn write(&self, key: Key, buf: &mut impl BufMut) {
        write_bytes(1, self.server.as_bytes(), buf);
        if let Some(prefix) = &self.user_prefix {
            let subject = Name(prefix, key.user);
            encoding::encode_key(2, WireType::LengthDelimited, buf);
            encoding::encode_varint(field_len(subject.len()), buf);
            subject.write(1, buf);
        }
        if let Some(prefix) = &self.tool_prefix {
            Name(prefix, key.tool).write(3, buf);
        }
        encoding::uint32::encode(6, &self.cost, buf);
    }

    /// How many bytes that is.
    fn len(&self, key: Key) -> u64 {
        let subject = self.user_prefix.as_ref().map_or(0, |prefix| {
            field_len(field_len(Name(prefix, key.user).len()))
        });
        let tool = self
            .tool_prefix
            .as_ref()
            .map_or(0, |prefix| field_len(Name(prefix, key.tool).len()));
        let cost = encoding::uint32::encoded_len(6, &self.cost) as u64;
        field_len(self.server.len() as u64) + subject + tool + cost
    }
}

/// The length of a field of that many bytes, under a tag below 16.
fn field_len(bytes: u64) -> u64 {
    1 + encoding::encoded_len_varint(bytes) as u64 + bytes
}

fn write_bytes(tag: u32, bytes: &[u8], buf: &mut impl BufMut) {
    encoding::encode_key(tag, WireType::LengthDelimited, buf);
    encoding::encode_varint(bytes.len() as u64, buf);
    buf.put_slice(bytes);
}

/// A prefix and a number.
struct Name<'a>(&'a str, u32);

impl Name<'_> {
    fn len(&self) -> u64 {
        self.0.len() as u64 + 1 + u64::from(self.1.checked_ilog10().unwrap_or(0))
    }

    fn write(&self, tag: u32, buf: &mut impl BufMut) {
        encoding::encode_key(tag, WireType::LengthDelimited, buf);
        encoding::encode_varint(self.len(), buf);
        buf.put_slice(self.0.as_bytes());
        // The last digit first.
        let (mut digits, mut first, mut rest) = ([0; 10], 10, self.1);
        loop {
            first -= 1;
            digits[first] = b'0' + (rest % 10) as u8;
            rest /= 10;
            if rest == 0 {
                break;
            }
        }
        buf.put_slice(&digits[first..]);
    }
}

/// Reads a `CheckResponse`. One that says neither allowed nor denied is no decision.
fn outcome(mut message: &[u8]) -> Result<Result<Verdict, Code>, Unreadable> {
    let (mut verdict, mut decided) = (Verdict::default(), false);
    while let Some(field) = next(&mut message)? {
        match field {
            Field::Number(1, decision) => {
                verdict.allowed = decision == pb::Decision::Allowed as u64;
                decided = verdict.allowed || decision == pb::Decision::Denied as u64;
            }
            Field::Bytes(3, bucket) => {
                if let Some((kind, quota)) = bucket_status(bucket)? {
                    verdict.quotas[kind as usize] = Some(quota);
                }
            }
            Field::Number(4, degraded) => verdict.degraded = degraded != 0,
            _ => {}
        }
    }
    Ok(decided.then_some(verdict).ok_or(Code::Internal))
}

/// Of a `BucketStatus` what the admission bound needs.
fn bucket_status(mut message: &[u8]) -> Result<Option<(Kind, Quota)>, Unreadable> {
    let (mut scope, mut of_operation, mut capacity, mut period) = (0, false, 0, 0_u64);
    while let Some(field) = next(&mut message)? {
        match field {
            Field::Bytes(1, mut limit) => {
                while let Some(field) = next(&mut limit)? {
                    match field {
                        Field::Number(1, number) => scope = number,
                        Field::Bytes(2..=4, _) => of_operation = true,
                        _ => {}
                    }
                }
            }
            Field::Number(2, tokens) => capacity = tokens,
            Field::Bytes(3, mut duration) => {
                while let Some(field) = next(&mut duration)? {
                    period = period.saturating_add(match field {
                        Field::Number(1, seconds) => seconds.saturating_mul(1_000_000_000),
                        Field::Number(2, nanos) => nanos,
                        _ => 0,
                    });
                }
            }
            _ => {}
        }
    }
    let kind = match (scope, of_operation) {
        (1, false) => Kind::ServerGlobal,
        (1, true) => Kind::OperationGlobal,
        (2, false) => Kind::ServerPerUser,
        (2, true) => Kind::OperationPerUser,
        _ => return Ok(None),
    };
    let quota = Quota { capacity, period };
    Ok((period > 0).then_some((kind, quota)))
}

/// Reads a `CheckStreamResponse`.
fn streamed(mut message: &[u8]) -> Result<Answer, Unreadable> {
    let mut answer = Answer {
        slot: 0,
        outcome: Err(Code::Internal), // an answer without a result
    };
    while let Some(field) = next(&mut message)? {
        match field {
            Field::Number(1, id) => answer.slot = id,
            Field::Number(4, 1..) => answer.slot = Answer::NOTICE,
            Field::Bytes(2, response) => answer.outcome = outcome(response)?,
            Field::Bytes(3, mut status) => {
                let mut code = Code::Ok as u64;
                while let Some(field) = next(&mut status)? {
                    if let Field::Number(1, number) = field {
                        code = number;
                    }
                }
                let code = i32::try_from(code).map_or(Code::Unknown, Code::from_i32);
                answer.outcome = Err(code);
            }
            _ => {}
        }
    }
    Ok(answer)
}

/// Why bytes are no answer.
#[derive(Debug, thiserror::Error)]
enum Unreadable {
    #[error(transparent)]
    Field(#[from] DecodeError),
    #[error("a field is longer than its message")]
    CutShort,
}

/// One field of a message, by its tag.
enum Field<'a> {
    Number(u32, u64),
    Bytes(u32, &'a [u8]),
    Other,
}

/// The next field, or none at the end.
fn next<'a>(message: &mut &'a [u8]) -> Result<Option<Field<'a>>, Unreadable> {
    if message.is_empty() {
        return Ok(None);
    }
    let (tag, wire_type) = encoding::decode_key(message)?;
    Ok(Some(match wire_type {
        WireType::Varint => Field::Number(tag, encoding::decode_varint(message)?),
        WireType::LengthDelimited => {
            let length = encoding::decode_varint(message)?;
            let length = usize::try_from(length).unwrap_or(usize::MAX);
            let (bytes, rest) = message
                .split_at_checked(length)
                .ok_or(Unreadable::CutShort)?;
            *message = rest;
            Field::Bytes(tag, bytes)
        }
        other => {
            encoding::skip_field(other, tag, message, DecodeContext::default())?;
            Field::Other
        }
    }))
}

/// From flights to answers.
#[derive(Clone, Debug)]
pub(crate) struct ToolgateCodec {
    pub(crate) template: Arc<Template>,
    pub(crate) mode: Mode,
}

impl Codec for ToolgateCodec {
    type Encode = Flight;
    type Decode = Answer;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        self.clone()
    }

    fn decoder(&mut self) -> Self {
        self.clone()
    }
}

impl ToolgateCodec {
    /// A unary call has buffers of its own, and fills little of them.
    fn buffers(&self) -> BufferSettings {
        match self.mode {
            Mode::Unary => BufferSettings::new(512, 32 * 1024),
            Mode::Stream => BufferSettings::default(),
        }
    }
}

impl Encoder for ToolgateCodec {
    type Item = Flight;
    type Error = Status;

    fn encode(&mut self, flight: Flight, buf: &mut EncodeBuf<'_>) -> Result<(), Status> {
        write_request(&self.template, self.mode, flight, buf);
        Ok(())
    }

    fn buffer_settings(&self) -> BufferSettings {
        self.buffers()
    }
}

fn write_request(template: &Template, mode: Mode, flight: Flight, buf: &mut impl BufMut) {
    if mode == Mode::Stream {
        encoding::uint64::encode(1, &flight.slot.into(), buf);
        encoding::encode_key(2, WireType::LengthDelimited, buf);
        encoding::encode_varint(template.len(flight.key), buf);
    }
    template.write(flight.key, buf);
    if mode == Mode::Stream && template.omit_buckets {
        encoding::bool::encode(4, &true, buf);
    }
    if let Some(trace) = flight.trace.filter(|_| mode == Mode::Stream) {
        write_bytes(5, &trace.header(), buf);
    }
}

impl Decoder for ToolgateCodec {
    type Item = Answer;
    type Error = Status;

    fn decode(&mut self, buf: &mut DecodeBuf<'_>) -> Result<Option<Answer>, Status> {
        let message = buf.copy_to_bytes(buf.remaining());
        let read = match self.mode {
            Mode::Stream => streamed(&message),
            Mode::Unary => outcome(&message).map(|outcome| Answer { slot: 0, outcome }),
        };
        read.map(Some)
            .map_err(|error| Status::internal(format!("the answer cannot be read: {error}")))
    }

    fn buffer_settings(&self) -> BufferSettings {
        self.buffers()
    }
}

#[cfg(test)]
mod tests;
