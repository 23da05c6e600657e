use std::{io, path::PathBuf};

/// Why the daemon can't be asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Nobody listens, and starting was not asked for.
    #[error("no daemon runs in {0}")]
    NotRunning(PathBuf),
    /// The state folder or the socket is not only ours.
    #[error("{path} is not safe to use: {reason}")]
    Unsafe {
        /// The folder or socket.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The daemon did not come up.
    #[error("slipstreamd did not start: {0}")]
    NotStarted(String),
    /// The daemon closed the connection.
    #[error("slipstreamd closed the connection")]
    Closed,
    /// The deadline passed.
    #[error("no answer from slipstreamd in time")]
    Timeout,
    /// A signal arrived while waiting; the caller looks at it and may wait again.
    #[error("interrupted by a signal")]
    Interrupted,
    /// The peer sent something else than frames.
    #[error(transparent)]
    Frame(#[from] slipstream_wire::FrameError),
    /// The operating system says no.
    #[error(transparent)]
    Io(#[from] io::Error),
}

impl From<rustix::io::Errno> for Error {
    fn from(errno: rustix::io::Errno) -> Self {
        match errno {
            rustix::io::Errno::INTR => Self::Interrupted,
            rustix::io::Errno::PIPE | rustix::io::Errno::CONNRESET => Self::Closed,
            other => Self::Io(other.into()),
        }
    }
}
