use slipstream_wire::FrameError;
use std::io;

/// Why the daemon, or one of its requests, can't go on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum Error {
    /// The command line makes no sense.
    #[error("{0}")]
    Usage(String),
    /// The client has gone; nobody waits for an answer.
    #[error("the client has gone")]
    ClientGone,
    /// The client sent what makes no sense here.
    #[error("unexpected message from the client: {0}")]
    Protocol(String),
    /// The peer does not speak our frames.
    #[error(transparent)]
    Frame(#[from] FrameError),
    /// The operating system says no.
    #[error(transparent)]
    Io(#[from] io::Error),
}
