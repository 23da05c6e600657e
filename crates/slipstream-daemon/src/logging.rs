use crate::error::Error;
use std::{fs::OpenOptions, os::unix::fs::OpenOptionsExt, path::Path, sync::Mutex};
use tracing_subscriber::{Registry, filter::LevelFilter, fmt, prelude::*, reload};

/// A log that is longer when a daemon starts is put aside, in the place of the one before.
const LOG_MAX: u64 = 8 << 20;

/// The switch that changes the level while the daemon runs.
pub(crate) struct LogLevel(reload::Handle<LevelFilter, Registry>);

impl LogLevel {
    /// Starts logging to `daemon.log` in `dir`.
    ///
    /// At `off` every callsite is disabled through tracing's global maximum: one relaxed load each.
    pub(crate) fn start(dir: &Path, level: &str) -> Result<Self, Error> {
        let path = dir.join("daemon.log");
        if path.metadata().is_ok_and(|meta| meta.len() > LOG_MAX) {
            std::fs::rename(&path, dir.join("daemon.log.1"))?;
        }
        let file = OpenOptions::new().create(true).append(true).mode(0o600).open(path)?;
        let (filter, handle) = reload::Layer::new(parse(level)?);
        let layer = fmt::layer().with_ansi(false).with_target(false).with_writer(Mutex::new(file));
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
