//! A running agent: one channel to a target, many streams on it.

use crate::{
    batch::Batch,
    closures::Held,
    copies::Listener,
    death::{Death, LastWords},
    deflate::{self, Inflater},
    link::Link,
    locks::lock,
};
use slipstream_wire::{AgentHello, AgentSpec, Compression, Frame, HEADER_LEN, Header, Kind, Limits, ToAgent};
use std::{
    collections::{HashMap, HashSet},
    io,
    sync::{
        Arc, Mutex, OnceLock,
        atomic::{AtomicBool, AtomicU32, Ordering::Relaxed},
    },
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWriteExt},
    process::{Child, ChildStdin},
    sync::{AcquireError, OwnedSemaphorePermit, Semaphore, mpsc},
    time::timeout,
};
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

/// Frames that may wait for the wire; more and the sender waits.
const OUTBOX: usize = 32;
/// Bytes put together into one write, if that many wait.
const BATCH: usize = 256 << 10;
/// Bytes from one agent that clients have not taken yet; an agent that has more to say is left unread.
const UNDELIVERED_MAX: u32 = 256 << 20;
/// An agent that was told to end has that long before its channel is closed under it.
const END_GRACE: Duration = Duration::from_secs(3);
/// The stream of a job that is sent before its agent has greeted.
pub(crate) const FIRST_STREAM: u32 = 1;

/// A frame, and the room that it takes until somebody has it.
type Event = (Frame, OwnedSemaphorePermit);

/// The agent's side of a [`Stream`].
struct OpenStream {
    events: mpsc::UnboundedSender<Event>,
    /// Set before the first byte of the stream goes on the wire.
    sent: Arc<AtomicBool>,
}

/// What a start line printed beside the agent: login shells and wrappers say it before every command.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Noise {
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: Vec<u8>,
}

/// The shell that a start line is given to, as the line says it.
fn shell_of(spec: &AgentSpec) -> &str {
    spec.line.split_once(" -c ").map_or("", |(shell, _)| shell)
}

/// A running agent.
pub(crate) struct Agent {
    pub(crate) hello: AgentHello,
    /// Set before the first job.
    pub(crate) noise: OnceLock<Noise>,
    /// Set when something has killed it, while its link lives.
    pub(crate) death: OnceLock<Death>,
    pub(crate) become_started: bool,
    /// What its command line was given to, as that says it.
    pub(crate) shell: String,
    /// What it holds. Whoever sends a closure keeps the lock until it is in the outbox.
    pub(crate) held: tokio::sync::Mutex<Held>,
    /// Where it gives that to others, if it can.
    pub(crate) listener: OnceLock<Listener>,
    outbox: mpsc::Sender<Frame>,
    streams: Mutex<HashMap<u32, OpenStream>>,
    /// Bytes that may wait for clients.
    room: Arc<Semaphore>,
    next_stream: AtomicU32,
    runs: Mutex<HashSet<String>>,
    /// Takes no new jobs and ends with its last one.
    retired: AtomicBool,
    /// Has more to say than clients take, so it may be held up by that.
    unread: AtomicBool,
    /// Takes no new jobs and stays for those that begin with a copy of it.
    resting: AtomicBool,
    ending: CancellationToken,
    gone: CancellationToken,
    pub(crate) link: Arc<Link>,
}

/// The near end of a channel on which an agent has greeted, but for its output.
pub(crate) struct Channel {
    pub(crate) child: Child,
    pub(crate) last_words: LastWords,
    pub(crate) stdin: ChildStdin,
    /// What has been packed for it already, and where that goes on.
    pub(crate) batch: Batch,
}

