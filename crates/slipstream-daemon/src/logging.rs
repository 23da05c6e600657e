//! The daemon's log: a file of bounded size, at a level that can be changed while it runs.

use crate::error::Error;
use std::{
    fs::{File, OpenOptions},
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    sync::Mutex,
};
use tracing_subscriber::{Registry, filter::LevelFilter, fmt, prelude::*, reload};

/// A log that is longer is put aside, in the place of the one before.
const LOG_MAX: u64 = 8 << 20;

/// The switch that changes the level while the daemon runs.
pub(crate) struct LogLevel(reload::Handle<LevelFilter, Registry>);

impl LogLevel {
    /// Starts logging to `daemon.log` in `dir`.
    ///
    /// At `off` every callsite is disabled through tracing's global maximum: one relaxed load each.
    pub(crate) fn start(dir: &Path, level: &str) -> Result<Self, Error> {
        let log = LogFile::open(dir.join("daemon.log"))?;
        let (filter, handle) = reload::Layer::new(parse(level)?);
        let layer = fmt::layer().with_ansi(false).with_target(false).with_writer(Mutex::new(log));
        // A second daemon in one process (tests) keeps the first one's log.
        let _ = tracing_subscriber::registry().with(filter).with(layer).try_init();
        Ok(Self(handle))
    }

    /// Changes the level.
    pub(crate) fn set(&self, level: &str) -> Result<(), Error> {
        let level = parse(level)?;
        self.0.reload(level).map_err(|e| Error::Usage(e.to_string()))
    }
}

fn parse(level: &str) -> Result<LevelFilter, Error> {
    let wrong =
        |_| Error::Usage(format!("log level {level:?} is not one of off, error, warn, info, debug, trace"));
    level.parse().map_err(wrong)
}

/// A log that begins anew when it has become long; the one before stays, as `daemon.log.1`.
struct LogFile {
    path: PathBuf,
    file: File,
    size: u64,
}

impl LogFile {
    fn open(path: PathBuf) -> io::Result<Self> {
        let file = OpenOptions::new().create(true).append(true).mode(0o600).open(&path)?;
        let size = file.metadata()?.len();
        Ok(Self { path, file, size })
    }

    fn begin_anew(&mut self) -> io::Result<()> {
        let mut before = self.path.clone().into_os_string();
        before.push(".1");
        std::fs::rename(&self.path, before)?;
        *self = Self::open(self.path.clone())?;
        Ok(())
    }
}

impl Write for LogFile {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        if self.size > LOG_MAX {
            self.begin_anew()?;
        }
        let written = self.file.write(line)?;
        self.size += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_log_is_put_aside() {
        let dir = tempfile::tempdir().expect("temp dir");
        let path = dir.path().join("daemon.log");
        let mut log = LogFile::open(path.clone()).expect("log");
        log.size = LOG_MAX + 1;
        log.write_all(b"first\n").expect("write");
        log.write_all(b"second\n").expect("write");
        assert_eq!(std::fs::read(&path).expect("log"), b"first\nsecond\n");
        assert_eq!(std::fs::read(dir.path().join("daemon.log.1")).expect("old log"), b"");
    }
}
