//! Response bodies, generated while they are sent: a diff of millions of files is never held in memory.

use std::collections::VecDeque;
use std::io::{self, Write};

use flate2::write::{DeflateEncoder, GzEncoder};
use flate2::{Compression, Crc};

/// Approximate size of the pieces that [`Body::next`] returns.
const CHUNK: usize = 32 * 1024;

/// A gzip bomb repeats one compressed block of so many spaces.
const BLOCK: u64 = 1 << 20;

#[derive(Clone, Debug)]
pub(crate) enum Piece {
    Bytes(Vec<u8>),
    Repeat(Vec<u8>, u64),
    /// The entries of a diff's file map, without its braces.
    FileEntries(FileEntries),
}

/// The entries of a file map. Name, size and checksum follow from an entry's number.
#[derive(Clone, Debug)]
pub(crate) struct FileEntries {
    /// Number of the next entry.
    next: u64,
    count: u64,
    /// Field names as in the vendor's table (`filesize`, `crc32sum`), not as in its example (`size`, `crc`).
    as_table: bool,
}

impl FileEntries {
    pub(crate) fn new(count: u64, as_table: bool) -> Self {
        Self {
            next: 0,
            count,
            as_table,
        }
    }

    /// Size of the `n`th file, counted from 0. The manual documents the formula, so that sums can be checked.
    fn size(n: u64) -> u64 {
        1 + n.wrapping_mul(7919) % 100_000
    }

    /// Appends up to a chunk of entries; false when none were left.
    fn fill(&mut self, out: &mut Vec<u8>) -> io::Result<bool> {
        let any = self.next < self.count;
        while self.next < self.count && out.len() < CHUNK {
            let n = self.next;
            let comma = if n == 0 { "" } else { "," };
            let (size, crc) = (Self::size(n), n.wrapping_mul(2_654_435_761) & 0xffff_ffff);
            write!(
                out,
                "{comma}\"server\\/data\\/pak{:04}\\/asset_{n:08}.pak\":",
                n / 1000
            )?;
            if self.as_table {
                write!(out, "{{\"filesize\":\"{size}\",\"crc32sum\":{crc}}}")?;
            } else {
                write!(out, "{{\"size\":{size},\"crc\":\"{crc}\"}}")?;
            }
            self.next += 1;
        }
        Ok(any)
    }
}

#[derive(Debug)]
pub(crate) struct Body {
    pieces: VecDeque<Piece>,
    gzip: Option<GzEncoder<Vec<u8>>>,
}

impl Body {
    pub(crate) fn new(pieces: impl IntoIterator<Item = Piece>) -> Self {
        Self {
            pieces: pieces.into_iter().collect(),
            gzip: None,
        }
    }

    pub(crate) fn text(text: impl Into<Vec<u8>>) -> Self {
        Self::new([Piece::Bytes(text.into())])
    }

    /// The same body, compressed while it is sent.
    pub(crate) fn gzipped(mut self) -> Self {
        self.gzip = Some(GzEncoder::new(Vec::new(), Compression::fast()));
        self
    }

    /// A gzip stream that decodes to so many spaces, a thousand times its own size. JSON allows leading spaces, so only
    /// a limit on decoded bytes protects a reader.
    pub(crate) fn bomb(decoded: u64) -> io::Result<Self> {
        let (blocks, rest) = (decoded / BLOCK, decoded % BLOCK);
        let mut crc = Crc::new();
        let mut of_block = Crc::new();
        of_block.update(&spaces(BLOCK));
        for _ in 0..blocks {
            crc.combine(&of_block);
        }
        let mut of_rest = Crc::new();
        of_rest.update(&spaces(rest));
        crc.combine(&of_rest);
        let mut tail = deflated(rest)?;
        tail.extend([0x03, 0x00]); // the final block of a deflate stream, empty
        tail.extend(crc.sum().to_le_bytes());
        tail.extend((decoded as u32).to_le_bytes()); // RFC 1952: the size modulo 2^32
        let head = vec![0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff];
        Ok(Self::new([
            Piece::Bytes(head),
            Piece::Repeat(deflated(BLOCK)?, blocks),
            Piece::Bytes(tail),
        ]))
    }