impl Agent {
    /// Takes over a channel on which an agent has just greeted; returns the stream of the job that it was sent
    /// already, if it was.
    pub(crate) fn adopt(
        link: &Arc<Link>,
        spec: &AgentSpec,
        hello: AgentHello,
        held: Held,
        was_sent_a_job: bool,
        channel: Channel,
        stdout: impl AsyncRead + Send + Unpin + 'static,
    ) -> (Arc<Self>, Option<Stream>) {
        let (outbox, frames) = mpsc::channel(OUTBOX);
        let agent = Arc::new(Self {
            hello,
            noise: OnceLock::new(),
            death: OnceLock::new(),
            become_started: spec.become_started,
            shell: shell_of(spec).into(),
            held: tokio::sync::Mutex::new(held),
            listener: OnceLock::new(),
            outbox,
            streams: Mutex::default(),
            room: Arc::new(Semaphore::new(UNDELIVERED_MAX as usize)),
            next_stream: AtomicU32::new(FIRST_STREAM),
            runs: Mutex::default(),
            retired: AtomicBool::new(false),
            unread: AtomicBool::new(false),
            resting: AtomicBool::new(false),
            ending: CancellationToken::new(),
            gone: CancellationToken::new(),
            link: Arc::clone(link),
        });
        // Before anybody else can have that one, and before an answer is read.
        let stream = was_sent_a_job.then(|| {
            let stream = agent.open_stream();
            agent.mark_sent(FIRST_STREAM);
            stream
        });
        link.agent_started(Arc::clone(&agent));
        if !was_sent_a_job {
            if let Some(wish) = wish_for_compression(agent.compression()) {
                // The outbox is empty yet, so there is room.
                agent.try_send(wish);
            }
            agent.listen();
        }
        tokio::spawn(watch_over(Arc::clone(&agent), channel, frames, stdout));
        (agent, stream)
    }

    /// Has the agent listen for those that want a copy; one that has a job already is asked after its answer,
    /// since it would keep them waiting.
    pub(crate) fn listen(&self) {
        if self.listener.get().is_none()
            && let Some(listener) = Listener::open(self, &self.link)
        {
            let _ = self.listener.set(listener);
        }
    }

    /// How much its link deflates.
    pub(crate) fn compression(&self) -> Compression {
        self.link.compression()
    }

    /// Frames that wait for the wire, and how many may; of data these are file chunks.
    pub(crate) fn backlog(&self) -> (usize, usize) {
        (self.outbox.max_capacity() - self.outbox.capacity(), self.outbox.max_capacity())
    }

    pub(crate) fn is_alive(&self) -> bool {
        !self.ending.is_cancelled() && !self.gone.is_cancelled()
    }

    /// Whether it may be given new jobs.
    pub(crate) fn takes_jobs(&self) -> bool {
        self.is_alive() && !self.retired.load(Relaxed) && !self.is_resting()
    }

    /// Whether others may ask it for what it holds.
    pub(crate) fn gives_copies(&self) -> bool {
        self.is_alive() && !self.unread.load(Relaxed)
    }

    pub(crate) fn is_resting(&self) -> bool {
        self.resting.load(Relaxed)
    }

    /// Takes the agent out of use, but keeps it for copies; ends it if it can't be told.
    pub(crate) fn rest(&self) {
        self.resting.store(true, Relaxed);
        if !self.try_send(Frame::message(0, &ToAgent::Rest, vec![])) {
            self.end();
        }
    }

    /// Bytes of closures it was sent; 0 while one is on its way.
    pub(crate) fn held_bytes(&self) -> usize {
        self.held.try_lock().map_or(0, |held| held.bytes())
    }

    /// Whether no stream is open.
    pub(crate) fn is_idle(&self) -> bool {
        lock(&self.streams).is_empty()
    }

    /// Tells the agent to end; its jobs are killed.
    pub(crate) fn end(&self) {
        self.ending.cancel();
    }

    /// Takes the agent out of use; its running jobs go on to their end.
    pub(crate) fn retire(&self) {
        self.retired.store(true, Relaxed);
        self.end_if_retired();
    }

    fn end_if_retired(&self) {
        if self.retired.load(Relaxed) && self.is_idle() {
            self.end();
        }
    }

    /// Waits until the agent has ended.
    pub(crate) async fn ended(&self) {
        self.gone.cancelled().await;
    }

    /// Opens a stream.
    pub(crate) fn open_stream(self: &Arc<Self>) -> Stream {
        let id = self.next_stream.fetch_add(1, Relaxed);
        let (sender, events) = mpsc::unbounded_channel();
        let sent = Arc::<AtomicBool>::default();
        lock(&self.streams).insert(id, OpenStream { events: sender, sent: Arc::clone(&sent) });
        // The reader may have gone between the caller's look and now.
        if self.gone.is_cancelled() {
            lock(&self.streams).clear();
        }
        Stream { agent: Arc::clone(self), id, events, sent, finished: false }
    }

