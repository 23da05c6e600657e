use crate::{ChoresDone, Digest, World};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;

/// How a link reaches its target.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Transport {
    /// Through one ssh master.
    Ssh,
    /// A child of the daemon.
    Local,
}

/// Everything needed to open a link. A secret comes in the frame's body, never here.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct LinkSpec {
    /// The link's identity: a digest of all below and of the secret, made by the client.
    pub key: String,
    /// How.
    pub transport: Transport,
    /// The name people know it by.
    pub host: String,
    /// ssh's argument vector up to and without the destination; for a local link the shell.
    pub argv: Vec<String>,
    /// ssh's argument vector to find a master of the user's own by, which is used if there is one; empty for none.
    #[serde(default)]
    pub masters: Vec<String>,
    /// The environment of the calling process.
    pub env: BTreeMap<String, String>,
    /// Working directory, for local agents.
    pub cwd: String,
    /// File mode creation mask, for local agents.
    pub umask: u32,
    /// Seconds that an unused link stays open.
    pub linger: f64,
    /// How much to deflate.
    pub compression: Compression,
    /// The folder on the target that keeps what was sent; empty for none.
    #[serde(default)]
    pub target_cache: String,
    /// Text that a prompt must contain to be answered with the secret; absent without a secret.
    pub prompt: Option<String>,
    /// Whether a second question means that the secret is wrong, as sshpass has it; otherwise ssh decides.
    pub ask_once: bool,
}

/// How much a link deflates: bundles, messages, files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Compression {
    /// Nothing.
    Off,
    /// Everything that shrinks, at little cost.
    Fast,
    /// Everything that shrinks, as small as can be.
    Best,
    /// Files only while the link is slower than deflating them.
    Auto,
}

/// Which agent a request wants and how to start it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct AgentSpec {
    /// The agent's identity on its link.
    pub key: String,
    /// The command line that the target's login shell runs to start it.
    pub line: String,
    /// Whether a become plugin wrote the line: the client must watch the start, and the agent ends with the run.
    pub become_started: bool,
    /// The key under which interpreter discovery has just started this very agent.
    #[serde(default)]
    pub discovered: Option<String>,
}

/// One module call.
#[derive(Debug, Serialize, Deserialize)]
pub struct RunRequest {
    /// The link to use.
    pub link: String,
    /// The agent to use.
    pub agent: AgentSpec,
    /// The module's closure.
    pub closure: Digest,
    /// For the agent, not read here.
    pub job: Value,
    /// The run (one `ansible-playbook`) this belongs to.
    pub run: String,
    /// Its parameters or its result are secret.
    #[serde(default)]
    pub private: bool,
    /// Ends other idle agents first: they would stand in the module's way.
    #[serde(default)]
    pub evict: bool,
    /// What its agent does first.
    #[serde(default)]
    pub first: Option<First>,
}

impl RunRequest {
    /// Bytes of the body that come before the parameters.
    pub fn content_size(&self) -> usize {
        self.first.as_ref().map_or(0, |first| usize::try_from(first.size).unwrap_or(usize::MAX))
    }
}

/// Chores that a module needs done.
#[derive(Debug, Serialize, Deserialize)]
pub struct First {
    /// For the agent, not read here.
    pub chores: Value,
    /// Bytes of the content of their files.
    pub size: u64,
}

