//! Photos with labels, from real folders.

use std::fs;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use binesh::data::{
    DataError, Dataset, DuplicateKind, DuplicateOptions, Fingerprint, Layout, Reason, ScanEvent, ScanOptions,
    Split, SplitSpec, scan,
};
use binesh::image::{DecodeOptions, Interpolation, Limits, Picture, decode, open};
use binesh::render::{encode_png, write_png};
use tempfile::TempDir;

/// Smooth noise, another for every number.
fn photo(number: usize) -> Picture {
    let pixels = (0..6 * 6 * 3).map(|p| (((p + 3) * (number + 17) * 2_654_435_761) >> 11) as u8).collect();
    let noise = Picture::rgb(6, 6, pixels).expect("6 x 6");
    noise.resize([48, 64], Interpolation::Bicubic)
}

fn write(folder: &Path, name: &str, bytes: &[u8]) {
    let path = folder.join(name);
    fs::create_dir_all(path.parent().expect("a folder")).expect("created");
    fs::write(path, bytes).expect("written");
}

fn write_photos(folder: &Path, class: &str, numbers: std::ops::Range<usize>) {
    fs::create_dir_all(folder.join(class)).expect("created");
    for number in numbers {
        write_png(&folder.join(class).join(format!("{number}.png")), &photo(number)).expect("written");
    }
}

fn scanned(path: &Path) -> Result<Dataset, DataError> {
    scan(path, &ScanOptions::default(), &mut |_| ControlFlow::Continue(()))
}

fn below(folder: &Path, data: &Dataset) -> Vec<String> {
    let relative = |path: &Path| path.strip_prefix(folder).expect("below").to_string_lossy().into_owned();
    data.items.iter().map(|item| relative(&item.path)).collect()
}

fn two_classes() -> TempDir {
    let folder = TempDir::new().expect("a folder");
    write_photos(folder.path(), "cat", 0..6);
    write_photos(folder.path(), "Zebra", 6..12);
    folder
}

/// Order as `os.walk` and `sorted` give it, ran in Python 3.12 on these names.
#[test]
fn files_and_classes_are_in_the_order_of_keras() {
    let folder = two_classes();
    let root = folder.path();
    let png = encode_png(&photo(50));
    for name in
        ["cat/10.png", "cat/sub/a.png", "cat/sub-x/b.png", "cat/sub/deep/c.png", "cat/é.png", "cat/~.png"]
    {
        write(root, name, &png);
    }
    write(root, "cat/.hidden.png", &png);
    write(root, ".cache/x.png", &png);
    let data = scanned(root).expect("a dataset");
    assert_eq!(data.classes, ["Zebra", "cat"]);
    assert_eq!(data.layout, Layout::ClassFolders);
    let expected = [
        "Zebra/10.png",
        "Zebra/11.png",
        "Zebra/6.png",
        "Zebra/7.png",
        "Zebra/8.png",
        "Zebra/9.png",
        "cat/0.png",
        "cat/1.png",
        "cat/10.png",
        "cat/2.png",
        "cat/3.png",
        "cat/4.png",
        "cat/5.png",
        "cat/~.png",
        "cat/é.png",
        "cat/sub/a.png",
        "cat/sub-x/b.png",
        "cat/sub/deep/c.png",
    ];
    assert_eq!(below(root, &data), expected);
    assert_eq!(data.class_counts(), [6, 12]);
}

#[derive(serde::Deserialize)]
struct KerasGolden {
    files: Vec<String>,
    classes: Vec<String>,
    listed: Vec<String>,
    splits: Vec<KerasSplit>,
}

#[derive(serde::Deserialize)]
struct KerasSplit {
    validation: f64,
    seed: u32,
    held: Vec<String>,
}

