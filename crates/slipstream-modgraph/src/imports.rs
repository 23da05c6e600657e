//! The imports of one file, as ansible-core's `ModuleDepFinder` collects them.

use ruff_python_ast::{
    Alias, PythonVersion, Stmt, StmtImportFrom,
    statement_visitor::{StatementVisitor, walk_stmt},
};
use ruff_python_parser::{Mode, ParseOptions, Parsed, parse_unchecked};
use std::collections::BTreeMap;

const UTILS: &str = "ansible.module_utils";

/// One import statement's name.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Wanted {
    /// `import NAME`
    Plain(String),
    /// `from MODULE import NAMES`, with the number of leading dots.
    From { level: usize, module: String, names: Vec<String> },
}

/// An import statement, and where it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Import {
    wanted: Wanted,
    /// Below the top level of the file: the target may do without.
    nested: bool,
    in_match: bool,
}

/// Every import statement of a file that may concern a closure.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Imports(Vec<Import>);

/// Why ansible-core itself has to look at a file.
pub(crate) type Doubt = &'static str;

/// Parses a file as a controller's Python would.
///
/// # Errors
/// That Python would refuse it, or this parser is not sure.
pub(crate) fn parse(source: &str, python: (u8, u8)) -> Result<Parsed<ruff_python_ast::ModModule>, Doubt> {
    if source.starts_with('\u{feff}') || !declares_utf8(source) {
        return Err("a source file with another encoding");
    }
    let version = PythonVersion { major: python.0, minor: python.1 };
    let parsed = parse_unchecked(source, ParseOptions::from(Mode::Module).with_target_version(version));
    if parsed.has_syntax_errors() {
        return Err("a source file that can't be parsed");
    }
    parsed.try_into_module().ok_or("a source file that is no module")
}

/// Tells whether a file says nothing else of its encoding (PEP 263) than UTF-8 or a part of it.
fn declares_utf8(source: &str) -> bool {
    let declared = source.split(['\n', '\r']).take(4).filter_map(|line| {
        let comment = line.trim_start_matches([' ', '\t', '\x0c']).strip_prefix('#')?;
        let (_, rest) = comment.split_once("coding")?;
        let name = rest.strip_prefix([':', '='])?.trim_start_matches([' ', '\t']);
        Some(name.split(|c: char| !(c.is_ascii_alphanumeric() || "-_.".contains(c))).next().unwrap_or(""))
    });
    declared.into_iter().all(|name| {
        matches!(
            name.to_ascii_lowercase().replace('_', "-").as_str(),
            "utf-8" | "utf8" | "ascii" | "us-ascii"
        )
    })
}

impl Imports {
    /// Collects the imports of a parsed file.
    pub(crate) fn of(body: &[Stmt]) -> Self {
        let mut collector = Collector::default();
        collector.visit_body(body);
        Self(collector.found)
    }

    /// Returns the utilities that the file named `name` imports, and whether it can do without them.
    ///
    /// # Errors
    /// ansible-core has something to say about an import.
    pub(crate) fn utilities(
        &self,
        name: &str,
        is_package: bool,
        match_cases: bool,
    ) -> Result<BTreeMap<String, bool>, Doubt> {
        let mut found = BTreeMap::new();
        for import in self.0.iter().filter(|import| match_cases || !import.in_match) {
            let mut add = |utility: String| *found.entry(utility).or_default() |= import.nested;
            match &import.wanted {
                Wanted::Plain(wanted) => {
                    if wanted.starts_with("ansible.module_utils.")
                        || wanted.starts_with("ansible_collections.")
                    {
                        add(wanted.clone());
                    }
                }
                Wanted::From { level, module, names } => {
                    let module = absolute(name, is_package, *level, module);
                    if names[0] == "_six" || (!import.nested && embeds(&module, names)) {
                        return Err("an import that only ansible-core understands");
                    }
                    if concerns(&module) {
                        names.iter().for_each(|imported| add(format!("{module}.{imported}")));
                    }
                }
            }
        }
        Ok(found)
    }
}

/// Returns the full name of the module that `from` names.
fn absolute(name: &str, is_package: bool, level: usize, module: &str) -> String {
    if level == 0 {
        return module.to_owned();
    }
    let parts: Vec<&str> = name.split('.').collect();
    let above = if is_package { level - 1 } else { level };
    let mut kept = parts[..parts.len().saturating_sub(above)].to_vec();
    if !module.is_empty() {
        kept.push(module);
    }
    kept.join(".")
}

fn concerns(module: &str) -> bool {
    module.starts_with(UTILS)
        || (module.starts_with("ansible_collections.")
            && (module.ends_with("plugins.module_utils") || module.contains(".plugins.module_utils.")))
}

