//! Features written to files, held against a session run on the same photos.

use std::fs::{self, File};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use binesh::Model;
use binesh::core::{Grads, Runtime};
use binesh::data::{Collection, ScanOptions, collect};
use binesh::formats::npy::{NpyArray, Npz};
use binesh::formats::{Limits, LoadCx};
use binesh::image::{DecodeOptions, Picture, open};
use binesh::render::write_png;
use binesh::train::{Extraction, FeaturePooling, TrainError};
use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::record::RowAccessor;
use tempfile::TempDir;

const LAYER: &str = "conv1";

fn model() -> Model {
    let path =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata/golden/keras208_sequential/model.h5");
    Model::open(&path, None, &LoadCx::default(), Runtime::new(2)).expect("a model").0
}

/// Class folders with 11 photos, a folder of two photos, a table of one photo, and one photo; more than a batch.
fn photos(folder: &Path) -> Vec<PathBuf> {
    let names = (0..11).map(|n| format!("sorted/{}/{n}.png", ["noon", "شب"][n % 2]));
    let names = names.chain(["loose/a.png", "loose/b.png", "table/c.png", "d.png"].map(str::to_owned));
    for (number, name) in names.enumerate() {
        let byte = |at: usize| (at.wrapping_mul(number + 3).wrapping_mul(2_654_435_761) >> 24) as u8;
        let picture = Picture::rgb(10, 13, (0..10 * 13 * 3).map(byte).collect()).expect("10 x 13");
        fs::create_dir_all(folder.join(&name).parent().expect("a folder")).expect("created");
        write_png(&folder.join(name), &picture).expect("written");
    }
    fs::write(folder.join("table/t.csv"), "path,label\nc.png,dawn\n").expect("written");
    fs::write(folder.join("loose/cut.png"), b"\x89PNG\r\n\x1a\n").expect("written");
    ["sorted", "loose", "table/t.csv", "d.png"].map(|name| folder.join(name)).into()
}

fn collected(folder: &Path) -> Collection {
    collect(&photos(folder), &ScanOptions::default(), &mut |_| ControlFlow::Continue(())).expect("photos")
}

/// Value of a layer for each photo, alone: `[H, W, C]` row by row.
fn values(model: &Model, collection: &Collection, layer: &str) -> Vec<Vec<f32>> {
    let node = model.find_node(layer).expect("a layer");
    let value = |path: &Path| {
        let picture = open(path, &DecodeOptions::default()).expect("a photo");
        let x = model.input(&[picture]).expect("an input");
        let mut session = model.session(&[x.shape().clone()], &[node], Grads::None).expect("a plan");
        session.run(model.params(), &[x.view()]).expect("values");
        session.value(node).data().to_vec()
    };
    collection.photos.iter().map(|photo| value(&photo.path)).collect()
}

/// What a pooling makes of a map of `channels`, by its definition.
fn pooled(map: &[f32], channels: usize, pooling: FeaturePooling) -> Vec<f32> {
    let of = |channel: usize| map.iter().skip(channel).step_by(channels).map(|v| f64::from(*v));
    let mean = |channel| of(channel).sum::<f64>() / of(channel).count() as f64;
    match pooling {
        FeaturePooling::None => map.to_vec(),
        FeaturePooling::Average => (0..channels).map(|channel| mean(channel) as f32).collect(),
        FeaturePooling::Max => {
            (0..channels).map(|c| of(c).fold(f64::NEG_INFINITY, f64::max) as f32).collect()
        }
    }
}

fn assert_close(got: &[f32], expected: &[f32], what: &str) {
    assert_eq!(got.len(), expected.len(), "{what}");
    for (a, b) in got.iter().zip(expected) {
        assert!((a - b).abs() <= 1e-6 * (1.0 + b.abs()), "{what}: {a}, expected {b}");
    }
}

#[test]
fn photos_are_found_wherever_they_are() {
    let folder = TempDir::new().expect("a folder");
    let collection = collected(folder.path());
    assert_eq!(collection.classes, ["dawn", "noon", "شب"]);
    let found: Vec<(String, Option<usize>)> = collection
        .photos
        .iter()
        .map(|photo| {
            let below = photo.path.strip_prefix(folder.path()).expect("below");
            (below.to_string_lossy().into_owned(), photo.label)
        })
        .collect();
    let noon = ["0", "10", "2", "4", "6", "8"].map(|n| (format!("sorted/noon/{n}.png"), Some(1)));
    let night = ["1", "3", "5", "7", "9"].map(|n| (format!("sorted/شب/{n}.png"), Some(2)));
    let rest = [("loose/a.png", None), ("loose/b.png", None), ("table/c.png", Some(0)), ("d.png", None)];
    let rest = rest.map(|(name, label)| (name.to_owned(), label));
    assert_eq!(found, [&noon[..], &night, &rest].concat());
    assert_eq!(collection.rejected.len(), 1);
    assert!(collection.rejected[0].path.ends_with("loose/cut.png"));
}

