//! Whose answer a line is, of which not more is known than its bytes as they pass.

use rmcp::model::RequestId;

/// More bytes of a key or an id are not kept.
const MOST_KEPT: usize = 64;

/// Reads JSON byte by byte and keeps what stands in the outermost object under `id`. It checks nothing.
#[derive(Debug, Default)]
pub(super) struct Skim {
    depth: usize,
    at: At,
    /// The key or value of the outermost object that is being read.
    token: Vec<u8>,
    /// The key of that value. None while a key is read.
    key: Option<Vec<u8>>,
    id: Option<Vec<u8>>,
    is_json_rpc: bool,
    is_asking: bool,
}

/// Where the next byte stands.
#[derive(Clone, Copy, Debug, Default)]
enum At {
    #[default]
    Outside,
    Text,
    /// In a text, after a backslash.
    Escape,
}

impl Skim {
    pub(super) fn of(line: &[u8]) -> Self {
        let mut skim = Self::default();
        skim.feed(line);
        skim
    }

    pub(super) fn feed(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.take(*byte);
        }
    }

    /// The request that this answers. A log line in JSON answers none.
    pub(super) fn answered(&self) -> Option<RequestId> {
        if !self.is_json_rpc || self.is_asking {
            return None;
        }
        serde_json::from_slice(self.id.as_deref()?).ok()
    }

    fn take(&mut self, byte: u8) {
        match self.at {
            At::Outside => self.take_outside(byte),
            At::Text | At::Escape => {
                self.keep(byte);
                self.at = match (self.at, byte) {
                    (At::Text, b'\\') => At::Escape,
                    (At::Text, b'"') => At::Outside,
                    _ => At::Text,
                };
            }
        }
    }

    fn take_outside(&mut self, byte: u8) {
        match byte {
            b'"' => {
                self.at = At::Text;
                self.keep(byte);
            }
            b'{' | b'[' => self.depth += 1,
            b'}' | b']' => {
                self.end_value();
                self.depth = self.depth.saturating_sub(1);
            }
            b',' => self.end_value(),
            b':' if self.depth == 1 => {
                let key = std::mem::take(&mut self.token);
                self.is_json_rpc |= key == b"\"jsonrpc\"";
                self.is_asking |= key == b"\"method\"";
                self.key = Some(key);
            }
            byte if byte.is_ascii_whitespace() => {}
            byte => self.keep(byte),
        }
    }

    fn keep(&mut self, byte: u8) {
        if self.depth == 1 && self.token.len() < MOST_KEPT {
            self.token.push(byte);
        }
    }

    fn end_value(&mut self) {
        if self.depth != 1 {
            return;
        }
        let value = std::mem::take(&mut self.token);
        if self.key.take().as_deref() == Some(b"\"id\"") {
            self.id = Some(value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_known_by_its_id_wherever_that_stands() {
        let number = Some(RequestId::Number(7));
        for (line, id) in [
            (r#"{"jsonrpc":"2.0","id":7,"result":5}"#, number.clone()),
            (
                r#"{"result":{"id":8,"x":["id",{"id":9}]},"jsonrpc":"2.0","id": 7 }"#,
                number.clone(),
            ),
            (
                r#"{"result":"\",\"id\":9}","jsonrpc":"2.0","id":7}"#,
                number.clone(),
            ),
            (r#"{"jsonrpc":"2.0","id":7,"result":"cut of"#, number),
            (
                r#"{"jsonrpc":"2.0","id":"a\"b","result":{}}"#,
                Some(RequestId::String("a\"b".into())),
            ),
            (r#"{"level":"info","id":7}"#, None),
            (r#"{"jsonrpc":"2.0","id":7,"method":"ping"}"#, None),
            (r#"{"jsonrpc":"2.0","method":"x","params":{"id":7}}"#, None),
            (r#"[{"jsonrpc":"2.0","id":7}]"#, None),
            (r#"{"jsonrpc":"2.0","id":null,"error":{}}"#, None),
            ("}}}],:\"", None),
        ] {
            assert_eq!(Skim::of(line.as_bytes()).answered(), id, "{line}");
            // However it is cut.
            let mut skim = Skim::default();
            line.bytes().for_each(|byte| skim.feed(&[byte]));
            assert_eq!(skim.answered(), id, "{line}");
        }
    }
}
