//! Runs one module from its ticket.

use crate::{
    agent::{Agent, Noise, Stream},
    boot::{Booted, Input, boot},
    chores,
    connection::Client,
    copies,
    error::Error,
    evict::evict_others,
    link::Link,
    master::LinkError,
    registry::{Shared, join},
    slot::Refusal,
};
use slipstream_wire::{AgentSpec, ClosureInfo, Digest, Frame, FromAgent, Reply, RunRequest, ToAgent};
use std::sync::{Arc, atomic::Ordering::Relaxed};
use tokio_util::sync::CancellationToken;
use tracing::debug;

/// An agent that calls itself stale right after its start, again and again, is not worth more tries.
pub(crate) const STALE_MAX: u32 = 3;

/// Why a module did not run to its end.
pub(crate) enum Stop {
    /// Tell the client so; nothing ran.
    Say(Reply, Vec<u8>),
    /// Start over with a new agent; nothing ran.
    Again,
    /// The client gave the start up and knows why.
    Quiet,
}

/// A module call with what it needs.
pub(crate) struct Job<'a> {
    request: &'a RunRequest,
    pub(crate) closure: &'a Arc<ClosureInfo>,
    /// The content of the files that are written first.
    content: &'a [u8],
    params: &'a [u8],
    /// Cancelled when its run ends.
    ended: CancellationToken,
}

impl Job<'_> {
    /// Whether nothing has to be done before it on the target.
    pub(crate) fn goes_alone(&self) -> bool {
        self.request.first.is_none()
    }

    /// What has an agent run it, as the request of a stream.
    pub(crate) fn frame(&self, stream: u32) -> Frame {
        let message = ToAgent::Run { closure: self.closure.digest.clone(), job: self.request.job.clone() };
        let frame = Frame::message(stream, &message, self.params.to_vec());
        if self.request.private { frame.flagged(Frame::ALONE) } else { frame }
    }
}

/// Serves a run request; the reply, or the frames that make it up, go to the client.
pub(crate) async fn run(
    shared: &Arc<Shared>,
    client: &mut Client,
    request: RunRequest,
    params: Vec<u8>,
) -> Result<(), Error> {
    let Some(link) = shared.link(&request.link) else {
        return client.reply(&Reply::NeedLink, vec![]).await;
    };
    let Some(closure) = shared.closures.get(&request.closure) else {
        return client.reply(&Reply::NeedClosure, vec![]).await;
    };
    let (content, params) = params.split_at(request.content_size().min(params.len()));
    let ended = shared.run_token(&request.run);
    let job = Job { request: &request, closure: &closure, content, params, ended };
    let used = link.enter();
    for _ in 0..STALE_MAX {
        if request.evict {
            let kept = used.0.slot(&request.agent.key).running();
            evict_others(shared, &used.0, kept.as_ref()).await;
        }
        let stop = match agent_for(shared, &used.0, &request.agent, Some(&job), client).await? {
            Ok((agent, sent)) => match run_on(shared, &agent, sent, &job, client).await? {
                None => return Ok(()),
                Some(stop) => stop,
            },
            Err(stop) => stop,
        };
        match stop {
            Stop::Again => {}
            Stop::Quiet => return client.reply(&Reply::Done, vec![]).await,
            Stop::Say(reply, body) => return client.reply(&reply, body).await,
        }
    }
    let (reply, body) = refused(Refusal { rc: 1, stdout: vec![], stderr: b"the agent stays stale".to_vec() });
    client.reply(&reply, body).await
}

