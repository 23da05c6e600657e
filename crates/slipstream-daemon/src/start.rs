//! A start line that runs: what goes into it, and what comes out of it.

use crate::{
    agent::Noise, ahead::Ahead, closures::Held, connection::Client, copies::Copy, error::Error, link::Link,
    program, registry::Shared, run::Job,
};
use slipstream_wire::{AnswerAction, Reply, Request};
use std::{io, sync::Arc};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    process::{Child, ChildStderr, ChildStdin, ChildStdout},
};
use tokio_util::sync::CancellationToken;

/// What a start line may print before the greeting; login shells say a lot, but not this much.
pub(crate) const NOISE_MAX: usize = 1 << 20;
/// Precedes the agent's first frame; what comes before it is noise of the login shell.
const GREETING: &[u8] = b"\0SLIPSTREAM-AGENT\n";
/// Comes instead if the copy of another agent can't be had.
const MORE: &[u8] = b"\0SLIPSTREAM-MORE\n";

/// A start line that runs.
pub(crate) struct Start {
    pub(crate) child: Child,
    /// Closed while its end is waited for.
    pub(crate) stdin: Option<ChildStdin>,
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
    /// Cancelled when something was.
    pub(crate) went_ahead: CancellationToken,
    /// Bytes of that which nobody takes any more.
    unsent: usize,
}

/// What happened next on a start line.
pub(crate) enum Step {
    Output,
    /// The agent has greeted.
    Greeting,
    /// It asks for the whole program.
    More,
    /// There is no end to what is printed.
    TooMuch,
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
            stdin: Some(stdin),
            stdout,
            stderr,
            out: Vec::new(),
            err: Vec::new(),
            frames: Vec::new(),
            shown: (0, 0),
            noise: Noise::default(),
            copy: Copy::of_most(link),
            ahead: None,
            went_ahead: CancellationToken::new(),
            unsent: 0,
        })
    }

    /// Waits for output, its end, or the client's word.
    pub(crate) async fn step(&mut self, client: &mut Client) -> Result<Step, Error> {
        let out_before = self.out.len();
        tokio::select! {
            biased;
            read = self.stderr.read_buf(&mut self.err) => {
                self.err.truncate(NOISE_MAX);
                if read.unwrap_or_default() == 0 {
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
        if self.out.len() == before {
            return Step::End;
        }
        if self.out.len() > NOISE_MAX && self.ahead.is_none() {
            return Step::TooMuch;
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
            _ => {
                // Stock can't take over when a job has gone ahead, so the greeting is waited for.
                if self.out.len() > 2 * NOISE_MAX {
                    self.out.drain(NOISE_MAX..self.out.len() - GREETING.len());
                }
                Step::Output
            }
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
        if self.copy.is_none()
            && let Some((ahead, bytes)) = Ahead::pack(shared, link, job).await
        {
            self.ahead = Some(ahead);
            self.went_ahead.cancel();
            self.unsent = bytes.len();
            link.bytes_up.add(bytes.len());
            self.unsent -= self.write(&bytes).await;
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

    /// Returns how many bytes were taken. If not all, the process has ended, and its output and exit code say so
    /// better than a broken pipe.
    pub(crate) async fn write(&mut self, bytes: &[u8]) -> usize {
        let mut taken = 0;
        while let Some(stdin) = self.stdin.as_mut().filter(|_| taken < bytes.len()) {
            match stdin.write(&bytes[taken..]).await {
                Ok(count @ 1..) => taken += count,
                _ => break,
            }
        }
        taken
    }

    /// Whether ssh has taken the whole of the job that was sent ahead, so that it may run. Where nobody can
    /// tell (macOS), it has.
    pub(crate) fn may_have_begun(&self) -> bool {
        let unread = self.stdin.as_ref().and_then(|stdin| rustix::io::ioctl_fionread(stdin).ok());
        self.ahead.is_some() && self.unsent == 0 && unread.unwrap_or_default() == 0
    }
}

pub(crate) fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
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
