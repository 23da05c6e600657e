//! Whatever a controller says of its folders, collections and routes, there is an answer.
#![no_main]

use libfuzzer_sys::fuzz_target;
use slipstream_modgraph::{Library, Question, close};
use slipstream_wire::World;

const MODULE: &[u8] = b"from ansible.module_utils.a.b import c\nfrom ansible_collections.n.c.plugins.module_utils.u import v\n\
    try:\n    from ..module_utils.w import x\nexcept ImportError:\n    pass\n";

fuzz_target!(|said: &[u8]| {
    let Ok(mut world) = serde_json::from_slice::<World>(said) else { return };
    // Nothing of this machine is to be read.
    world.folders.retain(|folder| folder.starts_with("/nowhere"));
    for collection in world.collections.values_mut() {
        collection.root = collection.root.take().map(|root| format!("/nowhere/{}", root.replace("..", "")));
    }
    close(&mut Library::default(), &Question { name: "ansible_collections.n.c.plugins.modules.m", content: MODULE, world: &world });
});
