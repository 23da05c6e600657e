//! A start line that runs: what goes into it, and what comes out of it.

use crate::{
    agent::{FIRST_STREAM, Noise},
    batch::Batch,
    closures::Held,
    connection::Client,
    copies::Copy,
    error::Error,
    link::Link,
    program,
    registry::Shared,
    run::Job,
};
use slipstream_wire::{AnswerAction, Frame, Reply, Request, Transport};
use std::{collections::BTreeSet, io, sync::Arc};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    process::{Child, ChildStderr, ChildStdin, ChildStdout},
};

/// What a start line may print before the greeting; login shells say a lot, but not this much.
pub(crate) const NOISE_MAX: usize = 1 << 20;
/// A session takes twice that from us, whether or not anybody there reads it.
const AHEAD_MAX: usize = 1 << 20;
/// Precedes the agent's first frame; what comes before it is noise of the login shell.
const GREETING: &[u8] = b"\0SLIPSTREAM-AGENT\n";
/// Comes instead if the copy of another agent can't be had.
const MORE: &[u8] = b"\0SLIPSTREAM-MORE\n";

/// A start line that runs.
pub(crate) struct Start {
    pub(crate) child: Child,
    pub(crate) stdin: ChildStdin,
    pub(crate) stdout: ChildStdout,
    pub(crate) stderr: ChildStderr,
    pub(crate) out: Vec<u8>,
    pub(crate) err: Vec<u8>,
    /// What came behind the greeting.
    pub(crate) frames: Vec<u8>,
    /// What the client has seen of `out` and `err`.
    pub(crate) shown: (usize, usize),
    /// What of that has nothing to do with the escalation.
    pub(crate) noise: Noise,
    /// What it is to begin with.
    pub(crate) copy: Option<Copy>,
    /// What was sent without a wait for the greeting.
    pub(crate) ahead: Option<Ahead>,
    /// Bytes that went in.
    written: usize,
}

/// A job that was sent behind the agent's program.
pub(crate) struct Ahead {
    /// What the agent holds by it.
    pub(crate) held: Held,
    /// What was packed goes on from there.
    pub(crate) batch: Batch,
}

/// What happened next on a start line.
pub(crate) enum Step {
    Output,
    /// The agent has greeted.
    Greeting,
    /// It asks for the whole program.
    More,
    End,
    /// The client wrote without being asked: it gives up.
    Abort,
}

impl Start {
    pub(crate) fn spawn(shared: &Shared, link: &Arc<Link>, line: &str) -> io::Result<Self> {
        let mut command = link.session_command(shared, line);
        command.stdin(std::process::Stdio::piped());
        let mut child = command.spawn()?;
        let missing = || io::Error::other("a pipe is missing");
        let stdin = child.stdin.take().ok_or_else(missing)?;
        let stdout = child.stdout.take().ok_or_else(missing)?;
        let stderr = child.stderr.take().ok_or_else(missing)?;
        Ok(Self {
            child,
            stdin,
            stdout,
            stderr,
            out: Vec::new(),
            err: Vec::new(),
            frames: Vec::new(),
            shown: (0, 0),
            noise: Noise::default(),
            copy: Copy::of_most(link),
            ahead: None,
            written: 0,
        })
    }

    /// Waits for output, its end, or the client's word.
    pub(crate) async fn step(&mut self, client: &mut Client) -> Result<Step, Error> {
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
            self.frames = self.out.split_off(from + at + GREETING.len());
            self.out.truncate(from + at);
            return Step::Greeting;
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
    pub(crate) async fn consult(&mut self, client: &mut Client) -> Result<AnswerAction, Error> {
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
            self.write(&body).await;
        } else if action == AnswerAction::Proceed {
            let out = usize::try_from(out).unwrap_or(usize::MAX).min(body.len());
            let stderr = body.split_off(out);
            self.noise = Noise { stdout: std::mem::take(&mut *body), stderr };
        }
        Ok(action)
    }

    /// Sends the agent, and a job behind it if nothing about that depends on what the agent will say: it
    /// need not wait a round trip for the greeting.
    pub(crate) async fn begin(&mut self, shared: &Shared, link: &Link, job: Option<&Job<'_>>) {
        self.send_agent(link).await;
        let knows_nothing = self.copy.is_none() && link.target_cache().is_empty();
        let Some(job) = job.filter(|job| knows_nothing && job.goes_alone()) else { return };
        if link.spec.transport == Transport::Ssh
            && let Some((ahead, bytes)) = Ahead::pack(shared, link, job).await
        {
            self.ahead = Some(ahead);
            link.bytes_up.add(bytes.len());
            self.write(&bytes).await;
        }
    }

    /// Sends the agent, or what lets it begin with a copy.
    pub(crate) async fn send_agent(&mut self, link: &Link) {
        let program = match &self.copy {
            Some(copy) => copy.program().to_vec().into(),
            None => program::whole(link.compression(), link.target_cache()),
        };
        link.bytes_up.add(program.len());
        self.write(&program).await;
    }

    /// Has a closure packed for the agent as it will be: with nothing, or with what it copies.
    pub(crate) fn prepare(&self, shared: &Shared, link: &Link, job: &Job<'_>) {
        let held = self.copy.as_ref().map_or_else(Held::default, |copy| copy.held().clone());
        let (closures, next, compression) =
            (shared.closures.clone(), Arc::clone(job.closure), link.compression());
        if !held.has(&next.digest) {
            tokio::spawn(async move { closures.bundle(&next, &held, compression).await });
        }
    }

    /// If the process has ended, its output and exit code say so better than a broken pipe.
    pub(crate) async fn write(&mut self, mut bytes: &[u8]) {
        while let Ok(count @ 1..) = self.stdin.write(bytes).await {
            self.written += count;
            bytes = &bytes[count..];
        }
    }

    /// Whether the job that was sent ahead may have reached the target: ssh reads nothing before the target
    /// has begun with the line.
    pub(crate) fn may_have_begun(&self) -> bool {
        let unread = rustix::io::ioctl_fionread(&self.stdin).unwrap_or_default();
        self.ahead.is_some() && usize::try_from(unread).is_ok_and(|unread| unread < self.written)
    }
}

impl Ahead {
    /// Returns it with its bytes; `None` if it can't be packed or is too long to be sent blindly.
    async fn pack(shared: &Shared, link: &Link, job: &Job<'_>) -> Option<(Self, Vec<u8>)> {
        let mut held = Held::default();
        let bundle = shared.closures.bundle(job.closure, &held, link.compression()).await?;
        let closure = held.take(&job.closure.digest, &bundle, &BTreeSet::new(), None);
        let frames: [Frame; 2] = [closure, job.frame(FIRST_STREAM)];
        let mut batch = Batch::new(link.compression());
        if frames.iter().map(Frame::wire_len).sum::<usize>() > AHEAD_MAX {
            return None;
        }
        frames.iter().try_for_each(|frame| batch.add(frame)).ok()?;
        let bytes = batch.take().ok()?;
        Some((Self { held, batch }, bytes))
    }
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack.windows(needle.len()).position(|window| window == needle)
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
