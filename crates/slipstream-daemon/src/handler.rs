//! One client's requests, one after the other.

use crate::{
    BUILD, VERSION, chores,
    connection::Client,
    error::Error,
    evict::evict_others,
    files,
    registry::Shared,
    run,
    scan::{self, Wanted},
};
use serde_json::json;
use slipstream_wire::{AnswerAction, Frame, LinkSpec, Reply, Request};
use std::{os::fd::OwnedFd, sync::Arc};
use zeroize::Zeroizing;

/// Serves a client until it leaves.
pub(crate) async fn serve(shared: Arc<Shared>, mut client: Client) -> Result<(), Error> {
    let (frame, _) = client.receive().await?;
    let Request::Hello { version } = frame.parse()? else {
        return Err(Error::Protocol("a client has to greet first".into()));
    };
    if version != BUILD {
        tracing::info!(client = %version, "another version asks, making room");
        shared.retire.cancel();
        shared.socket_gone.cancelled().await;
        return client.reply(&Reply::Retiring { version: BUILD.into() }, vec![]).await;
    }
    let (version, pid, salt) = (BUILD.to_owned(), std::process::id(), shared.salt.clone());
    let surroundings = shared.config.surroundings.clone();
    client.reply(&Reply::Welcome { version, pid, salt, surroundings }, vec![]).await?;
    loop {
        let (frame, descriptor) = client.receive().await?;
        dispatch(&shared, &mut client, frame, descriptor).await?;
    }
}

async fn dispatch(
    shared: &Arc<Shared>,
    client: &mut Client,
    frame: Frame,
    descriptor: Option<OwnedFd>,
) -> Result<(), Error> {
    let request = frame.parse()?;
    let body = frame.body;
    match request {
        Request::Link(spec) => link(shared, client, *spec, Zeroizing::new(body)).await,
        Request::Run(request) => run::run(shared, client, *request, body).await,
        Request::Discover { link, agent } => run::discover(shared, client, &link, agent, &body).await,
        Request::ClosureFind { key, run, name } => scan::find(shared, client, &key, &run, &name).await,
        Request::ClosureScan { key, run, name, meta, world } => {
            let wanted = Wanted { key, name, meta, world: *world, content: body };
            scan::scan(shared, client, wanted, &run).await
        }
        Request::ClosureStore { key, run, name, closure } => {
            shared.look_at(&run, &name, &key);
            done_or_failed(client, shared.closures.store(key, closure, &body)).await
        }
        Request::Put { link, path, mode, run } => {
            let file = descriptor.ok_or_else(|| Error::Protocol("no descriptor came along".into()))?;
            files::put(shared, client, (&link, &path, &run), mode, file).await
        }
        Request::Fetch { link, path, run } => {
            let file = descriptor.ok_or_else(|| Error::Protocol("no descriptor came along".into()))?;
            files::fetch(shared, client, (&link, &path, &run), file).await
        }
        Request::Chores { link, shell, agent, chores, run } => {
            let wanted = chores::Wanted { shell, agent, chores, content: body, run };
            chores::serve(shared, client, &link, wanted).await
        }
        Request::Lease { run } => lease(shared, client, &run).await,
        Request::Reset { link } => {
            if let Some(link) = shared.link(&link) {
                link.close();
                for agent in link.agents() {
                    agent.ended().await;
                }
            }
            client.reply(&Reply::Done, vec![]).await
        }
        Request::Evict { link } => {
            if let Some(link) = shared.link(&link) {
                evict_others(shared, &link, None).await;
            }
            client.reply(&Reply::Done, vec![]).await
        }
        Request::Stock { reason } => {
            shared.stats.count_stock(reason);
            client.reply(&Reply::Done, vec![]).await
        }
        Request::Moved { link, up, down } => {
            if let Some(link) = shared.link(&link) {
                link.bytes_up.add(up);
                link.bytes_down.add(down);
            }
            client.reply(&Reply::Done, vec![]).await
        }
        Request::Status => client.reply(&Reply::Status { report: report(shared) }, vec![]).await,
        Request::Log { level } => {
            done_or_failed(client, shared.log.set(&level).map_err(|e| e.to_string())).await
        }
        Request::Stop => {
            shared.stop.cancel();
            client.reply(&Reply::Done, vec![]).await
        }
        Request::Askpass { nonce, prompt } => match shared.askpass.answer(&nonce, &prompt) {
            Some(secret) => client.reply_secret(&Reply::Secret, &secret).await,
            None => client.reply(&Reply::Failed { message: "no secret for that".into() }, vec![]).await,
        },
        // It gave up what had just ended.
        Request::Answer { action: AnswerAction::Abort, .. } => Ok(()),
        Request::Hello { .. } | Request::Answer { .. } => Err(Error::Protocol("not now".into())),
        _ => Err(Error::Protocol("not known to this daemon".into())),
    }
}

async fn done_or_failed(client: &Client, outcome: Result<(), String>) -> Result<(), Error> {
    let reply = match outcome {
        Ok(()) => Reply::Done,
        Err(message) => Reply::Failed { message },
    };
    client.reply(&reply, vec![]).await
}

async fn link(
    shared: &Arc<Shared>,
    client: &mut Client,
    spec: LinkSpec,
    secret: Zeroizing<Vec<u8>>,
) -> Result<(), Error> {
    let outcome = tokio::select! {
        outcome = shared.open_link(spec, secret) => outcome,
        () = client.left() => return Err(Error::ClientGone),
    };
    let (reply, body) = match outcome {
        Ok(link) => {
            client.hold(link.enter());
            let control_path = link.control_path.display().to_string();
            (Reply::Linked { control_path, is_users: link.is_users }, link.take_said())
        }
        Err(error) => run::unreachable(error),
    };
    client.reply(&reply, body).await
}

/// Holds a run open until its client leaves.
async fn lease(shared: &Shared, client: &mut Client, run: &str) -> Result<(), Error> {
    shared.begin_run(run);
    let held = async {
        client.reply(&Reply::Done, vec![]).await?;
        client.receive().await.map(|_| ())
    };
    let outcome = held.await;
    shared.end_run(run);
    outcome
}

fn report(shared: &Shared) -> serde_json::Value {
    let links: Vec<_> = shared
        .links()
        .iter()
        .map(|link| {
            let agents: Vec<_> = link
                .agents()
                .iter()
                .map(|agent| {
                    json!({
                        "pid": agent.hello.pid, "interpreter": agent.hello.executable,
                        "python": agent.hello.python, "uid": agent.hello.uid,
                        "become": agent.become_started, "busy": !agent.is_idle(), "resting": agent.is_resting(),
                    })
                })
                .collect();
            json!({
                "host": link.spec.host, "transport": link.spec.transport, "pid": link.pid,
                "tickets": link.tickets.get(), "idle_s": link.idle_s(), "linger_s": link.spec.linger,
                "bytes_up": link.bytes_up.get(), "bytes_down": link.bytes_down.get(), "agents": agents,
            })
        })
        .collect();
    let (closures, kept) = shared.closures.size();
    json!({
        "version": VERSION, "pid": std::process::id(), "uptime_s": shared.started.elapsed().as_secs_f64(),
        "runs": shared.runs(), "tickets": shared.stats.tickets.get(), "stock": shared.stats.stock(),
        "closures": {
            "known": closures, "bytes": kept,
            "hits": shared.stats.closure_hits.get(), "misses": shared.stats.closure_misses.get(),
        },
        "links": links,
    })
}
