//! Starts an agent: runs its start line, lets the client answer prompts, sends the agent, waits for
//! its greeting.

use crate::{
    agent::{Agent, Noise},
    closures::Held,
    connection::Client,
    copies::Copy,
    error::Error,
    link::{Link, LinkError},
    program,
    registry::Shared,
    slot::Refusal,
};
use slipstream_wire::{AgentSpec, AnswerAction, ClosureInfo, FromAgent, Reply, Request};
use std::{
    io::{self, Cursor},
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    process::{Child, ChildStderr, ChildStdin, ChildStdout},
    time::timeout,
};
use tracing::{debug, info, warn};

/// An agent that has not greeted by then is refused; slow targets take seconds, not minutes.
const GREETING_DEADLINE: Duration = Duration::from_secs(120);
/// What a start line may print before the greeting; login shells say a lot, but not this much.
const NOISE_MAX: usize = 1 << 20;
/// What is kept of what a start line says under a running agent.
const LAST_WORDS_MAX: usize = 64 << 10;
/// Precedes the agent's first frame; what comes before it is noise of the login shell.
const GREETING: &[u8] = b"\0SLIPSTREAM-AGENT\n";
/// Comes instead if the copy of another agent can't be had.
const MORE: &[u8] = b"\0SLIPSTREAM-MORE\n";

/// How a start ended.
pub(crate) enum Booted {
    /// With what the start line printed before the greeting.
    Running(Arc<Agent>, Noise),
    /// The start line ended by itself, without a greeting.
    Refused(Refusal),
    /// ssh could not reach the target.
    Unreachable(LinkError),
    /// The client gave the start up.
    Aborted,
}

/// A start line that runs.
struct Start {
    child: Child,
    stdin: ChildStdin,
    stdout: ChildStdout,
    stderr: ChildStderr,
    out: Vec<u8>,
    err: Vec<u8>,
    /// What the client has seen of both.
    shown: (usize, usize),
    /// What of that has nothing to do with the escalation.
    noise: Noise,
    /// What it is to begin with.
    copy: Option<Copy>,
}

/// What happened next on a start line.
enum Step {
    Output,
    /// The greeting is in the output, at this place.
    Greeting(usize),
    /// It asks for the whole program.
    More,
    End,
    /// The client wrote without being asked: it gives up.
    Abort,
}

/// What goes into a start line.
#[derive(Clone, Copy)]
pub(crate) struct Input<'a> {
    /// Read before the agent, if there is something in it.
    pub(crate) first: &'a [u8],
    /// What the agent will be sent: packed while it starts.
    pub(crate) next: Option<&'a Arc<ClosureInfo>>,
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
    // Whatever a start waits for ends with its client, and no later than the deadline: a target that says half
    // a word must not hold anybody up.
    tokio::select! {
        booted = timeout(GREETING_DEADLINE, exchange(shared, link, spec, input, client)) => booted.unwrap_or_else(|_| {
            let limit = GREETING_DEADLINE.as_secs();
            Ok(Booted::Refused(Refusal::saying(format!("no greeting after {limit} s"))))
        }),
        () = client_gone.cancelled() => Err(Error::ClientGone),
    }
}

async fn exchange(
    shared: &Shared,
    link: &Arc<Link>,
    spec: &AgentSpec,
    input: Input<'_>,
    client: &mut Client,
) -> Result<Booted, Error> {
    let mut start = match Start::spawn(shared, link, &spec.line, Copy::of_most(link)) {
        Ok(start) => start,
        Err(e) => return Ok(Booted::Refused(Refusal::saying(e.to_string()))),
    };
    if let Some(next) = input.next {
        start.prepare(shared, link, next);
    }
    let mut proceeding = !spec.become_started;
    if proceeding {
        send(&mut start.stdin, link, input.first).await;
        start.send_agent(link).await;
    } else {
        // Without a word from us the client can't know that its time for prompts is running.
        start.consult(client).await?;
    }
    loop {
        match start.step(client).await? {
            Step::Greeting(at) => return Ok(start.greeted(link, spec, at).await),
            Step::End => return Ok(start.ended(link).await),
            Step::Abort => return Ok(Booted::Aborted),
            Step::More => {
                link.no_copies.store(true, Relaxed);
                start.send_agent(link).await;
            }
            Step::Output if proceeding => {}
            Step::Output => match start.consult(client).await? {
                AnswerAction::Wait => {}
                AnswerAction::Abort => return Ok(Booted::Aborted),
                AnswerAction::Send => {}
                AnswerAction::Proceed => {
                    proceeding = true;
                    start.send_agent(link).await;
                }
            },
        }
    }
}

