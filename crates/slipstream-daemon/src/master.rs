//! An ssh master: one of ours for each link, or the user's own where ssh would use that.

use crate::{
    askpass::{ENVIRONMENT, Offer},
    process, program,
    registry::Shared,
};
use slipstream_wire::LinkSpec;
use std::{
    collections::BTreeMap,
    future::Future,
    io::ErrorKind,
    path::{Path, PathBuf},
    time::Duration,
};
use tokio::{
    io::AsyncReadExt,
    net::UnixStream,
    process::{Child, ChildStderr, Command},
    sync::watch,
    time::timeout,
};
use tracing::debug;

/// What is kept of a process's standard error.
const STDERR_KEPT: usize = 64 << 10;
/// What a shell returns for a program that it can't execute.
const NOT_EXECUTED: i32 = 127;
/// What ssh returns when it fails.
const SSH_FAILED: i32 = 255;
/// ssh bounds connecting by itself, as often and as long as it is told to, and so does a server with the login. This
/// is for how long a login goes on that nobody waits for any more.
const ALONE: Duration = Duration::from_secs(180);
/// ssh only reads its configuration, which may run programs.
const CONFIGURATION_DEADLINE: Duration = Duration::from_secs(10);
/// What has ended has said all; this is for what it has left behind with its standard error.
const LAST_WORDS_DEADLINE: Duration = Duration::from_millis(100);

/// Why there is no link: what ssh left behind.
#[derive(Debug, Clone)]
pub(crate) struct LinkError {
    pub(crate) rc: i32,
    pub(crate) stderr: Vec<u8>,
    /// The password was asked for again, so the first answer was wrong.
    pub(crate) denied: bool,
}

impl LinkError {
    fn saying(text: String) -> Self {
        Self { rc: SSH_FAILED, stderr: text.into_bytes(), denied: false }
    }
}

/// A master that takes sessions.
pub(crate) struct Master {
    /// Where it listens.
    pub(crate) control_path: PathBuf,
    pub(crate) pid: Option<u32>,
    keeper: Keeper,
}

enum Keeper {
    /// It ends with the link.
    Ours(Child, ChildStderr),
    /// It ends when it likes to, but not as long as this is open.
    Users(UnixStream),
}

impl Master {
    /// Logs in, unless a master of the user's runs; returns what ssh has said meanwhile, too.
    pub(crate) async fn open(
        shared: &Shared,
        spec: &LinkSpec,
        offer: Option<&Offer>,
        waiting: watch::Receiver<usize>,
    ) -> Result<(Self, Vec<u8>), LinkError> {
        let environment = environment(shared, spec, offer);
        if let Some(wanted) = Wanted::find(spec, &environment).await {
            if let Some(master) = Self::join(&wanted.path).await {
                return Ok((master, vec![]));
            }
            if wanted.is_made {
                let login = Login { spec, environment: &environment, offer, waiting: waiting.clone() };
                let end = login.leave_master().await?;
                if let Some(master) = Self::join(&wanted.path).await {
                    return Ok((master, end.stderr));
                }
                if end.rc == SSH_FAILED {
                    return Err(end);
                }
            }
        }
        // A login takes longer.
        program::prepare(spec.compression, &spec.target_cache);
        Login { spec, environment: &environment, offer, waiting }.start_master(shared).await
    }

    /// Joins the user's master that listens there.
    async fn join(path: &Path) -> Option<Self> {
        let socket = UnixStream::connect(path).await.ok()?;
        let pid = socket.peer_cred().ok().and_then(|peer| peer.pid()).and_then(|pid| pid.try_into().ok());
        debug!(path = %path.display(), "a master of the user's");
        Some(Self { control_path: path.to_owned(), pid, keeper: Keeper::Users(socket) })
    }

    pub(crate) fn is_users(&self) -> bool {
        matches!(self.keeper, Keeper::Users(_))
    }

    /// Becomes ready when the master has ended.
    pub(crate) async fn ended(&mut self) {
        match &mut self.keeper {
            Keeper::Ours(child, stderr) => {
                tokio::select! {
                    _ = child.wait() => {}
                    () = log_words(stderr) => { let _ = child.wait().await; }
                }
            }
            Keeper::Users(socket) => {
                let mut greeting = [0; 256];
                while socket.read(&mut greeting).await.is_ok_and(|n| n > 0) {}
            }
        }
    }