#[test]
fn npz_holds_what_a_session_gives() {
    let folder = TempDir::new().expect("a folder");
    let (model, collection) = (model(), collected(folder.path()));
    let maps = values(&model, &collection, LAYER);
    let node = model.find_node(LAYER).expect("a layer");
    for pooling in [FeaturePooling::Average, FeaturePooling::Max, FeaturePooling::None] {
        let mut extraction = Extraction::new(&model, &collection, Some(node), pooling).expect("features");
        let channels = *extraction.value().last().expect("a map");
        let row = extraction.row().to_vec();
        let path = folder.path().join("features.npz");
        extraction.write_npz(&path, &mut |_| ControlFlow::Continue(())).expect("written");
        let bytes = fs::read(&path).expect("a file");
        let mut npz = Npz::open(&bytes, &Limits::default()).expect("an archive");
        assert_eq!(npz.names(), ["features", "labels", "paths", "classes"]);
        let features = npz.read("features").expect("features");
        assert_eq!(features.shape, [&[15], &row[..]].concat());
        let width: usize = row.iter().product();
        for (got, map) in features.data.chunks_exact(width).zip(&maps) {
            assert_close(got, &pooled(map, channels, pooling), &format!("{pooling:?}"));
        }
        let labels = [1., 1., 1., 1., 1., 1., 2., 2., 2., 2., 2., -1., -1., 0., -1.];
        assert_eq!(npz.read("labels").expect("labels"), NpyArray { shape: vec![15], data: labels.into() });
    }
}

/// Read back by the reader of the same crate; `testdata/gen/check_extract.py` reads with pyarrow.
#[test]
fn parquet_holds_what_a_session_gives() {
    let folder = TempDir::new().expect("a folder");
    let (model, collection) = (model(), collected(folder.path()));
    let maps = values(&model, &collection, LAYER);
    let node = model.find_node(LAYER).expect("a layer");
    for pooling in [FeaturePooling::Average, FeaturePooling::None] {
        let mut extraction = Extraction::new(&model, &collection, Some(node), pooling).expect("features");
        let channels = *extraction.value().last().expect("a map");
        let path = folder.path().join("features.parquet");
        extraction.write_parquet(&path, &mut |_| ControlFlow::Continue(())).expect("written");
        let reader = SerializedFileReader::new(File::open(&path).expect("a file")).expect("Parquet");
        let rows: Vec<_> = reader.get_row_iter(None).expect("rows").map(|row| row.expect("a row")).collect();
        assert_eq!(rows.len(), 15);
        for ((row, photo), map) in rows.iter().zip(&collection.photos).zip(&maps) {
            assert_eq!(*row.get_string(0).expect("a path"), photo.path.display().to_string());
            match photo.label {
                Some(label) => assert_eq!(*row.get_string(1).expect("a label"), collection.classes[label]),
                None => assert!(row.get_string(1).is_err(), "a label for {}", photo.path.display()),
            }
            let list = row.get_list(2).expect("a list");
            use parquet::record::ListAccessor;
            let got: Vec<f32> = (0..list.len()).map(|at| list.get_float(at).expect("a float")).collect();
            assert_close(&got, &pooled(map, channels, pooling), &format!("{pooling:?}"));
        }
    }
}

/// Without a layer, the map that `binesh train` puts a head on; a vector is a row as it is.
#[test]
fn the_last_map_and_vectors() {
    let folder = TempDir::new().expect("a folder");
    let (model, collection) = (model(), collected(folder.path()));
    let rows = |layer: Option<&str>| {
        let node = layer.map(|name| model.find_node(name).expect("a layer"));
        let mut extraction =
            Extraction::new(&model, &collection, node, FeaturePooling::Average).expect("features");
        let mut rows = Vec::new();
        extraction
            .each(&mut |_| ControlFlow::Continue(()), |_, values| {
                rows.extend_from_slice(values);
                Ok(())
            })
            .expect("values");
        (model.graph().node(extraction.layer()).name.clone(), extraction.row().to_vec(), rows)
    };
    let (name, row, got) = rows(None);
    let expected: Vec<f32> = values(&model, &collection, &name)
        .iter()
        .flat_map(|map| pooled(map, row[0], FeaturePooling::Average))
        .collect();
    assert_close(&got, &expected, &name);
    let (_, row, got) = rows(Some("dense2"));
    assert_eq!(row, [1]);
    assert_close(&got, &values(&model, &collection, "dense2").concat(), "dense2");
    let kernel = model.find_node("conv1/kernel").expect("a weight");
    let error =
        Extraction::new(&model, &collection, Some(kernel), FeaturePooling::None).err().expect("no value");
    assert_eq!(error.to_string(), "`conv1/kernel` is not a value of each photo");
}

/// Whoever stops it finds the old file, and nothing beside it.
#[test]
fn a_stopped_extraction_leaves_nothing() {
    let folder = TempDir::new().expect("a folder");
    let (model, collection) = (model(), collected(folder.path()));
    let out = folder.path().join("out");
    fs::create_dir(&out).expect("created");
    for name in ["old.npz", "old.parquet"] {
        fs::write(out.join(name), b"old").expect("written");
    }
    for name in ["old.npz", "new.npz", "old.parquet", "new.parquet"] {
        let mut extraction =
            Extraction::new(&model, &collection, None, FeaturePooling::Average).expect("features");
        let path = out.join(name);
        let mut stop = |progress: binesh::train::Progress| {
            assert!((progress.done, progress.total) == (8, 15), "stopped at once");
            ControlFlow::Break(())
        };
        let result = match name.ends_with("npz") {
            true => extraction.write_npz(&path, &mut stop),
            false => extraction.write_parquet(&path, &mut stop),
        };
        assert!(matches!(result, Err(TrainError::Stopped)));
    }
    let mut left: Vec<_> =
        fs::read_dir(&out).expect("a folder").map(|entry| entry.expect("an entry").file_name()).collect();
    left.sort();
    assert_eq!(left, ["old.npz", "old.parquet"]);
    assert!(left.iter().all(|name| fs::read(out.join(name)).expect("a file") == b"old"));
}
