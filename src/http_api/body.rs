//! The body of a response: bytes, or a stream of them.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures_util::StreamExt;
use futures_util::stream::LocalBoxStream;
use hyper::body::{Body, Bytes, Frame, SizeHint};

use super::paced_stream::Sending;

pub(super) struct ApiBody {
    content: Content,
    /// Until the last byte was passed on.
    _sending: Option<Sending>,
}

enum Content {
    Whole(Bytes),
    Stream(LocalBoxStream<'static, Bytes>),
}

impl ApiBody {
    pub(super) fn whole(bytes: impl Into<Bytes>) -> Self {
        Self {
            content: Content::Whole(bytes.into()),
            _sending: None,
        }
    }

    pub(super) fn stream(stream: LocalBoxStream<'static, Bytes>) -> Self {
        Self {
            content: Content::Stream(stream),
            _sending: None,
        }
    }

    pub(super) fn holding(self, sending: Sending) -> Self {
        Self {
            _sending: Some(sending),
            ..self
        }
    }
}

impl Body for ApiBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let next = match &mut self.content {
            Content::Whole(bytes) if bytes.is_empty() => Poll::Ready(None),
            Content::Whole(bytes) => Poll::Ready(Some(std::mem::take(bytes))),
            Content::Stream(stream) => stream.poll_next_unpin(cx),
        };
        next.map(|bytes| bytes.map(|bytes| Ok(Frame::data(bytes))))
    }

    fn is_end_stream(&self) -> bool {
        matches!(&self.content, Content::Whole(bytes) if bytes.is_empty())
    }

    fn size_hint(&self) -> SizeHint {
        match &self.content {
            Content::Whole(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Content::Stream(_) => SizeHint::default(),
        }
    }
}
