//! The report of a made-up run on the sample pictures: `cargo run -p binesh --example training_report [FILE]`.

#[path = "../tests/training_report/synthetic.rs"]
mod synthetic;

use std::path::Path;

use binesh::image::{DecodeOptions, open};
use binesh::render::{Overlay, encode_png, overlay, write_file};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let samples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/data/pictures");
    let pictures = |path: &str| {
        // The first picture of the class stands for the one that the made-up run was wrong about.
        let folder = samples.join(Path::new(path).parent()?);
        let mut files: Vec<_> =
            std::fs::read_dir(folder).ok()?.filter_map(|entry| Some(entry.ok()?.path())).collect();
        files.sort();
        let photo = open(files.get(path.len())?, &DecodeOptions::default()).ok()?;
        let map: Vec<f32> = (0..49)
            .map(|i| (-((i / 7 - 2) * (i / 7 - 2) + (i % 7 - 4) * (i % 7 - 4)) as f32 / 4.0).exp())
            .collect();
        Some((encode_png(&photo), encode_png(&overlay(&photo, &map, [7, 7], Overlay::Paper))))
    };
    let report = synthetic::report(&|path| pictures(path).unzip());
    let file = std::env::args().nth(1).unwrap_or_else(|| "report.html".into());
    write_file(Path::new(&file), report.html().as_bytes())?;
    println!("{file}");
    Ok(())
}
