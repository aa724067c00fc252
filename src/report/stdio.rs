//! The standard streams, unbuffered. A write waits for a full stream even if another program that shares it, such as a
//! build agent, has made it non-blocking.

use std::io::{self, Write};
use std::os::fd::BorrowedFd;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;

#[derive(Clone, Copy, Debug)]
pub struct StandardStream(BorrowedFd<'static>);

pub fn stdout() -> StandardStream {
    StandardStream(rustix::stdio::stdout())
}

pub fn stderr() -> StandardStream {
    StandardStream(rustix::stdio::stderr())
}

impl Write for StandardStream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        loop {
            match rustix::io::write(self.0, bytes) {
                Err(Errno::AGAIN) => {
                    match poll(&mut [PollFd::new(&self.0, PollFlags::OUT)], None) {
                        Ok(_) | Err(Errno::INTR) => {}
                        Err(error) => return Err(error.into()),
                    }
                }
                Err(Errno::INTR) => {}
                written => return Ok(written?),
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
