//! Ends agents that stand in a task's way.

use crate::{agent::Agent, link::Link, registry::Shared};
use std::sync::Arc;

/// Ends the idle agents of a link but one, and those that become plugins started on other links to the
/// same host: a user can't be removed, nor its home unmounted, under them.
///
/// On other links, agents of the login account stay: the link's ssh session is that account's too.
pub(crate) async fn evict_others(shared: &Shared, link: &Arc<Link>, keep: Option<&Arc<Agent>>) {
    let kept = |agent: &Arc<Agent>| keep.is_some_and(|keep| Arc::ptr_eq(keep, agent));
    let mut others = link.agents();
    for other in shared.links() {
        if other.spec.host == link.spec.host && !Arc::ptr_eq(&other, link) {
            others.extend(other.agents().into_iter().filter(|agent| agent.become_started));
        }
    }
    others.retain(|agent| !kept(agent) && agent.is_idle());
    for agent in &others {
        agent.end();
    }
    for agent in others {
        agent.ended().await;
    }
}
