//! One client's connection: frames and descriptors in, frames out.

use crate::{error::Error, link::LinkUse};
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
use slipstream_wire::{Frame, HEADER_LEN, Header, Limits, Reply};
use std::{
    collections::VecDeque,
    io::{self, IoSliceMut},
    mem::MaybeUninit,
    os::fd::OwnedFd,
    sync::Arc,
};
use tokio::{io::Interest, net::UnixStream, sync::mpsc};
use tokio_util::sync::CancellationToken;
use tracing::debug;
use zeroize::{Zeroize as _, Zeroizing};

/// Frames of a client that may wait; it sends one request at a time.
const INBOX: usize = 4;
const READ_CHUNK: usize = 64 << 10;

/// A client that asks one thing at a time.
pub(crate) struct Client {
    socket: Arc<UnixStream>,
    inbox: mpsc::Receiver<(Frame, Option<OwnedFd>)>,
    gone: CancellationToken,
    /// The link whose control socket this client was given: it may be running a command over it.
    link: Option<LinkUse>,
}

impl Client {
    /// Takes a connection over; a task of its own reads it, so that a client's end is noticed at once.
    pub(crate) fn new(socket: UnixStream) -> Self {
        let socket = Arc::new(socket);
        let (sender, inbox) = mpsc::channel(INBOX);
        let gone = CancellationToken::new();
        let reader =
            Reader { socket: Arc::clone(&socket), received: Vec::new(), descriptors: VecDeque::new() };
        tokio::spawn(reader.run(sender, gone.clone()));
        Self { socket, inbox, gone, link: None }
    }

    /// Keeps a link from lingering out as long as this client is there, or asks for another.
    pub(crate) fn hold(&mut self, link: LinkUse) {
        self.link = Some(link);
    }

    /// The next request, with the descriptor that came beside it.
    ///
    /// # Errors
    ///
    /// [`Error::ClientGone`] at the end of the connection.
    pub(crate) async fn receive(&mut self) -> Result<(Frame, Option<OwnedFd>), Error> {
        self.inbox.recv().await.ok_or(Error::ClientGone)
    }

    /// Becomes ready when the client has closed its end.
    pub(crate) async fn left(&self) {
        self.gone.cancelled().await;
    }

    /// Is cancelled when the client has closed its end; for waits during which the client is in use.
    pub(crate) fn gone(&self) -> CancellationToken {
        self.gone.clone()
    }

    /// Sends a reply.
    pub(crate) async fn reply(&self, reply: &Reply, body: Vec<u8>) -> Result<(), Error> {
        self.send(&Frame::message(0, reply, body)).await
    }

    /// Sends a reply whose body is a secret.
    pub(crate) async fn reply_secret(&self, reply: &Reply, secret: &[u8]) -> Result<(), Error> {
        let mut frame = Frame::message(0, reply, secret.to_vec());
        let sent = self.send(&frame).await;
        frame.body.zeroize();
        sent
    }

    /// Sends a frame.
    pub(crate) async fn send(&self, frame: &Frame) -> Result<(), Error> {
        // It may be a secret.
        let bytes = Zeroizing::new(frame.encode());
        let mut sent = 0;
        while sent < bytes.len() {
            self.socket.writable().await?;
            match self.socket.try_write(&bytes[sent..]) {
                Ok(n) => sent += n,
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
                Err(_) => return Err(Error::ClientGone),
            }
        }
        Ok(())
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.gone.cancel();
    }
}

struct Reader {
    socket: Arc<UnixStream>,
    received: Vec<u8>,
    descriptors: VecDeque<OwnedFd>,
}

impl Reader {
    async fn run(mut self, inbox: mpsc::Sender<(Frame, Option<OwnedFd>)>, gone: CancellationToken) {
        loop {
            let next = tokio::select! {
                next = self.frame() => next,
                () = gone.cancelled() => return,
            };
            match next {
                Ok(frame) => {
                    let descriptor = self.descriptors.pop_front();
                    if inbox.send((frame, descriptor)).await.is_err() {
                        break;
                    }
                }
                Err(error) => {
                    if !matches!(error, Error::ClientGone) {
                        debug!(%error, "client cut off");
                    }
                    break;
                }
            }
        }
        gone.cancel();
    }

    async fn frame(&mut self) -> Result<Frame, Error> {
        let mut wanted = HEADER_LEN;
        loop {
            if let Some(header) = self.received.first_chunk::<HEADER_LEN>() {
                let header = Header::decode(header, Limits::LOCAL)?;
                let body_at = HEADER_LEN + header.control as usize;
                wanted = body_at + header.body as usize;
                if self.received.len() >= wanted {
                    let rest = self.received.split_off(wanted);
                    let bytes = Zeroizing::new(std::mem::replace(&mut self.received, rest));
                    return Ok(Frame::assemble(
                        header,
                        bytes[HEADER_LEN..body_at].to_vec(),
                        bytes[body_at..].to_vec(),
                    ));
                }
            }
            let room = READ_CHUNK.max(wanted.saturating_sub(self.received.len()).min(READ_CHUNK * 16));
            self.fill(room).await?;
        }
    }

    async fn fill(&mut self, room: usize) -> Result<(), Error> {
        let have = self.received.len();
        self.received.resize(have + room, 0);
        let outcome = loop {
            self.socket.readable().await?;
            let got = self.socket.try_io(Interest::READABLE, || {
                receive_with_descriptors(&self.socket, &mut self.received[have..], &mut self.descriptors)
            });
            match got {
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
                other => break other,
            }
        };
        self.received.truncate(have + *outcome.as_ref().unwrap_or(&0));
        match outcome {
            Ok(0) | Err(_) => Err(Error::ClientGone),
            Ok(_) => Ok(()),
        }
    }
}

fn receive_with_descriptors(
    socket: &UnixStream,
    buffer: &mut [u8],
    descriptors: &mut VecDeque<OwnedFd>,
) -> io::Result<usize> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(4))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    #[cfg(target_os = "linux")]
    let flags = RecvFlags::CMSG_CLOEXEC;
    #[cfg(not(target_os = "linux"))]
    let flags = RecvFlags::empty();
    let got = recvmsg(socket, &mut [IoSliceMut::new(buffer)], &mut ancillary, flags)?;
    for message in ancillary.drain() {
        if let RecvAncillaryMessage::ScmRights(received) = message {
            descriptors.extend(received);
        }
    }
    Ok(got.bytes)
}
