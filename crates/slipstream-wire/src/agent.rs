use crate::Digest;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeSet;

/// What the daemon tells an agent.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "op", rename_all = "snake_case")]
#[non_exhaustive]
pub enum ToAgent {
    /// Has the agent deflate what it sends.
    Compress {
        /// Of the shared stream.
        level: u8,
        /// Of files' content.
        files: u8,
        /// Files only while the link is slower than deflating them.
        auto: bool,
    },
    /// Brings a closure. The body is deflated, whatever the flags say: a [`ClosureHead`] in JSON, then the blobs that
    /// the agent lacks.
    Closure {
        /// The closure's id.
        digest: Digest,
        /// Bytes of the head.
        head: u64,
        /// The id of the history that ends with it, if it is to be had on the target: from the cache, and there is
        /// no body, or from `source`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        history: Option<Digest>,
        /// Who has the blobs; the body is only the head then.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        source: Option<BlobSource>,
    },
    /// Runs one module; the body holds its parameters.
    Run {
        /// The closure to run in.
        closure: Digest,
        /// The job as the controller wrote it; the daemon does not look inside.
        job: Value,
    },
    /// Does small things in the place of the shells that stock Ansible would start for them, as long as each goes
    /// well. The body holds the content of files, one after the other.
    Chores {
        /// As the controller wrote them; the daemon does not look inside.
        chores: Value,
        /// A run follows on the same stream, and answers for them. Only if they can't all be done they are answered,
        /// and the run is not begun.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        first: bool,
    },
    /// Gives a stream's job up: kills it and forgets it.
    Cancel,
    /// Starts a file towards the target; data frames follow, then [`ToAgent::PutEnd`].
    Put {
        /// Where it goes.
        path: String,
        /// Permission bits if the file is new.
        mode: u32,
    },
    /// Ends a file: the agent compares the digest and renames.
    PutEnd {
        /// Id of the whole content.
        digest: Digest,
    },
    /// Asks for a file; data frames come back, then [`FromAgent::FileEnd`].
    Fetch {
        /// What to read.
        path: String,
    },
    /// Lets the agent send that many more bytes of a file.
    Credit {
        /// Bytes taken off the link.
        bytes: u64,
    },
    /// Has the agent give what it was sent to other agents of the same target, from now on.
    Listen {
        /// Of the abstract socket that others connect to.
        name: String,
        /// What they say first.
        token: String,
    },
    /// Takes the agent out of use for good; all that is left to it is to give to others ([`ToAgent::Listen`]).
    Rest,
    /// Ends the agent when its jobs are done.
    End,
}

/// What a closure consists of. Blobs have numbers, counted from 0 in the order in which an agent got them.
#[derive(Debug, Serialize, Deserialize)]
pub struct ClosureHead {
    /// Paths inside the closure, as [`crate::pack_names`] writes them.
    pub names: String,
    /// The number of each file's blob.
    pub files: Vec<u32>,
    /// Bytes of each blob that comes along.
    pub sizes: Vec<u64>,
}

/// Another agent of the same target that has blobs.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct BlobSource {
    /// Of its socket.
    pub name: String,
    /// What it wants to hear first.
    pub token: String,
    /// Its account.
    pub uid: u32,
    /// Its own numbers of the blobs, in the order of the head's sizes.
    pub numbers: Vec<u32>,
}

/// What an agent tells the daemon.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "op", rename_all = "snake_case")]
#[non_exhaustive]
pub enum FromAgent {
    /// The first frame.
    Hello(AgentHello),
    /// Something a fresh login would notice has changed; the job was not begun.
    Stale {
        /// What changed.
        what: String,
        /// What it should have from elsewhere than the wire can't be had, or is not as it should be.
        #[serde(default)]
        damaged: bool,
    },
    /// What stands in the interpreter's place would see the task's environment, and the agent has started without
    /// it; the job was not begun.
    NeedsEnvironment,
    /// Stock has to run the module; the job was not begun.
    NeedsStock {
        /// The reason.
        why: String,
    },
    /// A module ended; the body holds the rest of its standard output, then of its standard error.
    Exit {
        /// Return code as the target's shell would give it.
        rc: i32,
        /// Bytes of the body that are standard output.
        out: u64,
        /// The chores that the job names for after the module were done.
        #[serde(default)]
        tidied: bool,
    },
    /// As many chores were done as went well.
    Chores(ChoresDone),
    /// A file has its size, mode and is coming.
    FileStart {
        /// Bytes to come.
        size: u64,
        /// Permission bits.
        mode: u32,
    },
    /// A file is whole (fetch) or in place (put).
    FileEnd {
        /// Id of the content.
        digest: Digest,
    },
    /// A file can't be read or written.
    FileError {
        /// The operating system's words.
        text: String,
    },
}

/// What became of chores.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ChoresDone {
    /// How many were done.
    pub done: u32,
    /// What the last of them has to say.
    pub said: String,
    /// Why the next one was not done; empty if all were.
    pub why: String,
}

/// An agent's greeting.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct AgentHello {
    /// Process id on the target.
    pub pid: u32,
    /// `sys.executable`.
    pub executable: String,
    /// `major.minor.micro`.
    pub python: String,
    /// Effective user id.
    pub uid: u32,
    /// It begins with what the agent that it was sent to has.
    #[serde(default)]
    pub copied: bool,
    /// It can serve a copy of itself to others.
    #[serde(default)]
    pub shares: bool,
    /// Ids of the histories whose last closure is in the target's cache.
    #[serde(default)]
    pub cached: BTreeSet<Digest>,
    /// Why it has no cache, if it should have one.
    #[serde(default)]
    pub refused: Option<String>,
}