    /// Queues a frame; waits while the wire is full. False if the agent has gone.
    ///
    /// A dropped wait has queued nothing.
    pub(crate) async fn send(&self, frame: Frame) -> bool {
        self.outbox.send(frame).await.is_ok()
    }

    /// Waits for a place in the queue, for a frame that may be made only if it is sent; `None` if the agent has
    /// gone.
    pub(crate) async fn place(&self) -> Option<mpsc::Permit<'_, Frame>> {
        self.outbox.reserve().await.ok()
    }

    /// Queues a frame unless the wire is full or the agent has gone.
    pub(crate) fn try_send(&self, frame: Frame) -> bool {
        self.outbox.try_send(frame).is_ok()
    }

    pub(crate) fn join_run(&self, run: &str) {
        lock(&self.runs).insert(run.to_owned());
    }

    /// Leaves a run; true if no other run has used this agent.
    pub(crate) fn leave_run(&self, run: &str) -> bool {
        let mut runs = lock(&self.runs);
        runs.remove(run) && runs.is_empty()
    }

    /// Counts a module that ran on this agent.
    pub(crate) fn count_ticket(&self) {
        self.link.tickets.add(1);
    }

    fn mark_sent(&self, stream: u32) {
        if let Some(stream) = lock(&self.streams).get(&stream) {
            stream.sent.store(true, Relaxed);
        }
    }

    /// Gives a frame to whom it is for; waits while clients have too many of this agent's to take.
    async fn deliver(&self, frame: Frame) {
        // A stream that was given up may still have frames on the way.
        if !self.is_open(frame.stream) {
            return;
        }
        let Ok(room) = self.room_for(&frame).await else { return };
        if let Some(stream) = lock(&self.streams).get(&frame.stream) {
            let _ = stream.events.send((frame, room));
        }
    }

    fn is_open(&self, stream: u32) -> bool {
        lock(&self.streams).contains_key(&stream)
    }

    async fn room_for(&self, frame: &Frame) -> Result<OwnedSemaphorePermit, AcquireError> {
        let size = u32::try_from(frame.wire_len()).unwrap_or(u32::MAX).min(UNDELIVERED_MAX);
        if let Ok(room) = Arc::clone(&self.room).try_acquire_many_owned(size) {
            return Ok(room);
        }
        // Whoever keeps it waiting may be a playbook that is stopped: jobs of others don't wait behind that.
        self.retire();
        self.unread.store(true, Relaxed);
        let room = Arc::clone(&self.room).acquire_many_owned(size).await;
        self.unread.store(false, Relaxed);
        room
    }
}

/// What asks an agent to deflate its answers, if they are to be.
pub(crate) fn wish_for_compression(compression: Compression) -> Option<Frame> {
    let (level, files) = (deflate::message_level(compression)?, deflate::file_level(compression)?);
    let message = ToAgent::Compress { level, files, auto: compression == Compression::Auto };
    Some(Frame::message(0, &message, vec![]))
}

/// One request on an agent. Dropped before its end, it is given up: the agent kills its job.
pub(crate) struct Stream {
    pub(crate) agent: Arc<Agent>,
    pub(crate) id: u32,
    events: mpsc::UnboundedReceiver<Event>,
    sent: Arc<AtomicBool>,
    finished: bool,
}

impl Stream {
    /// Sends a message of this stream; false if the agent has gone.
    pub(crate) async fn tell(&self, message: &ToAgent, body: Vec<u8>) -> bool {
        self.agent.send(Frame::message(self.id, message, body)).await
    }

    /// The next frame; `None` if the agent has gone.
    pub(crate) async fn next(&mut self) -> Option<Frame> {
        self.events.recv().await.map(|(frame, _room)| frame)
    }

    /// Whether anything of this stream may have reached the target.
    pub(crate) fn was_sent(&self) -> bool {
        self.sent.load(Relaxed)
    }

    /// Says that the request has ended, so there is nothing to give up.
    pub(crate) fn finish(&mut self) {
        self.finished = true;
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        lock(&self.agent.streams).remove(&self.id);
        if !self.finished && self.agent.is_alive() {
            let (agent, id) = (Arc::clone(&self.agent), self.id);
            tokio::spawn(async move { agent.send(Frame::message(id, &ToAgent::Cancel, vec![])).await });
        }
        self.agent.end_if_retired();
    }
}

