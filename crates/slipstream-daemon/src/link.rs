//! A link: one ssh master, or the local machine, and the agents that run over it.

use crate::{
    agent::Agent,
    askpass::Offer,
    locks::lock,
    master::{self, LinkError, Master},
    process,
    registry::Shared,
    slot::AgentSlot,
    stats::Counter,
};
use slipstream_wire::{Compression, LinkSpec, Transport};
use std::{
    collections::HashMap,
    path::PathBuf,
    sync::{Arc, Mutex, atomic::AtomicBool},
    time::{Duration, Instant},
};
use tokio::{sync::watch, time::timeout};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info};
use zeroize::Zeroizing;

/// Agents of one link: accounts, interpreters, environments that matter when an interpreter starts.
/// Servers allow ten sessions of one connection by default, and literal commands need one too.
const AGENTS_MAX: usize = 8;

/// An open link. Ends when [`Link::close`] is called, when ssh ends, or unused for its linger time.
pub(crate) struct Link {
    pub(crate) spec: LinkSpec,
    /// Empty for local links.
    pub(crate) control_path: PathBuf,
    /// The master is one of the user's.
    pub(crate) is_users: bool,
    /// The master's process, for local links ours; 0 if it is a user's and the system does not tell.
    pub(crate) pid: u32,
    pub(crate) tickets: Counter,
    pub(crate) bytes_up: Counter,
    pub(crate) bytes_down: Counter,
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
    /// Opens a link, for which so many are `waiting`; on success a task of its own watches over it until it ends.
    pub(crate) async fn open(
        shared: &Arc<Shared>,
        spec: LinkSpec,
        secret: Zeroizing<Vec<u8>>,
        waiting: watch::Receiver<usize>,
    ) -> Result<Arc<Self>, LinkError> {
        let offer = spec.prompt.clone().map(|prompt| shared.askpass.offer(secret, prompt, spec.ask_once));
        let (master, said) = match spec.transport {
            Transport::Local => (None, vec![]),
            Transport::Ssh => {
                let (master, said) = Master::open(shared, &spec, offer.as_ref(), waiting).await?;
                (Some(master), said)
            }
        };
        let pid = master.as_ref().map_or_else(|| Some(std::process::id()), |master| master.pid).unwrap_or(0);
        let is_users = master.as_ref().is_some_and(Master::is_users);
        let control_path = master.as_ref().map(|master| master.control_path.clone()).unwrap_or_default();
        if let Some(offer) = &offer {
            offer.proved_right();
        }
        info!(host = %spec.host, pid, "link open");
        let spec_is_local = spec.transport == Transport::Local;
        let link = Arc::new(Self {
            spec,
            control_path,
            is_users,
            pid,
            tickets: Counter::default(),
            bytes_up: Counter::default(),
            bytes_down: Counter::default(),
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
    pub(crate) fn session_command(&self, shared: &Shared, line: &str) -> tokio::process::Command {
        if self.spec.transport == Transport::Local {
            let shell = self.spec.argv.first().map_or("/bin/sh", String::as_str);
            let mut command = process::command(&[shell, "-c", line], &self.spec.env);
            command.current_dir(&self.spec.cwd);
            set_umask(&mut command, self.spec.umask);
            return command;
        }
        master::session(shared, &self.spec, &self.control_path, self.offer.as_ref(), line)
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

/// Ends the link when its master ends, when asked to, or when nobody used it for long.
async fn watch_over(link: Arc<Link>, shared: Arc<Shared>, mut master: Option<Master>) {
    let _watched = shared.count_watched();
    let master_ended = async {
        match &mut master {
            Some(master) => master.ended().await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        () = link.closed.cancelled() => debug!(host = %link.spec.host, "link closed"),
        () = master_ended => info!(host = %link.spec.host, "ssh ended"),
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
    if let Some(master) = master {
        master.end().await;
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
