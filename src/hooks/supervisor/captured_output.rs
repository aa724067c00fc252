//! What is kept of a stream that may never end: its first and its last.

use serde::{Deserialize, Serialize};

/// The first and the last of a stream are kept up to here, each.
const KEPT: usize = 32 * 1024;

/// What is kept of a stream.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(in crate::hooks) struct Kept {
    pub(in crate::hooks) head: String,
    pub(in crate::hooks) tail: String,
    /// The bytes between them that were thrown away.
    pub(in crate::hooks) left_out: u64,
}

/// The first and the last of a stream, however long it is.
#[derive(Default)]
pub(super) struct Bounded {
    head: Vec<u8>,
    tail: Vec<u8>,
    left_out: u64,
}

impl Bounded {
    pub(super) fn push(&mut self, bytes: &[u8]) {
        let room = KEPT.saturating_sub(self.head.len()).min(bytes.len());
        let (head, rest) = bytes.split_at(room);
        self.head.extend_from_slice(head);
        self.tail.extend_from_slice(rest);
        // Cut now and then, not at every write.
        if self.tail.len() > 2 * KEPT {
            self.cut();
        }
    }

    fn cut(&mut self) {
        let over = self.tail.len().saturating_sub(KEPT);
        self.tail.drain(..over);
        self.left_out += over as u64;
    }

    pub(super) fn take(&mut self) -> Kept {
        self.cut();
        if self.left_out == 0 {
            // A character may lie across the cut.
            self.head.append(&mut self.tail);
        }
        Kept {
            head: String::from_utf8_lossy(&self.head).into_owned(),
            tail: String::from_utf8_lossy(&self.tail).into_owned(),
            left_out: self.left_out,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn of_any_stream_the_first_and_the_last_are_kept(
            sizes in prop::collection::vec(0usize..40_000, 0..12)
        ) {
            let all: Vec<u8> = (0..sizes.iter().sum::<usize>()).map(|i| b'a' + (i % 23) as u8).collect();
            let mut kept = Bounded::default();
            let mut rest = all.as_slice();
            for size in sizes {
                let (chunk, after) = rest.split_at(size);
                kept.push(chunk);
                rest = after;
            }
            let kept = kept.take();
            let (head, tail) = (kept.head.as_bytes(), kept.tail.as_bytes());
            prop_assert!(all.starts_with(head) && all.ends_with(tail));
            prop_assert_eq!(head.len() + tail.len() + kept.left_out as usize, all.len());
            prop_assert!(head.len() + tail.len() <= 2 * KEPT);
            prop_assert!(kept.left_out == 0 || head.len() + tail.len() == 2 * KEPT);
        }
    }
}
