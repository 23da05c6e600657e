//! Whatever is minified can still be parsed, has as many lines, and nothing but blank lines is new.
#![no_main]

use libfuzzer_sys::fuzz_target;
use slipstream_modgraph::minify;

const PYTHON: (u8, u8) = (3, 13);

fuzz_target!(|source: &str| {
    let Some(small) = minify(source, PYTHON) else { return };
    let ends = |text: &str| text.chars().filter(|c| matches!(c, '\n' | '\r')).count();
    assert_eq!(ends(source), ends(&small));
    for (before, after) in source.split('\n').zip(small.split('\n')) {
        assert!(before == after || after.trim_matches([' ', '\t', '\r', '\x0c']).is_empty() || before.contains('\r'));
    }
    // What is left is valid, and may be minified again.
    assert!(slipstream_modgraph::parses(&small, PYTHON));
    let _ = minify(&small, PYTHON);
});
