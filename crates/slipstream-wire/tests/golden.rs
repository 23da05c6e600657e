//! The frames and name lists that the Python side reads and writes too.

use serde_json::Value;
use slipstream_wire::{Frame, HEADER_LEN, Header, Limits, pack_names};

fn bytes(hex: &Value) -> Vec<u8> {
    let hex = hex.as_str().expect("hex text");
    (0..hex.len()).step_by(2).map(|i| u8::from_str_radix(&hex[i..i + 2], 16).expect("hex digit")).collect()
}

fn golden(name: &str) -> Vec<Value> {
    let file = format!("{}/../../tests/wire/{name}.json", env!("CARGO_MANIFEST_DIR"));
    let entries: Vec<Value> =
        serde_json::from_str(&std::fs::read_to_string(file).expect("golden file")).expect("json");
    assert!(entries.len() > 3);
    entries
}

#[test]
fn golden_name_lists_are_packed() {
    for entry in golden("names") {
        let paths = entry["paths"].as_array().expect("paths");
        let packed = pack_names(paths.iter().map(|path| path.as_str().expect("text")));
        assert_eq!(packed, entry["packed"], "{}", entry["name"]);
    }
}

#[test]
fn golden_frames_are_read_and_written_alike() {
    for entry in golden("frames") {
        let wire = bytes(&entry["wire"]);
        let header = Header::decode(wire.first_chunk().expect("a header"), Limits::AGENT).expect("valid");
        let (control, body) = wire[HEADER_LEN..].split_at(header.control as usize);
        let frame = Frame::assemble(header, control.to_vec(), body.to_vec());
        assert_eq!(frame.body, bytes(&entry["body"]), "{}", entry["name"]);
        assert_eq!(u64::from(frame.flags), entry["flags"]);
        assert_eq!(u64::from(frame.stream), entry["stream"]);
        assert_eq!(frame.data, entry["control"].is_null());
        if !frame.data {
            assert_eq!(frame.parse::<Value>().expect("json"), entry["control"]);
        }
        assert_eq!(frame.encode(), wire);
    }
}
