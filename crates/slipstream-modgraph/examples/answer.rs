//! Answers questions about closures and small sources, for the conformance tests and for people.
//!
//! One JSON object a line comes in, one goes out:
//! `{"name", "path", "world"}`: `{"files": {PATH: SHA-256}, "zip"}`, `{"need": [COLLECTION]}` or `{"ask": WHY}`, each
//! with the `"cpu"` seconds that finding it took;
//! `{"minify", "python"}` with a path: `{"text"}`, null where nothing changes.
#![allow(clippy::print_stdout)]

use rustix::time::{ClockId, clock_gettime};
use serde_json::{Value, json};
use slipstream_modgraph::{Answer, Library, Question, close, minify};
use slipstream_wire::World;
use std::{error::Error, fs, io::stdin};

fn main() -> Result<(), Box<dyn Error>> {
    let mut library = Library::default();
    for line in stdin().lines() {
        let question: Value = serde_json::from_str(&line?)?;
        let answer = match question.get("minify") {
            Some(path) => smaller(path, &question)?,
            None => closure(&mut library, &question)?,
        };
        println!("{answer}");
    }
    Ok(())
}

fn smaller(path: &Value, question: &Value) -> Result<Value, Box<dyn Error>> {
    let python = serde_json::from_value(question["python"].clone())?;
    let text = String::from_utf8(fs::read(path.as_str().unwrap_or_default())?)?;
    Ok(json!({ "text": minify(&text, python) }))
}

fn closure(library: &mut Library, question: &Value) -> Result<Value, Box<dyn Error>> {
    let content = fs::read(question["path"].as_str().unwrap_or_default())?;
    let name = question["name"].as_str().unwrap_or_default();
    let world: World = serde_json::from_value(question["world"].clone())?;
    let began = cpu_seconds();
    let found = close(library, &Question { name, content: &content, world: &world });
    let cpu = cpu_seconds() - began;
    let mut answer = match found {
        Answer::Found(found) => {
            let files: Vec<_> = found.files.iter().map(|(path, (digest, _))| (path, digest)).collect();
            json!({ "files": files.into_iter().collect::<std::collections::BTreeMap<_, _>>(), "zip": found.needs_zip })
        }
        Answer::NeedCollections(names) => json!({ "need": names }),
        Answer::AskStock(why) => json!({ "ask": why }),
    };
    answer["cpu"] = json!(cpu);
    Ok(answer)
}

fn cpu_seconds() -> f64 {
    let now = clock_gettime(ClockId::ProcessCPUTime);
    now.tv_sec as f64 + now.tv_nsec as f64 / 1e9
}
