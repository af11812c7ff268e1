//! Huffman's code of HPACK (RFC 7541, appendix B), for the characters that an authority may have.

/// Characters whose codes have as many bits, in the order of their codes.
struct Row {
    bits: usize,
    /// The code of the first one. The code is canonical: the next one's is one more.
    first: u32,
    characters: &'static [u8],
    /// One that any name may have.
    plain: u8,
}

/// All of ASCII that is printed, but `` # < > \ ^ ` { } ``, of whose lengths no character is plain.
const ROWS: [Row; 7] = [
    row(5, 0x0, b"012aceiost", b'0'),
    row(6, 0x14, b" %-./3456789=A_bdfghlmnpru", b'-'),
    row(7, 0x5c, b":BCDEFGHIJKLMNOPQRSTUVWYjkqvwxyz", b'x'),
    row(8, 0xf8, b"&*,;XZ", b'X'),
    row(10, 0x3f8, b"!\"()?", b'!'),
    row(11, 0x7fa, b"'+|", b'+'),
    row(13, 0x1ff8, b"\0$@[]~", b'$'),
];

const fn row(bits: usize, first: u32, characters: &'static [u8], plain: u8) -> Row {
    Row {
        bits,
        first,
        characters,
        plain,
    }
}

/// The text of `bytes`. None if it has characters that are not known here.
pub(super) fn decode(bytes: &[u8]) -> Option<Vec<u8>> {
    let mut text = Vec::new();
    let mut at = 0;
    while !is_end(bytes, at) {
        let (row, character) = character(bytes, at)?;
        text.push(character);
        at += row.bits;
    }
    Some(text)
}

/// Puts a plain character with as many bits in place of each that is not `good`. `bytes` must be a
/// text that can be decoded.
pub(super) fn replace(bytes: &mut [u8], good: impl Fn(u8) -> bool) {
    let mut at = 0;
    while !is_end(bytes, at)
        && let Some((row, character)) = character(bytes, at)
    {
        if !good(character) {
            write(bytes, at, row.bits, row.code(row.plain));
        }
        at += row.bits;
    }
}

impl Row {
    fn code(&self, character: u8) -> u32 {
        let before = self.characters.iter().take_while(|&&c| c != character);
        self.first + u32::try_from(before.count()).unwrap_or_default()
    }
}

/// Whether there is nothing from bit `at` on but padding: fewer than eight ones.
fn is_end(bytes: &[u8], at: usize) -> bool {
    let left = bytes.len() * 8 - at;
    left < 8 && read(bytes, at, left) == Some((1 << left) - 1)
}

/// The character whose code begins at bit `at`.
fn character(bytes: &[u8], at: usize) -> Option<(&'static Row, u8)> {
    ROWS.iter().find_map(|row| {
        let code = read(bytes, at, row.bits)?;
        let place = code.checked_sub(row.first)? as usize;
        Some((row, *row.characters.get(place)?))
    })
}

fn read(bytes: &[u8], at: usize, bits: usize) -> Option<u32> {
    let mut code = 0;
    for bit in at..at + bits {
        let byte = bytes.get(bit / 8)?;
        code = code << 1 | u32::from(byte >> (7 - bit % 8) & 1);
    }
    Some(code)
}

fn write(bytes: &mut [u8], at: usize, bits: usize, code: u32) {
    for (bit, shift) in (at..at + bits).zip((0..bits).rev()) {
        let mask = 1 << (7 - bit % 8);
        if code >> shift & 1 == 1 {
            bytes[bit / 8] |= mask;
        } else {
            bytes[bit / 8] &= !mask;
        }
    }
}