    /// The number of bytes, where it is known before the body is generated.
    pub(crate) fn length(&self) -> Option<u64> {
        if self.gzip.is_some() {
            return None;
        }
        self.pieces
            .iter()
            .try_fold(0_u64, |sum, piece| match piece {
                Piece::Bytes(bytes) => Some(sum + bytes.len() as u64),
                Piece::Repeat(bytes, times) => Some(sum + bytes.len() as u64 * times),
                Piece::FileEntries(_) => None,
            })
    }

    /// The next bytes, never empty; None at the end.
    pub(crate) fn next(&mut self) -> io::Result<Option<Vec<u8>>> {
        loop {
            let Some(bytes) = self.next_uncompressed()? else {
                let rest = self.gzip.take().map(GzEncoder::finish).transpose()?;
                return Ok(rest.filter(|rest| !rest.is_empty()));
            };
            let Some(gzip) = &mut self.gzip else {
                return Ok(Some(bytes));
            };
            gzip.write_all(&bytes)?;
            if gzip.get_ref().len() >= CHUNK {
                return Ok(Some(std::mem::take(gzip.get_mut())));
            }
        }
    }

    fn next_uncompressed(&mut self) -> io::Result<Option<Vec<u8>>> {
        let mut out = Vec::new();
        while let Some(piece) = self.pieces.front_mut() {
            let done = match piece {
                Piece::Bytes(bytes) => {
                    out.append(bytes);
                    true
                }
                Piece::Repeat(_, 0) => true,
                Piece::Repeat(bytes, times) => {
                    out.extend_from_slice(bytes);
                    *times -= 1;
                    false
                }
                Piece::FileEntries(files) => !files.fill(&mut out)?,
            };
            if done {
                self.pieces.pop_front();
            }
            if out.len() >= CHUNK {
                break;
            }
        }
        Ok(Some(out).filter(|out| !out.is_empty()))
    }
}

fn spaces(count: u64) -> Vec<u8> {
    vec![b' '; count as usize]
}

/// So many spaces as deflate blocks that end on a byte boundary and refer to nothing before them, so they can be repeated.
fn deflated(count: u64) -> io::Result<Vec<u8>> {
    let mut encoder = DeflateEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(&spaces(count))?;
    encoder.flush()?;
    Ok(std::mem::take(encoder.get_mut()))
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use flate2::read::GzDecoder;

    use super::*;

    fn whole(mut body: Body) -> Vec<u8> {
        let mut all = Vec::new();
        while let Some(bytes) = body.next().unwrap() {
            assert!(!bytes.is_empty());
            all.extend(bytes);
        }
        all
    }

    #[test]
    fn a_gzip_bomb_is_small_and_decodes_to_the_requested_size() {
        for size in [1, BLOCK - 1, BLOCK, 3 * BLOCK + 17] {
            let body = Body::bomb(size).unwrap();
            let length = body.length().unwrap();
            let wire = whole(body);
            assert_eq!(wire.len() as u64, length);
            let mut decoded = Vec::new();
            GzDecoder::new(wire.as_slice())
                .read_to_end(&mut decoded)
                .unwrap();
            assert_eq!(decoded.len() as u64, size);
            assert!(decoded.iter().all(|b| *b == b' '));
        }
        assert!(Body::bomb(100 * BLOCK).unwrap().length().unwrap() < BLOCK / 5);
    }

    #[test]
    fn file_entries_are_generated_in_chunks_and_form_one_map() {
        for as_table in [false, true] {
            let open = Piece::Bytes(b"{".to_vec());
            let close = Piece::Bytes(b"}".to_vec());
            let body = || {
                Body::new([
                    open.clone(),
                    Piece::FileEntries(FileEntries::new(5000, as_table)),
                    close.clone(),
                ])
            };
            assert_eq!(body().length(), None);
            let map: serde_json::Value = serde_json::from_slice(&whole(body())).unwrap();
            assert_eq!(map.as_object().unwrap().len(), 5000);
            let mut largest = 0;
            let mut pieces = body();
            while let Some(bytes) = pieces.next().unwrap() {
                largest = largest.max(bytes.len());
            }
            assert!(largest < 2 * CHUNK, "{largest}");
        }
    }

    #[test]
    fn a_compressed_body_decodes_to_the_same_bytes() {
        let body = || Body::new([Piece::FileEntries(FileEntries::new(3000, true))]);
        let mut decoded = Vec::new();
        GzDecoder::new(whole(body().gzipped()).as_slice())
            .read_to_end(&mut decoded)
            .unwrap();
        assert_eq!(decoded, whole(body()));
    }
}