/// `testdata/gen/splits.py`: what `image_dataset_from_directory` lists and holds back.
#[test]
fn listing_and_split_equal_keras() {
    let text = fs::read_to_string(testdata("splits/keras.json")).expect("the golden");
    let golden: KerasGolden = serde_json::from_str(&text).expect("the golden");
    let folder = TempDir::new().expect("a folder");
    for (number, name) in golden.files.iter().enumerate() {
        write(folder.path(), name, &encode_png(&photo(number)));
    }
    let data = scanned(folder.path()).expect("a dataset");
    assert_eq!(data.classes, golden.classes);
    assert_eq!(below(folder.path(), &data), golden.listed);
    assert_eq!(golden.splits.len(), 4);
    for KerasSplit { validation, seed, held } in golden.splits {
        let splits = data.split(&SplitSpec::Keras { validation, seed }).expect("possible");
        let mut got: Vec<&String> =
            data.indices(&splits, Split::Validation).into_iter().map(|i| &golden.listed[i]).collect();
        let mut want: Vec<&String> = held.iter().collect();
        got.sort();
        want.sort();
        assert_eq!(got, want, "validation_split={validation}, seed={seed}");
        assert!(!data.indices(&splits, Split::Train).is_empty());
    }
}

fn testdata(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata/golden").join(file)
}

/// A valid PNG header of 100,000 x 100,000 pixels and nothing behind it.
fn huge_png() -> Vec<u8> {
    let mut png = encode_png(&Picture::filled(1, 1, [0; 3]));
    png[16..24].copy_from_slice(&[0, 1, 0x86, 0xa0, 0, 1, 0x86, 0xa0]);
    let mut crc = !0u32;
    for byte in &png[12..29] {
        crc ^= u32::from(*byte);
        (0..8).for_each(|_| crc = if crc & 1 == 1 { crc >> 1 ^ 0xedb8_8320 } else { crc >> 1 });
    }
    png[29..33].copy_from_slice(&(!crc).to_be_bytes());
    png
}

#[test]
fn whatever_lies_in_a_folder() {
    let folder = two_classes();
    let root = folder.path();
    let image = |name: &str| fs::read(testdata("images").join(name)).expect("a golden");
    let photo = image("photo.jpg");
    let good = [
        ("cat/png_called.jpg", encode_png(&Picture::filled(5, 5, [1, 2, 3]))),
        ("cat/no_extension", photo.clone()),
        ("cat/animated.dat", image("eye_animated.gif")),
        ("cat/cmyk.jpg", image("photo_cmyk.jpg")),
        ("cat/one.png", encode_png(&Picture::filled(1, 1, [9; 3]))),
        ("cat/\u{202e}\u{5d7}\u{5ea}\u{5d5}\u{5dc}.webp", image("eye.webp")),
    ];
    let mut corrupt = image("eye.png");
    let middle = corrupt.len() / 2;
    corrupt[middle..middle + 20].fill(0x55);
    let bad = [
        ("cat/Thumbs.db", b"\xd0\xcf\x11\xe0".to_vec(), Reason::NotAPicture, true),
        ("cat/corrupt.png", corrupt, Reason::Damaged, false),
        ("cat/empty.jpg", Vec::new(), Reason::NotAPicture, false),
        ("cat/header_only.jpg", photo[..20].to_vec(), Reason::Damaged, false),
        ("cat/huge.png", huge_png(), Reason::TooLarge, false),
        ("cat/notes.txt", b"three cats".to_vec(), Reason::NotAPicture, true),
        ("cat/page.jpg", b"<html>404</html>".to_vec(), Reason::NotAPicture, false),
        ("cat/truncated.jpg", photo[..photo.len() - 100].to_vec(), Reason::Damaged, false),
    ];
    good.iter().for_each(|(name, bytes)| write(root, name, bytes));
    bad.iter().for_each(|(name, bytes, ..)| write(root, name, bytes));
    let data = scanned(root).expect("a dataset");
    let items = below(root, &data);
    for (name, _) in &good {
        assert!(items.iter().any(|item| item == name), "{name} is left out: {:#?}", data.rejected);
    }
    assert_eq!(data.items.len(), 12 + good.len());
    let rejected: Vec<(&Path, Reason, bool)> = data
        .rejected
        .iter()
        .map(|r| (r.path.strip_prefix(root).expect("below"), r.reason, r.is_quiet()))
        .collect();
    let expected: Vec<(&Path, Reason, bool)> =
        bad.iter().map(|(name, _, reason, quiet)| (Path::new(*name), *reason, *quiet)).collect();
    assert_eq!(rejected, expected);
    assert!(data.rejected.iter().all(|r| r.message.starts_with(&r.path.display().to_string())));
    assert_eq!(
        data.rejected[7].message,
        format!("{}/cat/truncated.jpg: damaged JPEG picture: the file is cut off", root.display())
    );
}

