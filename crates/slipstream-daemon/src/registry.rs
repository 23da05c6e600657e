//! Everything the daemon shares between connections: links, closures, runs, secrets on offer.

use crate::{
    agent::Agent,
    askpass::{Askpass, random_hex},
    closures::ClosureCache,
    config::Config,
    copies,
    error::Error,
    link::Link,
    locks::lock,
    logging::LogLevel,
    master::LinkError,
    socket_watch::SocketWatch,
    stats::Stats,
};
use slipstream_modgraph::Library;
use slipstream_wire::LinkSpec;
use std::{
    collections::HashMap,
    path::PathBuf,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Instant,
};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use zeroize::Zeroizing;

/// An attempt to open a link.
#[derive(Clone)]
struct Attempt {
    outcome: watch::Receiver<Option<Result<Arc<Link>, LinkError>>>,
    /// How many wait for its outcome.
    waiting: watch::Sender<usize>,
}

impl Attempt {
    fn link(&self) -> Option<Arc<Link>> {
        self.outcome.borrow().as_ref()?.as_ref().ok().cloned()
    }
}

/// What all connections work on.
pub(crate) struct Shared {
    pub(crate) config: Config,
    pub(crate) log: LogLevel,
    pub(crate) stats: Stats,
    pub(crate) closures: ClosureCache,
    /// Taken for as long as a scan lasts, off the main thread.
    pub(crate) library: Mutex<Library>,
    pub(crate) askpass: Arc<Askpass>,
    pub(crate) watch: SocketWatch,
    /// Goes into digests of secrets, so that they mean nothing elsewhere.
    pub(crate) salt: String,
    pub(crate) started: Instant,
    /// Cancelled once: stop listening, end everything.
    pub(crate) stop: CancellationToken,
    /// Cancelled once: stop listening, end with the last client.
    pub(crate) retire: CancellationToken,
    /// Cancelled once the socket is gone: who connects now gets another daemon.
    pub(crate) socket_gone: CancellationToken,
    links: Mutex<HashMap<String, Attempt>>,
    runs: Mutex<HashMap<String, Run>>,
    /// Links and clients; the daemon ends when there have been none for a while.
    pub(crate) occupancy: watch::Sender<usize>,
    /// Clients that are connected.
    pub(crate) clients: watch::Sender<usize>,
    /// Links whose processes have not all ended.
    pub(crate) watched: watch::Sender<usize>,
    next_link: AtomicU64,
}

/// One `ansible-playbook` that holds its run open.
#[derive(Default)]
struct Run {
    ended: CancellationToken,
    /// Keys of closures whose files it has looked at, by the names of their modules.
    looked_at: HashMap<String, String>,
}

/// Counts one up as long as it lives.
pub(crate) struct Counted(watch::Sender<usize>);

impl Counted {
    fn new(counter: &watch::Sender<usize>) -> Self {
        counter.send_modify(|n| *n += 1);
        Self(counter.clone())
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.send_modify(|n| *n -= 1);
    }
}

impl Shared {
    pub(crate) fn new(config: Config, log: LogLevel, watch: SocketWatch) -> Self {
        Self {
            config,
            log,
            stats: Stats::default(),
            closures: ClosureCache::default(),
            library: Mutex::default(),
            askpass: Arc::default(),
            watch,
            salt: random_hex(),
            started: Instant::now(),
            stop: CancellationToken::new(),
            retire: CancellationToken::new(),
            socket_gone: CancellationToken::new(),
            links: Mutex::default(),
            runs: Mutex::default(),
            occupancy: watch::Sender::new(0),
            clients: watch::Sender::new(0),
            watched: watch::Sender::new(0),
            next_link: AtomicU64::new(0),
        }
    }

    /// Keeps the daemon from ending as unused.
    pub(crate) fn occupy(&self) -> Counted {
        Counted::new(&self.occupancy)
    }

    /// Counts a connected client.
    pub(crate) fn count_client(&self) -> Counted {
        Counted::new(&self.clients)
    }

    /// Counts a link whose processes run.
    pub(crate) fn count_watched(&self) -> Counted {
        Counted::new(&self.watched)
    }

    /// A fresh socket path; short, since ssh adds 17 characters to it while binding.
    pub(crate) fn control_path(&self) -> PathBuf {
        let n = self.next_link.fetch_add(1, Relaxed);
        self.config.dir.join(format!("{:x}.{n}", std::process::id()))
    }

    /// Returns the open link of that key.
    pub(crate) fn link(&self, key: &str) -> Option<Arc<Link>> {
        let links = lock(&self.links);
        let link = links.get(key)?.link()?;
        (!link.is_closed()).then_some(link)
    }

