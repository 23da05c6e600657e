//! Small things that stock Ansible starts a shell for, done by an agent of the login account.

use crate::{
    agent::{Agent, Stream},
    connection::Client,
    deflate,
    error::Error,
    link::Link,
    registry::{Shared, join},
    run::{STALE_MAX, Stop, agent_for},
};
use serde_json::Value;
use slipstream_wire::{AgentSpec, Frame, FromAgent, Reply, ToAgent};
use std::sync::Arc;
use tokio_util::sync::CancellationToken;
use tracing::debug;

/// What is asked for.
pub(crate) struct Wanted {
    /// The one that has to have started the agent, which may not be there; empty for any.
    pub(crate) shell: String,
    /// What to start if no agent of the login account runs.
    pub(crate) agent: Option<AgentSpec>,
    pub(crate) chores: Value,
    /// The content of files.
    pub(crate) content: Vec<u8>,
    pub(crate) run: String,
}

/// Serves a request; `NoAgent` says that nothing was done, and that a shell has to.
pub(crate) async fn serve(
    shared: &Arc<Shared>,
    client: &mut Client,
    link: &str,
    wanted: Wanted,
) -> Result<(), Error> {
    let Some(link) = shared.link(link) else {
        return client.reply(&Reply::NeedLink, vec![]).await;
    };
    let (used, ended) = (link.enter(), shared.run_token(&wanted.run));
    for _ in 0..STALE_MAX {
        let agent = match agent(shared, &used.0, &wanted, client).await? {
            Ok(agent) => agent,
            Err(Stop::Again) => continue,
            Err(Stop::Say(..) | Stop::Quiet) => break,
        };
        if do_on(&agent, &wanted, &ended, client).await? {
            return Ok(());
        }
    }
    client.reply(&Reply::NoAgent, vec![]).await
}

async fn agent(
    shared: &Shared,
    link: &Arc<Link>,
    wanted: &Wanted,
    client: &mut Client,
) -> Result<Result<Arc<Agent>, Stop>, Error> {
    let fits = |agent: &Arc<Agent>| wanted.shell.is_empty() || agent.shell == wanted.shell;
    match (link.login_agents().find(fits), &wanted.agent) {
        (Some(agent), _) => Ok(Ok(agent)),
        (None, Some(spec)) => Ok(agent_for(shared, link, spec, None, client).await?.map(|(agent, _)| agent)),
        (None, None) => Ok(Err(Stop::Quiet)),
    }
}

/// Has an agent do them; false if it has not begun.
async fn do_on(
    agent: &Arc<Agent>,
    wanted: &Wanted,
    ended: &CancellationToken,
    client: &Client,
) -> Result<bool, Error> {
    join(agent, &wanted.run, ended)?;
    let mut stream = agent.open_stream();
    if !agent.send(frame(&stream, &wanted.chores, &wanted.content, false)).await {
        return Ok(false);
    }
    let event = tokio::select! {
        event = stream.next() => event,
        () = client.left() => return Err(Error::ClientGone),
        () = ended.cancelled() => return Err(Error::ClientGone),
    };
    let (reply, body) = match event.as_ref().map(Frame::parse) {
        Some(Ok(FromAgent::Chores(outcome))) => {
            stream.finish();
            let noise = agent.noise.get().cloned().unwrap_or_default();
            let out = noise.stdout.len() as u64;
            (Reply::Chores { outcome, out }, [noise.stdout, noise.stderr].concat())
        }
        Some(Ok(FromAgent::Stale { what, .. })) => {
            debug!(agent = agent.hello.pid, %what, "agent is stale");
            stream.finish();
            agent.retire();
            return Ok(false);
        }
        // Somebody has killed it: a shell would not have noticed.
        None if !stream.was_sent() || !agent.link.is_closed() => return Ok(false),
        _ => (Reply::Lost { message: "the connection to the agent was lost".into() }, vec![]),
    };
    client.reply(&reply, body).await?;
    Ok(true)
}

/// Has a stream's run begin with chores; false if the agent has gone.
pub(crate) async fn send_first(stream: &Stream, chores: &Value, content: &[u8]) -> bool {
    stream.agent.send(frame(stream, chores, content, true)).await
}

/// Files' content stays out of the shared stream: what such a stream makes of it would tell of what is in it.
fn frame(stream: &Stream, chores: &Value, content: &[u8], first: bool) -> Frame {
    let message = ToAgent::Chores { chores: chores.clone(), first };
    if content.is_empty() {
        return Frame::message(stream.id, &message, vec![]);
    }
    let (body, flag) = match deflate::file_level(stream.agent.compression()) {
        Some(level) => (deflate::pack(content, i32::from(level)), Frame::DEFLATED),
        None => (content.to_vec(), 0),
    };
    Frame::message(stream.id, &message, body).flagged(Frame::ALONE | flag)
}