    /// Ends a master that is ours.
    pub(crate) async fn end(self) {
        let Keeper::Ours(mut child, _) = self.keeper else { return };
        if let Some(pid) = child.id().and_then(|pid| rustix::process::Pid::from_raw(pid.cast_signed())) {
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        }
        let _ = child.wait().await;
        let _ = std::fs::remove_file(&self.control_path);
    }
}

async fn log_words(stderr: &mut ChildStderr) {
    let mut chunk = [0; 1024];
    while let Ok(n) = stderr.read(&mut chunk).await {
        if n == 0 {
            return;
        }
        debug!(words = %String::from_utf8_lossy(&chunk[..n]), "ssh says");
    }
}

/// The master that the user's arguments and configuration name.
struct Wanted {
    path: PathBuf,
    /// ssh would leave one there that outlives its command.
    is_made: bool,
}

impl Wanted {
    /// Asks ssh itself: its configuration has conditions and patterns.
    async fn find(spec: &LinkSpec, environment: &BTreeMap<String, String>) -> Option<Self> {
        let (program, arguments) = spec.masters.split_first()?;
        let mut argv = vec![program.as_str(), "-T", "-G"];
        argv.extend(arguments.iter().map(String::as_str));
        argv.push(&spec.host);
        let mut command = process::command(&argv, environment);
        let output =
            timeout(CONFIGURATION_DEADLINE, command.current_dir(&spec.cwd).output()).await.ok()?.ok()?;
        Self::read(&String::from_utf8(output.stdout).ok()?)
    }

    fn read(settings: &str) -> Option<Self> {
        let of = |name: &str| settings.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        let path = of("controlpath").filter(|path| *path != "none")?;
        let is_made = matches!(of("controlmaster"), Some("auto" | "true" | "yes"))
            && of("controlpersist").is_some_and(|persists| persists != "no");
        Some(Self { path: path.into(), is_made })
    }
}

/// A login by ssh.
struct Login<'a> {
    spec: &'a LinkSpec,
    environment: &'a BTreeMap<String, String>,
    offer: Option<&'a Offer>,
    /// How many wait for it.
    waiting: watch::Receiver<usize>,
}

