//! Takes out of a source file what no module needs on the target, without moving a line.
//!
//! A traceback looks as before: every line that holds a statement keeps its number and its text.

use ruff_python_ast::{
    Expr, ModModule, Stmt,
    statement_visitor::{StatementVisitor, walk_stmt},
    token::TokenKind,
};
use ruff_python_parser::Parsed;
use ruff_text_size::{Ranged, TextRange, TextSize};

/// What a module says of itself to `ansible-doc`.
const DOCUMENTATION: [&str; 4] = ["DOCUMENTATION", "EXAMPLES", "RETURN", "ANSIBLE_METADATA"];

/// Words of source that may read documentation.
const READERS: [&str; 6] = ["__doc__", "getdoc", "func_doc", "cleandoc", "getsource", "globals"];

/// Libraries that read the documentation of what is handed to them.
const READING_LIBRARIES: [&str; 15] = [
    "ply",
    "sly",
    "docopt",
    "click",
    "typer",
    "fire",
    "cmd",
    "cmd2",
    "pydoc",
    "doctest",
    "unittest",
    "flask",
    "DocXMLRPCServer",
    "SimpleXMLRPCServer",
    "xmlrpc.server",
];

const BLANKS: [char; 3] = [' ', '\t', '\x0c'];

/// Returns a smaller text for the same module, or nothing if it can't be smaller or can't be parsed.
#[must_use]
pub fn minify(source: &str, python: (u8, u8)) -> Option<String> {
    minify_parsed(source, &crate::imports::parse(source, python).ok()?)
}

/// Tells whether a source can be parsed as a controller's Python would.
#[must_use]
pub fn parses(source: &str, python: (u8, u8)) -> bool {
    crate::imports::parse(source, python).is_ok()
}

pub(crate) fn minify_parsed(source: &str, parsed: &Parsed<ModModule>) -> Option<String> {
    let mut removed = comments(source, parsed);
    if !reads_documentation(source, parsed) {
        let mut documentation = Documentation { source, removed: &mut removed };
        documentation.remove_docstring(parsed.suite());
        documentation.visit_body(parsed.suite());
        documentation.remove_assignments(parsed.suite());
    }
    if removed.is_empty() {
        return None;
    }
    removed.sort_by_key(Ranged::start);
    Some(without(source, &removed))
}

/// Tells whether a source may read documentation.
pub(crate) fn reads_documentation(source: &str, parsed: &Parsed<ModModule>) -> bool {
    READERS.iter().any(|reader| has_word(source, reader)) || Libraries::read_by(parsed.suite())
}

/// Returns the comments that have lines to themselves between statements.
///
/// Inside a statement's brackets they stay: a traceback may show all the lines of a statement.
/// The first two lines stay: they may name the interpreter and the encoding.
fn comments(source: &str, parsed: &Parsed<ModModule>) -> Vec<TextRange> {
    let mut found = Vec::new();
    let mut depth = 0_i32;
    let mut starts_line = true;
    let header = source.match_indices('\n').nth(1).map_or(source.len(), |(at, _)| at);
    for token in parsed.tokens() {
        let kind = token.kind();
        match kind {
            TokenKind::Lpar | TokenKind::Lsqb | TokenKind::Lbrace => depth += 1,
            TokenKind::Rpar | TokenKind::Rsqb | TokenKind::Rbrace => depth -= 1,
            TokenKind::Comment if depth == 0 && starts_line && token.start().to_usize() > header => {
                found.push(token.range());
            }
            _ => {}
        }
        starts_line = matches!(
            kind,
            TokenKind::Newline | TokenKind::NonLogicalNewline | TokenKind::Indent | TokenKind::Dedent
        );
    }
    found
}

/// Looks for a library that reads documentation.
struct Libraries(bool);

impl Libraries {
    fn read_by(body: &[Stmt]) -> bool {
        let mut libraries = Self(false);
        libraries.visit_body(body);
        libraries.0
    }

    fn note(&mut self, module: &str) {
        let is_below = |rest: &str| rest.is_empty() || rest.starts_with('.');
        self.0 |= READING_LIBRARIES.iter().any(|&library| module.strip_prefix(library).is_some_and(is_below));
    }
}

impl<'a> StatementVisitor<'a> for Libraries {
    fn visit_stmt(&mut self, statement: &'a Stmt) {
        match statement {
            Stmt::Import(import) => import.names.iter().for_each(|alias| self.note(&alias.name)),
            Stmt::ImportFrom(import) => {
                if let Some(module) = &import.module {
                    self.note(module);
                    import.names.iter().for_each(|alias| self.note(&format!("{module}.{}", alias.name)));
                }
            }
            _ => walk_stmt(self, statement),
        }
    }
}

struct Documentation<'a> {
    source: &'a str,
    removed: &'a mut Vec<TextRange>,
}

