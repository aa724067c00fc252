//! A connection whose client has to read: one that reads too slowly is disconnected.

use std::cell::{Cell, RefCell};
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, Sleep, sleep};

/// While data waits to be sent, a client reads at least so many bytes in this time.
const WINDOW: Duration = Duration::from_secs(10);
const MIN_BYTES: usize = 64 * 1024;

/// What a connection is busy with.
#[derive(Debug, Default)]
pub(super) struct Activity {
    /// Requests whose response is not complete.
    active: Cell<usize>,
    /// Of complete responses that are not sent yet.
    unsent: RefCell<Vec<OwnedSemaphorePermit>>,
}

impl Activity {
    pub(super) fn is_idle(&self) -> bool {
        self.active.get() == 0 && self.unsent.borrow().is_empty()
    }
}

/// A request, until its response is complete. The permit is held until the response is sent, too: it bounds memory.
#[derive(Debug)]
pub(super) struct Sending {
    activity: Rc<Activity>,
    permit: Option<OwnedSemaphorePermit>,
}

impl Sending {
    pub(super) fn new(activity: &Rc<Activity>) -> Self {
        activity.active.set(activity.active.get() + 1);
        Self {
            activity: Rc::clone(activity),
            permit: None,
        }
    }

    pub(super) fn hold(&mut self, permit: OwnedSemaphorePermit) {
        self.permit = Some(permit);
    }
}

impl Drop for Sending {
    fn drop(&mut self) {
        let Activity { active, unsent } = &*self.activity;
        active.set(active.get().saturating_sub(1));
        unsent.borrow_mut().extend(self.permit.take());
    }
}

pub(super) struct PacedStream<S> {
    stream: S,
    activity: Rc<Activity>,
    /// The end of the current window, if data waits to be sent.
    window: Option<Pin<Box<Sleep>>>,
    /// In the current window.
    written: usize,
}

impl<S> PacedStream<S> {
    pub(super) fn new(stream: S, activity: Rc<Activity>) -> Self {
        Self {
            stream,
            activity,
            window: None,
            written: 0,
        }
    }

    /// The result of a write, or an error if the client is too slow.
    fn pace(
        &mut self,
        cx: &mut Context<'_>,
        result: Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        if let Poll::Ready(result) = result {
            self.written += result.as_ref().unwrap_or(&0);
            return Poll::Ready(result);
        }
        if self.window.is_none() {
            self.written = 0;
        }
        let window = self.window.get_or_insert_with(|| Box::pin(sleep(WINDOW)));
        loop {
            ready!(window.as_mut().poll(cx));
            if std::mem::take(&mut self.written) < MIN_BYTES {
                return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
            }
            window.as_mut().reset(Instant::now() + WINDOW);
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for PacedStream<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for PacedStream<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.stream).poll_write(cx, buf);
        self.pace(cx, result)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.stream).poll_write_vectored(cx, bufs);
        self.pace(cx, result)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    /// Called once everything is written.
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(Pin::new(&mut self.stream).poll_flush(cx))?;
        self.window = None;
        self.activity.unsent.borrow_mut().clear();
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};
    use tokio::sync::Semaphore;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_client_that_reads_too_slowly_is_disconnected() {
        // Reads so much every second.
        for (bytes, is_served) in [(0, false), (MIN_BYTES / 20, false), (MIN_BYTES / 5, true)] {
            let (mut client, server) = duplex(1_000);
            let mut server = PacedStream::new(server, Rc::default());
            let read = async {
                let mut buffer = vec![0; bytes.max(1)];
                loop {
                    sleep(Duration::from_secs(1)).await;
                    if bytes > 0 && client.read_exact(&mut buffer).await.is_err() {
                        break;
                    }
                }
            };
            let content = vec![0; 10 * MIN_BYTES];
            let began = Instant::now();
            let written = tokio::select! {
                written = server.write_all(&content) => written,
                () = read => Ok(()),
            };
            assert_eq!(written.is_ok(), is_served, "{bytes}: {written:?}");
            if !is_served {
                assert_eq!(began.elapsed().as_secs(), WINDOW.as_secs());
            }
        }
    }

    #[tokio::test]
    async fn a_permit_is_held_until_the_response_is_sent() {
        let permits = Arc::new(Semaphore::new(1));
        let activity = Rc::new(Activity::default());
        let mut sending = Sending::new(&activity);
        sending.hold(Arc::clone(&permits).try_acquire_owned().unwrap());
        let (_client, server) = duplex(10);
        let mut server = PacedStream::new(server, Rc::clone(&activity));
        server.flush().await.unwrap();
        assert!(!activity.is_idle());
        assert_eq!(permits.available_permits(), 0);
        drop(sending);
        assert!(!activity.is_idle());
        assert_eq!(permits.available_permits(), 0, "not sent yet");
        server.flush().await.unwrap();
        assert!(activity.is_idle());
        assert_eq!(permits.available_permits(), 1);
    }
}
