//! Starts an agent: runs its start line, lets the client answer prompts, sends the agent, waits for
//! its greeting.

use crate::{
    agent::{Agent, Channel, Noise, Stream, read_frame},
    batch::Batch,
    connection::Client,
    error::Error,
    link::Link,
    master::LinkError,
    registry::Shared,
    run::Job,
    slot::Refusal,
    start::{NOISE_MAX, Start, Step, find},
};
use slipstream_wire::{AgentHello, AgentSpec, AnswerAction, FromAgent};
use std::{
    io::Cursor,
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};
use tokio::{io::AsyncReadExt, process::ChildStderr, time::timeout};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

/// An agent that has not greeted by then is given up; slow targets take seconds, not minutes.
const GREETING_DEADLINE: Duration = Duration::from_secs(120);
/// What ssh returns when it fails itself; a command that ends so looks the same to stock Ansible too.
const SSH_FAILED: i32 = 255;
/// How ssh says that it logs in once more, beside the master that may open no more sessions.
const OWN_CONNECTION: &[u8] = b"mux_client_request_session: session request failed";
/// What is kept of what a start line says under a running agent.
const LAST_WORDS_MAX: usize = 64 << 10;

/// How a start ended.
pub(crate) enum Booted {
    /// With what the start line printed before the greeting, and the stream of a job that was sent already.
    Running(Arc<Agent>, Noise, Option<Stream>),
    /// The start line ended by itself, without a greeting.
    Refused(Refusal),
    /// ssh could not reach the target.
    Unreachable(LinkError),
    /// Nobody knows whether the job that was sent ahead has run.
    Lost(String),
    /// The client gave the start up.
    Aborted,
}

/// How the exchange with a start line ended.
enum Exchanged {
    Greeted(Box<AgentHello>),
    /// There will be no agent, and why; the line may still run.
    Wrong(String),
    /// The line has ended, with that code, and perhaps cut off when the job that was sent ahead had begun.
    Ended(i32, bool),
    Abort,
}

/// What goes into a start line.
#[derive(Clone, Copy)]
pub(crate) struct Input<'a> {
    /// Read before the agent, if there is something in it.
    pub(crate) first: &'a [u8],
    /// What the agent is wanted for.
    pub(crate) job: Option<&'a Job<'a>>,
}

/// Starts the agent of `spec` on `link`.
///
/// # Errors
///
/// [`Error::ClientGone`] if the client left during the exchange; the start line is killed.
pub(crate) async fn boot(
    shared: &Shared,
    link: &Arc<Link>,
    spec: &AgentSpec,
    input: Input<'_>,
    client: &mut Client,
) -> Result<Booted, Error> {
    let client_gone = client.gone();
    let mut start = match Start::spawn(shared, link, &spec.line) {
        Ok(start) => start,
        Err(e) => return Ok(Booted::Refused(Refusal::saying(e.to_string()))),
    };
    if let Some(job) = input.job {
        start.prepare(shared, link, job);
    }
    let went_ahead = start.went_ahead.clone();
    // Whatever a start waits for ends with its client, and no later than the deadline: a target that says half
    // a word must not hold anybody up.
    let exchanged = tokio::select! {
        exchanged = exchange(&mut start, shared, link, spec, input, client) => exchanged?,
        () = deadline(&went_ahead) => {
            Exchanged::Wrong(format!("no greeting after {} s", GREETING_DEADLINE.as_secs()))
        }
        () = client_gone.cancelled() => return Err(Error::ClientGone),
    };
    Ok(match exchanged {
        Exchanged::Greeted(hello) => greeted(start, link, spec, *hello).await,
        Exchanged::Wrong(words) if start.ahead.is_some() => Booted::Lost(words),
        Exchanged::Wrong(words) => Booted::Refused(Refusal::saying(words)),
        Exchanged::Ended(rc, may_have_begun) => ended(start, link, rc, may_have_begun),
        Exchanged::Abort => Booted::Aborted,
    })
}

/// Never comes for a job that was sent ahead: no module has one.
async fn deadline(went_ahead: &CancellationToken) {
    if timeout(GREETING_DEADLINE, went_ahead.cancelled()).await.is_ok() {
        std::future::pending().await
    }
}

async fn exchange(
    start: &mut Start,
    shared: &Shared,
    link: &Arc<Link>,
    spec: &AgentSpec,
    input: Input<'_>,
    client: &mut Client,
) -> Result<Exchanged, Error> {
    let mut proceeding = !spec.become_started;
    if proceeding {
        start.write(input.first).await;
        start.begin(shared, link, input.job).await;
    } else {
        // Without a word from us the client can't know that its time for prompts is running.
        start.consult(client).await?;
    }
    loop {
        match start.step(client).await? {
            Step::Greeting => return Ok(hello(start).await),
            Step::End => return Ok(end(start, link).await),
            Step::TooMuch => return Ok(Exchanged::Wrong("too much is printed before every command".into())),
            Step::Abort => return Ok(Exchanged::Abort),
            Step::More => {
                link.no_copies.store(true, Relaxed);
                start.send_agent(link).await;
            }
            Step::Output if proceeding => {}
            Step::Output => match start.consult(client).await? {
                AnswerAction::Wait | AnswerAction::Send => {}
                AnswerAction::Abort => return Ok(Exchanged::Abort),
                AnswerAction::Proceed => {
                    proceeding = true;
                    start.begin(shared, link, input.job).await;
                }
            },
        }
    }
}

