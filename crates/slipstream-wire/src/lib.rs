//! Bytes to messages and back: the one frame layout that client, daemon and agent share.
//!
//! Nothing here does I/O. `docs/protocol.md` has the layout; `tests/wire` holds golden frames that
//! the Rust and the Python codec both read.

mod agent;
mod digest;
mod frame;
mod names;
mod request;
mod scan;

pub use agent::{AgentHello, BlobSource, ChoresDone, ClosureHead, FromAgent, ToAgent};
pub use digest::Digest;
pub use frame::{Frame, FrameError, HEADER_LEN, Header, Kind, Limits, WIRE_VERSION};
pub use names::pack_names;
pub use request::{
    AgentSpec, AnswerAction, ClosureFile, ClosureInfo, Compression, FileStamp, First, LinkSpec, Reply,
    Request, RunRequest, Transport,
};
pub use scan::{Collection, World};
