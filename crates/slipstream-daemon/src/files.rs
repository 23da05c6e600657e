//! Files to and from a target, through an agent of the login account.

use crate::{agent::Stream, connection::Client, deflate, error::Error, registry::Shared};
use sha2::{Digest as _, Sha256};
use slipstream_wire::{Compression, Digest, Frame, FromAgent, Reply, ToAgent};
use std::{
    fs::File,
    io::{self, Read, Write},
    os::fd::OwnedFd,
    sync::Arc,
};

/// Bytes read, sent and written at a time.
const CHUNK: usize = 128 << 10;
/// Bytes taken off the link that are worth a word to the agent, which lets many times as many be under way.
const CREDIT_MIN: u64 = 256 << 10;
/// Chunks that go as they are after one that showed that deflating does not pay.
const SKIP: u32 = 63;

/// How a transfer ended, if not well.
enum Trouble {
    /// The target says no.
    Failed(String),
    /// This machine says no.
    Here(String),
    /// The link or the agent went away.
    Lost,
}

/// Sends the file behind `descriptor` to `path`.
pub(crate) async fn put(
    shared: &Arc<Shared>,
    client: &Client,
    names: (&str, &str, &str),
    mode: u32,
    descriptor: OwnedFd,
) -> Result<(), Error> {
    transfer(shared, client, names, async |stream, path| {
        send_file(stream, path, mode, File::from(descriptor)).await
    })
    .await
}

/// Fetches `path` into the file behind `descriptor`.
pub(crate) async fn fetch(
    shared: &Arc<Shared>,
    client: &Client,
    names: (&str, &str, &str),
    descriptor: OwnedFd,
) -> Result<(), Error> {
    transfer(shared, client, names, async |stream, path| {
        receive_file(stream, path, File::from(descriptor)).await
    })
    .await
}

/// Moves a file on a stream of its own; `names` are those of the link, the path and the run.
async fn transfer(
    shared: &Arc<Shared>,
    client: &Client,
    names: (&str, &str, &str),
    moving: impl AsyncFnOnce(&mut Stream, &str) -> Result<(u64, u32), Trouble>,
) -> Result<(), Error> {
    let (link, path, run) = names;
    let Some((mut stream, _used)) = login_stream(shared, link) else {
        return client.reply(&Reply::NoAgent, vec![]).await;
    };
    let cancelled = shared.run_token(run);
    let outcome = tokio::select! {
        outcome = moving(&mut stream, path) => outcome,
        () = client.left() => return Err(Error::ClientGone),
        () = cancelled.cancelled() => return Err(Error::ClientGone),
    };
    finish(client, stream, outcome).await
}

fn login_stream(shared: &Shared, link: &str) -> Option<(Stream, crate::link::LinkUse)> {
    let link = shared.link(link)?;
    let agent = link.login_agent()?;
    Some((agent.open_stream(), link.enter()))
}

async fn finish(
    client: &Client,
    mut stream: Stream,
    outcome: Result<(u64, u32), Trouble>,
) -> Result<(), Error> {
    let reply = match outcome {
        Ok((size, mode)) => {
            stream.finish();
            Reply::File { size, mode }
        }
        // The stream is dropped unfinished: the agent removes what it has of the file.
        Err(Trouble::Failed(message)) => Reply::Failed { message },
        Err(Trouble::Here(message)) => Reply::FailedHere { message },
        Err(Trouble::Lost) => {
            Reply::Lost { message: "the connection to the agent was lost during the transfer".into() }
        }
    };
    client.reply(&reply, vec![]).await
}

async fn send_file(stream: &mut Stream, path: &str, mode: u32, file: File) -> Result<(u64, u32), Trouble> {
    let start = ToAgent::Put { path: path.into(), mode };
    if !stream.tell(&start, vec![]).await {
        return Err(Trouble::Lost);
    }
    let agent = Arc::clone(&stream.agent);
    let mut source = Some(Source::new(file, agent.compression()));
    let (sent, digest) = loop {
        let Some(mut reading) = source.take() else { return Err(Trouble::Lost) };
        let deflating = reading.deflates(agent.backlog());
        // The file may be a pipe that stands still; the link may break meanwhile.
        let (chunk, flags, rest) = tokio::select! {
            read = blocking(move || reading.read(deflating).map(|(chunk, flags)| (chunk, flags, reading))) => read?,
            event = stream.next() => return Err(refusal(event)),
        };
        if chunk.is_empty() {
            break (rest.read, Digest::from_bytes(&rest.hash.finalize()));
        }
        source = Some(rest);
        let frame = Frame::data(stream.id, flags, chunk);
        // A full disk is told at once; there is no point in sending the rest.
        tokio::select! {
            biased;
            event = stream.next() => return Err(refusal(event)),
            ok = agent.send(frame) => if !ok { return Err(Trouble::Lost) },
        }
    };
    if !stream.tell(&ToAgent::PutEnd { digest }, vec![]).await {
        return Err(Trouble::Lost);
    }
    match stream.next().await.map(|frame| frame.parse()) {
        Some(Ok(FromAgent::FileEnd { .. })) => Ok((sent, mode)),
        Some(Ok(FromAgent::FileError { text })) => Err(Trouble::Failed(text)),
        _ => Err(Trouble::Lost),
    }
}

