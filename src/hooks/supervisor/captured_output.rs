//! Captures the first and the last bytes of a stream of any length.

use serde::{Deserialize, Serialize};

/// Most bytes kept of the beginning, and of the end.
const MAX_PART: usize = 32 * 1024;

#[derive(Debug, Default, Serialize, Deserialize)]
pub(in crate::hooks) struct CapturedOutput {
    pub(in crate::hooks) head: String,
    pub(in crate::hooks) tail: String,
    /// Number of bytes between head and tail that were dropped.
    pub(in crate::hooks) omitted: u64,
}

/// Collects a stream in bounded memory.
#[derive(Default)]
pub(super) struct OutputBuffer {
    head: Vec<u8>,
    tail: Vec<u8>,
    omitted: u64,
}

impl OutputBuffer {
    pub(super) fn push(&mut self, bytes: &[u8]) {
        let room = MAX_PART.saturating_sub(self.head.len()).min(bytes.len());
        let (head, rest) = bytes.split_at(room);
        self.head.extend_from_slice(head);
        self.tail.extend_from_slice(rest);
        // Trimming moves bytes: not at every write.
        if self.tail.len() > 2 * MAX_PART {
            self.trim();
        }
    }

    fn trim(&mut self) {
        let over = self.tail.len().saturating_sub(MAX_PART);
        self.tail.drain(..over);
        self.omitted += over as u64;
    }

    pub(super) fn take(&mut self) -> CapturedOutput {
        self.trim();
        if self.omitted == 0 {
            // A character may span the two parts.
            self.head.append(&mut self.tail);
        }
        CapturedOutput {
            head: String::from_utf8_lossy(&self.head).into_owned(),
            tail: String::from_utf8_lossy(&self.tail).into_owned(),
            omitted: self.omitted,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn head_and_tail_of_any_stream_are_captured(
            sizes in prop::collection::vec(0usize..40_000, 0..12)
        ) {
            let all: Vec<u8> = (0..sizes.iter().sum::<usize>()).map(|i| b'a' + (i % 23) as u8).collect();
            let mut buffer = OutputBuffer::default();
            let mut rest = all.as_slice();
            for size in sizes {
                let (chunk, after) = rest.split_at(size);
                buffer.push(chunk);
                rest = after;
            }
            let captured = buffer.take();
            let (head, tail) = (captured.head.as_bytes(), captured.tail.as_bytes());
            prop_assert!(all.starts_with(head) && all.ends_with(tail));
            prop_assert_eq!(head.len() + tail.len() + captured.omitted as usize, all.len());
            prop_assert!(head.len() + tail.len() <= 2 * MAX_PART);
            prop_assert!(captured.omitted == 0 || head.len() + tail.len() == 2 * MAX_PART);
        }
    }
}
