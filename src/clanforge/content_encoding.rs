//! The content encoding of a body: gzip of any number of members by any name, such as `x-gzip` or `GZIP, identity`.

use std::borrow::Cow;
use std::io::{self, Write};
use std::mem;

use flate2::write::MultiGzDecoder;
use reqwest::header::{CONTENT_ENCODING, HeaderMap};

/// The encoding of a body.
pub(super) enum ContentEncoding {
    Identity,
    Gzip(Box<MultiGzDecoder<Vec<u8>>>),
}

impl ContentEncoding {
    /// The encoding by the headers; the error is the name of an unknown one.
    pub(super) fn of(headers: &HeaderMap) -> Result<Self, String> {
        let mut encoding = Self::Identity;
        for value in headers.get_all(CONTENT_ENCODING) {
            for name in value.to_str().unwrap_or("?").split(',').map(str::trim) {
                let is = |known: &str| name.eq_ignore_ascii_case(known);
                if is("gzip") || is("x-gzip") {
                    let Self::Identity = encoding else {
                        return Err(format!("{name} twice"));
                    };
                    encoding = Self::Gzip(Box::new(MultiGzDecoder::new(Vec::new())));
                } else if !(is("identity") || name.is_empty()) {
                    return Err(name.chars().take(20).collect());
                }
            }
        }
        Ok(encoding)
    }

    /// Decodes a chunk in pieces, so that a small chunk never becomes a large piece.
    pub(super) fn pieces<'a>(
        &'a mut self,
        chunk: &'a [u8],
    ) -> impl Iterator<Item = io::Result<Cow<'a, [u8]>>> {
        /// A byte of gzip becomes at most about a thousand.
        const GZIP_PIECE: usize = 1024;
        let size = match self {
            Self::Identity => chunk.len().max(1),
            Self::Gzip(_) => GZIP_PIECE,
        };
        chunk.chunks(size).map(move |piece| match self {
            Self::Identity => Ok(Cow::Borrowed(piece)),
            Self::Gzip(gzip) => {
                gzip.write_all(piece)?;
                gzip.flush()?;
                Ok(Cow::Owned(mem::take(gzip.get_mut())))
            }
        })
    }
}
