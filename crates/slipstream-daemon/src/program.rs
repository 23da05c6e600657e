//! The agent's program, as a start line's first stage reads it.

use crate::deflate;
use slipstream_modgraph::minify;
use slipstream_wire::{Compression, Digest};
use std::{borrow::Cow, sync::OnceLock};

/// The agent's modules in the order in which they need each other.
const MODULES: &[(&str, &str)] = &[
    ("frames", include_str!("../../../python/ansible_slipstream/agent/frames.py")),
    ("importer", include_str!("../../../python/ansible_slipstream/agent/importer.py")),
    ("fingerprint", include_str!("../../../python/ansible_slipstream/agent/fingerprint.py")),
    ("guardian", include_str!("../../../python/ansible_slipstream/agent/guardian.py")),
    ("spawning", include_str!("../../../python/ansible_slipstream/agent/spawning.py")),
    ("terminals", include_str!("../../../python/ansible_slipstream/agent/terminals.py")),
    ("module", include_str!("../../../python/ansible_slipstream/agent/module.py")),
    ("children", include_str!("../../../python/ansible_slipstream/agent/children.py")),
    ("jobs", include_str!("../../../python/ansible_slipstream/agent/jobs.py")),
    ("files", include_str!("../../../python/ansible_slipstream/agent/files.py")),
    ("chores", include_str!("../../../python/ansible_slipstream/agent/chores.py")),
    ("copies", include_str!("../../../python/ansible_slipstream/agent/copies.py")),
    ("loop", include_str!("../../../python/ansible_slipstream/agent/loop.py")),
];

/// Comes along only where a cache is asked for.
const CACHE: (&str, &str) = ("cache", include_str!("../../../python/ansible_slipstream/agent/cache.py"));

/// Any that knows both, Python 2's as far as the agent uses it.
const GRAMMAR: (u8, u8) = (3, 7);

/// The socket option that tells who listens, on the machines that Linux is mostly run on; elsewhere nobody
/// is believed.
const SO_PEERCRED: u32 = 17;

/// Bytes of the length in front of a program.
const LENGTH: usize = 8;

/// The whole agent: eight digits of length, then deflated source that makes the agent's modules and
/// runs the last one. `s` is the deflated source itself, `h` and `e` what [`copying`] left, `c` the
/// folder of the cache.
pub(crate) fn whole(compression: Compression, cache: &str) -> Cow<'static, [u8]> {
    static PACKED: OnceLock<Vec<u8>> = OnceLock::new();
    static PLAIN: OnceLock<Vec<u8>> = OnceLock::new();
    if !cache.is_empty() {
        let folder = serde_json::Value::from(cache);
        // The last one runs the others.
        let (needed, last) = MODULES.split_at(MODULES.len() - 1);
        let program = agent(&[needed, &[CACHE], last].concat());
        return pack(&format!("c={folder}\n{program}"), compression).into();
    }
    Cow::Borrowed(match compression {
        Compression::Off => PLAIN.get_or_init(|| pack(&agent(MODULES), compression)),
        // It is small, and deflated once in the daemon's life.
        _ => PACKED.get_or_init(|| pack(&agent(MODULES), Compression::Best)),
    })
}

/// Packs the agent in good time: it takes as long as the start of an interpreter.
pub(crate) fn prepare(compression: Compression, cache: &str) {
    if cache.is_empty() {
        tokio::task::spawn_blocking(move || whole(compression, "").len());
    }
}

/// The source of an agent of these modules in one.
fn agent(modules: &[(&str, &str)]) -> String {
    let modules: Vec<String> = modules
        .iter()
        .map(|(name, text)| {
            let small = squeeze(&minify(text, GRAMMAR).unwrap_or_else(|| (*text).to_owned()));
            format!("({name:?},{})", serde_json::Value::from(small))
        })
        .collect();
    format!(
        "import sys,types\nfor n,t in ({},):\n m=types.ModuleType('_slipstream.'+n);\
         m.__package__='_slipstream'\n sys.modules[m.__name__]=m\n \
         sys.modules.setdefault('_slipstream',types.ModuleType('_slipstream')).__path__=[]\n \
         setattr(sys.modules['_slipstream'],n,m)\n \
         exec(compile(t,'<slipstream '+n+'>','exec',0,1),m.__dict__)\n\
         g=globals()\nm.main(s,g.get('h',b''),g.get('e',''),g.get('c',''))\n",
        modules.join(",")
    )
}

/// Takes out empty lines and three spaces of four: nobody counts the agent's lines but us, and no text of
/// it goes over lines.
fn squeeze(text: &str) -> String {
    let mut small = String::with_capacity(text.len());
    for line in text.lines().filter(|line| !line.trim().is_empty()) {
        let words = line.trim_start_matches(' ');
        small.extend(std::iter::repeat_n(' ', (line.len() - words.len()) / 4));
        small.push_str(words);
        small.push('\n');
    }
    small
}

/// A program that gets the agent and its history from another agent's socket, if its owner is `uid`, checks
/// the agent, and runs it; if that fails it says so and reads the whole agent.
pub(crate) fn copying(
    (name, token, uid): (&str, &str, u32),
    history: Option<&Digest>,
    compression: Compression,
    cache: &str,
) -> Vec<u8> {
    let expected = history.map_or("", Digest::as_str);
    let agent = Digest::of(&whole(compression, cache)[LENGTH..]);
    let program = format!(
        "import hashlib\n\
         def g():\n import _socket as k,struct,time\n t=time.time()+10\n c=k.socket(k.AF_UNIX,k.SOCK_STREAM)\n \
         c.settimeout(5)\n c.connect(b'\\0{name}')\n \
         if struct.unpack('3I',c.getsockopt(k.SOL_SOCKET,{SO_PEERCRED},12))[1]!={uid}:raise ValueError\n \
         c.sendall(b'{token}{:0LENGTH$}')\n b=bytearray()\n \
         while len(b)<1<<28 and time.time()<t:\n  d=c.recv(1<<18)\n  if not d:break\n  b+=d\n \
         n={LENGTH}+int(bytes(b[:{LENGTH}]));p=bytes(b[{LENGTH}:n])\n \
         if hashlib.sha256(p).hexdigest()!='{}':raise ValueError\n return p,bytes(b[n:])\n\
         try:s,h=g();e='{expected}'\n\
         except Exception:os.write(1,b'\\0SLIPSTREAM-MORE\\n');s=r(int(r({LENGTH})))\n\
         exec(zlib.decompress(s))\n",
        0,
        agent.as_str()
    );
    pack(&program, compression)
}

fn pack(program: &str, compression: Compression) -> Vec<u8> {
    let packed = deflate::pack(program.as_bytes(), deflate::bundle_level(compression));
    [format!("{:0LENGTH$}", packed.len()).into_bytes(), packed].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn squeezed_code_keeps_its_shape() {
        let code = "if x:\n\n    y(\n        1,\n    )\n\n\nelse:\n    z = 2\n";
        assert_eq!(squeeze(code), "if x:\n y(\n  1,\n )\nelse:\n z = 2\n");
    }

    #[test]
    fn the_agent_is_small_and_plain_ascii() {
        assert!(MODULES.iter().chain([&CACHE]).all(|(_, text)| text.is_ascii()));
        let whole = whole(Compression::Auto, "");
        assert!(whole.len() < 18_000, "{} bytes", whole.len());
        let copying = copying(("slipstream-0", "0", 0), Some(&Digest::of(b"x")), Compression::Auto, "");
        assert!(copying.len() < 800, "{} bytes", copying.len());
    }
}