/// Returns the running agent of `spec`, starting it if there is none, and the stream of `job` if that has been
/// sent by its start.
pub(crate) async fn agent_for(
    shared: &Shared,
    link: &Arc<Link>,
    spec: &AgentSpec,
    job: Option<&Job<'_>>,
    client: &mut Client,
) -> Result<Result<(Arc<Agent>, Option<Stream>), Stop>, Error> {
    let slot = link.slot(&spec.key);
    if let Some(agent) = slot.running() {
        return Ok(Ok((agent, None)));
    }
    let _starting = slot.starting.lock().await;
    if let Some(agent) = slot.running() {
        return Ok(Ok((agent, None)));
    }
    if let Some(agent) = spec.discovered.as_deref().and_then(|key| link.take_slot(key)) {
        slot.fill(Arc::clone(&agent));
        return Ok(Ok((agent, None)));
    }
    if let Some(refusal) = slot.refused() {
        let (reply, body) = refused(refusal);
        return Ok(Err(Stop::Say(reply, body)));
    }
    Ok(match boot(shared, link, spec, Input { first: b"", job }, client).await? {
        Booted::Running(agent, noise, sent) => {
            let _ = agent.noise.set(noise);
            slot.fill(Arc::clone(&agent));
            Ok((agent, sent))
        }
        Booted::Refused(refusal) => {
            if !refusal.says_missing() {
                slot.refuse(refusal.clone());
            }
            let (reply, body) = refused(refusal);
            Err(Stop::Say(reply, body))
        }
        Booted::Unreachable(error) => {
            let (reply, body) = unreachable(error);
            Err(Stop::Say(reply, body))
        }
        Booted::Lost(message) => Err(Stop::Say(Reply::Lost { message }, vec![])),
        Booted::Aborted => Err(Stop::Quiet),
    })
}

/// Sends what the agent lacks and the job, unless it was `sent`, and passes on what comes back. `None`: answered.
async fn run_on(
    shared: &Arc<Shared>,
    agent: &Arc<Agent>,
    sent: Option<Stream>,
    job: &Job<'_>,
    client: &Client,
) -> Result<Option<Stop>, Error> {
    join(agent, &job.request.run, &job.ended)?;
    let gone = async {
        tokio::select! {
            () = client.left() => {}
            () = job.ended.cancelled() => {}
        }
    };
    tokio::pin!(gone);
    let mut stream = match sent {
        Some(stream) => stream,
        None => {
            let stream = agent.open_stream();
            let sent = tokio::select! {
                sent = send(shared, &stream, job) => sent,
                () = &mut gone => return Err(Error::ClientGone),
            };
            if !sent {
                return Ok(Some(Stop::Again));
            }
            stream
        }
    };
    let mut noise = agent.noise.get().filter(|noise| **noise != Noise::default());
    loop {
        let event = tokio::select! {
            event = stream.next() => event,
            () = &mut gone => return Err(Error::ClientGone),
        };
        if let Some(noise) = noise.take_if(|_| event.as_ref().is_some_and(|frame| !is_stale(frame))) {
            pass_on(noise, client).await?;
        }
        match event {
            Some(frame) if frame.data => client.send(&Frame { stream: 0, ..frame }).await?,
            Some(frame) => return answer(shared, &mut stream, &job.closure.digest, client, frame).await,
            None if !stream.was_sent() => return Ok(Some(Stop::Again)),
            None => {
                let (reply, body) = match agent.death.get() {
                    // The module has killed its own account's processes, or somebody else has: under stock it
                    // would have died so.
                    Some(death) => {
                        (Reply::Exit { rc: death.rc, out: 0, tidied: false }, death.stderr.clone())
                    }
                    None => {
                        let message =
                            "the connection to the agent was lost while the module was running".into();
                        (Reply::Lost { message }, vec![])
                    }
                };
                client.reply(&reply, body).await?;
                return Ok(None);
            }
        }
    }
}

fn is_stale(frame: &Frame) -> bool {
    !frame.data && matches!(frame.parse(), Ok(FromAgent::Stale { .. }))
}

/// Lets a module's output begin as every command's here does.
async fn pass_on(noise: &Noise, client: &Client) -> Result<(), Error> {
    for (flags, body) in [(0, &noise.stdout), (Frame::STDERR, &noise.stderr)] {
        if !body.is_empty() {
            client.send(&Frame { data: true, flags, body: body.clone(), ..Frame::default() }).await?;
        }
    }
    Ok(())
}

