use crate::errors::to_python;
use pyo3::{prelude::*, types::PyBytes};
use slipstream_client::{Error, StartOptions, StateDir, connect, connect_or_start};
use slipstream_wire::Frame;
use std::{
    os::fd::{BorrowedFd, RawFd},
    path::PathBuf,
    time::{Duration, Instant},
};

/// A connection to the daemon; it belongs to the process that made it.
#[pyclass(module = "ansible_slipstream._native")]
pub(crate) struct Channel(slipstream_client::Channel);

#[pymethods]
impl Channel {
    /// Connects to the daemon of a state folder, which must be running.
    #[staticmethod]
    fn connect(py: Python<'_>, state_dir: PathBuf) -> PyResult<Self> {
        py.detach(|| connect(&StateDir::open(state_dir)?)).map(Self).map_err(to_python)
    }

    /// Connects to the daemon of a state folder, starting it with `command` if there is none.
    #[staticmethod]
    fn connect_or_start(
        py: Python<'_>,
        state_dir: PathBuf,
        command: Vec<String>,
        log: String,
        idle_s: f64,
    ) -> PyResult<Self> {
        let options = StartOptions { command, log, idle_s };
        py.detach(|| connect_or_start(&StateDir::open(state_dir)?, &options)).map(Self).map_err(to_python)
    }

    /// Tells whether the daemon is still there; for use between requests.
    fn is_open(&self) -> bool {
        self.0.is_open()
    }

    /// Sends a message: JSON text, raw bytes, and a descriptor that the daemon gets a copy of.
    fn send(
        &mut self,
        py: Python<'_>,
        control: &[u8],
        body: &[u8],
        descriptor: Option<RawFd>,
    ) -> PyResult<()> {
        let frame = Frame { control: control.to_vec(), body: body.to_vec(), ..Frame::default() };
        py.detach(|| {
            // SAFETY: the caller keeps the descriptor open during the call.
            let descriptor = descriptor.map(|fd| unsafe { BorrowedFd::borrow_raw(fd) });
            self.0.send(&frame, descriptor)
        })
        .map_err(to_python)
    }

    /// Waits for the next frame and returns its JSON text (None for data), raw bytes and flags.
    ///
    /// Signal handlers run while waiting; what they raise is raised here, and nothing is lost.
    #[pyo3(signature = (timeout=None))]
    fn receive<'py>(
        &mut self,
        py: Python<'py>,
        timeout: Option<f64>,
    ) -> PyResult<(Option<Bound<'py, PyBytes>>, Bound<'py, PyBytes>, u16)> {
        let deadline = timeout.map(|s| Instant::now() + Duration::from_secs_f64(s.max(0.0)));
        loop {
            match py.detach(|| self.0.receive(deadline)) {
                Ok(frame) => {
                    let control = (!frame.data).then(|| PyBytes::new(py, &frame.control));
                    return Ok((control, PyBytes::new(py, &frame.body), frame.flags));
                }
                Err(Error::Interrupted) => py.check_signals()?,
                Err(error) => return Err(to_python(error)),
            }
        }
    }
}
