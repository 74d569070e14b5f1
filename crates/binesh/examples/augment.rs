//! What augmentation does to a photo, to be looked at: a sheet of 5 x 8 random views for each preset.
//!
//! ```text
//! cargo run --release -p binesh --example augment -- examples/data/cat.png .
//! ```

use std::error::Error;
use std::path::Path;
use std::time::Instant;

use binesh::data::Augment;
use binesh::image::{DecodeOptions, Picture, Preprocess, Scaling, deprocess, open};
use binesh::render::write_png;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;

const ROWS: usize = 5;
const COLUMNS: usize = 8;
const SIDE: usize = 160;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [photo, folder] = arguments.as_slice() else {
        return Err("give a photo and a folder for the sheets".into());
    };
    let photo = open(Path::new(photo), &DecodeOptions::default())?;
    let preprocess = Preprocess::new(SIDE, SIDE, Scaling::Tf);
    for (name, augment) in [("book", Augment::book()), ("standard", Augment::standard())] {
        let mut rng = ChaCha8Rng::seed_from_u64(0);
        let mut views = Vec::new();
        let start = Instant::now();
        for _ in 0..ROWS * COLUMNS {
            views.push(augment.view(&photo, &preprocess, &mut rng)?);
        }
        let each = start.elapsed() / views.len() as u32;
        let pictures: Vec<Picture> =
            views.iter().map(|view| deprocess(view, &preprocess)).collect::<Result<_, _>>()?;
        let path = Path::new(folder).join(format!("{name}.png"));
        write_png(&path, &sheet(&pictures))?;
        println!("{}: {each:.1?} a view", path.display());
    }
    Ok(())
}

/// `COLUMNS` pictures of one size beside each other in each row.
fn sheet(pictures: &[Picture]) -> Picture {
    let mut pixels = Vec::new();
    for row in pictures.chunks(COLUMNS) {
        for line in 0..SIDE {
            for picture in row {
                pixels.extend_from_slice(&picture.pixels()[line * SIDE * 3..(line + 1) * SIDE * 3]);
            }
        }
    }
    Picture::rgb(ROWS * SIDE, COLUMNS * SIDE, pixels).expect("views of one size fill the sheet")
}
