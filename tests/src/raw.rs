//! gRPC messages as bytes that no honest client would send.

use std::marker::PhantomData;

use prost::{Message, bytes::BufMut as _};
use tonic::{
    Status,
    codec::{Codec, EncodeBuf, Encoder},
};
use toolgate_proto::codec::{MessageCodec, MessageDecoder};

/// Writes messages as they are given, and reads replies of type `R`.
#[derive(Debug)]
pub struct RawCodec<R>(PhantomData<R>);

/// Writes a message as it is given.
#[derive(Debug)]
pub struct RawEncoder;

impl<R> Default for RawCodec<R> {
    fn default() -> Self {
        Self(PhantomData)
    }
}

impl<R: Message + Default + 'static> Codec for RawCodec<R> {
    type Encode = Vec<u8>;
    type Decode = R;
    type Encoder = RawEncoder;
    type Decoder = MessageDecoder<R>;

    fn encoder(&mut self) -> RawEncoder {
        RawEncoder
    }

    fn decoder(&mut self) -> MessageDecoder<R> {
        MessageCodec::<R, R>::default().decoder()
    }
}

impl Encoder for RawEncoder {
    type Item = Vec<u8>;
    type Error = Status;

    fn encode(&mut self, message: Vec<u8>, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        buffer.put_slice(&message);
        Ok(())
    }
}