/// Reads what the agent says of itself.
async fn hello(start: &mut Start) -> Exchanged {
    let mut frames = Cursor::new(std::mem::take(&mut start.frames));
    let said = read_frame(&mut (&mut frames).chain(&mut start.stdout)).await;
    let read = usize::try_from(frames.position()).unwrap_or(usize::MAX);
    start.frames = frames.into_inner().split_off(read);
    match said.ok().flatten().map(|frame| frame.parse()) {
        Some(Ok(FromAgent::Hello(hello))) => Exchanged::Greeted(Box::new(hello)),
        _ => Exchanged::Wrong("the agent's greeting makes no sense".into()),
    }
}

async fn greeted(mut start: Start, link: &Arc<Link>, spec: &AgentSpec, mut hello: AgentHello) -> Booted {
    let Some(stdin) = start.stdin.take() else {
        return Booted::Refused(Refusal::saying("its input is closed".into()));
    };
    // What a wrapper wrote before it started the agent is in the pipe by now.
    while matches!(timeout(Duration::ZERO, start.stderr.read_buf(&mut start.err)).await, Ok(Ok(n)) if n > 0) {
    }
    start.noise.stdout.extend_from_slice(start.out.get(start.shown.0..).unwrap_or_default());
    start.noise.stderr.extend_from_slice(&start.err[start.shown.1..]);
    // These go into the log and to terminals.
    hello.python = printable(&hello.python);
    hello.executable = printable(&hello.executable);
    info!(host = %link.spec.host, agent = hello.pid, python = %hello.python, uid = hello.uid, "agent up");
    if let Some(why) = &hello.refused {
        warn!(host = %link.spec.host, why = %printable(why), "no cache on the target");
    }
    let sent = start.ahead.is_some();
    let (held, batch) = match start.ahead {
        Some(ahead) => (ahead.held, ahead.batch),
        None => {
            let held = start.copy.map(|copy| copy.taken(hello.copied)).unwrap_or_default();
            (held, Batch::new(link.compression()))
        }
    };
    let last_words = tokio::spawn(drain(start.stderr));
    let channel = Channel { child: start.child, last_words, stdin, batch };
    let stdout = Cursor::new(start.frames).chain(start.stdout);
    let (agent, stream) = Agent::adopt(link, spec, hello, held, sent, channel, stdout);
    Booted::Running(agent, start.noise, stream)
}

/// Waits for the end of a line that prints no more.
async fn end(start: &mut Start, link: &Link) -> Exchanged {
    let may_have_begun = start.may_have_begun();
    start.stdin = None;
    let _ = (&mut start.stderr).take(NOISE_MAX as u64).read_to_end(&mut start.err).await;
    let rc = start.child.wait().await.ok().and_then(|s| s.code()).unwrap_or(SSH_FAILED);
    // What ends by itself has shown its greeting if it had one, and any code may be its own. It was cut off
    // if the master has gone, or may have been if it had a connection to itself.
    let cut_off =
        rc == SSH_FAILED && (find(&start.err, OWN_CONNECTION).is_some() || !link.has_master().await);
    Exchanged::Ended(rc, may_have_begun && cut_off)
}

fn ended(start: Start, link: &Link, rc: i32, may_have_begun: bool) -> Booted {
    debug!(host = %link.spec.host, rc, words = %String::from_utf8_lossy(&start.err), "agent refused");
    if may_have_begun {
        let message = "the connection was lost while the agent that had the module started";
        let words = String::from_utf8_lossy(&start.err).trim().replace(['\r', '\n'], " ");
        return Booted::Lost(match printable(&words) {
            words if words.is_empty() => message.into(),
            words => format!("{message} ({words})"),
        });
    }
    if rc == SSH_FAILED {
        return Booted::Unreachable(LinkError { rc, stderr: start.err, denied: false });
    }
    Booted::Refused(Refusal { rc, stdout: start.out, stderr: start.err })
}

impl Refusal {
    fn saying(text: String) -> Self {
        Self { rc: 1, stdout: Vec::new(), stderr: text.into_bytes() }
    }
}

/// Returns at most 256 characters of a target's words, without control characters.
fn printable(words: &str) -> String {
    words.chars().filter(|c| !c.is_control()).take(256).collect()
}

/// Reads to the end, and returns the beginning of what was said.
async fn drain(mut stderr: ChildStderr) -> Vec<u8> {
    let (mut said, mut chunk) = (Vec::new(), [0; 4096]);
    while let Ok(n) = stderr.read(&mut chunk).await {
        if n == 0 {
            break;
        }
        debug!(words = %String::from_utf8_lossy(&chunk[..n]), "agent's standard error");
        let room = LAST_WORDS_MAX.saturating_sub(said.len());
        said.extend_from_slice(&chunk[..n.min(room)]);
    }
    said
}