#[cfg(unix)]
#[test]
fn links_loops_pipes_and_names_in_no_encoding() {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;
    use std::os::unix::fs::symlink;
    let folder = two_classes();
    let root = folder.path();
    let elsewhere = TempDir::new().expect("a folder");
    write_photos(elsewhere.path(), "fox", 20..26);
    // A link to a class folder is a class, as in Keras; one further down is not followed.
    symlink(elsewhere.path().join("fox"), root.join("fox")).expect("a link");
    symlink(root, root.join("cat/loop")).expect("a link");
    symlink(root.join("cat/0.png"), root.join("cat/linked.png")).expect("a link");
    symlink(root.join("cat/nowhere"), root.join("cat/dangling.png")).expect("a link");
    fs::write(root.join(OsStr::from_bytes(b"cat/caf\xe9.png")), encode_png(&photo(60))).expect("written");
    let _socket = std::os::unix::net::UnixListener::bind(root.join("cat/socket.png")).expect("a socket");
    let data = scanned(root).expect("a dataset");
    assert_eq!(data.classes, ["Zebra", "cat", "fox"]);
    assert_eq!(data.class_counts(), [6, 8, 6]);
    let reasons: Vec<_> =
        data.rejected.iter().map(|r| (r.path.file_name().expect("a name"), r.reason)).collect();
    let expected = [("dangling.png", Reason::Unreadable), ("socket.png", Reason::NotAPicture)];
    assert_eq!(reasons, expected.map(|(name, reason)| (OsStr::new(name), reason)));
}

#[test]
fn limits_are_those_of_decoding() {
    let folder = two_classes();
    let limits = Limits { max_pixels: 48 * 64 - 1, ..Limits::default() };
    let decode = DecodeOptions { limits, ..DecodeOptions::default() };
    let options = ScanOptions { decode, ..ScanOptions::default() };
    let error =
        scan(folder.path(), &options, &mut |_| ControlFlow::Continue(())).expect_err("nothing is left");
    assert_eq!(error.to_string(), "too few pictures, at least 5 of each class are needed: Zebra 0, cat 0");
    let hint = "12 files were left out as damaged or no picture; add pictures, or remove the class";
    assert_eq!(error.hint().as_deref(), Some(hint));
}

#[test]
fn train_val_and_test_folders() {
    let folder = TempDir::new().expect("a folder");
    let root = folder.path();
    for (split, first) in [("train", 0), ("Validation", 20), ("test", 30)] {
        write_photos(&root.join(split), "dog", first..first + 6);
        write_photos(&root.join(split), "cat", first + 6..first + 9);
    }
    write(root, "readme.md", b"where these come from");
    let data = scanned(root).expect("a dataset");
    assert_eq!(
        (data.layout, &data.classes[..]),
        (Layout::SplitFolders, &["cat".to_owned(), "dog".to_owned()][..])
    );
    let splits = data.split(&SplitSpec::default()).expect("given");
    for split in Split::ALL {
        assert_eq!(data.counts(&splits, split), [3, 6], "{}", split.name());
    }
    assert!(data.items[9].path.ends_with("Validation/cat/26.png"));

    // Without validation, it is drawn from what trains.
    fs::remove_dir_all(root.join("Validation")).expect("removed");
    let data = scanned(root).expect("a dataset");
    let splits =
        data.split(&SplitSpec::Stratified { validation: 0.34, test: 0.5, seed: 0 }).expect("possible");
    assert_eq!(data.counts(&splits, Split::Validation), [1, 2]);
    assert_eq!(data.counts(&splits, Split::Test), [3, 6]);
}

/// Vehicles: `train` is a class unless it holds folders, and every other folder is a split too.
#[test]
fn a_class_called_train() {
    let folder = TempDir::new().expect("a folder");
    for (class, first) in [("train", 0), ("test", 10), ("car", 20)] {
        write_photos(folder.path(), class, first..first + 5);
    }
    assert_eq!(scanned(folder.path()).expect("a dataset").classes, ["car", "test", "train"]);
    fs::remove_dir_all(folder.path().join("car")).expect("removed");
    let data = scanned(folder.path()).expect("a dataset");
    assert_eq!((data.layout, data.classes.len()), (Layout::ClassFolders, 2));
}

