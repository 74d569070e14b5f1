//! Files that cannot be used: one line that names the file and the fault, exit code 1, no data.

use std::collections::BTreeMap;
use std::fs;

use binesh::Model;
use binesh::core::Runtime;
use binesh::formats::LoadCx;
use serde_json::Value;

use crate::sandbox::{Sandbox, root};
use crate::transcript;

/// Every file of `testdata/bad`, with the messages that the library's own test keeps.
#[test]
fn bad_model_files() {
    let sandbox = Sandbox::new();
    let folder = root().join("testdata/bad");
    let messages = fs::read_to_string(folder.join("messages.json")).unwrap();
    let messages: BTreeMap<String, Value> = serde_json::from_str(&messages).unwrap();
    assert!(messages.len() >= 20);
    for (name, message) in messages {
        sandbox.copy(&folder.join(&name), &name);
        let ran = sandbox.fails(&format!("summary {name}"));
        let plain = |text: &Value| text.as_str().unwrap().replace(|c: char| c.is_control(), "\u{fffd}");
        let mut expected = format!("error: {}\n", plain(&message["error"]));
        if let Some(hint) = message.get("hint") {
            expected.push_str(&format!("\nhint: {}\n", plain(hint)));
        }
        assert_eq!(ran.stderr, expected);
    }
}

#[test]
fn bad_files_of_every_kind() {
    let sandbox = Sandbox::new();
    for name in ["lambda.h5", "missing_weight.h5", "truncated.h5", "onnx_operator.onnx"] {
        sandbox.copy(&root().join("testdata/bad").join(name), name);
    }
    sandbox.write("text.h5", b"Dear diary\n");
    sandbox.write("empty.h5", b"");
    sandbox.write("huge.png", &huge_png());
    sandbox.write("cut.png", &sandbox.bytes("cat.png")[..1000]);
    sandbox.write("folder/file", b"");
    sandbox.write("saved/saved_model.pb", b"");
    sandbox.copy(&root().join("testdata/golden/keras2_sequential/model.json"), "seq.json");
    sandbox.copy(&root().join("testdata/golden/keras2_sequential/legacy_weights.h5"), "seq_weights.h5");
    sandbox.copy(&root().join("testdata/golden/keras208_functional/legacy_weights.h5"), "fun_weights.h5");
    transcript::check(&sandbox, "bad");
}

/// A weight that is not a number spoils every answer, which then is none.
#[test]
fn scores_that_are_not_numbers_are_no_answer() {
    let sandbox = Sandbox::new();
    let model = Model::open(&sandbox.path("seq.h5"), None, &LoadCx::default(), Runtime::new(1)).unwrap().0;
    let bias = model.params().get(model.find_node("dense2/bias").unwrap()).unwrap().data()[0].to_le_bytes();
    let mut bytes = sandbox.bytes("seq.h5");
    let places: Vec<usize> = (0..bytes.len() - 4).filter(|&at| bytes[at..at + 4] == bias).collect();
    let [at] = places[..] else { panic!("{places:?}") };
    bytes[at..at + 4].copy_from_slice(&f32::NAN.to_le_bytes());
    sandbox.write("nan.h5", &bytes);
    for verb in
        ["predict", "predict --json", "heatmap --json --out maps", "heatmap --json --out maps --class 1"]
    {
        let ran = sandbox.fails(&format!("{verb} -m nan.h5 --scaling unit pix.png"));
        assert!(ran.error().starts_with("pix.png: the network's scores are not numbers"), "{verb}: {ran}");
    }
}

/// A PNG whose header promises 30,000 x 20,000 pixels.
pub(crate) fn huge_png() -> Vec<u8> {
    let mut header = b"IHDR".to_vec();
    header.extend(30_000u32.to_be_bytes());
    header.extend(20_000u32.to_be_bytes());
    header.extend([8, 2, 0, 0, 0]);
    let mut png = b"\x89PNG\r\n\x1a\n".to_vec();
    for chunk in [header, b"IDAT".to_vec(), b"IEND".to_vec()] {
        png.extend((chunk.len() as u32 - 4).to_be_bytes());
        png.extend(&chunk);
        png.extend(crc32(&chunk).to_be_bytes());
    }
    png
}

/// PNG specification, annex D.
fn crc32(bytes: &[u8]) -> u32 {
    let shift = |c: u32| if c & 1 == 1 { 0xedb8_8320 ^ (c >> 1) } else { c >> 1 };
    !bytes.iter().fold(!0, |crc, byte| (0..8).fold(crc ^ u32::from(*byte), |c, _| shift(c)))
}
