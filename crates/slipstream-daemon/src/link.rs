//! A link: one ssh master, or the local machine, and the agents that run over it.

use crate::{
    agent::Agent,
    askpass::{ENVIRONMENT, Offer},
    locks::lock,
    process, program,
    registry::Shared,
    slot::AgentSlot,
    stats::Counter,
};
use slipstream_wire::{Compression, LinkSpec, Transport};
use std::{
    collections::{BTreeMap, HashMap},
    io::ErrorKind,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize},
    },
    time::{Duration, Instant},
};
use tokio::{
    io::AsyncReadExt,
    process::{Child, ChildStderr},
    sync::watch,
    time::timeout,
};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info};
use zeroize::Zeroizing;

/// ssh bounds the TCP connect itself (`ConnectTimeout`); this bounds a server that then says nothing.
const CONNECT_DEADLINE: Duration = Duration::from_secs(180);
/// What is kept of a process's standard error.
const STDERR_KEPT: usize = 64 << 10;

/// Agents of one link: accounts, interpreters, environments that matter when an interpreter starts.
/// Servers allow ten sessions of one connection by default, and literal commands need one too.
const AGENTS_MAX: usize = 8;
/// What a shell returns for a program that it can't execute.
const NOT_EXECUTED: i32 = 127;

/// Why there is no link: what ssh left behind.
#[derive(Debug, Clone)]
pub(crate) struct LinkError {
    pub(crate) rc: i32,
    pub(crate) stderr: Vec<u8>,
    /// The password was asked for again, so the first answer was wrong.
    pub(crate) denied: bool,
}

/// An open link. Ends when [`Link::close`] is called, when ssh ends, or unused for its linger time.
pub(crate) struct Link {
    pub(crate) spec: LinkSpec,
    /// Empty for local links.
    pub(crate) control_path: PathBuf,
    /// ssh's process, for local links ours.
    pub(crate) pid: u32,
    pub(crate) tickets: Counter,
    pub(crate) bytes_up: Counter,
    pub(crate) bytes_down: Counter,
    /// Bytes from its agents that clients have not taken yet.
    pub(crate) undelivered: AtomicUsize,
    slots: Mutex<HashMap<String, Arc<AgentSlot>>>,
    /// Every agent that runs, those included that take no new jobs.
    live: Mutex<Vec<Arc<Agent>>>,
    users: watch::Sender<usize>,
    last_used: Mutex<Instant>,
    closed: CancellationToken,
    /// Agents here can't reach each other.
    pub(crate) no_copies: AtomicBool,
    /// Lets a session that ssh opens beside the master (`MaxSessions`) log in too.
    offer: Option<Offer>,
    /// What ssh said while it logged in, until somebody has been told.
    said: Mutex<Vec<u8>>,
}

/// Keeps a link from lingering out while a request uses it.
pub(crate) struct LinkUse(pub(crate) Arc<Link>);

impl Drop for LinkUse {
    fn drop(&mut self) {
        *lock(&self.0.last_used) = Instant::now();
        self.0.users.send_modify(|n| *n -= 1);
    }
}

impl Link {
    /// Opens a link; on success a task of its own watches over it until it ends.
    pub(crate) async fn open(
        shared: &Arc<Shared>,
        spec: LinkSpec,
        secret: Zeroizing<Vec<u8>>,
    ) -> Result<Arc<Self>, LinkError> {
        let offer = spec.prompt.clone().map(|prompt| shared.askpass.offer(secret, prompt, spec.ask_once));
        let control_path = match spec.transport {
            Transport::Local => PathBuf::new(),
            Transport::Ssh => shared.control_path(),
        };
        let master = match spec.transport {
            Transport::Local => None,
            Transport::Ssh => Some(start_master(shared, &spec, &control_path, offer.as_ref()).await?),
        };
        let (master, said) =
            master.map_or((None, vec![]), |(child, stderr, said)| (Some((child, stderr)), said));
        let pid = master.as_ref().and_then(|(child, _)| child.id()).unwrap_or_else(std::process::id);
        if let Some(offer) = &offer {
            offer.proved_right();
        }
        info!(host = %spec.host, pid, "link open");
        let spec_is_local = spec.transport == Transport::Local;
        let link = Arc::new(Self {
            spec,
            control_path,
            pid,
            tickets: Counter::default(),
            bytes_up: Counter::default(),
            bytes_down: Counter::default(),
            undelivered: AtomicUsize::new(0),
            slots: Mutex::default(),
            live: Mutex::default(),
            users: watch::Sender::new(0),
            last_used: Mutex::new(Instant::now()),
            closed: CancellationToken::new(),
            no_copies: AtomicBool::new(spec_is_local),
            offer,
            said: Mutex::new(said),
        });
        tokio::spawn(watch_over(Arc::clone(&link), Arc::clone(shared), master));
        Ok(link)
    }