async fn answer(
    shared: &Shared,
    stream: &mut Stream,
    closure: &Digest,
    client: &Client,
    frame: Frame,
) -> Result<Option<Stop>, Error> {
    stream.finish();
    let reply = match frame.parse() {
        Ok(FromAgent::Exit { rc, out, tidied }) => {
            stream.agent.listen();
            shared.stats.tickets.add(1);
            stream.agent.count_ticket();
            if let Ok(mut held) = stream.agent.held.try_lock() {
                held.answered(closure);
            }
            Reply::Exit { rc, out, tidied }
        }
        Ok(FromAgent::Stale { what, damaged }) => {
            debug!(agent = stream.agent.hello.pid, %what, "agent is stale");
            if damaged {
                // The next one is sent everything.
                stream.agent.link.no_copies.store(true, Relaxed);
            }
            stream.agent.retire();
            return Ok(Some(Stop::Again));
        }
        Ok(FromAgent::Chores(outcome)) => Reply::Chores { outcome, out: 0 },
        Ok(FromAgent::NeedsEnvironment) => Reply::NeedsEnvironment,
        Ok(FromAgent::NeedsStock { why }) => Reply::NeedsStock { why },
        Ok(other) => Reply::Lost { message: format!("the agent answered {other:?}") },
        Err(error) => Reply::Lost { message: format!("the agent answered nonsense: {error}") },
    };
    client.reply(&reply, frame.body).await?;
    Ok(None)
}

/// Sends all that a job needs; false if the agent has gone.
async fn send(shared: &Shared, stream: &Stream, job: &Job<'_>) -> bool {
    send_closure(shared, &stream.agent, job.closure).await
        && match &job.request.first {
            Some(first) => chores::send_first(stream, &first.chores, job.content).await,
            None => true,
        }
        && stream.agent.send(job.frame(stream.id)).await
}

/// Sends a closure that the agent does not hold yet; false if it can't be sent.
async fn send_closure(shared: &Shared, agent: &Arc<Agent>, closure: &Arc<ClosureInfo>) -> bool {
    loop {
        let held = agent.held.lock().await;
        if held.has(&closure.digest) {
            return true;
        }
        let before = held.clone();
        drop(held);
        // Without the lock: it takes a while, and others go on.
        let Some(bundle) = shared.closures.bundle(closure, &before, agent.compression()).await else {
            return false;
        };
        let mut held = agent.held.lock().await;
        if held.history() != before.history() {
            continue;
        }
        let Some(place) = agent.place().await else { return false };
        let source = copies::source(&agent.link, agent, &bundle);
        place.send(held.take(&closure.digest, &bundle, &agent.hello.cached, source));
        return true;
    }
}

/// Runs interpreter discovery and keeps the agent that comes of it, for a run that names its key.
///
/// The line reads `chooser`, a program, before the agent. A link that has an agent of the login account
/// already needs no other: `NoAgent` says that nothing was run.
pub(crate) async fn discover(
    shared: &Arc<Shared>,
    client: &mut Client,
    link: &str,
    spec: AgentSpec,
    chooser: &[u8],
) -> Result<(), Error> {
    let Some(link) = shared.link(link) else {
        return client.reply(&Reply::NeedLink, vec![]).await;
    };
    if link.login_agent().is_some() {
        return client.reply(&Reply::NoAgent, vec![]).await;
    }
    let used = link.enter();
    let (reply, body) =
        match boot(shared, &used.0, &spec, Input { first: chooser, job: None }, client).await? {
            Booted::Running(agent, Noise { stdout, stderr }, _) => {
                // What is on standard output is the answer, for this once.
                let _ = agent.noise.set(Noise { stdout: vec![], stderr: stderr.clone() });
                link.slot(&spec.key).fill(agent);
                (Reply::Exit { rc: 0, out: stdout.len() as u64, tidied: false }, [stdout, stderr].concat())
            }
            Booted::Refused(refusal) => refused(refusal),
            Booted::Unreachable(error) => unreachable(error),
            Booted::Lost(message) => (Reply::Lost { message }, vec![]),
            Booted::Aborted => (Reply::Done, vec![]),
        };
    client.reply(&reply, body).await
}

fn refused(refusal: Refusal) -> (Reply, Vec<u8>) {
    let out = refusal.stdout.len() as u64;
    (Reply::Refused { rc: refusal.rc, out }, [refusal.stdout, refusal.stderr].concat())
}

/// Says why there is no link.
pub(crate) fn unreachable(error: LinkError) -> (Reply, Vec<u8>) {
    (Reply::Unreachable { rc: error.rc, denied: error.denied }, error.stderr)
}