impl Login<'_> {
    /// Has ssh leave a master where the user wants one, for as long as the user wants it; returns how that ended.
    ///
    /// By a command: told to go to the background, it would stay there for ever if it can't be the master.
    async fn leave_master(self) -> Result<LinkError, LinkError> {
        let (program, rest) =
            self.spec.masters.split_first().ok_or_else(|| LinkError::saying("no ssh".into()))?;
        // We deflate ourselves.
        let mut argv = [program, "-T", "-o", "Compression=no"].map(String::from).to_vec();
        argv.extend_from_slice(rest);
        argv.extend([self.spec.host.clone(), "exit".into()]);
        let (mut child, mut stderr) = self.spawn(&argv)?;
        let mut words = Words::default();
        let end = self.watch(&mut child, &mut stderr, &mut words, std::future::pending()).await;
        Ok(end.unwrap_or_else(|| LinkError::saying("slipstreamd is ending".into())))
    }

    /// Starts ssh as a master of ours and waits until its control socket is there.
    async fn start_master(self, shared: &Shared) -> Result<(Master, Vec<u8>), LinkError> {
        let control_path = shared.control_path();
        let mut own: Vec<String> = ["-N", "-T", "-o", "ControlMaster=yes", "-o", "ControlPersist=no", "-o"]
            .map(String::from)
            .to_vec();
        own.push(control_option(&control_path));
        // We deflate what is worth it ourselves; doing it twice only makes big files slow.
        own.extend(["-o", "Compression=no"].map(String::from));
        if !mentions_keepalive(&self.spec.argv) {
            own.extend(["-o", "ServerAliveInterval=15", "-o", "ServerAliveCountMax=4"].map(String::from));
        }
        let _ = std::fs::remove_file(&control_path);
        let appears = shared.watch.expect(&control_path);
        let (mut child, mut stderr) = self.spawn(&with_options(self.spec, own))?;
        let mut words = Words::default();
        let is_there = async {
            if appears.await.is_err() {
                std::future::pending().await
            }
        };
        if let Some(end) = self.watch(&mut child, &mut stderr, &mut words, is_there).await {
            return Err(end);
        }
        // What was said before the socket appeared is in the pipe by now.
        let _ = timeout(Duration::ZERO, words.hear(&mut stderr)).await;
        let pid = child.id();
        Ok((Master { control_path, pid, keeper: Keeper::Ours(child, stderr) }, words.last()))
    }

    fn spawn(&self, argv: &[String]) -> Result<(Child, ChildStderr), LinkError> {
        // Relative paths in ssh's arguments and configuration are meant from where the playbook runs.
        let spawned = process::command(argv, self.environment).current_dir(&self.spec.cwd).spawn();
        let mut child = spawned.map_err(|e| match e.kind() {
            ErrorKind::NotFound | ErrorKind::PermissionDenied => {
                LinkError { rc: NOT_EXECUTED, ..LinkError::saying(e.to_string()) }
            }
            _ => LinkError::saying(format!("slipstreamd could not start ssh: {e}")),
        })?;
        let stderr =
            child.stderr.take().ok_or_else(|| LinkError::saying("ssh has no standard error".into()))?;
        Ok((child, stderr))
    }

    /// Waits until a login is `ready`; if ssh ends before that, returns how.
    async fn watch(
        mut self,
        child: &mut Child,
        stderr: &mut ChildStderr,
        words: &mut Words,
        ready: impl Future<Output = ()>,
    ) -> Option<LinkError> {
        let denied = async {
            match self.offer {
                Some(offer) => offer.on_denied.notified().await,
                None => std::future::pending().await,
            }
        };
        let alone = async {
            // Until then a login goes on, whether or not anybody waits.
            let _ = timeout(ALONE, std::future::pending::<()>()).await;
            let _ = self.waiting.wait_for(|n| *n == 0).await;
        };
        let (rc, denied) = tokio::select! {
            biased;
            () = ready => return None,
            // Before what ssh makes of that: it may have ended by now.
            () = denied => (SSH_FAILED, true),
            // Not the end of its standard error: what it has started (`ProxyCommand`) may keep that.
            rc = hear_to_the_end(child, stderr, words) => (rc, false),
            () = alone => return Some(LinkError::saying("nobody waits for ssh any more".into())),
        };
        Some(LinkError { rc, stderr: std::mem::take(words).last(), denied })
    }
}

/// Listens until a process has ended; returns its exit code.
async fn hear_to_the_end(child: &mut Child, stderr: &mut ChildStderr, words: &mut Words) -> i32 {
    let status = tokio::select! {
        biased;
        // Then the exit code is at hand.
        () = words.hear(stderr) => child.wait().await,
        status = child.wait() => {
            let _ = timeout(LAST_WORDS_DEADLINE, words.hear(stderr)).await;
            status
        }
    };
    status.ok().and_then(|status| status.code()).unwrap_or(SSH_FAILED)
}

/// What a process says on standard error; of more than is kept, the last, which say why it ended.
#[derive(Default)]
struct Words(Vec<u8>);

impl Words {
    /// Listens to the end.
    async fn hear(&mut self, stderr: &mut ChildStderr) {
        while stderr.read_buf(&mut self.0).await.is_ok_and(|n| n > 0) {
            if self.0.len() > 2 * STDERR_KEPT {
                self.0.drain(..self.0.len() - STDERR_KEPT);
            }
        }
    }

    fn last(mut self) -> Vec<u8> {
        self.0.split_off(self.0.len().saturating_sub(STDERR_KEPT))
    }
}

/// The process that runs `line` over the master at `control_path`.
///
/// If the server refuses one more session, it logs in by itself, with the answers of `offer`.
pub(crate) fn session(
    shared: &Shared,
    spec: &LinkSpec,
    control_path: &Path,
    offer: Option<&Offer>,
    line: &str,
) -> Command {
    let own = ["-o".into(), "ControlMaster=no".into(), "-o".into(), control_option(control_path)];
    let mut argv = with_options(spec, own);
    argv.push(line.to_owned());
    let mut command = process::command(&argv, &environment(shared, spec, offer));
    command.current_dir(&spec.cwd);
    command
}