    /// How much to deflate; on one machine it never pays.
    pub(crate) fn compression(&self) -> Compression {
        match self.spec.transport {
            Transport::Local => Compression::Off,
            Transport::Ssh => self.spec.compression,
        }
    }

    /// The folder that agents keep what they are sent in; empty for none.
    pub(crate) fn target_cache(&self) -> &str {
        match self.spec.transport {
            Transport::Local => "",
            Transport::Ssh => &self.spec.target_cache,
        }
    }

    /// Marks the link as in use until the returned guard is dropped.
    pub(crate) fn enter(self: &Arc<Self>) -> LinkUse {
        self.users.send_modify(|n| *n += 1);
        LinkUse(Arc::clone(self))
    }

    /// Ends the link and its agents.
    pub(crate) fn close(&self) {
        self.closed.cancel();
    }

    /// What ssh said while it logged in (a banner, a warning): for the first who asks, as ssh itself would.
    pub(crate) fn take_said(&self) -> Vec<u8> {
        std::mem::take(&mut *lock(&self.said))
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.closed.is_cancelled()
    }

    /// Whether ssh's master takes sessions: it does not from the moment at which it loses them.
    pub(crate) async fn has_master(&self) -> bool {
        tokio::net::UnixStream::connect(&self.control_path).await.is_ok()
    }

    /// Becomes ready when the link has ended.
    pub(crate) fn ended(&self) -> CancellationToken {
        self.closed.clone()
    }

    /// Seconds since the last request, 0 while one runs.
    pub(crate) fn idle_s(&self) -> f64 {
        if *self.users.borrow() > 0 {
            return 0.0;
        }
        lock(&self.last_used).elapsed().as_secs_f64()
    }

    /// The place for the agent of that key; made empty at first.
    ///
    /// Each agent is a process on the target: past [`AGENTS_MAX`], those unused for longest end.
    pub(crate) fn slot(&self, key: &str) -> Arc<AgentSlot> {
        let mut slots = lock(&self.slots);
        if !slots.contains_key(key) {
            make_room(&mut slots);
        }
        let slot = Arc::clone(slots.entry(key.to_owned()).or_default());
        slot.touch();
        slot
    }

    /// Takes a running agent out of its place, to serve in another.
    pub(crate) fn take_slot(&self, key: &str) -> Option<Arc<Agent>> {
        lock(&self.slots).remove(key)?.running()
    }

    /// The running agents.
    pub(crate) fn agents(&self) -> Vec<Arc<Agent>> {
        lock(&self.live).clone()
    }

    pub(crate) fn agent_started(&self, agent: Arc<Agent>) {
        if self.is_closed() {
            // It was starting when the link ended.
            agent.end();
        }
        lock(&self.live).push(agent);
    }

    pub(crate) fn agent_ended(&self, agent: &Arc<Agent>) {
        lock(&self.live).retain(|other| !Arc::ptr_eq(other, agent));
    }

    /// A running agent of the login account.
    pub(crate) fn login_agent(&self) -> Option<Arc<Agent>> {
        self.login_agents().next()
    }

    /// Those that take jobs.
    pub(crate) fn login_agents(&self) -> impl Iterator<Item = Arc<Agent>> {
        self.agents().into_iter().filter(|agent| !agent.become_started && agent.takes_jobs())
    }

    /// The process that runs `line` on the target as ssh itself would: with the user's `SendEnv`,
    /// agent forwarding and so on, which the multiplexing protocol carries only from a real client.
    ///
    /// If the server refuses one more session, that client logs in by itself.
    pub(crate) fn session_command(&self, shared: &Shared, line: &str) -> tokio::process::Command {
        if self.spec.transport == Transport::Local {
            let shell = self.spec.argv.first().map_or("/bin/sh", String::as_str);
            let mut command = process::command(&[shell, "-c", line], &self.spec.env);
            command.current_dir(&self.spec.cwd);
            set_umask(&mut command, self.spec.umask);
            return command;
        }
        let own = ["-o".into(), "ControlMaster=no".into(), "-o".into(), control_option(&self.control_path)];
        let mut argv = with_options(&self.spec, own);
        argv.push(line.to_owned());
        let mut command = process::command(&argv, &environment(shared, &self.spec, self.offer.as_ref()));
        command.current_dir(&self.spec.cwd);
        command
    }
}