fn table(text: &str) -> (TempDir, PathBuf) {
    let folder = TempDir::new().expect("a folder");
    write_photos(folder.path(), "photos", 0..12);
    write(folder.path(), "labels.csv", text.as_bytes());
    let path = folder.path().join("labels.csv");
    (folder, path)
}

/// Rows for 12 pictures, the last one without a file.
fn rows(separator: char) -> String {
    let label = |i: usize| if i.is_multiple_of(2) { "tabby, \"grey\"" } else { "abc" };
    let quoted = |text: &str| format!("\"{}\"", text.replace('"', "\"\""));
    (0..13).map(|i| format!("photos/{i}.png{separator}{}\n", quoted(label(i)))).collect()
}

#[test]
fn tables() {
    let plain = rows(',');
    let headed = format!(
        "\u{feff}Label,Filename,Photographer\n{}",
        "abc,photos/1.png,me\ncat,photos/2.png,me\n".repeat(5)
    );
    for text in [plain.clone(), format!("path,label\n{plain}"), rows(';'), rows('\t').replace('\n', "\r\n")] {
        let (_folder, path) = table(&text);
        let data = scanned(&path).expect("a dataset");
        assert_eq!(data.layout, Layout::Table);
        assert_eq!(data.classes, ["abc", "tabby, \"grey\""]);
        assert_eq!(data.class_counts(), [6, 6]);
        assert!(data.items[1].path.ends_with("photos/3.png") && data.items[6].path.ends_with("photos/0.png"));
        assert_eq!(data.rejected.len(), 1);
        assert_eq!((data.rejected[0].reason, data.rejected[0].is_quiet()), (Reason::Unreadable, false));
    }
    let (_folder, path) = table(&headed);
    assert_eq!(scanned(&path).expect("a dataset").class_counts(), [5, 5]);
}

#[test]
fn splits_of_tables() {
    let splits = ["train", "train", "train", "train", "VAL", "val", "Test", "test", "training", "", "", ""];
    let row = |(i, split): (usize, &&str)| format!("photos/{i}.png,{},{split}\n", ["a", "b"][i % 2]);
    let text: String = splits.iter().enumerate().map(row).collect();
    let (_folder, path) = table(&format!("path,label,split\n{text}"));
    let data = scanned(&path).expect("a dataset");
    let splits = data.split(&SplitSpec::default()).expect("given");
    assert_eq!(data.counts(&splits, Split::Validation), [1, 1]);
    assert_eq!(data.counts(&splits, Split::Test), [1, 1]);
    assert_eq!(data.counts(&splits, Split::Train), [4, 4]);
}

#[test]
fn tables_with_mistakes() {
    let check = |text: &[u8], message: &str| {
        let (_folder, path) = table("");
        fs::write(&path, text).expect("written");
        let error = scanned(&path).expect_err("a mistake");
        let shown = error.to_string();
        assert_eq!(shown.strip_prefix(&path.display().to_string()).unwrap_or(&shown), message);
        assert!(error.hint().is_some(), "{shown}");
    };
    check(b"path,label\na.png,cat\nb.png\n", ", line 3: no label for `b.png`");
    check(b"a.png,cat\n,cat\n", ", line 2: no path");
    check(b"a.png,cat,trian\n", ", line 1: split `trian` is none of train, validation, test");
    check(b"a.png,caf\xe9\n", ", line 1: the text is not UTF-8");
    check(&encode_png(&photo(0)), ", line 1: this is a picture, not a folder or a table of pictures");
    check(b"", ": no class, at least 2 are needed");
    check(b"a.png,cat\nb.png,cat\n", ": only one class, `cat`, at least 2 are needed");
}