/// What a client asks.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "op", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Request {
    /// The first message on every connection.
    Hello {
        /// The wheel's version, and behind a `+` which of its builds it is.
        version: String,
    },
    /// Stays open as long as a run lives; its end ends the run's jobs and privileged agents.
    Lease {
        /// The run.
        run: String,
    },
    /// Opens a link, or joins one that is open or opening. The body holds the secret.
    Link(Box<LinkSpec>),
    /// Runs a module. The body holds the content of the files that come before it, then its parameters.
    Run(Box<RunRequest>),
    /// Runs interpreter discovery's command line, which ends as an agent by the interpreter it finds. The body is
    /// a program that the line reads before the agent.
    Discover {
        /// The link to use.
        link: String,
        /// The agent, under a key of its own.
        agent: AgentSpec,
    },
    /// Answers [`Reply::Prompt`]. The body holds the secret for [`AnswerAction::Send`]; for
    /// [`AnswerAction::Proceed`] what was printed that has nothing to do with the escalation.
    Answer {
        /// What to do.
        action: AnswerAction,
        /// Bytes of the body that were on standard output.
        #[serde(default)]
        out: u64,
    },
    /// Asks for a cached closure.
    ClosureFind {
        /// What the controller computed it from.
        key: String,
        /// The run that asks: within one, a module's files are looked at once, as stock does.
        run: String,
        /// The module's full name: what a run has found under it stays, whatever becomes of its file.
        name: String,
    },
    /// Asks for a closure to be found and stored; the body holds the module's source.
    ClosureScan {
        /// What the controller computes it from.
        key: String,
        /// The run that asks.
        run: String,
        /// The module's full name.
        name: String,
        /// What the controller wants back with the closure; `zip` is added.
        meta: serde_json::Map<String, Value>,
        /// Where utilities are.
        world: Box<World>,
    },
    /// Stores a closure; the body holds the blobs in the order of the files.
    ClosureStore {
        /// What the controller computed it from.
        key: String,
        /// The run that it is for.
        run: String,
        /// The module's full name.
        name: String,
        /// The closure.
        closure: ClosureInfo,
    },
    /// Sends the file whose descriptor comes along.
    Put {
        /// The link to use.
        link: String,
        /// Where it goes.
        path: String,
        /// Permission bits if the file is new.
        mode: u32,
        /// The run this belongs to.
        run: String,
    },
    /// Fetches a file into the descriptor that comes along.
    Fetch {
        /// The link to use.
        link: String,
        /// What to read.
        path: String,
        /// The run this belongs to.
        run: String,
    },
    /// Does small things on an agent of the login account. The body holds the content of files.
    Chores {
        /// The link to use.
        link: String,
        /// The shell that has to have started it, as its line says it; empty for any.
        shell: String,
        /// What to start if no such agent runs.
        agent: Option<AgentSpec>,
        /// For the agent, not read here.
        chores: Value,
        /// The run this belongs to.
        run: String,
    },
    /// Ends a link with all its agents.
    Reset {
        /// The link.
        link: String,
    },
    /// Ends idle agents that would stand in the way of a command that is about to run.
    Evict {
        /// The link that it runs on.
        link: String,
    },
    /// Counts a task that ran through stock Ansible.
    Stock {
        /// Why.
        reason: String,
    },
    /// Counts bytes that stock's ssh has moved over a link, past the daemon.
    Moved {
        /// The link.
        link: String,
        /// To the target.
        up: usize,
        /// From it.
        down: usize,
    },
    /// Asks what is up.
    Status,
    /// Changes the log level.
    Log {
        /// `off`, `error`, `warn`, `info`, `debug` or `trace`.
        level: String,
    },
    /// Ends the daemon.
    Stop,
    /// From the askpass helper that ssh started.
    Askpass {
        /// Names the attempt.
        nonce: String,
        /// ssh's words.
        prompt: String,
    },
}

/// What a client decides about an agent's start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AnswerAction {
    /// Wait for more output.
    Wait,
    /// Write the body to the start line's standard input.
    Send,
    /// Escalation succeeded: send the agent.
    Proceed,
    /// Give the start up.
    Abort,
}

/// A closure as the controller knows it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ClosureInfo {
    /// Id of the sorted list of paths and content ids.
    pub digest: Digest,
    /// Its files.
    pub files: Vec<ClosureFile>,
    /// What the controller wants back with it.
    pub meta: Value,
    /// The cached closure holds as long as all these files look the same.
    pub stamps: Vec<FileStamp>,
}