/// Drops empty slots, then retires the agents unused for longest until there is room for one more.
fn make_room(slots: &mut HashMap<String, Arc<AgentSlot>>) {
    // A slot that somebody else holds is about to be filled or used.
    slots.retain(|_, slot| {
        Arc::strong_count(slot) > 1 || slot.running().is_some() || slot.refused().is_some()
    });
    while slots.len() >= AGENTS_MAX {
        let idle = slots.iter().filter(|(_, slot)| {
            Arc::strong_count(slot) == 1 && slot.running().is_none_or(|agent| agent.is_idle())
        });
        let Some(key) = idle.min_by_key(|(_, slot)| slot.last_used()).map(|(key, _)| key.clone()) else {
            return;
        };
        if let Some(agent) = slots.remove(&key).and_then(|slot| slot.running()) {
            agent.retire();
        }
    }
}

fn set_umask(command: &mut tokio::process::Command, umask: u32) {
    // SAFETY: umask is async-signal-safe.
    unsafe {
        command.pre_exec(move || {
            rustix::process::umask(rustix::fs::Mode::from_raw_mode(umask as rustix::fs::RawMode));
            Ok(())
        });
    }
}

fn control_option(path: &Path) -> String {
    format!("ControlPath=\"{}\"", path.display())
}

/// ssh takes the first value it is given, so our options come before the user's.
fn with_options(spec: &LinkSpec, own: impl IntoIterator<Item = String>) -> Vec<String> {
    let (program, rest) = spec.argv.split_first().map_or(("ssh", &[][..]), |(p, r)| (p.as_str(), r));
    let mut argv = vec![program.to_owned()];
    argv.extend(own);
    for (at, argument) in rest.iter().enumerate() {
        // This one wins over `Compression=no`, wherever it stands.
        let compresses = argument == "-C" && !at.checked_sub(1).is_some_and(|i| takes_a_value(&rest[i]));
        if !compresses {
            argv.push(argument.clone());
        }
    }
    argv.push(spec.host.clone());
    argv
}

