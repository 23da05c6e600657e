//! Lets an agent have what another agent of the same target was sent, when it starts and later, so that it
//! crosses the wire once. It takes nothing on trust: it checks digests that the daemon tells it.

use crate::{
    agent::Agent,
    askpass::random_hex,
    closures::{Bundle, Held},
    link::Link,
    program,
};
use slipstream_wire::{BlobSource, Frame, ToAgent};
use std::sync::{Arc, atomic::Ordering::Relaxed};

/// Less is sent without asking another agent.
const ASKED_FOR: usize = 2048;

/// Where an agent gives what it has to others.
pub(crate) struct Listener {
    name: String,
    token: String,
}

impl Listener {
    /// Has an agent that has just started listen, if it can.
    pub(crate) fn open(agent: &Agent, link: &Link) -> Option<Self> {
        if !agent.hello.shares || link.no_copies.load(Relaxed) {
            return None;
        }
        let (name, token) = (format!("slipstream-{}", random_hex()), random_hex());
        let message = ToAgent::Listen { name: name.clone(), token: token.clone() };
        agent.try_send(Frame::message(0, &message, vec![])).then_some(Self { name, token })
    }
}

/// A copy that is on offer.
pub(crate) struct Copy {
    holder: Arc<Agent>,
    held: Held,
    program: Vec<u8>,
}

impl Copy {
    /// Takes the agent that was sent most, if there is one that listens.
    pub(crate) fn of_most(link: &Link) -> Option<Self> {
        if link.no_copies.load(Relaxed) {
            return None;
        }
        let holder = most_sent(link.agents().into_iter())?;
        let Listener { name, token } = holder.listener.get()?;
        let held = holder.held.try_lock().ok()?.clone();
        let from = (name.as_str(), token.as_str(), holder.hello.uid);
        let program = program::copying(from, held.history(), link.compression(), link.target_cache());
        Some(Self { holder, held, program })
    }

    /// What the new agent's first stage reads.
    pub(crate) fn program(&self) -> &[u8] {
        &self.program
    }

    /// What the new agent holds if it can have it.
    pub(crate) fn held(&self) -> &Held {
        &self.held
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

/// Returns another agent of `link` that has all of a bundle's blobs, as `agent` can reach it.
pub(crate) fn source(link: &Link, agent: &Arc<Agent>, bundle: &Bundle) -> Option<BlobSource> {
    let little = bundle.len() < ASKED_FOR || bundle.blobs().is_empty();
    if little || agent.listener.get().is_none() || link.no_copies.load(Relaxed) {
        return None;
    }
    // Its own blobs are locked, so it does not find itself.
    link.agents().into_iter().filter(|other| other.gives_copies()).find_map(|other| {
        let Listener { name, token } = other.listener.get()?;
        let numbers = other.held.try_lock().ok()?.numbers_of(bundle.blobs())?;
        Some(BlobSource { name: name.clone(), token: token.clone(), uid: other.hello.uid, numbers })
    })
}

/// Puts the one of a run's agents to rest that has most to give, if nobody else has as much; the
/// others end.
///
/// Only root's: no other account can be removed while a process of it lives.
pub(crate) fn keep_one(link: &Link, done: &[Arc<Agent>]) {
    // One that was not asked until its first answer may never have given it.
    done.iter().for_each(|agent| agent.listen());
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
    agents
        .filter(|agent| agent.gives_copies() && agent.listener.get().is_some())
        .max_by_key(|agent| agent.held_bytes())
}
