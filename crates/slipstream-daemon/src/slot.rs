//! The place of an agent on a link: what runs there, and what was refused.

use crate::{agent::Agent, locks::lock};
use std::{
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

/// A start that was refused is not tried again for that long.
const REFUSAL_KEPT: Duration = Duration::from_secs(30);

/// The place for one agent on a link. Its lock is held while the agent starts, so that callers who
/// want the same agent wait for one start instead of making more.
pub(crate) struct AgentSlot {
    pub(crate) starting: tokio::sync::Mutex<()>,
    state: Mutex<SlotState>,
    last_used: Mutex<Instant>,
}

impl Default for AgentSlot {
    fn default() -> Self {
        Self {
            starting: Default::default(),
            state: Default::default(),
            last_used: Mutex::new(Instant::now()),
        }
    }
}

#[derive(Default)]
struct SlotState {
    agent: Option<Arc<Agent>>,
    refused: Option<(Instant, Refusal)>,
}

/// A start line that ended without a greeting.
#[derive(Debug, Clone)]
pub(crate) struct Refusal {
    pub(crate) rc: i32,
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: Vec<u8>,
}

impl Refusal {
    /// Whether a shell had no such interpreter, or none that it may run: the next task may have put it there.
    pub(crate) fn says_missing(&self) -> bool {
        matches!(self.rc, 126 | 127)
    }
}

impl AgentSlot {
    /// The agent, if it runs.
    pub(crate) fn running(&self) -> Option<Arc<Agent>> {
        let state = lock(&self.state);
        state.agent.clone().filter(|agent| agent.takes_jobs())
    }

    /// Why the last start was refused, if that was just now.
    pub(crate) fn refused(&self) -> Option<Refusal> {
        let state = lock(&self.state);
        let (at, refusal) = state.refused.as_ref()?;
        (at.elapsed() < REFUSAL_KEPT).then(|| refusal.clone())
    }

    /// Notes that somebody wants the agent now.
    pub(crate) fn touch(&self) {
        *lock(&self.last_used) = Instant::now();
    }

    pub(crate) fn last_used(&self) -> Instant {
        *lock(&self.last_used)
    }

    pub(crate) fn fill(&self, agent: Arc<Agent>) {
        *lock(&self.state) = SlotState { agent: Some(agent), refused: None };
    }

    pub(crate) fn refuse(&self, refusal: Refusal) {
        *lock(&self.state) = SlotState { agent: None, refused: Some((Instant::now(), refusal)) };
    }
}