/// Owns the channel's process and both directions of it.
async fn watch_over(
    agent: Arc<Agent>,
    Channel { mut child, last_words, stdin, batch }: Channel,
    frames: mpsc::Receiver<Frame>,
    stdout: impl AsyncRead + Send + Unpin,
) {
    let reading = read_frames(&agent, stdout);
    let writing = write_frames(&agent, stdin, batch, frames);
    tokio::pin!(reading, writing);
    let channel = async {
        let mut writer_ended = false;
        loop {
            tokio::select! {
                outcome = &mut reading => break outcome,
                // The channel's other direction may still bring results.
                _ = &mut writing, if !writer_ended => writer_ended = true,
            }
        }
    };
    tokio::pin!(channel);
    let outcome = tokio::select! {
        outcome = &mut channel => outcome,
        () = agent.ending.cancelled() => timeout(END_GRACE, channel).await.unwrap_or(Ok(())),
    };
    if outcome.is_ok()
        && agent.is_alive()
        && !agent.is_idle()
        && let Some(death) = Death::of(&mut child, last_words).await
    {
        let _ = agent.death.set(death);
    }
    if let Err(error) = outcome {
        warn!(host = %agent.link.spec.host, agent = agent.hello.pid, %error, "agent cut off");
    }
    agent.ending.cancel();
    agent.gone.cancel();
    lock(&agent.streams).clear();
    agent.link.agent_ended(&agent);
    debug!(host = %agent.link.spec.host, agent = agent.hello.pid, "agent ended");
    let _ = child.start_kill();
    let _ = child.wait().await;
}

async fn read_frames(agent: &Agent, mut stdout: impl AsyncRead + Unpin) -> io::Result<()> {
    let mut inflater = Inflater::default();
    while let Some((header, control, body)) = read_parts(&mut stdout).await? {
        agent.link.bytes_down.add(HEADER_LEN + header.rest());
        if header.kind != Kind::Deflated {
            agent.deliver(Frame::assemble(header, control, body)).await;
            continue;
        }
        let frames = inflater.unpack(&body)?;
        let mut rest = frames.as_slice();
        while !rest.is_empty() {
            agent
                .deliver(read_frame(&mut rest).await?.ok_or_else(|| io::Error::other("half a frame"))?)
                .await;
        }
    }
    Ok(())
}

/// Reads one frame of an agent; `None` at the end of the channel.
pub(crate) async fn read_frame(stdout: &mut (impl AsyncRead + Unpin)) -> io::Result<Option<Frame>> {
    match read_parts(stdout).await? {
        Some((header, ..)) if header.kind == Kind::Deflated => Err(io::Error::other("a deflated frame here")),
        parts => Ok(parts.map(|(header, control, body)| Frame::assemble(header, control, body))),
    }
}

type Parts = (Header, Vec<u8>, Vec<u8>);

async fn read_parts(stdout: &mut (impl AsyncRead + Unpin)) -> io::Result<Option<Parts>> {
    let mut header = [0; HEADER_LEN];
    match stdout.read_exact(&mut header).await {
        Ok(_) => {}
        Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        Err(e) => return Err(e),
    }
    let header = Header::decode(&header, Limits::AGENT).map_err(io::Error::other)?;
    let mut control = vec![0; header.control as usize];
    let mut body = vec![0; header.body as usize];
    stdout.read_exact(&mut control).await?;
    stdout.read_exact(&mut body).await?;
    Ok(Some((header, control, body)))
}

async fn write_frames(
    agent: &Agent,
    mut stdin: ChildStdin,
    mut batch: Batch,
    mut frames: mpsc::Receiver<Frame>,
) -> io::Result<()> {
    loop {
        let frame = tokio::select! {
            frame = frames.recv() => frame,
            () = agent.ending.cancelled() => None,
        };
        let Some(frame) = frame else {
            // Closing the channel ends the agent with all it started.
            return stdin.shutdown().await;
        };
        // A closure and the run that needs it travel in one write where they fit.
        let mut next = Some(frame);
        while let Some(frame) = next {
            agent.mark_sent(frame.stream);
            batch.add(&frame)?;
            next = if batch.size() < BATCH { frames.try_recv().ok() } else { None };
        }
        let bytes = batch.take()?;
        agent.link.bytes_up.add(bytes.len());
        stdin.write_all(&bytes).await?;
        stdin.flush().await?;
    }
}
