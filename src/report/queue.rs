//! The messages to the writer.

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum OutputStream {
    Out,
    Err,
}

#[derive(Debug)]
pub(super) enum Message {
    /// One or more lines, without the last newline.
    Line(OutputStream, String),
    /// The slot for frames has a new frame.
    Frame,
    /// The last message: remove the bars.
    Close,
}