#[test]
fn folders_that_are_no_dataset() {
    let check = |folder: &Path, message: &str, hint: &str| {
        let error = scanned(folder).expect_err("no dataset");
        let root = format!("{}", folder.display());
        assert_eq!(error.to_string().replace(&root, "DIR"), message);
        assert_eq!(error.hint().map(|hint| hint.replace(&root, "DIR")).unwrap_or_default(), hint);
    };
    let folder = TempDir::new().expect("a folder");
    let root = folder.path();
    let sort = "sort the pictures into one folder per class, named as the class";
    check(root, "DIR: no class folders", sort);
    write(root, "a.png", b"");
    check(root, "DIR: no class folders", &format!("{sort}, or write a CSV of path,label"));
    write(root, "all.CSV", b"");
    check(root, "DIR: no class folders", "to use the table in it, give `DIR/all.CSV`");
    write_photos(&root.join("photos"), "cat", 0..5);
    let one = "DIR: only one class, `photos`, at least 2 are needed";
    check(root, one, "a folder per class is expected; pictures of what it is not make a class too");
    write_photos(&root.join("photos"), "dog", 5..9);
    check(root, one, "the class folders seem to be in `DIR/photos`");
    let few = "too few pictures, at least 5 of each class are needed: dog 4";
    check(&root.join("photos"), few, "add pictures, or remove the folder of a class that is not meant");
    fs::create_dir(root.join("photos/__MACOSX")).expect("created");
    fs::create_dir(root.join("photos/empty")).expect("created");
    let few = "too few pictures, at least 5 of each class are needed: dog 4, empty 0";
    check(&root.join("photos"), few, "add pictures, or remove the folder of a class that is not meant");
    let missing = root.join("no/such");
    check(&missing, "DIR: No such file or directory (os error 2)", "");
}

#[test]
fn the_classes_of_a_model() {
    let folder = two_classes();
    let known = |classes: &[&str]| ScanOptions::of_classes(classes.iter().map(|c| (*c).to_owned()).collect());
    let go = &mut |_: ScanEvent<'_>| ControlFlow::Continue(());
    let data = scan(folder.path(), &known(&["cat", "dog", "Zebra"]), go).expect("a dataset");
    assert_eq!(data.classes, ["cat", "dog", "Zebra"]);
    assert_eq!(data.class_counts(), [6, 0, 6]);
    assert!(data.items[0].path.ends_with("cat/0.png"));
    let error = scan(folder.path(), &known(&["cats", "Zebra"]), go).expect_err("cat");
    let both = ": `cat` is none of the model's 2 classes: `cats`, `Zebra`";
    assert!(error.to_string().ends_with(both), "{error}");
    assert_eq!(error.hint().as_deref(), Some("did you mean `cats`?"));
}

#[test]
fn events_count_and_stop() {
    let folder = two_classes();
    write(folder.path(), "cat/page.jpg", b"<html>");
    let (mut seen, mut rejected) = (Vec::new(), 0);
    let mut watch = |event: ScanEvent<'_>| {
        match event {
            ScanEvent::Found { files } => assert_eq!(files, 13),
            ScanEvent::Checked { done, files, rejected: bad } => {
                assert_eq!(files, 13);
                seen.push(done);
                rejected += usize::from(bad.is_some());
            }
        }
        ControlFlow::Continue(())
    };
    scan(folder.path(), &ScanOptions::default(), &mut watch).expect("a dataset");
    assert_eq!((seen, rejected), ((1..=13).collect(), 1));

    let mut left = 4;
    let mut stop = |_: ScanEvent<'_>| {
        left -= 1;
        if left > 0 { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    };
    let stopped = scan(folder.path(), &ScanOptions::default(), &mut stop);
    assert!(matches!(stopped, Err(DataError::Stopped)));
    assert_eq!(left, 0, "nothing is told after that");
}

#[test]
fn any_number_of_threads_finds_the_same() {
    let folder = two_classes();
    write(folder.path(), "cat/page.jpg", b"<html>");
    let with = |threads| {
        let options = ScanOptions { threads: Some(threads), ..ScanOptions::default() };
        scan(folder.path(), &options, &mut |_| ControlFlow::Continue(())).expect("a dataset")
    };
    let (one, seven) = (with(1), with(7));
    assert_eq!((&one.items, &one.rejected), (&seven.items, &seven.rejected));
}

/// `sha256sum examples/data/cat.png`.
#[test]
fn content_is_the_sha_256_of_the_file() {
    let folder = two_classes();
    let cat = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/data/cat.png");
    fs::copy(cat, folder.path().join("cat/~.png")).expect("copied");
    let data = scanned(folder.path()).expect("a dataset");
    let content = data.items.last().expect("items").content;
    let hex: String = content.iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(hex, "596aa1e7cb875eb79f437e310381d26b338a81c2da23439704a73c4651e8c4bb");
}

