//! Reads a stream of server-sent events.

/// The longest message: a record has at most 8 KiB of text per field.
const MAX_MESSAGE: usize = 1 << 20;

/// Takes bytes as they arrive, and returns complete messages.
#[derive(Debug, Default)]
pub(super) struct MessageReader {
    line: Vec<u8>,
    message: SseMessage,
}

/// Its type, empty if it has none, and its data.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct SseMessage {
    pub(super) event: String,
    pub(super) data: String,
}

impl MessageReader {
    /// The messages that end within `bytes`; None if one is too long or not UTF-8.
    pub(super) fn read(&mut self, bytes: &[u8]) -> Option<Vec<SseMessage>> {
        let mut messages = Vec::new();
        for part in bytes.split_inclusive(|byte| *byte == b'\n') {
            self.line.extend(part);
            if self.line.len() + self.message.data.len() > MAX_MESSAGE {
                return None;
            }
            if self.line.ends_with(b"\n") {
                let line = std::mem::take(&mut self.line);
                let line = std::str::from_utf8(&line).ok()?;
                messages.extend(self.take(line.trim_end_matches(['\r', '\n'])));
            }
        }
        Some(messages)
    }

    /// Takes a line; returns the message that it ends.
    fn take(&mut self, line: &str) -> Option<SseMessage> {
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "" if line.is_empty() => {
                let message = std::mem::take(&mut self.message);
                return (!message.data.is_empty()).then_some(message);
            }
            "event" => value.clone_into(&mut self.message.event),
            "data" => {
                if !self.message.data.is_empty() {
                    self.message.data.push('\n');
                }
                self.message.data.push_str(value);
            }
            // Comments, and offsets, which are in the data too.
            _ => {}
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(event: &str, data: &str) -> SseMessage {
        SseMessage {
            event: event.to_owned(),
            data: data.to_owned(),
        }
    }

    #[test]
    fn messages_are_read_in_any_parts() {
        let text = ":\n\nid: 7\ndata: {\"a\":\"\u{e4}: b\"}\n\nid: 9\n\nevent: caught_up\r\ndata:1\r\ndata: 2\r\n\r\ndata: x";
        let expected = [
            message("", "{\"a\":\"\u{e4}: b\"}"),
            message("caught_up", "1\n2"),
        ];
        for size in 1..text.len() {
            let mut reader = MessageReader::default();
            let parts = text.as_bytes().chunks(size);
            let messages: Vec<SseMessage> =
                parts.flat_map(|part| reader.read(part).unwrap()).collect();
            assert_eq!(messages, expected, "{size}");
        }
    }

    #[test]
    fn a_message_without_end_is_rejected() {
        let mut reader = MessageReader::default();
        let parts = std::iter::repeat_n(b"data: x\n".as_slice(), MAX_MESSAGE);
        assert!(
            parts
                .map(|part| reader.read(part))
                .any(|read| read.is_none())
        );
        let mut reader = MessageReader::default();
        assert_eq!(reader.read(&vec![b'x'; MAX_MESSAGE + 1]), None);
        assert_eq!(MessageReader::default().read(b"data: \xff\n"), None);
    }
}
