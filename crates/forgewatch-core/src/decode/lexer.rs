//! A JSON lexer that is pushed bytes as they come: it checks everything and keeps next to nothing.
//!
//! [`super::Decoder`] feeds it; a [`Sink`] says which texts are wanted and is told the tokens. Between two chunks
//! the whole state is in [`Lexer`], so where the body is cut makes no difference. What it takes for JSON is what
//! `serde_json` takes, narrowed to one object at the top and [`MAX_DEPTH`] levels.

use super::error::DecodeError;
use super::text::{Scratch, Text};
use super::token::{JsonString, Number, Read, Word};

/// How deep objects and lists may nest. A status has three levels.
pub(super) const MAX_DEPTH: u32 = 32;

/// Who is told the tokens. `depth` counts the objects and lists around a token: 1 inside the top object.
pub(super) trait Sink {
    /// How many bytes of the key that begins now are wanted; with 0 the key is not told.
    fn key_limit(&self, depth: u32) -> usize;
    /// How many bytes of the text of the string or number that begins now are wanted.
    fn value_limit(&self, depth: u32) -> usize;
    /// A key, unescaped.
    fn key(&mut self, depth: u32, key: Text<'_>);
    /// A value that is neither object nor list, and the offset of its first byte.
    fn value(&mut self, depth: u32, at: u64, value: Value<'_>);
    /// The beginning of an object (`{`) or a list (`[`), and its offset.
    fn open(&mut self, depth: u32, at: u64, bracket: u8);
    /// The end of an object or a list.
    fn close(&mut self, depth: u32);
}

/// A value that is neither object nor list.
#[derive(Clone, Copy, Debug)]
pub(super) enum Value<'a> {
    /// `null`
    Null,
    /// `true` or `false`
    Bool(bool),
    /// A number, as written.
    Number(Text<'a>),
    /// A string, unescaped.
    String(Text<'a>),
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Lexer {
    /// The offset of the chunk in hand.
    at: u64,
    state: State,
    /// Where the token in hand stands, if it is of this sort. Beside `state`, not in it: what is read and written
    /// at every token then is one byte.
    string: JsonString,
    number: Number,
    word: Word,
    nesting: Nesting,
    /// The offset of the value in hand, and its text or that of the key.
    value_at: u64,
    text: Scratch,
}

/// What may come next.
#[derive(Clone, Copy, Debug, Default)]
enum State {
    /// The top object.
    #[default]
    Start,
    /// The first key of an object, or its end.
    FirstKey,
    /// A key.
    Key,
    /// The colon behind a key.
    Colon,
    /// The first value of a list, or its end.
    FirstItem,
    /// A value.
    Value,
    /// What separates values, or the end of the object or list.
    Separator,
    /// Nothing: the top object has ended.
    End,
    /// The rest of a token.
    InKey,
    InString,
    InNumber,
    InWord,
    /// A value, but not another level.
    Deepest,
}

impl State {
    /// Whether it is inside a token that the end of a chunk can cut.
    fn is_token(self) -> bool {
        matches!(
            self,
            Self::InKey | Self::InString | Self::InNumber | Self::InWord
        )
    }
}

impl Lexer {
    /// Takes the next bytes and tells `sink` what ended in them.
    ///
    /// After an error it must not be used again.
    pub(super) fn push(&mut self, chunk: &[u8], sink: &mut impl Sink) -> Result<(), DecodeError> {
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
                if !matches!(self.state, State::InNumber) {
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

    /// Says that the body has ended; how long it was.
    pub(super) fn finish(&self) -> Result<u64, DecodeError> {
        match self.state {
            State::End => Ok(self.at),
            _ => Err(self.error(self.at, None)),
        }
    }

    /// How many bytes are set aside for a token's text.
    #[cfg(test)]
    pub(super) fn text_capacity(&self) -> usize {
        self.text.capacity()
    }

    /// Reads on in a string, a number or a word. False where the next byte cannot follow.
    fn token(&mut self, input: &mut &[u8], sink: &mut impl Sink) -> bool {
        let (depth, text) = (self.nesting.depth, &mut self.text);
        let read = match self.state {
            State::InNumber => self.number.read(input, text),
            State::InWord => self.word.read(input),
            _ => self.string.read(input, text),
        };
        let last = match read {
            Read::More => return true,
            Read::Wrong => return false,
            Read::Done(last) => last,
        };
        let value = match self.state {
            State::InKey => {
                self.state = State::Colon;
                if text.is_wanted() {
                    sink.key(depth, text.finish(last));
                }
                return true;
            }
            State::InWord => self.word.truth.map_or(Value::Null, Value::Bool),
            State::InNumber => Value::Number(text.finish(last)),
            _ => Value::String(text.finish(last)),
        };
        self.state = State::Separator;
        sink.value(depth, self.value_at, value);
        true
    }

    /// Takes a byte between tokens, or the first of one. False where it cannot stand there.
    fn structure(&mut self, byte: u8, at: u64, sink: &mut impl Sink) -> bool {
        let depth = self.nesting.depth;
        self.state = match (self.state, byte) {
            (State::FirstKey | State::Key, b'"') => {
                self.text.begin(sink.key_limit(depth));
                self.string = JsonString::default();
                State::InKey
            }
            (State::Separator, b',') if self.nesting.in_object() => State::Key,
            (State::Colon, b':') | (State::Separator, b',') => State::Value,
            (State::FirstKey, b'}') | (State::FirstItem, b']') => self.close(sink),
            (State::Separator, b'}') if self.nesting.in_object() => self.close(sink),
            (State::Separator, b']') if !self.nesting.in_object() => self.close(sink),
            (State::Value | State::FirstItem, _) | (State::Start, b'{') => {
                return self.value(byte, at, sink);
            }
            _ => return false,
        };
        true
    }

    /// Takes the first byte of a value. False where none begins so.
    fn value(&mut self, byte: u8, at: u64, sink: &mut impl Sink) -> bool {
        let depth = self.nesting.depth;
        self.state = match byte {
            b'"' => {
                self.text.begin(sink.value_limit(depth));
                self.string = JsonString::default();
                State::InString
            }
            b'{' | b'[' => {
                if !self.nesting.open(byte == b'{') {
                    self.state = State::Deepest;
                    return false;
                }
                sink.open(depth, at, byte);
                if byte == b'{' {
                    State::FirstKey
                } else {
                    State::FirstItem
                }
            }
            b'-' | b'0'..=b'9' => {
                self.text.begin(sink.value_limit(depth));
                self.number = Number::default();
                State::InNumber
            }
            _ => match Word::begin(byte) {
                Some(word) => {
                    self.word = word;
                    State::InWord
                }
                None => return false,
            },
        };
        self.value_at = at;
        true
    }

    fn close(&mut self, sink: &mut impl Sink) -> State {
        self.nesting.close();
        sink.close(self.nesting.depth);
        if self.nesting.depth == 0 {
            State::End
        } else {
            State::Separator
        }
    }

    fn error(&self, at: u64, found: Option<u8>) -> DecodeError {
        let expected = match self.state {
            State::Start => "the JSON object of an answer",
            State::FirstKey => "a key or '}'",
            State::Key => "a key",
            State::Colon => "':'",
            State::FirstItem => "a value or ']'",
            State::Value => "a value",
            State::Separator if self.nesting.in_object() => "',' or '}'",
            State::Separator => "',' or ']'",
            State::End => "nothing behind the object",
            State::InKey | State::InString => self.string.expected(),
            State::InNumber => self.number.expected(),
            State::InWord => self.word.expected(),
            State::Deepest => "no more than 32 levels",
        };
        DecodeError {
            at,
            expected,
            found,
        }
    }
}

/// The objects and lists around the place in hand, a bit each.
#[derive(Clone, Copy, Debug, Default)]
struct Nesting {
    depth: u32,
    /// The innermost in the lowest bit; 1 is an object.
    objects: u32,
}

impl Nesting {
    /// Goes a level deeper; false where that is one too many.
    fn open(&mut self, object: bool) -> bool {
        if self.depth == MAX_DEPTH {
            return false;
        }
        self.depth += 1;
        self.objects = self.objects << 1 | u32::from(object);
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
