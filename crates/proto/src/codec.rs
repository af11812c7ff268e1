//! Messages to and from the bytes of a call.
//!
//! As `tonic_prost`'s codec, but with the message in one piece on both ways. Prost writes and reads
//! byte by byte; on a `Vec` and on a slice that costs next to nothing, on the buffers of a call each
//! byte is a copy with its checks.

use std::marker::PhantomData;

use prost::{Message, bytes::Buf as _, bytes::BufMut as _};
use tonic::{
    Status,
    codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder},
};

/// Memory that is kept for the next message, in bytes.
const KEPT: usize = 16 * 1024;

/// Writes `T`, reads `U`.
#[derive(Debug)]
pub struct MessageCodec<T, U>(PhantomData<(T, U)>);

impl<T, U> Default for MessageCodec<T, U> {
    fn default() -> Self {
        Self(PhantomData)
    }
}

impl<T, U> Codec for MessageCodec<T, U>
where
    T: Message + 'static,
    U: Message + Default + 'static,
{
    type Encode = T;
    type Decode = U;
    type Encoder = MessageEncoder<T>;
    type Decoder = MessageDecoder<U>;

    fn encoder(&mut self) -> Self::Encoder {
        MessageEncoder {
            written: Vec::new(),
            message: PhantomData,
        }
    }

    fn decoder(&mut self) -> Self::Decoder {
        MessageDecoder(PhantomData)
    }
}

/// Writes `T`.
#[derive(Debug)]
pub struct MessageEncoder<T> {
    written: Vec<u8>,
    message: PhantomData<T>,
}

impl<T: Message> Encoder for MessageEncoder<T> {
    type Item = T;
    type Error = Status;

    fn encode(&mut self, message: T, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        self.written.clear();
        message.encode_raw(&mut self.written);
        buffer.put_slice(&self.written);
        self.written.shrink_to(KEPT);
        Ok(())
    }
}

/// Reads `U`.
#[derive(Debug)]
pub struct MessageDecoder<U>(PhantomData<U>);

impl<U: Message + Default> Decoder for MessageDecoder<U> {
    type Item = U;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<U>, Status> {
        let len = buffer.remaining();
        let decoded = if buffer.chunk().len() == len {
            let decoded = U::decode(buffer.chunk());
            buffer.advance(len);
            decoded
        } else {
            U::decode(buffer)
        };
        // As tonic's own: whoever sends what cannot be read speaks another protocol.
        decoded
            .map(Some)
            .map_err(|error| Status::internal(error.to_string()))
    }
}