async fn receive_file(stream: &mut Stream, path: &str, file: File) -> Result<(u64, u32), Trouble> {
    if !stream.tell(&ToAgent::Fetch { path: path.into() }, vec![]).await {
        return Err(Trouble::Lost);
    }
    let (size, mode) = match stream.next().await {
        Some(frame) => match frame.parse() {
            Ok(FromAgent::FileStart { size, mode }) => (size, mode),
            _ => return Err(refusal(Some(frame))),
        },
        None => return Err(Trouble::Lost),
    };
    // As sftp, which does not touch what is there before it knows that something comes.
    let file = blocking(move || emptied(file)).await?;
    let (mut file, mut hash, mut received, mut taken) = (file, Sha256::new(), 0, 0);
    loop {
        let frame = stream.next().await.ok_or(Trouble::Lost)?;
        if !frame.data {
            let Ok(FromAgent::FileEnd { digest }) = frame.parse() else { return Err(refusal(Some(frame))) };
            if digest != Digest::from_bytes(&hash.finalize()) {
                return Err(Trouble::Failed(format!("{path} changed on its way: its digest is another")));
            }
            tracing::trace!(size, received, "file fetched");
            return Ok((received, mode));
        }
        taken += frame.body.len() as u64;
        let deflated = frame.flags & Frame::DEFLATED != 0;
        (file, hash, received) = blocking(move || {
            let content = if deflated { deflate::unpack(&frame.body)? } else { frame.body };
            hash.update(&content);
            file.write_all(&content)?;
            Ok((file, hash, received + content.len() as u64))
        })
        .await?;
        if taken < CREDIT_MIN {
            continue;
        }
        if !stream.tell(&ToAgent::Credit { bytes: taken }, vec![]).await {
            return Err(Trouble::Lost);
        }
        taken = 0;
    }
}

fn emptied(file: File) -> io::Result<File> {
    if file.metadata()?.is_file() {
        file.set_len(0)?;
    }
    Ok(file)
}

fn refusal(event: Option<Frame>) -> Trouble {
    match event.map(|frame| frame.parse()) {
        Some(Ok(FromAgent::FileError { text })) => Trouble::Failed(text),
        Some(_) => Trouble::Failed("the agent's answer makes no sense".into()),
        None => Trouble::Lost,
    }
}

/// A file on its way to a target.
struct Source {
    file: File,
    hash: Sha256,
    read: u64,
    level: Option<u8>,
    /// What shrinks a little is deflated only while the link is slower than that.
    auto: bool,
    last: Shrinking,
    /// Chunks until the next that is deflated only to see.
    skip: u32,
}

/// What deflating did to a chunk.
#[derive(Clone, Copy, PartialEq)]
enum Shrinking {
    /// It pays on any link: bytes that ssh does not have to encrypt.
    Much,
    Little,
    Nothing,
}

impl Shrinking {
    fn of(before: usize, after: usize) -> Self {
        if after <= before / 2 {
            Self::Much
        } else if after <= before - before / 16 {
            Self::Little
        } else {
            Self::Nothing
        }
    }
}

impl Source {
    fn new(file: File, compression: Compression) -> Self {
        let level = deflate::file_level(compression);
        let auto = compression == Compression::Auto;
        Self { file, hash: Sha256::new(), read: 0, level, auto, last: Shrinking::Much, skip: 0 }
    }

    /// Tells whether to deflate the next chunk. What waits for the wire measures the link against us.
    fn deflates(&mut self, (waiting, room): (usize, usize)) -> Option<u8> {
        if self.skip == 0 {
            return self.level;
        }
        self.skip -= 1;
        self.level.filter(|_| self.last == Shrinking::Little && waiting >= room / 2)
    }

    /// Reads a chunk, empty at the end, with its frame's flags.
    fn read(&mut self, deflating: Option<u8>) -> io::Result<(Vec<u8>, u16)> {
        let mut chunk = vec![0; CHUNK];
        let n = self.file.read(&mut chunk)?;
        chunk.truncate(n);
        self.hash.update(&chunk);
        self.read += n as u64;
        let Some(level) = deflating.filter(|_| n > 0) else { return Ok((chunk, 0)) };
        let packed = deflate::pack(&chunk, i32::from(level));
        self.last = Shrinking::of(n, packed.len());
        if self.last == Shrinking::Nothing || (self.last == Shrinking::Little && self.auto && self.skip == 0)
        {
            self.skip = SKIP;
        }
        Ok(if self.last == Shrinking::Nothing { (chunk, 0) } else { (packed, Frame::DEFLATED) })
    }
}

/// Runs file work beside the event loop: a slow disk must not hold other hosts up.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> Result<T, Trouble> {
    match tokio::task::spawn_blocking(work).await {
        Ok(outcome) => outcome.map_err(local),
        Err(_) => Err(Trouble::Failed("the transfer was broken off".into())),
    }
}

fn local(error: io::Error) -> Trouble {
    Trouble::Here(format!("on this machine: {error}"))
}
