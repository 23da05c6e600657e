//! How a start line ends under its agent.

use std::{os::unix::process::ExitStatusExt, time::Duration};
use tokio::{process::Child, time::timeout};

/// A start line ends at once when its agent is killed.
const DEATH_DEADLINE: Duration = Duration::from_secs(2);
/// What a shell adds to the number of the signal that has ended a command.
const KILLED_BY: i32 = 128;

/// What a start line says on standard error after the greeting, once it has ended.
pub(crate) type LastWords = tokio::task::JoinHandle<Vec<u8>>;

/// How a start line ended under its agent: as a command's that somebody has killed.
#[derive(Debug)]
pub(crate) struct Death {
    pub(crate) rc: i32,
    /// What was said of it since the greeting.
    pub(crate) stderr: Vec<u8>,
}

impl Death {
    /// Waits for a start line whose output has ended; nothing if no signal has ended what it ran.
    pub(crate) async fn of(child: &mut Child, last_words: LastWords) -> Option<Self> {
        let ended = async { (child.wait().await, last_words.await) };
        let (status, words) = timeout(DEATH_DEADLINE, ended).await.ok()?;
        let status = status.ok()?;
        let rc = status.code().or_else(|| status.signal().map(|number| KILLED_BY + number))?;
        // 255 is ssh's own failure.
        (KILLED_BY + 1..255).contains(&rc).then(|| Self { rc, stderr: words.unwrap_or_default() })
    }
}
