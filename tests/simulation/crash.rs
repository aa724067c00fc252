//! Death at an await: the future that is a process is dropped before its n-th poll.

use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use futures_util::future::LocalBoxFuture;

use crate::clock::Wall;

/// Drives a process until it ends or dies. Resolves to None where it dies.
pub(crate) struct DiesAt<'a, T> {
    process: Option<LocalBoxFuture<'a, T>>,
    polls_left: u64,
    wall: Rc<Wall>,
}

impl<'a, T> DiesAt<'a, T> {
    pub(crate) fn new(process: LocalBoxFuture<'a, T>, polls: u64, wall: Rc<Wall>) -> Self {
        Self {
            process: Some(process),
            polls_left: polls,
            wall,
        }
    }
}

impl<T> Future for DiesAt<'_, T> {
    type Output = Option<T>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<T>> {
        if self.polls_left == 0 {
            self.process = None;
            return Poll::Ready(None);
        }
        self.polls_left -= 1;
        self.wall.forgive_looks();
        match self.process.as_mut() {
            Some(process) => process.as_mut().poll(cx).map(Some),
            None => Poll::Ready(None),
        }
    }
}
