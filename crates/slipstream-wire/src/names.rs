//! Lists of paths with each folder written once.
//!
//! One line a folder: `folder:name,name`. A name that ends in `.py` is written without that; another one
//! begins with `=`. The characters `%`, `,`, `:` and line ends are written as in a URL.

use std::fmt::Write as _;

/// Packs paths in the order given; neighbours of one folder share a line.
pub fn pack_names<'a>(paths: impl IntoIterator<Item = &'a str>) -> String {
    let mut packed = String::new();
    let mut current = None;
    for path in paths {
        let (folder, name) = path.rsplit_once('/').unwrap_or(("", path));
        if current == Some(folder) {
            packed.push(',');
        } else {
            if current.is_some() {
                packed.push('\n');
            }
            push_escaped(&mut packed, folder);
            packed.push(':');
            current = Some(folder);
        }
        match name.strip_suffix(".py") {
            Some(stem) if !stem.starts_with('=') => push_escaped(&mut packed, stem),
            _ => {
                packed.push('=');
                push_escaped(&mut packed, name);
            }
        }
    }
    packed
}

fn push_escaped(packed: &mut String, text: &str) {
    for c in text.chars() {
        if matches!(c, '%' | ',' | ':' | '\n') {
            let _ = write!(packed, "%{:02X}", u32::from(c));
        } else {
            packed.push(c);
        }
    }
}