impl Documentation<'_> {
    /// Removes the string that a body begins with, if the body is more than that.
    fn remove_docstring(&mut self, body: &[Stmt]) {
        if let [Stmt::Expr(first), _, ..] = body
            && first.value.is_string_literal_expr()
        {
            self.remove(first.range());
        }
    }

    /// Removes what only `ansible-doc` reads.
    fn remove_assignments(&mut self, body: &[Stmt]) {
        for statement in body {
            if let Stmt::Assign(assign) = statement
                && let [Expr::Name(name)] = assign.targets.as_slice()
                && DOCUMENTATION.contains(&name.id.as_str())
                && assign.value.is_literal_expr()
                && count_word(self.source, &name.id) == 1
            {
                self.remove(assign.range());
            }
        }
    }

    /// Removes a statement that has its lines to itself, with the comment behind it.
    fn remove(&mut self, range: TextRange) {
        let before = &self.source[..range.start().to_usize()];
        let after = &self.source[range.end().to_usize()..];
        let starts_line = before.trim_end_matches(BLANKS).ends_with(['\n', '\r']) || before.is_empty();
        let rest = after.split(['\n', '\r']).next().unwrap_or_default();
        let tail = rest.trim_start_matches(BLANKS);
        if starts_line && (tail.is_empty() || tail.starts_with('#')) {
            let end = range.end() + TextSize::of(rest);
            self.removed.push(TextRange::new(range.start(), end));
        }
    }
}

impl<'a> StatementVisitor<'a> for Documentation<'a> {
    fn visit_stmt(&mut self, statement: &'a Stmt) {
        match statement {
            Stmt::FunctionDef(function) => self.remove_docstring(&function.body),
            // A decorator may look at the class: dataclasses write the documentation that is missing.
            Stmt::ClassDef(class) if class.decorator_list.is_empty() => self.remove_docstring(&class.body),
            _ => {}
        }
        walk_stmt(self, statement);
    }
}

/// Returns `source` without the text of `removed`, but with all its line ends.
fn without(source: &str, removed: &[TextRange]) -> String {
    let mut text = String::with_capacity(source.len());
    let mut at = 0;
    for range in removed {
        let (start, end) = (range.start().to_usize(), range.end().to_usize());
        if start < at {
            continue;
        }
        text.push_str(source[at..start].trim_end_matches(BLANKS));
        text.extend(source[start..end].chars().filter(|c| matches!(c, '\n' | '\r')));
        at = end;
    }
    text.push_str(&source[at..]);
    text
}

fn has_word(text: &str, word: &str) -> bool {
    count_word(text, word) > 0
}

fn count_word(text: &str, word: &str) -> usize {
    let is_part = |c: char| c.is_alphanumeric() || c == '_';
    let whole = |&(at, _): &(usize, &str)| {
        !text[..at].ends_with(is_part) && !text[at + word.len()..].starts_with(is_part)
    };
    text.match_indices(word).filter(whole).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn minified(source: &str) -> String {
        minify(source, (3, 13)).unwrap_or_else(|| source.into())
    }

    #[test]
    fn comments_between_statements_go_and_lines_stay() {
        let source =
            "#!/usr/bin/python\n# coding: utf-8\n# one\nx = 1  # two\nif x:\n    # three\n    y = 2\n# end\n";
        let expected = "#!/usr/bin/python\n# coding: utf-8\n\nx = 1  # two\nif x:\n\n    y = 2\n\n";
        assert_eq!(minified(source), expected);
    }

    #[test]
    fn text_inside_a_statement_stays() {
        for source in [
            "\n\nx = [\n    # one\n    1,\n]\n",
            "\n\nx = '''\n# no comment\n'''\n",
            "\n\nx = 1 + \\\n# odd\n\n",
            "\n\nx = f'''{\n1 # c\n}\n# d\n'''\n",
        ] {
            assert_eq!(minified(source), source);
        }
    }

    #[test]
    fn docstrings_go_where_something_else_stays() {
        let source =
            "'''Doc.\n\nMore.'''\n\ndef f():\n    'doc'\n    return 1\n\nclass E(Exception):\n    'only'\n";
        let expected = "\n\n\n\ndef f():\n\n    return 1\n\nclass E(Exception):\n    'only'\n";
        assert_eq!(minified(source), expected);
    }

    #[test]
    fn a_docstring_in_brackets_goes_with_them() {
        assert_eq!(
            minified("def f():\n    ('doc'\n     'more')\n    return 1\n"),
            "def f():\n\n\n    return 1\n"
        );
    }

    #[test]
    fn docstrings_stay_where_they_may_be_read() {
        for source in [
            "'doc'\nimport x\nprint(__doc__)\n",
            "'doc'\nfrom ply import yacc\n",
            "def f():\n    'doc'; return 1\n",
            "def f(): 'doc'; return 1\n",
            "@dataclass\nclass A:\n    'doc'\n    x: int\n",
            "def f():\n    f'no doc'\n    return 1\n",
        ] {
            assert_eq!(minified(source), source);
        }
    }

    #[test]
    fn documentation_goes_unless_it_is_used() {
        assert_eq!(minified("DOCUMENTATION = r'''\na: b\n'''  # noqa\nx = 1\n"), "\n\n\nx = 1\n");
        for source in
            ["EXAMPLES = '''a'''\nprint(EXAMPLES)\n", "if x:\n    RETURN = '1'\n", "RETURN = f(1)\nx = 1\n"]
        {
            assert_eq!(minified(source), source);
        }
    }
}
