use crate::{Channel, Error, StateDir};
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    fs::{FlockOperation, flock},
    pipe::{PipeFlags, pipe_with},
};
use std::{
    ffi::OsStr,
    fs::{File, OpenOptions},
    io::{self, Read},
    os::{
        fd::OwnedFd,
        unix::{fs::OpenOptionsExt, net::UnixStream, process::CommandExt},
    },
    process::{Command, Stdio},
};

/// A daemon that has not said it is ready by then is not coming.
const START_DEADLINE_S: i64 = 20;

/// What the daemon has of the environment of who starts it, which it outlives: what a program needs to start, and
/// nothing by which a service finds and ends all processes of a job (`BUILD_ID`, `RUNNER_TRACKING_ID`…).
const KEPT: [&str; 4] = ["HOME", "LANG", "PATH", "TMPDIR"];
const KEPT_PREFIXES: [&str; 7] = ["DYLD_", "LC_", "LD_", "LLVM_", "PYTHON", "RUST_", "SLIPSTREAM_"];

/// How to start a daemon.
#[derive(Debug, Clone)]
pub struct StartOptions {
    /// Program and first arguments; `--dir`, `--idle` and `--log` are added.
    pub command: Vec<String>,
    /// Log level, or empty for the daemon's own choice.
    pub log: String,
    /// Seconds after which a daemon without work ends.
    pub idle_s: f64,
}

/// Connects to the daemon of `dir`.
///
/// # Errors
///
/// [`Error::NotRunning`] if nobody listens; [`Error::Unsafe`] if the listener is another user.
pub fn connect(dir: &StateDir) -> Result<Channel, Error> {
    let path = dir.socket();
    let socket = UnixStream::connect(&path).map_err(|e| match e.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => Error::NotRunning(dir.path().into()),
        _ => Error::Io(e),
    })?;
    check_peer(&socket, &path)?;
    Ok(Channel::new(socket))
}

/// Connects to the daemon of `dir`, starting it if there is none.
///
/// Processes that ask at the same instant start one daemon: the first does, the others wait for it.
///
/// # Errors
///
/// [`Error::NotStarted`] with the daemon's own words.
pub fn connect_or_start(dir: &StateDir, options: &StartOptions) -> Result<Channel, Error> {
    match connect(dir) {
        Err(Error::NotRunning(_)) => {}
        other => return other,
    }
    let lock =
        OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(dir.start_lock())?;
    lock_exclusive(&lock)?;
    match connect(dir) {
        Err(Error::NotRunning(_)) => {}
        other => return other,
    }
    start(dir, options)?;
    connect(dir)
}

fn lock_exclusive(file: &File) -> Result<(), Error> {
    loop {
        match flock(file, FlockOperation::LockExclusive) {
            Ok(()) => return Ok(()),
            Err(rustix::io::Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
}

/// Runs the daemon and waits for its word: `ready`, or why not.
fn start(dir: &StateDir, options: &StartOptions) -> Result<(), Error> {
    let Some((program, arguments)) = options.command.split_first() else {
        return Err(Error::NotStarted("no program to start".into()));
    };
    let (reader, writer) = pipe_with(PipeFlags::CLOEXEC)?;
    let mut command = Command::new(program);
    command.args(arguments).arg("--dir").arg(dir.path());
    command.arg("--idle").arg(options.idle_s.to_string());
    if !options.log.is_empty() {
        command.arg("--log").arg(&options.log);
    }
    // The readiness pipe is the daemon's standard output: no descriptor has to survive the exec.
    command.stdin(Stdio::null()).stdout(Stdio::from(writer)).stderr(Stdio::null());
    command.current_dir("/").env_clear().envs(std::env::vars_os().filter(|(name, _)| is_kept(name)));
    // SAFETY: setsid is async-signal-safe. It also keeps std from using posix_spawn, which leaves
    // glibc's internal signals ignored in all that the daemon starts.
    unsafe {
        command.pre_exec(|| {
            rustix::process::setsid()?;
            Ok(())
        });
    }
    let mut child = command.spawn().map_err(|e| Error::NotStarted(format!("{program}: {e}")))?;
    drop(command);
    let word = read_word(reader);
    if word.as_ref().is_ok_and(|word| word.trim() == "ready") {
        // From here on the daemon lives for itself, in a session of its own.
        return Ok(());
    }
    let _ = child.kill();
    let _ = child.wait();
    match word? {
        word if word.trim().is_empty() => Err(Error::NotStarted("it ended at once".into())),
        word => Err(Error::NotStarted(word.trim().to_owned())),
    }
}

fn is_kept(name: &OsStr) -> bool {
    let name = name.to_string_lossy();
    KEPT.contains(&&*name) || KEPT_PREFIXES.iter().any(|prefix| name.starts_with(prefix))
}

fn read_word(reader: OwnedFd) -> Result<String, Error> {
    let deadline = Timespec { tv_sec: START_DEADLINE_S, tv_nsec: 0 };
    loop {
        match poll(&mut [PollFd::new(&reader, PollFlags::IN)], Some(&deadline)) {
            Ok(0) => {
                return Err(Error::NotStarted(format!(
                    "not ready after {START_DEADLINE_S} s; another one without a socket may hold daemon.lock"
                )));
            }
            Ok(_) => break,
            Err(rustix::io::Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
    let mut word = String::new();
    File::from(reader).read_to_string(&mut word)?;
    Ok(word)
}

#[cfg(target_os = "linux")]
fn check_peer(socket: &UnixStream, path: &std::path::Path) -> Result<(), Error> {
    let peer = rustix::net::sockopt::socket_peercred(socket)?.uid.as_raw();
    refuse_other(peer, path)
}

#[cfg(not(target_os = "linux"))]
fn check_peer(_socket: &UnixStream, path: &std::path::Path) -> Result<(), Error> {
    use std::os::unix::fs::MetadataExt;
    // The folder is private, so who owns the socket in it is who listens.
    refuse_other(path.symlink_metadata()?.uid(), path)
}

fn refuse_other(peer: u32, path: &std::path::Path) -> Result<(), Error> {
    let uid = rustix::process::getuid().as_raw();
    if peer == uid {
        return Ok(());
    }
    Err(Error::Unsafe { path: path.into(), reason: format!("uid {peer} listens there, not uid {uid}") })
}
