//! Compression: what it costs and what it is good for differs from link to link (docs/compression.md).

use flate2::{Compress, Decompress, FlushCompress, FlushDecompress, read::ZlibDecoder, write::ZlibEncoder};
use libdeflater::{CompressionLvl, Compressor};
use slipstream_wire::{Compression, HEADER_LEN, Header, Kind};
use std::io::{self, Read, Write};

/// What a frame's deflated body may grow to; agents send half a MiB at most.
const INFLATED_MAX: usize = 2 << 20;

/// Level of bundles and of the agent, which are deflated once for all hosts.
pub(crate) fn bundle_level(compression: Compression) -> i32 {
    match compression {
        Compression::Off => 0,
        Compression::Fast => 1,
        Compression::Auto => 10,
        Compression::Best => 12,
    }
}

/// Level of the shared stream of messages.
pub(crate) fn message_level(compression: Compression) -> Option<u8> {
    match compression {
        Compression::Off => None,
        Compression::Fast => Some(1),
        Compression::Auto => Some(6),
        Compression::Best => Some(9),
    }
}

/// Level of files' content.
pub(crate) fn file_level(compression: Compression) -> Option<u8> {
    match compression {
        Compression::Off => None,
        Compression::Fast | Compression::Auto => Some(1),
        Compression::Best => Some(6),
    }
}

/// Deflates by itself; level 0 only wraps.
pub(crate) fn pack(content: &[u8], level: i32) -> Vec<u8> {
    let Ok(level) = CompressionLvl::new(level) else { return wrap(content) };
    let mut compressor = Compressor::new(level);
    let mut out = vec![0; compressor.zlib_compress_bound(content.len())];
    // The buffer has the size that always suffices.
    let size = compressor.zlib_compress(content, &mut out).unwrap_or_default();
    out.truncate(size);
    out
}

fn wrap(content: &[u8]) -> Vec<u8> {
    let mut encoder = ZlibEncoder::new(Vec::new(), flate2::Compression::none());
    // Writing into memory does not fail.
    encoder.write_all(content).and_then(|()| encoder.finish()).unwrap_or_default()
}

/// Inflates what was deflated by itself on a target.
///
/// # Errors
///
/// It is damaged, or grows beyond [`INFLATED_MAX`].
pub(crate) fn unpack(body: &[u8]) -> io::Result<Vec<u8>> {
    let mut content = Vec::new();
    ZlibDecoder::new(body).take(INFLATED_MAX as u64 + 1).read_to_end(&mut content)?;
    if content.len() > INFLATED_MAX { Err(too_large()) } else { Ok(content) }
}

fn passed(before: u64, now: u64) -> usize {
    usize::try_from(now - before).unwrap_or(usize::MAX)
}

fn too_large() -> io::Error {
    io::Error::other("a deflated frame grows beyond all bounds")
}

/// The sending end of a shared stream.
pub(crate) struct Deflater(Compress);

impl Deflater {
    pub(crate) fn new(level: u8) -> Self {
        Self(Compress::new(flate2::Compression::new(u32::from(level)), false))
    }

    /// Returns one frame with `frames`, whole ones, in it.
    pub(crate) fn pack(&mut self, frames: &[u8]) -> io::Result<Vec<u8>> {
        let mut out = Vec::with_capacity(HEADER_LEN + frames.len() / 2 + 64);
        out.resize(HEADER_LEN, 0);
        let mut rest = frames;
        loop {
            let before = self.0.total_in();
            self.0.compress_vec(rest, &mut out, FlushCompress::Sync).map_err(io::Error::other)?;
            rest = &rest[passed(before, self.0.total_in())..];
            // Room that is left says that nothing is held back.
            if rest.is_empty() && out.len() < out.capacity() {
                break;
            }
            out.reserve(out.len());
        }
        let body = u32::try_from(out.len() - HEADER_LEN).map_err(io::Error::other)?;
        let header = Header { control: 0, body, kind: Kind::Deflated, flags: 0, stream: 0 };
        out[..HEADER_LEN].copy_from_slice(&header.encode());
        Ok(out)
    }
}

/// The receiving end of a shared stream.
pub(crate) struct Inflater(Decompress);

impl Default for Inflater {
    fn default() -> Self {
        Self(Decompress::new(false))
    }
}

impl Inflater {
    /// Returns the frames in the body of a deflated one.
    ///
    /// # Errors
    ///
    /// It is damaged, or grows beyond [`INFLATED_MAX`].
    pub(crate) fn unpack(&mut self, body: &[u8]) -> io::Result<Vec<u8>> {
        let mut out = Vec::with_capacity(body.len() * 4 + 64);
        let mut rest = body;
        loop {
            let (taken, made) = (self.0.total_in(), out.len());
            self.0.decompress_vec(rest, &mut out, FlushDecompress::Sync).map_err(io::Error::other)?;
            rest = &rest[passed(taken, self.0.total_in())..];
            if out.len() > INFLATED_MAX {
                return Err(too_large());
            }
            let room = out.len() < out.capacity();
            if rest.is_empty() && room {
                return Ok(out);
            }
            if room && out.len() == made && self.0.total_in() == taken {
                return Err(io::Error::other("a deflated frame goes on behind its end"));
            }
            out.reserve(out.len());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_of_every_size_come_back_and_repeats_are_small() {
        let (mut there, mut back) = (Deflater::new(6), Inflater::default());
        let mut noise = 1u32;
        for size in [0, 1, 50, 4096, 100_000, 1 << 20] {
            let content: Vec<u8> = (0..size)
                .map(|_| {
                    noise = noise.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                    (noise >> 24) as u8
                })
                .collect();
            for _ in 0..2 {
                let frame = there.pack(&content).expect("deflated");
                assert_eq!(back.unpack(&frame[HEADER_LEN..]).expect("inflated"), content);
                let repeat = there.pack(&content[..content.len().min(4096)]).expect("deflated");
                back.unpack(&repeat[HEADER_LEN..]).expect("inflated");
                assert!(repeat.len() < 100 || size > 30_000, "{} bytes", repeat.len());
            }
        }
    }

    #[test]
    fn bombs_and_nonsense_are_refused() {
        let mut there = Deflater::new(9);
        let bomb = there.pack(&vec![0; INFLATED_MAX * 2]).expect("deflated");
        assert!(Inflater::default().unpack(&bomb[HEADER_LEN..]).is_err());
        assert!(unpack(&pack(&vec![0; INFLATED_MAX * 2], 9)).is_err());
        assert!(Inflater::default().unpack(&[0xff; 100]).is_err());
        assert!(unpack(&[0xff; 100]).is_err());
    }

    #[test]
    fn every_level_can_be_read_by_anybody() {
        for compression in [Compression::Off, Compression::Fast, Compression::Auto, Compression::Best] {
            let content = b"content ".repeat(100);
            let packed = pack(&content, bundle_level(compression));
            assert_eq!(unpack(&packed).expect("inflated"), content);
            assert_eq!(packed.len() < content.len(), compression != Compression::Off);
        }
    }
}