impl Start {
    fn spawn(shared: &Shared, link: &Link, line: &str, copy: Option<Copy>) -> io::Result<Self> {
        let mut command = link.session_command(shared, line);
        command.stdin(std::process::Stdio::piped());
        let mut child = command.spawn()?;
        let missing = || io::Error::other("a pipe is missing");
        let stdin = child.stdin.take().ok_or_else(missing)?;
        let stdout = child.stdout.take().ok_or_else(missing)?;
        let stderr = child.stderr.take().ok_or_else(missing)?;
        let (out, err, noise) = (Vec::new(), Vec::new(), Noise::default());
        Ok(Self { child, stdin, stdout, stderr, out, err, shown: (0, 0), noise, copy })
    }

    /// Waits for output, its end, or the client's word.
    async fn step(&mut self, client: &mut Client) -> Result<Step, Error> {
        let (out_before, err_before) = (self.out.len(), self.err.len());
        tokio::select! {
            biased;
            read = self.stderr.read_buf(&mut self.err), if self.err.len() < NOISE_MAX => {
                if read.is_err() || self.err.len() == err_before {
                    // Standard error may be closed before standard output is.
                    return self.read_stdout(out_before).await;
                }
                Ok(Step::Output)
            }
            read = self.stdout.read_buf(&mut self.out) => {
                Ok(if read.is_err() { Step::End } else { self.look(out_before) })
            }
            message = client.receive() => match message?.0.parse() {
                Ok(Request::Answer { action: AnswerAction::Abort, .. }) => Ok(Step::Abort),
                _ => Err(Error::Protocol("an answer that was not asked for".into())),
            },
        }
    }

    async fn read_stdout(&mut self, before: usize) -> Result<Step, Error> {
        let read = self.stdout.read_buf(&mut self.out).await;
        Ok(if read.is_err() { Step::End } else { self.look(before) })
    }

    fn look(&mut self, before: usize) -> Step {
        if self.out.len() == before || self.out.len() > NOISE_MAX {
            return Step::End;
        }
        let from = before.saturating_sub(GREETING.len());
        if let Some(at) = find(&self.out[from..], GREETING) {
            return Step::Greeting(from + at + GREETING.len());
        }
        match find(&self.out[from..], MORE) {
            Some(at) if self.copy.take().is_some() => {
                self.out.drain(from + at..from + at + MORE.len());
                Step::More
            }
            _ => Step::Output,
        }
    }

    /// Shows the client what is new and does as it says.
    async fn consult(&mut self, client: &mut Client) -> Result<AnswerAction, Error> {
        let mut body = self.out[self.shown.0..].to_vec();
        let out = body.len() as u64;
        body.extend_from_slice(&self.err[self.shown.1..]);
        self.shown = (self.out.len(), self.err.len());
        client.reply(&Reply::Prompt { out }, body).await?;
        let (frame, _) = client.receive().await?;
        let Request::Answer { action, out } = frame.parse()? else {
            return Err(Error::Protocol("not an answer".into()));
        };
        let mut body = zeroize::Zeroizing::new(frame.body);
        if action == AnswerAction::Send {
            let _ = self.stdin.write_all(&body).await;
            let _ = self.stdin.flush().await;
        } else if action == AnswerAction::Proceed {
            let out = usize::try_from(out).unwrap_or(usize::MAX).min(body.len());
            let stderr = body.split_off(out);
            self.noise = Noise { stdout: std::mem::take(&mut *body), stderr };
        }
        Ok(action)
    }

