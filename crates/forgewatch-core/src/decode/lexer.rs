//! A JSON lexer that takes the body in chunks, validates its structure and keeps almost nothing.
//!
//! [`super::Decoder`] pushes the chunks; a [`TokenSink`] chooses the texts to keep and receives the tokens. Between
//! chunks the whole state is in [`Lexer`], so the division into chunks has no effect. It accepts the JSON that
//! `serde_json` accepts, limited to one object at the top and [`MAX_DEPTH`] levels, and any bytes in strings.

use super::DecodeError;
use super::scalar::Scalar;
use super::text::{TextBuffer, TokenText};
use super::token::{JsonLiteral, JsonNumber, JsonString, Scan};

/// The limit of nested objects and lists. A status has three levels; fields that are not read may have more.
pub(super) const MAX_DEPTH: u32 = 128;

/// Receives the tokens. `depth` counts the objects and lists around a token: 1 inside the top object.
pub(super) trait TokenSink {
    /// The number of bytes to keep of the key that begins now; with 0, [`Self::key`] is not called.
    fn key_limit(&self, depth: u32) -> usize;
    /// The number of bytes to keep of the string or number that begins now.
    fn value_limit(&self, depth: u32) -> usize;
    /// A key, unescaped.
    fn key(&mut self, depth: u32, key: TokenText<'_>);
    /// A value that is neither object nor list, and the offset of its first byte.
    fn value(&mut self, depth: u32, at: u64, value: Scalar<'_>);
    /// The beginning of an object (`{`) or a list (`[`), and its offset.
    fn open(&mut self, depth: u32, at: u64, bracket: u8);
    /// The end of an object or a list.
    fn close(&mut self, depth: u32);
}

/// The lexer's state between chunks.
#[derive(Debug, Default)]
pub(super) struct Lexer {
    /// The offset of the current chunk.
    at: u64,
    state: LexerState,
    /// The current token, if it is of this type. Not in `state`, which stays one byte to read and write at every token.
    string: JsonString,
    number: JsonNumber,
    literal: JsonLiteral,
    nesting: Nesting,
    /// The offset of the current value, and its text or that of the key.
    value_at: u64,
    text: TextBuffer,
}

/// What the next byte may be.
#[derive(Clone, Copy, Debug, Default)]
enum LexerState {
    /// The top object, or a byte order mark.
    #[default]
    Start,
    /// The rest of a byte order mark.
    Bom2,
    Bom3,
    /// The top object, after a byte order mark.
    AfterBom,
    /// The first key of an object, or its end.
    FirstKey,
    /// A key.
    Key,
    /// The colon after a key.
    Colon,
    /// The first value of a list, or its end.
    FirstItem,
    /// A value.
    Value,
    /// The comma between values, or the end of the object or list.
    Separator,
    /// The top object has ended.
    End,
    /// The rest of a token.
    InKey,
    InString,
    InNumber,
    InLiteral,
    /// A value, but not another level.
    MaxDepth,
}

impl LexerState {
    /// Whether the lexer is inside a token that the end of a chunk can cut.
    fn is_token(self) -> bool {
        matches!(
            self,
            Self::InKey | Self::InString | Self::InNumber | Self::InLiteral
        )
    }
}

impl Lexer {
    /// Reads the next bytes and passes the tokens that end in them to `sink`.
    ///
    /// After an error, the lexer must not be used again.
    pub(super) fn push(
        &mut self,
        chunk: &[u8],
        sink: &mut impl TokenSink,
    ) -> Result<(), DecodeError> {
        let mut input = chunk;
        while let Some((&byte, rest)) = input.split_first() {
            if !self.state.is_token() {
                if matches!(byte, b' ' | b'\n' | b'\r' | b'\t') {
                    input = rest;
                    continue;
                }
                let at = self.at + (chunk.len() - input.len()) as u64;
                if !self.structure(byte, at, sink) {
                    return Err(self.error(at, Some(byte)));
                }
                // The first byte of a number is part of its text.
                if !matches!(self.state, LexerState::InNumber) {
                    input = rest;
                }
            }
            if self.state.is_token() && !self.token(&mut input, sink) {
                let at = self.at + (chunk.len() - input.len()) as u64;
                return Err(self.error(at, input.first().copied()));
            }
        }
        self.at += chunk.len() as u64;
        Ok(())
    }

    pub(super) fn is_complete(&self) -> bool {
        matches!(self.state, LexerState::End)
    }

    /// Ends the body and returns its length.
    pub(super) fn finish(&self) -> Result<u64, DecodeError> {
        match self.state {
            LexerState::End => Ok(self.at),
            _ => Err(self.error(self.at, None)),
        }
    }

    #[cfg(test)]
    pub(super) fn text_capacity(&self) -> usize {
        self.text.capacity()
    }

    /// Continues a string, a number or a literal. False if the next byte is invalid.
    fn token(&mut self, input: &mut &[u8], sink: &mut impl TokenSink) -> bool {
        let (depth, text) = (self.nesting.depth, &mut self.text);
        let scan = match self.state {
            LexerState::InNumber => self.number.read(input, text),
            LexerState::InLiteral => self.literal.read(input),
            _ => self.string.read(input, text),
        };
        let last = match scan {
            Scan::Incomplete => return true,
            Scan::Invalid => return false,
            Scan::Complete(last) => last,
        };
        let value = match self.state {
            LexerState::InKey => {
                self.state = LexerState::Colon;
                if text.is_kept() {
                    sink.key(depth, text.finish(last));
                }
                return true;
            }
            LexerState::InLiteral => self.literal.truth.map_or(Scalar::Null, Scalar::Bool),
            LexerState::InNumber => Scalar::Number(text.finish(last)),
            _ => Scalar::String(text.finish(last)),
        };
        self.state = LexerState::Separator;
        sink.value(depth, self.value_at, value);
        true
    }

    /// Reads a byte between tokens, or the first byte of one. False if it is invalid.
    fn structure(&mut self, byte: u8, at: u64, sink: &mut impl TokenSink) -> bool {
        let depth = self.nesting.depth;
        self.state = match (self.state, byte) {
            (LexerState::FirstKey | LexerState::Key, b'"') => {
                self.text.begin(sink.key_limit(depth));
                self.string = JsonString::default();
                LexerState::InKey
            }
            (LexerState::Separator, b',') if self.nesting.in_object() => LexerState::Key,
            (LexerState::Colon, b':') | (LexerState::Separator, b',') => LexerState::Value,
            (LexerState::FirstKey, b'}') | (LexerState::FirstItem, b']') => self.close(sink),
            (LexerState::Separator, b'}') if self.nesting.in_object() => self.close(sink),
            (LexerState::Separator, b']') if !self.nesting.in_object() => self.close(sink),
            (LexerState::Value | LexerState::FirstItem, _)
            | (LexerState::Start | LexerState::AfterBom, b'{') => {
                return self.value(byte, at, sink);
            }
            (LexerState::Start, 0xef) if at == 0 => LexerState::Bom2,
            (LexerState::Bom2, 0xbb) => LexerState::Bom3,
            (LexerState::Bom3, 0xbf) => LexerState::AfterBom,
            _ => return false,
        };
        true
    }

    /// Reads the first byte of a value. False if it is invalid.
    fn value(&mut self, byte: u8, at: u64, sink: &mut impl TokenSink) -> bool {
        let depth = self.nesting.depth;
        self.state = match byte {
            b'"' => {
                self.text.begin(sink.value_limit(depth));
                self.string = JsonString::default();
                LexerState::InString
            }
            b'{' | b'[' => {
                if !self.nesting.open(byte == b'{') {
                    self.state = LexerState::MaxDepth;
                    return false;
                }
                sink.open(depth, at, byte);
                if byte == b'{' {
                    LexerState::FirstKey
                } else {
                    LexerState::FirstItem
                }
            }
            b'-' | b'0'..=b'9' => {
                self.text.begin(sink.value_limit(depth));
                self.number = JsonNumber::default();
                LexerState::InNumber
            }
            _ => match JsonLiteral::begin(byte) {
                Some(literal) => {
                    self.literal = literal;
                    LexerState::InLiteral
                }
                None => return false,
            },
        };
        self.value_at = at;
        true
    }

    fn close(&mut self, sink: &mut impl TokenSink) -> LexerState {
        self.nesting.close();
        sink.close(self.nesting.depth);
        if self.nesting.depth == 0 {
            LexerState::End
        } else {
            LexerState::Separator
        }
    }

    fn error(&self, at: u64, found: Option<u8>) -> DecodeError {
        let expected = match self.state {
            LexerState::Start | LexerState::Bom2 | LexerState::Bom3 | LexerState::AfterBom => {
                "a JSON object"
            }
            LexerState::FirstKey => "a key or '}'",
            LexerState::Key => "a key",
            LexerState::Colon => "':'",
            LexerState::FirstItem => "a value or ']'",
            LexerState::Value => "a value",
            LexerState::Separator if self.nesting.in_object() => "',' or '}'",
            LexerState::Separator => "',' or ']'",
            LexerState::End => "the end of the response",
            LexerState::InKey | LexerState::InString => "the closing quote of a string",
            LexerState::InNumber => self.number.expected(),
            LexerState::InLiteral => self.literal.expected(),
            LexerState::MaxDepth => "at most 128 levels of nesting",
        };
        DecodeError {
            at,
            expected,
            found,
        }
    }
}

/// The objects and lists around the current position, one bit each.
#[derive(Clone, Copy, Debug, Default)]
struct Nesting {
    depth: u32,
    /// The innermost in the lowest bit; 1 is an object.
    objects: u128,
}

impl Nesting {
    /// Adds a level; false at the limit.
    fn open(&mut self, object: bool) -> bool {
        if self.depth == MAX_DEPTH {
            return false;
        }
        self.depth += 1;
        self.objects = self.objects << 1 | u128::from(object);
        true
    }

    fn close(&mut self) {
        self.depth = self.depth.saturating_sub(1);
        self.objects >>= 1;
    }

    fn in_object(self) -> bool {
        self.objects & 1 == 1
    }
}
