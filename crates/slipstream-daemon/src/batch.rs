//! What is put together for one write to an agent.

use crate::deflate::{self, Deflater};
use slipstream_wire::{Compression, Frame};
use std::io;

/// Bytes for one write.
pub(crate) struct Batch {
    deflater: Option<Deflater>,
    bytes: Vec<u8>,
    /// Frames for the shared stream; they come after `bytes`.
    shared: Vec<u8>,
}

impl Batch {
    pub(crate) fn new(compression: Compression) -> Self {
        let deflater = deflate::message_level(compression).map(Deflater::new);
        Self { deflater, bytes: Vec::new(), shared: Vec::new() }
    }

    /// Adds a frame: data goes as it is, since it was looked at already, and so does a secret.
    pub(crate) fn add(&mut self, frame: &Frame) -> io::Result<()> {
        if self.deflater.is_some() && !frame.data && frame.flags & (Frame::DEFLATED | Frame::ALONE) == 0 {
            self.shared.extend_from_slice(&frame.encode());
            return Ok(());
        }
        self.deflate_shared()?;
        self.bytes.extend_from_slice(&frame.encode());
        Ok(())
    }

    /// Bytes so far; those for the shared stream count as they are before they are deflated.
    pub(crate) fn size(&self) -> usize {
        self.bytes.len() + self.shared.len()
    }

    /// The bytes to write; the batch is empty then.
    pub(crate) fn take(&mut self) -> io::Result<Vec<u8>> {
        self.deflate_shared()?;
        Ok(std::mem::take(&mut self.bytes))
    }

    fn deflate_shared(&mut self) -> io::Result<()> {
        if let Some(deflater) = self.deflater.as_mut().filter(|_| !self.shared.is_empty()) {
            self.bytes.extend_from_slice(&deflater.pack(&self.shared)?);
            self.shared.clear();
        }
        Ok(())
    }
}
