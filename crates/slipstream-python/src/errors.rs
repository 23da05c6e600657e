//! The one place where Rust errors become Python exceptions.

use pyo3::{PyErr, create_exception, exceptions::PyException};
use slipstream_client::Error;

create_exception!(ansible_slipstream._native, DaemonError, PyException, "The daemon can't be asked.");
create_exception!(ansible_slipstream._native, DaemonNotRunning, DaemonError, "Nobody listens.");
create_exception!(ansible_slipstream._native, DaemonNotStarted, DaemonError, "The daemon did not come up.");
create_exception!(ansible_slipstream._native, UnsafeState, DaemonError, "Others can reach the state folder.");
create_exception!(
    ansible_slipstream._native,
    ChannelClosed,
    DaemonError,
    "The daemon closed the connection."
);
create_exception!(ansible_slipstream._native, ChannelTimeout, DaemonError, "No answer in time.");

/// Names the exception for `error`.
pub(crate) fn to_python(error: Error) -> PyErr {
    let text = error.to_string();
    match error {
        Error::NotRunning(_) => DaemonNotRunning::new_err(text),
        Error::NotStarted(_) => DaemonNotStarted::new_err(text),
        Error::Unsafe { .. } => UnsafeState::new_err(text),
        Error::Closed => ChannelClosed::new_err(text),
        Error::Timeout => ChannelTimeout::new_err(text),
        _ => DaemonError::new_err(text),
    }
}