    /// Has a closure packed for the agent as it will be: with nothing, or with what it copies.
    fn prepare(&self, shared: &Shared, link: &Link, next: &Arc<ClosureInfo>) {
        let held = self.copy.as_ref().map_or_else(Held::default, |copy| copy.held().clone());
        let (closures, next, compression) = (shared.closures.clone(), Arc::clone(next), link.compression());
        if !held.has(&next.digest) {
            tokio::spawn(async move { closures.bundle(&next, &held, compression).await });
        }
    }

    async fn send_agent(&mut self, link: &Link) {
        let program = match &self.copy {
            Some(copy) => copy.program().into(),
            None => program::whole(link.compression(), link.target_cache()),
        };
        send(&mut self.stdin, link, &program).await;
    }

    async fn greeted(mut self, link: &Arc<Link>, spec: &AgentSpec, at: usize) -> Booted {
        let frames = self.out.split_off(at);
        self.out.truncate(at - GREETING.len());
        // What a wrapper wrote before it started the agent is in the pipe by now.
        while matches!(timeout(Duration::ZERO, self.stderr.read_buf(&mut self.err)).await, Ok(Ok(n)) if n > 0)
        {
        }
        self.noise.stdout.extend_from_slice(self.out.get(self.shown.0..).unwrap_or_default());
        self.noise.stderr.extend_from_slice(&self.err[self.shown.1..]);
        let mut stdout = Cursor::new(frames).chain(self.stdout);
        let hello = match crate::agent::read_frame(&mut stdout).await {
            Ok(Some(frame)) => frame.parse::<FromAgent>().ok(),
            _ => None,
        };
        let Some(FromAgent::Hello(mut hello)) = hello else {
            return Booted::Refused(Refusal::saying("the agent's greeting makes no sense".into()));
        };
        // These go into the log and to terminals.
        hello.python = printable(&hello.python);
        hello.executable = printable(&hello.executable);
        info!(host = %link.spec.host, agent = hello.pid, python = %hello.python, uid = hello.uid, "agent up");
        let last_words = tokio::spawn(drain(self.stderr));
        if let Some(why) = &hello.refused {
            warn!(host = %link.spec.host, why = %printable(why), "no cache on the target");
        }
        let held = self.copy.map(|copy| copy.taken(hello.copied)).unwrap_or_default();
        let agent = Agent::adopt(
            link,
            spec.become_started,
            hello,
            held,
            (self.child, last_words),
            self.stdin,
            stdout,
        );
        Booted::Running(agent, self.noise)
    }

    async fn ended(mut self, link: &Link) -> Booted {
        drop(self.stdin);
        let _ = (&mut self.stderr).take(NOISE_MAX as u64).read_to_end(&mut self.err).await;
        let rc = self.child.wait().await.ok().and_then(|s| s.code()).unwrap_or(255);
        debug!(host = %link.spec.host, rc, words = %String::from_utf8_lossy(&self.err), "agent refused");
        // ssh's own failure; a command that ends with 255 looks the same to stock Ansible too.
        if rc == 255 {
            return Booted::Unreachable(LinkError { rc, stderr: self.err, denied: false });
        }
        Booted::Refused(Refusal { rc, stdout: self.out, stderr: self.err })
    }
}

impl Refusal {
    fn saying(text: String) -> Self {
        Self { rc: 1, stdout: Vec::new(), stderr: text.into_bytes() }
    }
}

/// If the process has ended, its output and exit code say so better than a broken pipe.
async fn send(stdin: &mut ChildStdin, link: &Link, program: &[u8]) {
    link.bytes_up.add(program.len());
    let _ = stdin.write_all(program).await;
    let _ = stdin.flush().await;
}

/// Returns at most 256 characters of a target's words, without control characters.
fn printable(words: &str) -> String {
    words.chars().filter(|c| !c.is_control()).take(256).collect()
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack.windows(needle.len()).position(|window| window == needle)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_greeting_is_found_in_noise() {
        let noise = [b"Welcome!\n".as_slice(), GREETING, b"rest"].concat();
        assert_eq!(find(&noise, GREETING), Some(9));
    }
}
