//! Header blocks, as far as it takes to find the authority (RFC 7541, section 6).
//!
//! Fields delimit themselves, so neither the static nor the dynamic table is needed. An authority that
//! is an index into the dynamic table was a literal when it came there.

use http::uri::Authority;

use super::huffman;

const PADDED: u8 = 0x8;
const PRIORITY: u8 = 0x20;

/// The place of `:authority` in the static table.
const AUTHORITY: usize = 1;

/// Makes the authority in the payload of a HEADERS frame one, if it is none. A payload that cannot be
/// read stays as it is: h2 says what is wrong with it.
pub(super) fn correct(flags: u8, payload: &mut [u8]) {
    if let Some(block) = block(flags, payload) {
        // None if there is no authority to be found.
        let _ = correct_block(block);
    }
}

/// The header block in a payload.
fn block(flags: u8, payload: &mut [u8]) -> Option<&mut [u8]> {
    let (padding, payload) = if flags & PADDED == 0 {
        (0, payload)
    } else {
        let (padding, payload) = payload.split_first_mut()?;
        (usize::from(*padding), payload)
    };
    let dependency = if flags & PRIORITY == 0 { 0 } else { 5 };
    let end = payload.len().checked_sub(padding)?;
    payload.get_mut(dependency..end)
}

fn correct_block(mut block: &mut [u8]) -> Option<()> {
    loop {
        let first = *block.first()?;
        let name_bits = match first {
            // A field that both sides know.
            0x80.. => {
                (_, block) = integer(block, 7)?;
                continue;
            }
            0x40.. => 6,
            // A new size of the table.
            0x20.. => {
                (_, block) = integer(block, 5)?;
                continue;
            }
            _ => 4,
        };
        let (name, mut rest) = integer(block, name_bits)?;
        let mut is_authority = name == AUTHORITY;
        if name == 0 {
            let (name, after) = Text::split(rest)?;
            is_authority = name.is(b":authority");
            rest = after;
        }
        let (value, rest) = Text::split(rest)?;
        if is_authority {
            value.correct();
            return Some(());
        }
        block = rest;
    }
}

/// An integer whose first byte has `bits` of it (RFC 7541, section 5.1), and what comes after it.
fn integer(bytes: &mut [u8], bits: u32) -> Option<(usize, &mut [u8])> {
    let (&mut first, mut rest) = bytes.split_first_mut()?;
    let most = (1 << bits) - 1;
    let mut value = usize::from(first) & most;
    if value < most {
        return Some((value, rest));
    }
    // No length in a frame takes more than three bytes.
    for shift in [0, 7, 14] {
        let (&mut next, after) = rest.split_first_mut()?;
        rest = after;
        value += usize::from(next & 0x7f) << shift;
        if next < 0x80 {
            return Some((value, rest));
        }
    }
    None
}

/// A string (RFC 7541, section 5.2).
struct Text<'a> {
    is_huffman: bool,
    bytes: &'a mut [u8],
}

impl<'a> Text<'a> {
    /// The string at the beginning of `bytes`, and what comes after it.
    fn split(bytes: &'a mut [u8]) -> Option<(Self, &'a mut [u8])> {
        let is_huffman = bytes.first()? & 0x80 != 0;
        let (length, bytes) = integer(bytes, 7)?;
        let (bytes, rest) = bytes.split_at_mut_checked(length)?;
        Some((Self { is_huffman, bytes }, rest))
    }

    fn is(&self, text: &[u8]) -> bool {
        if self.is_huffman {
            huffman::decode(self.bytes).is_some_and(|decoded| decoded == text)
        } else {
            self.bytes == text
        }
    }

    fn correct(self) {
        if !self.is_huffman {
            if Authority::try_from(&*self.bytes).is_err() {
                for byte in self.bytes {
                    if !is_of_a_name(*byte) {
                        *byte = b'-';
                    }
                }
            }
            return;
        }
        let decoded = huffman::decode(self.bytes);
        if decoded.is_some_and(|text| Authority::try_from(text).is_err()) {
            huffman::replace(self.bytes, is_of_a_name);
        }
    }
}

/// Whether a name of a host may have `byte` anywhere.
const fn is_of_a_name(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_')
}
