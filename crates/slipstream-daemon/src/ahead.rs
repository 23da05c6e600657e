//! A job that is sent behind its agent's program, before the agent has said a word.

use crate::{
    agent::{self, FIRST_STREAM},
    batch::Batch,
    closures::Held,
    link::Link,
    registry::Shared,
    run::Job,
};
use slipstream_wire::{Compression, Frame, Transport};
use std::{collections::BTreeSet, io, path::Path};

/// Half of what OpenSSH's server takes for a session, whether or not anybody there reads it.
const LEN_MAX: usize = 1 << 20;

/// What has been sent so.
pub(crate) struct Ahead {
    /// What the agent holds by it.
    pub(crate) held: Held,
    /// What was packed goes on from there.
    pub(crate) batch: Batch,
}

impl Ahead {
    /// Packs what an agent without a copy is sent; `None` if it has to greet first.
    pub(crate) async fn pack(shared: &Shared, link: &Link, job: Option<&Job<'_>>) -> Option<(Self, Vec<u8>)> {
        let job = job.filter(|job| is_plain(link) && job.goes_alone())?;
        let mut held = Held::default();
        let bundle = shared.closures.bundle(job.closure, &held, link.compression()).await?;
        let closure = held.take(&job.closure.digest, &bundle, &BTreeSet::new(), None);
        let run = job.frame(FIRST_STREAM);
        if closure.wire_len() + run.wire_len() > LEN_MAX {
            return None;
        }
        let mut batch = Batch::new(link.compression());
        let bytes = fill(&mut batch, link.compression(), [closure, run]).ok()?;
        Some((Self { held, batch }, bytes))
    }
}

fn fill(batch: &mut Batch, compression: Compression, job: [Frame; 2]) -> io::Result<Vec<u8>> {
    for frame in agent::wish_for_compression(compression).into_iter().chain(job) {
        batch.add(&frame)?;
    }
    batch.take()
}

/// Whether the end of a session can be told from the end of what ran there, and no cache may say that the
/// agent has something already. Who calls ssh for us may return what he likes.
fn is_plain(link: &Link) -> bool {
    let program = link.spec.argv.first().map(Path::new).and_then(Path::file_name);
    link.spec.transport == Transport::Ssh
        && link.target_cache().is_empty()
        && program.is_some_and(|name| name == "ssh")
}