/// Whether ssh takes the next argument as this one's value.
fn takes_a_value(argument: &str) -> bool {
    let mut chars = argument.chars();
    let option = (chars.next(), chars.next(), chars.next());
    matches!(option, (Some('-'), Some(letter), None) if "BbcDEeFIiJLlmOoPpQRSWw".contains(letter))
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

/// Starts ssh and waits until its control socket is there; returns what it has said by then, too.
async fn start_master(
    shared: &Shared,
    spec: &LinkSpec,
    control_path: &Path,
    offer: Option<&Offer>,
) -> Result<(Child, ChildStderr, Vec<u8>), LinkError> {
    // A login takes longer.
    program::prepare(spec.compression, &spec.target_cache);
    let plain = |text: String| LinkError { rc: 255, stderr: text.into_bytes(), denied: false };
    let mut own: Vec<String> =
        ["-N", "-T", "-o", "ControlMaster=yes", "-o", "ControlPersist=no", "-o"].map(String::from).to_vec();
    own.push(control_option(control_path));
    // We deflate what is worth it ourselves; doing it twice only makes big files slow.
    own.extend(["-o", "Compression=no"].map(String::from));
    if !mentions_keepalive(&spec.argv) {
        own.extend(["-o", "ServerAliveInterval=15", "-o", "ServerAliveCountMax=4"].map(String::from));
    }
    let _ = std::fs::remove_file(control_path);
    let ready = shared.watch.expect(control_path);
    // Relative paths in ssh's arguments and configuration are meant from where the playbook runs.
    let mut child = process::command(&with_options(spec, own), &environment(shared, spec, offer))
        .current_dir(&spec.cwd)
        .spawn()
        .map_err(|e| match e.kind() {
            ErrorKind::NotFound | ErrorKind::PermissionDenied => {
                LinkError { rc: NOT_EXECUTED, ..plain(e.to_string()) }
            }
            _ => plain(format!("slipstreamd could not start ssh: {e}")),
        })?;
    let mut stderr = child.stderr.take().ok_or_else(|| plain("ssh has no standard error".into()))?;
    let mut words = Words::default();
    let denied = async {
        match offer {
            Some(offer) => offer.on_denied.notified().await,
            None => std::future::pending().await,
        }
    };
    // What ends it before it is ready: an exit code, and whether the password was wrong.
    let login = async {
        tokio::select! {
            biased;
            Ok(()) = ready => Ok(()),
            // Before what ssh makes of that: it may have ended by now.
            () = denied => Err((255, true)),
            // Standard error ends with ssh: then its exit code is at hand and nothing is lost of its words.
            () = words.hear(&mut stderr) => {
                Err((child.wait().await.ok().and_then(|s| s.code()).unwrap_or(255), false))
            }
        }
    };
    match timeout(CONNECT_DEADLINE, login).await {
        Ok(Ok(())) => {}
        Ok(Err((rc, denied))) => return Err(LinkError { rc, stderr: words.last(), denied }),
        Err(_) => {
            let limit = CONNECT_DEADLINE.as_secs();
            return Err(plain(format!("ssh to {} was not ready after {limit} s", spec.host)));
        }
    }
    // What was said before the socket appeared is in the pipe by now.
    let _ = timeout(Duration::ZERO, words.hear(&mut stderr)).await;
    Ok((child, stderr, words.last()))
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

fn mentions_keepalive(argv: &[String]) -> bool {
    argv.iter().any(|a| a.to_ascii_lowercase().contains("serveralive"))
}

/// Owns ssh's process; ends the link when ssh ends, when asked to, or when nobody used it for long.
async fn watch_over(link: Arc<Link>, shared: Arc<Shared>, mut master: Option<(Child, ChildStderr)>) {
    let _watched = shared.count_watched();
    tokio::select! {
        () = link.closed.cancelled() => debug!(host = %link.spec.host, "link closed"),
        () = master_end(&mut master) => info!(host = %link.spec.host, "ssh ended"),
        () = unused(&link) => info!(host = %link.spec.host, "link unused, closing"),
    }
    link.closed.cancel();
    shared.forget(&link);
    let agents = link.agents();
    for agent in &agents {
        agent.end();
    }
    for agent in agents {
        agent.ended().await;
    }
    // Slots hold agents and agents hold the link: without this neither would ever be dropped.
    lock(&link.slots).clear();
    if let Some((mut child, _)) = master {
        if let Some(pid) = child.id().and_then(|pid| rustix::process::Pid::from_raw(pid.cast_signed())) {
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        }
        let _ = child.wait().await;
        let _ = std::fs::remove_file(&link.control_path);
    }
}

async fn master_end(master: &mut Option<(Child, ChildStderr)>) {
    let Some((_, stderr)) = master else { return std::future::pending().await };
    let mut chunk = [0; 1024];
    while let Ok(n) = stderr.read(&mut chunk).await {
        if n == 0 {
            return;
        }
        debug!(words = %String::from_utf8_lossy(&chunk[..n]), "ssh says");
    }
}

async fn unused(link: &Link) {
    let linger = Duration::try_from_secs_f64(link.spec.linger.clamp(0.0, 1e9)).unwrap_or(Duration::MAX);
    let mut users = link.users.subscribe();
    loop {
        // The sender lives in `link`, so these waits can't fail.
        let _ = users.wait_for(|n| *n == 0).await;
        if timeout(linger, users.wait_for(|n| *n > 0)).await.is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_options_come_before_the_users_and_ssh_deflates_nothing() {
        let spec = LinkSpec {
            key: "k".into(),
            transport: Transport::Ssh,
            host: "h".into(),
            argv: ["ssh", "-C", "-o", "ControlMaster=auto", "-E", "-C"].map(String::from).to_vec(),
            env: BTreeMap::new(),
            cwd: "/".into(),
            umask: 0o22,
            linger: 1.0,
            compression: Compression::Auto,
            target_cache: String::new(),
            prompt: None,
            ask_once: false,
        };
        let argv = with_options(&spec, ["-N".to_owned()]);
        assert_eq!(argv, ["ssh", "-N", "-o", "ControlMaster=auto", "-E", "-C", "h"]);
    }

    #[test]
    fn a_users_own_keepalive_is_kept() {
        assert!(mentions_keepalive(&["-oServerAliveInterval=5".to_owned()]));
        assert!(!mentions_keepalive(&["-C".to_owned()]));
    }
}
