use crate::Error;
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    net::{RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, recv, sendmsg},
};
use slipstream_wire::{Frame, HEADER_LEN, Header, Limits};
use std::{
    io::IoSlice,
    mem::MaybeUninit,
    os::{
        fd::{AsFd, BorrowedFd},
        unix::net::UnixStream,
    },
    time::{Duration, Instant},
};

/// Bytes asked of the socket at a time; replies are mostly smaller.
const READ_CHUNK: usize = 64 << 10;

/// A connection to the daemon that carries frames.
#[derive(Debug)]
pub struct Channel {
    socket: UnixStream,
    /// What was received and is not a whole frame yet. Survives [`Error::Interrupted`].
    received: Vec<u8>,
}

impl Channel {
    /// Wraps a connected socket.
    pub fn new(socket: UnixStream) -> Self {
        Self { socket, received: Vec::new() }
    }

    /// Sends a frame, with at most one descriptor beside it.
    ///
    /// # Errors
    ///
    /// [`Error::Closed`] if the daemon has gone; then it has not acted on a part of the frame.
    pub fn send(&mut self, frame: &Frame, descriptor: Option<BorrowedFd<'_>>) -> Result<(), Error> {
        let bytes = frame.encode();
        let mut sent = 0;
        while sent < bytes.len() {
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
            let mut ancillary = SendAncillaryBuffer::new(&mut space);
            let descriptors = descriptor.as_slice();
            if sent == 0 && !descriptors.is_empty() {
                ancillary.push(SendAncillaryMessage::ScmRights(descriptors));
            }
            let part = [IoSlice::new(&bytes[sent..])];
            match sendmsg(&self.socket, &part, &mut ancillary, no_signal()) {
                Ok(n) => sent += n,
                // Half a frame can't be taken back: go on, and let the caller see the signal later.
                Err(rustix::io::Errno::INTR) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
        Ok(())
    }

    /// Waits for the next frame, until `deadline` if there is one.
    ///
    /// # Errors
    ///
    /// [`Error::Interrupted`] on a signal, after which the call may be repeated without loss.
    pub fn receive(&mut self, deadline: Option<Instant>) -> Result<Frame, Error> {
        let mut wanted = HEADER_LEN;
        loop {
            if let Some(header) = self.received.first_chunk::<HEADER_LEN>() {
                let header = Header::decode(header, Limits::LOCAL)?;
                wanted = HEADER_LEN + header.control as usize + header.body as usize;
                if self.received.len() >= wanted {
                    return Ok(self.take(header, wanted));
                }
            }
            self.wait_readable(deadline)?;
            self.read_some(wanted)?;
        }
    }

    /// Whether the daemon is still there; asked between requests, when nothing is to come.
    pub fn is_open(&self) -> bool {
        let now = Timespec { tv_sec: 0, tv_nsec: 0 };
        matches!(poll(&mut [PollFd::new(&self.socket, PollFlags::IN)], Some(&now)), Ok(0))
    }

    fn take(&mut self, header: Header, len: usize) -> Frame {
        let rest = self.received.split_off(len);
        let bytes = std::mem::replace(&mut self.received, rest);
        let body_at = HEADER_LEN + header.control as usize;
        Frame::assemble(header, bytes[HEADER_LEN..body_at].to_vec(), bytes[body_at..].to_vec())
    }

    fn wait_readable(&self, deadline: Option<Instant>) -> Result<(), Error> {
        let left = deadline.map(|d| d.saturating_duration_since(Instant::now()));
        let timeout = left.map(|d: Duration| Timespec {
            tv_sec: i64::try_from(d.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: i64::from(d.subsec_nanos()),
        });
        let mut fds = [PollFd::new(&self.socket, PollFlags::IN)];
        match poll(&mut fds, timeout.as_ref())? {
            0 => Err(Error::Timeout),
            _ => Ok(()),
        }
    }

    fn read_some(&mut self, wanted: usize) -> Result<(), Error> {
        let have = self.received.len();
        self.received.resize(have + READ_CHUNK.max(wanted.saturating_sub(have)), 0);
        let got = recv(&self.socket, &mut self.received[have..], RecvFlags::empty());
        let n = got.as_ref().map_or(0, |(n, _)| *n);
        self.received.truncate(have + n);
        match got? {
            (0, _) => Err(Error::Closed),
            _ => Ok(()),
        }
    }
}

impl AsFd for Channel {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// A peer that has gone is an error here, not a signal that ends Ansible.
fn no_signal() -> SendFlags {
    #[cfg(not(target_vendor = "apple"))]
    return SendFlags::NOSIGNAL;
    #[cfg(target_vendor = "apple")]
    return SendFlags::empty();
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn a_frame_that_comes_in_pieces_is_put_together() {
        let (a, mut b) = UnixStream::pair().expect("pair");
        let frame = Frame::message(3, &"hello", vec![7; 100_000]);
        let bytes = frame.encode();
        let writer = std::thread::spawn(move || {
            for piece in bytes.chunks(777) {
                b.write_all(piece).expect("write");
            }
        });
        assert_eq!(Channel::new(a).receive(None).expect("frame"), frame);
        writer.join().expect("writer");
    }

    #[test]
    fn a_passed_deadline_is_a_timeout() {
        let (a, _b) = UnixStream::pair().expect("pair");
        let got = Channel::new(a).receive(Some(Instant::now()));
        assert!(matches!(got, Err(Error::Timeout)));
    }

    #[test]
    fn a_closed_peer_is_told() {
        let (a, b) = UnixStream::pair().expect("pair");
        let mut channel = Channel::new(a);
        assert!(channel.is_open());
        drop(b);
        assert!(!channel.is_open());
        assert!(matches!(channel.receive(None), Err(Error::Closed)));
    }
}