/// The option that names a socket: ssh puts something else in the place of `%` and what follows.
fn control_option(path: &Path) -> String {
    format!("ControlPath=\"{}\"", path.display().to_string().replace('%', "%%"))
}

/// ssh takes the first value it is given, so our options come before the user's.
fn with_options(spec: &LinkSpec, own: impl IntoIterator<Item = String>) -> Vec<String> {
    let (program, rest) = spec.argv.split_first().map_or(("ssh", &[][..]), |(p, r)| (p.as_str(), r));
    let mut argv = vec![program.to_owned()];
    argv.extend(own);
    argv.extend_from_slice(rest);
    argv.push(spec.host.clone());
    argv
}

fn environment(shared: &Shared, spec: &LinkSpec, offer: Option<&Offer>) -> BTreeMap<String, String> {
    let mut env = spec.env.clone();
    if let Some(offer) = offer {
        let address = format!("{}:{}", shared.config.socket().display(), offer.nonce);
        env.insert(ENVIRONMENT.into(), address);
        env.insert("SSH_ASKPASS".into(), shared.config.askpass.display().to_string());
        env.insert("SSH_ASKPASS_REQUIRE".into(), "force".into());
        // OpenSSH before 8.4 asks the helper only if there seems to be a display.
        env.entry("DISPLAY".into()).or_insert_with(|| "-".into());
    }
    env
}

fn mentions_keepalive(argv: &[String]) -> bool {
    argv.iter().any(|a| a.to_ascii_lowercase().contains("serveralive"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use slipstream_wire::{Compression, Transport};

    fn spec() -> LinkSpec {
        LinkSpec {
            key: "k".into(),
            transport: Transport::Ssh,
            host: "h".into(),
            argv: ["ssh", "-o", "ControlMaster=auto"].map(String::from).to_vec(),
            masters: vec![],
            env: BTreeMap::new(),
            cwd: "/".into(),
            umask: 0o22,
            linger: 1.0,
            compression: Compression::Auto,
            target_cache: String::new(),
            prompt: None,
            ask_once: false,
        }
    }

    #[test]
    fn our_options_come_before_the_users() {
        assert_eq!(with_options(&spec(), ["-N".to_owned()]), ["ssh", "-N", "-o", "ControlMaster=auto", "h"]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_login_takes_as_long_as_somebody_waits() {
        let spec = spec();
        for n in [0, 1] {
            let waiting = watch::Sender::new(n);
            let login =
                Login { spec: &spec, environment: &spec.env, offer: None, waiting: waiting.subscribe() };
            let (mut child, mut stderr) =
                login.spawn(&["/bin/sleep", "1000"].map(String::from)).expect("a process");
            let ready = async { drop(timeout(2 * ALONE, std::future::pending::<()>()).await) };
            let end = login.watch(&mut child, &mut stderr, &mut Words::default(), ready).await;
            assert_eq!(end.is_none(), n > 0);
        }
    }

    #[test]
    fn a_users_own_keepalive_is_kept() {
        assert!(mentions_keepalive(&["-oServerAliveInterval=5".to_owned()]));
        assert!(!mentions_keepalive(&["-C".to_owned()]));
    }

    #[test]
    fn a_users_master_is_where_ssh_has_it() {
        let read = |text| Wanted::read(text).map(|wanted| (wanted.path, wanted.is_made));
        let auto = "controlmaster auto\ncontrolpath /x/a b\ncontrolpersist 60\n";
        assert_eq!(read(auto), Some(("/x/a b".into(), true)));
        let of_commands = "controlmaster auto\ncontrolpath /x/a\ncontrolpersist no\n";
        assert_eq!(read(of_commands), Some(("/x/a".into(), false)));
        assert_eq!(read("controlmaster false\ncontrolpath /x/a\n"), Some(("/x/a".into(), false)));
        assert_eq!(read("controlmaster auto\ncontrolpath none\n"), None);
        assert_eq!(read("what a wrapper says\n"), None);
    }
}
