//! A module's closure: the utilities that it imports, directly or not, found as ansible-core's
//! `recursive_finder` finds them, and made smaller without moving a line.
//!
//! Only what is plain is answered here. Whatever would make ansible-core say something (a missing utility, a
//! deprecated one, source that can't be parsed) is left to ansible-core: [`Answer::AskStock`].

mod closure;
mod imports;
mod library;
mod locate;
mod minify;

pub use closure::{Answer, Found, Question, close};
pub use library::{Library, look_at};
pub use minify::{minify, parses};