    /// Returns the link of that key, opening it if there is none.
    ///
    /// Callers that ask at the same time share one attempt and its outcome. The attempt goes on
    /// when callers go away, but not for ever without any; a failed one is not remembered.
    pub(crate) async fn open_link(
        self: &Arc<Self>,
        spec: LinkSpec,
        secret: Zeroizing<Vec<u8>>,
    ) -> Result<Arc<Link>, LinkError> {
        let mut attempt = self.join_or_begin(spec, secret);
        let _waits = Counted::new(&attempt.waiting);
        let outcome = attempt.outcome.wait_for(Option::is_some).await.map(|o| o.clone());
        let gone = LinkError { rc: 255, stderr: b"slipstreamd is ending".to_vec(), denied: false };
        outcome.ok().flatten().unwrap_or(Err(gone))
    }

    fn join_or_begin(self: &Arc<Self>, spec: LinkSpec, secret: Zeroizing<Vec<u8>>) -> Attempt {
        let mut links = lock(&self.links);
        if let Some(attempt) = links.get(&spec.key) {
            let usable = match attempt.outcome.borrow().as_ref() {
                None => true,
                Some(Ok(link)) => !link.is_closed(),
                Some(Err(_)) => false,
            };
            if usable {
                return attempt.clone();
            }
        }
        let (sender, outcome) = watch::channel(None);
        let attempt = Attempt { outcome, waiting: watch::Sender::new(0) };
        links.insert(spec.key.clone(), attempt.clone());
        let waiting = attempt.waiting.subscribe();
        let shared = Arc::clone(self);
        tokio::spawn(async move {
            let _occupant = shared.occupy();
            let key = spec.key.clone();
            let outcome = Link::open(&shared, spec, secret, waiting).await;
            let ended = outcome.as_ref().ok().map(|link| link.ended());
            if outcome.is_err() {
                lock(&shared.links).remove(&key);
            }
            let _ = sender.send(Some(outcome));
            if let Some(ended) = ended {
                ended.cancelled().await;
            }
        });
        attempt
    }

    /// Drops a link that has ended, unless another has taken its place.
    pub(crate) fn forget(&self, link: &Arc<Link>) {
        let mut links = lock(&self.links);
        let same = |attempt: &Attempt| attempt.link().is_some_and(|other| Arc::ptr_eq(&other, link));
        if links.get(&link.spec.key).is_some_and(same) {
            links.remove(&link.spec.key);
        }
    }

    /// The open links.
    pub(crate) fn links(&self) -> Vec<Arc<Link>> {
        let links = lock(&self.links);
        links.values().filter_map(Attempt::link).collect()
    }

    /// Begins a run: until [`Shared::end_run`], its requests can be cancelled together.
    pub(crate) fn begin_run(&self, run: &str) {
        lock(&self.runs).insert(run.into(), Run::default());
    }

    /// The number of runs that are held open.
    pub(crate) fn runs(&self) -> usize {
        lock(&self.runs).len()
    }

    /// Becomes ready when the run has ended; never for a run without a lease.
    pub(crate) fn run_token(&self, run: &str) -> CancellationToken {
        let runs = lock(&self.runs);
        runs.get(run).map(|run| run.ended.clone()).unwrap_or_default()
    }

    /// The key of the closure that a run has looked at for a module.
    pub(crate) fn looked_at(&self, run: &str, module: &str) -> Option<String> {
        lock(&self.runs).get(run)?.looked_at.get(module).cloned()
    }

    /// Notes that a run has looked at the files of a module's closure; the first one stays as long as it is kept.
    pub(crate) fn look_at(&self, run: &str, module: &str, key: &str) {
        let mut runs = lock(&self.runs);
        let Some(run) = runs.get_mut(run) else { return };
        let first = run.looked_at.entry(module.into()).or_insert_with(|| key.into());
        if self.closures.find(first).is_none() {
            *first = key.into();
        }
    }

    /// Ends a run: its jobs are given up, the agents that become plugins started for it run
    /// nothing any more.
    pub(crate) fn end_run(&self, run: &str) {
        if let Some(run) = lock(&self.runs).remove(run) {
            run.ended.cancel();
        }
        self.links().iter().for_each(|link| leave(link, run));
    }
}

/// Has an agent work for a run whose token is `ended`.
///
/// # Errors
///
/// [`Error::ClientGone`] if the run has ended meanwhile: the agent runs nothing for it.
pub(crate) fn join(agent: &Agent, run: &str, ended: &CancellationToken) -> Result<(), Error> {
    agent.join_run(run);
    if ended.is_cancelled() {
        leave(&agent.link, run);
        return Err(Error::ClientGone);
    }
    Ok(())
}

fn leave(link: &Link, run: &str) {
    let done = link.agents().into_iter().filter(|agent| agent.leave_run(run) && agent.become_started);
    copies::keep_one(link, &done.collect::<Vec<_>>());
}