/// Copies are found across folders, with what they mean: the wrong label, or a test that was trained on.
#[test]
fn copies_labels_and_leaks() {
    let folder = two_classes();
    let root = folder.path();
    let original = photo(0);
    fs::copy(root.join("cat/0.png"), root.join("Zebra/copy.png")).expect("copied");
    write(root, "cat/smaller.png", &encode_png(&original.resize([24, 30], Interpolation::Bilinear)));
    let data = scanned(root).expect("a dataset");
    let name =
        |i: usize| data.items[i].path.strip_prefix(root).expect("below").to_string_lossy().into_owned();
    let found = data.duplicates(&DuplicateOptions::default());
    let named: Vec<_> =
        found.iter().map(|pair| (name(pair.first), name(pair.second), pair.is_conflict(&data))).collect();
    let expected = [
        ("Zebra/copy.png", "cat/0.png", true),
        ("Zebra/copy.png", "cat/smaller.png", true),
        ("cat/0.png", "cat/smaller.png", false),
    ];
    assert_eq!(named, expected.map(|(a, b, conflict)| (a.to_owned(), b.to_owned(), conflict)));
    assert_eq!(found[0].kind, DuplicateKind::Exact);
    assert!(matches!(found[2].kind, DuplicateKind::Near { distance } if distance <= 24));
    let splits = data.split(&SplitSpec::default()).expect("possible");
    assert!(!found.iter().any(|pair| pair.is_leak(&splits)), "the split keeps copies together");
    let mut splits = vec![Split::Train; data.items.len()];
    splits[found[0].first] = Split::Test;
    let leaks: Vec<bool> = found.iter().map(|pair| pair.is_leak(&splits)).collect();
    assert_eq!(leaks, [true, true, false]);
}

/// The pictures of `examples/data`: all different, and each is found again when shrunk.
#[test]
fn different_pictures_are_not_copies() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/data/pictures");
    let data = scanned(&folder).expect("the samples");
    assert_eq!(data.duplicates(&DuplicateOptions::default()), []);
    for item in data.items.iter().step_by(20) {
        let picture = open(&item.path, &DecodeOptions::default()).expect("scanned before");
        let half = picture.resize([picture.height() / 2, picture.width() / 2], Interpolation::Bicubic);
        let copy = Fingerprint::of(&half);
        let near = |other: &Fingerprint| copy.distance(other) <= 24 && copy.color_distance(other) <= 12.0;
        let found: Vec<&Path> =
            data.items.iter().filter(|i| near(&i.fingerprint)).map(|i| i.path.as_path()).collect();
        assert_eq!(found, [item.path.as_path()]);
    }
}

/// Pictures without structure are told apart by color.
#[test]
fn plain_pictures_of_different_colors_differ() {
    let print = |rgb| Fingerprint::of(&Picture::filled(40, 30, rgb));
    assert_eq!(print([250, 0, 0]).distance(&print([0, 0, 250])), 0);
    assert!((print([250, 0, 0]).color_distance(&print([0, 0, 250])) - 500.0 / 3.0).abs() < 1e-3);
}

/// Larger JPEGs are scanned at a reduced size, which must not hide that they are broken.
#[test]
fn large_jpegs_are_read_to_their_end() {
    let folder = two_classes();
    let photo = fs::read(testdata("scaled/even_420.jpg")).expect("a golden");
    decode("photo", &photo, &DecodeOptions::default().at_least([64, 64])).expect("whole");
    write(folder.path(), "cat/cut.jpg", &photo[..photo.len() - 500]);
    write(folder.path(), "cat/whole.jpg", &photo);
    let data = scanned(folder.path()).expect("a dataset");
    let names: Vec<_> =
        data.rejected.iter().map(|r| (r.path.file_name().expect("a name"), r.reason)).collect();
    assert_eq!(names, [(std::ffi::OsStr::new("cut.jpg"), Reason::Damaged)]);
    assert!(data.items.iter().any(|item| item.path.ends_with("cat/whole.jpg")));
}
