//! A crash at an await: the future of a process is dropped before its nth poll.

use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use futures_util::future::LocalBoxFuture;

use crate::clock::WallClock;

/// Polls a process until it ends, or drops it after so many polls and resolves to None.
pub(crate) struct CrashAfter<'a, T> {
    process: Option<LocalBoxFuture<'a, T>>,
    polls_left: u64,
    wall_clock: Rc<WallClock>,
}

impl<'a, T> CrashAfter<'a, T> {
    pub(crate) fn new(
        process: LocalBoxFuture<'a, T>,
        polls: u64,
        wall_clock: Rc<WallClock>,
    ) -> Self {
        Self {
            process: Some(process),
            polls_left: polls,
            wall_clock,
        }
    }
}

impl<T> Future for CrashAfter<'_, T> {
    type Output = Option<T>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<T>> {
        if self.polls_left == 0 {
            self.process = None;
            return Poll::Ready(None);
        }
        self.polls_left -= 1;
        self.wall_clock.reset_reads();
        match self.process.as_mut() {
            Some(process) => process.as_mut().poll(cx).map(Some),
            None => Poll::Ready(None),
        }
    }
}
