use serde::{Serialize, de::DeserializeOwned};

/// The layout's version; both ends must have the same.
pub const WIRE_VERSION: u8 = 1;

/// Bytes in a frame's header: control length, body length, kind, version, flags, stream, big-endian.
pub const HEADER_LEN: usize = 16;

/// What a frame carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// A JSON control part, with an optional raw body that it describes.
    Message = 1,
    /// Raw bytes of a stream; [`Frame::STDERR`] tells module output apart.
    Data = 2,
    /// Whole frames, put through the deflate stream that the channel has in each direction.
    Deflated = 3,
}

/// The largest parts a reader accepts, checked before anything is allocated.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Bytes of the JSON part.
    pub control: u32,
    /// Bytes of the raw part.
    pub body: u32,
}

impl Limits {
    /// For frames from the same user on this machine: a module's parameters may be large.
    pub const LOCAL: Self = Self { control: 64 << 20, body: 1 << 30 };
    /// For frames from a target, which is not trusted: agents split what is longer.
    pub const AGENT: Self = Self { control: 1 << 20, body: 1 << 20 };
}

/// One frame, whole.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Frame {
    /// What it carries; `false` is a message, `true` raw data.
    pub data: bool,
    /// Bits that qualify data.
    pub flags: u16,
    /// The request on this link that it belongs to; 0 is the link itself.
    pub stream: u32,
    /// JSON text.
    pub control: Vec<u8>,
    /// Raw bytes.
    pub body: Vec<u8>,
}

/// Why bytes are not a frame.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum FrameError {
    /// The peer speaks another layout.
    #[error("frame version {0}, this side speaks {WIRE_VERSION}")]
    Version(u8),
    /// The peer sent a kind this side does not know.
    #[error("unknown frame kind {0}")]
    Kind(u8),
    /// A part is larger than this side accepts from that peer.
    #[error("frame of {control}+{body} bytes is over the limit")]
    TooLarge {
        /// Announced bytes of JSON.
        control: u32,
        /// Announced raw bytes.
        body: u32,
    },
    /// The JSON part is not the message expected here.
    #[error("bad message: {0}")]
    Message(String),
}

/// A decoded header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// Bytes of JSON that follow.
    pub control: u32,
    /// Raw bytes that follow the JSON.
    pub body: u32,
    /// What the frame carries.
    pub kind: Kind,
    /// Bits that qualify data.
    pub flags: u16,
    /// The stream it belongs to.
    pub stream: u32,
}

impl Header {
    /// Reads a header and refuses what is over `limits`.
    ///
    /// # Errors
    ///
    /// [`FrameError`], after which the peer can't be followed any more.
    pub fn decode(bytes: &[u8; HEADER_LEN], limits: Limits) -> Result<Self, FrameError> {
        let word = |at: usize| u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
        let (control, body) = (word(0), word(4));
        if bytes[9] != WIRE_VERSION {
            return Err(FrameError::Version(bytes[9]));
        }
        let kind = match bytes[8] {
            1 => Kind::Message,
            2 => Kind::Data,
            3 => Kind::Deflated,
            other => return Err(FrameError::Kind(other)),
        };
        if control > limits.control || body > limits.body {
            return Err(FrameError::TooLarge { control, body });
        }
        Ok(Self { control, body, kind, flags: u16::from_be_bytes([bytes[10], bytes[11]]), stream: word(12) })
    }

    /// Writes the header.
    pub fn encode(&self) -> [u8; HEADER_LEN] {
        let mut out = [0; HEADER_LEN];
        out[0..4].copy_from_slice(&self.control.to_be_bytes());
        out[4..8].copy_from_slice(&self.body.to_be_bytes());
        out[8] = self.kind as u8;
        out[9] = WIRE_VERSION;
        out[10..12].copy_from_slice(&self.flags.to_be_bytes());
        out[12..16].copy_from_slice(&self.stream.to_be_bytes());
        out
    }

    /// Bytes of the parts that follow.
    pub fn rest(&self) -> usize {
        self.control as usize + self.body as usize
    }
}

