//! `ansible_slipstream._native`: Python values in, Python exceptions out; no decisions, no state.

mod channel;
mod errors;

use pyo3::prelude::*;

/// The native half of the client, and the daemon for wheels without its binary.
#[pymodule]
mod _native {
    use pyo3::prelude::*;

    #[pymodule_export]
    use super::channel::Channel;
    #[pymodule_export]
    use super::errors::{
        ChannelClosed, ChannelTimeout, DaemonError, DaemonNotRunning, DaemonNotStarted, UnsafeState,
    };
    #[pymodule_export]
    use super::{daemon_main, default_state_dir};

    #[pymodule_init]
    fn init(module: &Bound<'_, PyModule>) -> PyResult<()> {
        module.add("VERSION", slipstream_daemon::VERSION)?;
        module.add("BUILD", slipstream_daemon::BUILD)
    }
}

/// Runs the daemon in this process and returns its exit code.
#[pyfunction]
fn daemon_main(py: Python<'_>, arguments: Vec<String>) -> i32 {
    py.detach(|| slipstream_daemon::daemon_main(arguments))
}

/// Returns the state folder's path.
#[pyfunction]
fn default_state_dir() -> String {
    slipstream_client::StateDir::default_path().display().to_string()
}