/// Tells whether other files than imported ones are packed (ansible-core 2.21).
fn embeds(module: &str, names: &[String]) -> bool {
    let imports = |wanted: &str| names.iter().any(|name| name == wanted);
    (module == UTILS && imports("embed"))
        || (module == "ansible.module_utils.embed" && imports("EmbedManager"))
}

#[derive(Default)]
struct Collector {
    found: Vec<Import>,
    depth: usize,
    matches: usize,
}

impl Collector {
    fn add(&mut self, wanted: Wanted) {
        self.found.push(Import { wanted, nested: self.depth > 0, in_match: self.matches > 0 });
    }

    fn add_from(&mut self, import: &StmtImportFrom) {
        let name = |alias: &Alias| alias.name.to_string();
        self.add(Wanted::From {
            level: import.level as usize,
            module: import.module.as_ref().map(ToString::to_string).unwrap_or_default(),
            names: import.names.iter().map(name).collect(),
        });
    }
}

impl<'a> StatementVisitor<'a> for Collector {
    fn visit_stmt(&mut self, statement: &'a Stmt) {
        match statement {
            Stmt::Import(import) => {
                import.names.iter().for_each(|alias| self.add(Wanted::Plain(alias.name.to_string())));
            }
            Stmt::ImportFrom(import) => self.add_from(import),
            _ => {
                let matches = usize::from(matches!(statement, Stmt::Match(_)));
                self.depth += 1;
                self.matches += matches;
                walk_stmt(self, statement);
                self.matches -= matches;
                self.depth -= 1;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn utilities(source: &str, name: &str, is_package: bool, match_cases: bool) -> Vec<(String, bool)> {
        let parsed = parse(source, (3, 13)).expect("valid source");
        let found = Imports::of(parsed.suite()).utilities(name, is_package, match_cases);
        found.expect("plain imports").into_iter().collect()
    }

    fn names(source: &str) -> Vec<(String, bool)> {
        utilities(source, "ansible_collections.a.b.plugins.modules.m", false, true)
    }

    #[test]
    fn only_utilities_count() {
        let source = "import os, ansible.module_utils.basic\nimport ansible.module_utils\n\
                      from ansible.executor import x\nfrom ansible_collections.a.b.plugins.lookup import y\n";
        assert_eq!(names(source), [("ansible.module_utils.basic".into(), false)]);
    }

    #[test]
    fn nested_anywhere_is_optional() {
        let source = "from ansible.module_utils.a import x\ntry:\n    from ansible.module_utils.a import x, y\n\
                      except ImportError:\n    from ansible.module_utils.b import z\n";
        let expected = [("a.x", true), ("a.y", true), ("b.z", true)];
        assert_eq!(names(source), expected.map(|(n, o)| (format!("ansible.module_utils.{n}"), o)));
    }

    #[test]
    fn relative_imports_start_at_the_files_own_name() {
        assert_eq!(
            names("from ..module_utils.u import f\n")[0].0,
            "ansible_collections.a.b.plugins.module_utils.u.f"
        );
        let package = "ansible_collections.a.b.plugins.module_utils.p";
        assert_eq!(utilities("from . import f\n", package, true, true)[0].0, format!("{package}.f"));
        assert_eq!(
            utilities("from .. import f\n", package, true, true)[0].0,
            "ansible_collections.a.b.plugins.module_utils.f"
        );
        assert!(utilities("from ..... import f\n", "ansible.modules.m", false, true).is_empty());
    }

    #[test]
    fn match_statements_are_seen_by_the_versions_that_see_them() {
        let source = "match 1:\n    case 1:\n        import ansible.module_utils.a\n";
        assert_eq!(names(source).len(), 1);
        assert!(utilities(source, "m", false, false).is_empty());
    }

    #[test]
    fn what_only_ansible_core_understands_is_a_doubt() {
        for source in
            ["from ansible.module_utils.six import _six\n", "from ansible.module_utils import embed\n"]
        {
            let parsed = parse(source, (3, 13)).expect("valid source");
            assert!(Imports::of(parsed.suite()).utilities("m", false, true).is_err());
        }
    }

    #[test]
    fn what_the_controller_would_not_compile_is_a_doubt() {
        assert!(parse("def f(:\n", (3, 13)).is_err());
        assert!(parse("type X = int\n", (3, 11)).is_err());
        assert!(parse("type X = int\n", (3, 12)).is_ok());
        assert!(parse("# -*- coding: latin-1 -*-\n", (3, 13)).is_err());
        assert!(parse("#!/usr/bin/python\n# -*- coding: utf-8 -*-\n", (3, 13)).is_ok());
        assert!(parse("\u{feff}import os\n", (3, 13)).is_err());
    }
}