impl Frame {
    /// Flag on data: it is standard error, not standard output.
    pub const STDERR: u16 = 1;
    /// Flag: the body is deflated by itself.
    pub const DEFLATED: u16 = 2;
    /// Flag: it carries a secret, so neither it nor its answer goes through the shared stream, where sizes
    /// tell what is like what went before.
    pub const ALONE: u16 = 4;

    /// A message with its raw body.
    pub fn message(stream: u32, control: &impl Serialize, body: Vec<u8>) -> Self {
        let control = serde_json::to_vec(control).unwrap_or_default();
        Self { data: false, flags: 0, stream, control, body }
    }

    /// The same with these flags.
    #[must_use]
    pub fn flagged(self, flags: u16) -> Self {
        Self { flags, ..self }
    }

    /// Raw bytes of a stream.
    pub fn data(stream: u32, flags: u16, body: Vec<u8>) -> Self {
        Self { data: true, flags, stream, control: Vec::new(), body }
    }

    /// Puts a header and its parts together.
    pub fn assemble(header: Header, control: Vec<u8>, body: Vec<u8>) -> Self {
        Self { data: header.kind == Kind::Data, flags: header.flags, stream: header.stream, control, body }
    }

    /// Reads the JSON part as a message.
    ///
    /// # Errors
    ///
    /// [`FrameError::Message`] if it is another message, or raw data.
    pub fn parse<T: DeserializeOwned>(&self) -> Result<T, FrameError> {
        serde_json::from_slice(&self.control).map_err(|e| FrameError::Message(e.to_string()))
    }

    /// Writes the header.
    pub fn header(&self) -> [u8; HEADER_LEN] {
        let len = |part: &Vec<u8>| u32::try_from(part.len()).unwrap_or(u32::MAX);
        let kind = if self.data { Kind::Data } else { Kind::Message };
        let (control, body) = (len(&self.control), len(&self.body));
        Header { control, body, kind, flags: self.flags, stream: self.stream }.encode()
    }

    /// Bytes on the wire.
    pub fn wire_len(&self) -> usize {
        HEADER_LEN + self.control.len() + self.body.len()
    }

    /// Writes the whole frame.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.wire_len());
        out.extend_from_slice(&self.header());
        out.extend_from_slice(&self.control);
        out.extend_from_slice(&self.body);
        out
    }
}

impl std::fmt::Debug for Frame {
    /// Shows sizes only: parts may hold secrets.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let kind = if self.data { "data" } else { "message" };
        write!(f, "{kind} stream={} control={}B body={}B", self.stream, self.control.len(), self.body.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header_of(frame: &Frame) -> Result<Header, FrameError> {
        Header::decode(&frame.header(), Limits::AGENT)
    }

    #[test]
    fn a_frame_comes_back_as_it_went() {
        let frame = Frame::message(7, &serde_json::json!({"op": "x"}), b"body".to_vec());
        let header = header_of(&frame).expect("own header is valid");
        let bytes = frame.encode();
        let (control, body) = bytes[HEADER_LEN..].split_at(header.control as usize);
        assert_eq!(Frame::assemble(header, control.to_vec(), body.to_vec()), frame);
    }

    #[test]
    fn oversized_parts_are_refused_before_allocation() {
        let mut bytes = Frame::data(1, 0, vec![]).header();
        bytes[4..8].copy_from_slice(&u32::MAX.to_be_bytes());
        assert!(matches!(Header::decode(&bytes, Limits::AGENT), Err(FrameError::TooLarge { .. })));
    }

    #[test]
    fn unknown_kind_and_version_are_told_apart() {
        let mut bytes = Frame::data(1, 0, vec![]).header();
        bytes[8] = 9;
        assert_eq!(Header::decode(&bytes, Limits::AGENT), Err(FrameError::Kind(9)));
        bytes[9] = 200;
        assert_eq!(Header::decode(&bytes, Limits::AGENT), Err(FrameError::Version(200)));
    }

    #[test]
    fn debug_output_hides_the_content() {
        let frame = Frame::message(1, &"hunter2", b"hunter2".to_vec());
        assert!(!format!("{frame:?}").contains("hunter2"));
    }
}