/// A file of a closure.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ClosureFile {
    /// Path inside the closure.
    pub path: String,
    /// Content id.
    pub digest: Digest,
    /// Bytes.
    pub len: u64,
}

/// How a file or folder looked when a closure was made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileStamp {
    /// Absolute path.
    pub path: String,
    /// Time of the last change, of the content or of the file itself, in nanoseconds since 1970; -1 where
    /// there was nothing.
    pub ctime_ns: i64,
    /// Bytes; 0 for folders.
    pub size: u64,
}

/// What the daemon answers.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "op", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Reply {
    /// Answers the greeting.
    Welcome {
        /// The daemon's, as in `Hello`.
        version: String,
        /// Its process.
        pid: u32,
        /// Goes into digests of secrets; new with every daemon.
        salt: String,
        /// As whoever has started it describes what it has from there: namespaces, privileges.
        #[serde(default)]
        surroundings: String,
    },
    /// The daemon is of another version or build and makes room: connect again.
    Retiring {
        /// The daemon's, as in `Hello`.
        version: String,
    },
    /// Done, nothing to say.
    Done,
    /// The link is open. The body is what ssh said on its way, for the first who asks.
    Linked {
        /// ssh's control socket; empty for local links.
        control_path: String,
        /// Whether the master there is one of the user's.
        is_users: bool,
    },
    /// The daemon does not know that link: open it.
    NeedLink,
    /// The daemon does not know that closure: store it.
    NeedClosure,
    /// Only with what the controller knows of these collections can the closure be found.
    NeedCollections {
        /// Their names: `namespace.name`.
        names: Vec<String>,
    },
    /// Only stock Ansible can find that closure.
    AskStock {
        /// Why.
        why: String,
    },
    /// No agent of the login account runs on that link.
    NoAgent,
    /// An agent's start printed something: the body holds new standard output, then standard error.
    Prompt {
        /// Bytes of the body that are standard output.
        out: u64,
    },
    /// A module ended, as [`crate::FromAgent::Exit`].
    Exit {
        /// Return code.
        rc: i32,
        /// Bytes of the body that are standard output.
        out: u64,
        /// The chores that the job names for after the module were done.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        tidied: bool,
    },
    /// The start line ended without an agent's greeting; nothing ran. The body is its output.
    Refused {
        /// Its return code.
        rc: i32,
        /// Bytes of the body that are standard output.
        out: u64,
    },
    /// The agent has to be started with the job's environment; nothing ran.
    NeedsEnvironment,
    /// Stock has to run the module; nothing ran.
    NeedsStock {
        /// The reason.
        why: String,
    },
    /// No link; nothing ran. The body is ssh's standard error.
    Unreachable {
        /// ssh's return code.
        rc: i32,
        /// The password was asked for a second time.
        denied: bool,
    },
    /// The link or the agent went away after the request was sent.
    Lost {
        /// What is known.
        message: String,
    },
    /// A closure that the daemon has.
    Closure {
        /// Its id.
        digest: Digest,
        /// What the controller wanted back with it.
        meta: Value,
    },
    /// What became of chores; in the place of a module's result, the module was not begun. The body holds what every
    /// command there begins with.
    Chores {
        /// As the agent says.
        #[serde(flatten)]
        outcome: ChoresDone,
        /// Bytes of the body that are standard output.
        out: u64,
    },
    /// A file went through.
    File {
        /// Bytes.
        size: u64,
        /// Permission bits on the target.
        mode: u32,
    },
    /// What is up, as `slipstream status --json` shows it.
    Status {
        /// The report.
        report: Value,
    },
    /// The secret is in the body.
    Secret,
    /// The request can't be done.
    Failed {
        /// Why.
        message: String,
    },
    /// A file can't be moved because of its side on the controller.
    FailedHere {
        /// Why.
        message: String,
    },
}
