//! Child processes that end with the daemon.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::{collections::BTreeMap, ffi::OsStr, process::Stdio, sync::OnceLock};
use tokio::process::Command;

/// The limit that the daemon was started with; what it starts has it again.
static INHERITED: OnceLock<Rlimit> = OnceLock::new();

/// Raises the daemon's own limit: every host takes about ten descriptors.
pub(crate) fn allow_many_descriptors() {
    let inherited = INHERITED.get_or_init(|| getrlimit(Resource::Nofile));
    let _ = setrlimit(Resource::Nofile, Rlimit { current: inherited.maximum, ..*inherited });
}

/// Prepares `argv` with exactly `env`, in a session of its own, dying with the daemon.
pub(crate) fn command(argv: &[impl AsRef<OsStr>], env: &BTreeMap<String, String>) -> Command {
    let mut command = Command::new(argv.first().map_or(OsStr::new("false"), AsRef::as_ref));
    command.args(argv.iter().skip(1)).env_clear().envs(env);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    let limit = INHERITED.get().copied();
    // SAFETY: between fork and exec only async-signal-safe system calls are made.
    unsafe {
        command.pre_exec(move || {
            if let Some(limit) = &limit {
                setrlimit(Resource::Nofile, *limit)?;
            }
            // Without a controlling terminal ssh can't prompt behind our back.
            rustix::process::setsid()?;
            #[cfg(target_os = "linux")]
            rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::TERM))?;
            Ok(())
        });
    }
    command
}
