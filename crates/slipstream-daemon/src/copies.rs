//! Lets a new agent begin with what another agent of the same target was sent, so that it crosses
//! the wire once. The new one takes nothing on trust: it checks digests that the daemon tells it.

use crate::{agent::Agent, askpass::random_hex, closures::Held, link::Link, program};
use slipstream_wire::{Frame, ToAgent};
use std::sync::{Arc, atomic::Ordering::Relaxed};

/// A copy that is on offer.
pub(crate) struct Copy {
    holder: Arc<Agent>,
    held: Held,
    program: Vec<u8>,
}

impl Copy {
    /// Has the agent that was sent most offer itself, if there is one that can.
    pub(crate) fn offer(link: &Link) -> Option<Self> {
        if link.no_copies.load(Relaxed) {
            return None;
        }
        let holder = most_sent(link.agents().into_iter())?;
        // What is in the outbox arrives before the offer does.
        let held = holder.held.try_lock().ok()?.clone();
        let (name, token) = (format!("slipstream-{}", random_hex()), random_hex());
        let program = program::copying(
            (&name, &token, holder.hello.uid),
            held.history(),
            link.compression(),
            link.target_cache(),
        );
        let told = holder.try_send(Frame::message(0, &ToAgent::Serve { name, token }, vec![]));
        told.then_some(Self { holder, held, program })
    }

    /// What the new agent's first stage reads.
    pub(crate) fn program(&self) -> &[u8] {
        &self.program
    }

    /// Returns what the new agent holds, by what it says of the copy.
    pub(crate) fn taken(self, copied: bool) -> Held {
        if !copied {
            return Held::default();
        }
        if self.holder.is_resting() {
            self.holder.end();
        }
        self.held
    }
}

/// Puts the one of a run's agents to rest that has most to give, if nobody else has as much; the
/// others end.
///
/// Only root's: no other account can be removed while a process of it lives.
pub(crate) fn keep_one(link: &Link, done: &[Arc<Agent>]) {
    let is_done = |agent: &Arc<Agent>| done.iter().any(|other| Arc::ptr_eq(agent, other));
    let others: Vec<_> = link.agents().into_iter().filter(|agent| !is_done(agent)).collect();
    let enough = most_sent(others.iter().cloned()).map_or(0, |other| other.held_bytes());
    let best = most_sent(done.iter().filter(|agent| agent.hello.uid == 0).cloned())
        .filter(|best| !link.no_copies.load(Relaxed) && best.held_bytes() > enough);
    for agent in done {
        match &best {
            Some(best) if Arc::ptr_eq(best, agent) => best.rest(),
            _ => agent.end(),
        }
    }
    if best.is_some() {
        others.iter().filter(|other| other.is_resting()).for_each(|other| other.end());
    }
}

fn most_sent(agents: impl Iterator<Item = Arc<Agent>>) -> Option<Arc<Agent>> {
    agents.filter(|agent| agent.is_alive() && agent.hello.shares).max_by_key(|agent| agent.held_bytes())
}
