//! Colormaps, grids, heatmaps and files against matplotlib, numpy and OpenCV (`testdata/gen/images.py`).

use std::path::{Path, PathBuf};

use binesh::image::{DecodeOptions, Picture, decode, open, resize_map};
use binesh::render::{
    Colormap, ContactSheet, GridStyle, LayerTile, Overlay, contact_sheet, display_grid, encode_png, enlarge,
    grid, heat, matshow, overlay, sparsity, write_file, write_png,
};
use binesh_formats::npy::{NpyArray, Npz};

fn golden(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata/golden/images").join(file)
}

fn array(name: &str) -> NpyArray {
    let bytes = std::fs::read(golden("render.npz")).unwrap();
    Npz::open(&bytes, &binesh_formats::Limits::default()).unwrap().read(name).unwrap()
}

fn bytes(array: &NpyArray) -> Vec<u8> {
    array.data.iter().map(|&v| v as u8).collect()
}

fn largest_difference(got: &[u8], want: &[u8]) -> u8 {
    assert_eq!(got.len(), want.len());
    got.iter().zip(want).map(|(a, b)| a.abs_diff(*b)).max().unwrap()
}

fn shape(array: &NpyArray) -> [usize; 3] {
    array.shape[..].try_into().unwrap()
}

const AS_LISTED: GridStyle = GridStyle { images_per_row: 16, margin: 0, min_side: 0, background: [128; 3] };

#[test]
fn viridis_is_matplotlibs_and_jet_is_opencvs() {
    assert_eq!(Colormap::Viridis.table().as_flattened(), bytes(&array("viridis")));
    assert_eq!(Colormap::Jet.table().as_flattened(), bytes(&array("jet")));
}

#[test]
fn the_chapters_grid() {
    for name in ["wide", "exact", "narrow"] {
        let activation = array(&format!("activation/{name}"));
        let want = array(&format!("grid/{name}"));
        let got = display_grid(&activation.data, shape(&activation), 16);
        assert_eq!(vec![got.height(), got.width()], want.shape, "{name}");
        assert!(largest_difference(got.pixels(), &bytes(&want)) <= 1, "{name}");

        let colored = grid(&activation.data, shape(&activation), &AS_LISTED);
        assert_eq!((colored.height(), colored.width()), (got.height(), got.width()));
        let [h, w, c] = shape(&activation);
        let columns = c.min(16);
        let painted = Colormap::Viridis.paint(&got);
        for (i, (pixel, level)) in colored.pixels().chunks(3).zip(painted.pixels().chunks(3)).enumerate() {
            let (y, x) = (i / got.width(), i % got.width());
            let is_channel = y / h * columns + x / w < c;
            assert_eq!(pixel, if is_channel { level } else { &[128; 3] }, "{name} at {y}, {x}");
        }
    }
}

#[test]
fn a_dead_channel_is_blank() {
    let activation = array("activation/wide");
    let [h, w, c] = shape(&activation);
    let levels = display_grid(&activation.data, [h, w, c], 16);
    // 3 is zero everywhere, 10 is 0.7 everywhere.
    for channel in [3, 10] {
        assert!(levels.crop(0, channel * w, h, w).pixels().iter().all(|&v| v == 0), "channel {channel}");
    }
    assert!(levels.crop(0, 11 * w, h, w).pixels().iter().any(|&v| v > 128), "channel 11 is faint, not dead");
    let nan = display_grid(&[f32::NAN, 1.0, 2.0, 3.0], [2, 2, 1], 16);
    assert_eq!(nan.pixels(), [0; 4]);
}

#[test]
fn enlarged_with_margins() {
    let activation = array("activation/narrow");
    let [h, w, c] = shape(&activation);
    let style = GridStyle { images_per_row: 3, margin: 2, min_side: 25, background: [1, 2, 3] };
    let got = grid(&activation.data, [h, w, c], &style);
    // 9 x 10 maps, factor 3 since 2 would give only 20.
    assert_eq!((got.height(), got.width()), (2 * 27 + 2, 3 * 30 + 2 * 2));
    let plain = grid(&activation.data, [h, w, c], &GridStyle { images_per_row: 3, ..AS_LISTED });
    let (row, column) = (1, 1);
    let cell = got.crop(row * 29, column * 32, 27, 30);
    assert_eq!(cell, enlarge(&plain.crop(row * h, column * w, h, w), 3));
    assert_eq!(got.crop(27, 0, 2, got.width()).pixels()[..3], [1, 2, 3]);
    assert_eq!(
        got.crop(29, 64, 27, 30),
        Picture::filled(27, 30, [1, 2, 3]),
        "the place after the last channel"
    );
}

#[test]
fn maps_of_one_pixel_compare_channels() {
    let got = display_grid(&[0.0, 1.0, 3.0, 2.0], [1, 1, 4], 16);
    assert_eq!(got.pixels(), [0, 85, 255, 170]);
}

#[test]
fn matshow_is_matplotlibs() {
    let activation = array("activation/exact");
    let [h, w, c] = shape(&activation);
    let channel: Vec<f32> = activation.data.iter().skip(5).step_by(c).copied().collect();
    assert_eq!(matshow(&channel, [h, w], 0).pixels(), bytes(&array("matshow/exact/5")));
    let flat = matshow(&[2.5; 6], [2, 3], 9);
    assert_eq!(flat, Picture::filled(6, 9, Colormap::Viridis.color(0)));
    let with_nan = matshow(&[f32::NAN, 1.0, 2.0], [1, 3], 0);
    assert_eq!(with_nan.pixels()[3..6], Colormap::Viridis.color(0));
}

#[test]
fn the_chapters_overlay() {
    let photo = open(&golden("photo.png"), &DecodeOptions::default()).unwrap();
    let map = array("heatmap").data;
    let resized = resize_map(&map, [7, 7], [photo.height(), photo.width()]);
    let want = array("heatmap/resized").data;
    let worst = resized.iter().zip(&want).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    assert!(worst < 1e-6, "cv2.resize: off by {worst}");

    let got = overlay(&photo, &map, [7, 7], Overlay::Book);
    let want = bytes(&array("overlay/book"));
    // Where 255 h is a whole number but for rounding, the neighboring color is chosen: 0.4 * 4 levels.
    assert!(largest_difference(got.pixels(), &want) <= 2);
    let unequal = got.pixels().iter().zip(&want).filter(|(a, b)| a != b).count();
    assert!(unequal * 1000 <= want.len(), "{unequal} of {} values", want.len());
}

#[test]
fn the_default_overlay_shows_the_photo_and_rises_with_the_map() {
    let photo = open(&golden("photo.png"), &DecodeOptions::default()).unwrap();
    let luma = |p: &Picture| {
        p.to_gray().pixels().iter().map(|&v| f64::from(v)).sum::<f64>() / p.pixels().len() as f64
    };
    let gray = Picture::filled(8, 8, [120, 110, 100]);
    let brightness: Vec<f64> =
        (0..=10).map(|i| luma(&overlay(&gray, &[i as f32 / 10.0], [1, 1], Overlay::Paper))).collect();
    assert!(brightness.windows(2).all(|w| w[1] > w[0]), "brightness carries the map: {brightness:?}");
    let nan = overlay(&photo, &[f32::NAN; 4], [2, 2], Overlay::Paper);
    assert_eq!(nan, overlay(&photo, &[0.0; 4], [2, 2], Overlay::Paper));
}

#[test]
fn a_map_alone() {
    let got = heat(&[0.0, 1.0], [1, 2], [3, 4]);
    let table = Colormap::Inferno.table();
    let row: Vec<u8> = [0, 64, 191, 255].iter().flat_map(|&level: &usize| table[level]).collect();
    assert_eq!(got.pixels(), row.repeat(3));
}

#[test]
fn sparsity_counts() {
    #[rustfmt::skip]
    let activation = [
        0.0, 1.0, 5.0, -0.0,
        0.0, 2.0, 5.0, 3.0,
        0.0, 0.0, 5.0, 0.0,
    ];
    let got = sparsity(&activation, 4);
    assert_eq!((got.zeros, got.values, got.channels), (6, 12, 4));
    assert_eq!(got.zeros_share(), 0.5);
    assert_eq!(got.dead, [0, 2], "zero everywhere, and the same everywhere");
    assert_eq!(sparsity(&[0.0, 4.0], 2).dead, [0], "one place: only zero is dead");
    assert_eq!(sparsity(&[f32::NAN, f32::NAN], 1).dead, [0usize; 0]);
    assert_eq!(sparsity(&array("activation/wide").data, 40).dead, [3, 10]);
}

#[test]
fn png_files_are_lossless_and_small() {
    let photo = open(&golden("photo.png"), &DecodeOptions::default()).unwrap();
    let few_colors = Colormap::Viridis.paint(&photo);
    for (picture, color_type) in [(&photo, 2), (&few_colors, 3), (&photo.to_gray(), 0)] {
        let png = encode_png(picture);
        assert_eq!(png[25], color_type, "the color type in the header");
        assert_eq!(decode("x.png", &png, &DecodeOptions::default()).unwrap(), picture.to_rgb());
    }
    assert!(encode_png(&few_colors).len() < few_colors.pixels().len() / 3);
}

#[test]
fn files_appear_whole_or_not_at_all() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.png");
    let picture = Picture::filled(2, 3, [1, 2, 3]);
    write_file(&path, b"old").unwrap();
    write_png(&path, &picture).unwrap();
    assert_eq!(open(&path, &DecodeOptions::default()).unwrap(), picture);
    let names: Vec<_> = std::fs::read_dir(folder.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(names, ["a.png"], "no temporary file is left");
    let error = write_file(&folder.path().join("missing/b.png"), b"x").unwrap_err().to_string();
    assert!(error.contains("missing/b.png: ") && !error.contains(".binesh-"), "{error}");
}

#[cfg(unix)]
#[test]
fn files_are_as_readable_as_the_umask_allows() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let mode = |name: &str| folder.path().join(name).metadata().unwrap().permissions().mode();
    std::fs::write(folder.path().join("plain"), b"x").unwrap();
    write_file(&folder.path().join("ours"), b"x").unwrap();
    assert_eq!(mode("ours"), mode("plain"));
}

fn tile(name: &str, zeros_share: f64) -> LayerTile {
    LayerTile {
        name: name.into(),
        class: "Conv2D".into(),
        shape: vec![7, 9, 32],
        zeros_share,
        dead_channels: 3,
        image_path: format!("{name}.png"),
    }
}

#[test]
fn the_page_says_what_was_measured() {
    let page = contact_sheet("vgg16", &[tile("block1_conv1", 0.0), tile("block5_conv3", 0.8765)]);
    for part in [
        "<h1>vgg16</h1>",
        "block5_conv3",
        "7 × 9 × 32",
        "zeros <b>88 %</b>",
        "zeros <b>0 %</b>",
        "dead channels <b>3</b> of 32",
        "<img src=\"block5_conv3.png\"",
        "2. block5_conv3: 88 % zeros, 3 of 32 channels dead",
        "href=\"#layer-2\"",
    ] {
        assert!(page.contains(part), "no {part} in the page");
    }
    // The curve: the first layer at the left edge and the bottom, the last at the right edge, 87.65 % up.
    assert!(page.contains("<polyline class=\"zeros\" points=\"62.0,284.0 1156.0,73.6\"/>"), "{page}");
    for foreign in ["http:", "https:", "<script", "@import", "url("] {
        assert!(!page.contains(foreign), "the page refers to {foreign}");
    }
}

#[test]
fn small_and_large_shares_are_not_rounded_away() {
    let shares = [1e-5, 0.004, 0.5, 0.997, 0.999_99, 1.0];
    let page = contact_sheet("x", &shares.map(|s| tile("a", s)));
    for text in ["under 0.1 %", "0.4 %", "50 %", "99.7 %", "over 99.9 %", "100 %"] {
        assert!(page.contains(&format!("zeros <b>{text}</b>")), "{text}");
    }
}

#[test]
fn hostile_names_stay_text() {
    let name = "<img src=x onerror=\"alert('1')\">&";
    let sheet = ContactSheet {
        title: name.into(),
        lines: vec![name.into()],
        photo_path: Some("javascript:alert(1)".into()),
        tiles: vec![LayerTile {
            class: name.into(),
            image_path: "//host/a b#c?d%.png".into(),
            shape: vec![],
            ..tile(name, f64::NAN)
        }],
    };
    let page = sheet.html();
    assert!(!page.contains("<img src=x") && !page.contains("alert('"), "{page}");
    assert!(page.contains("&lt;img src=x onerror=&quot;alert(&#39;1&#39;)&quot;&gt;&amp;"));
    assert!(page.contains("<img src=\"javascript%3Aalert%281%29\""));
    assert!(page.contains("href=\"host/a%20b%23c%3Fd%25.png\""));
    assert!(contact_sheet("empty", &[]).contains("<h1>empty</h1>"));
}

/// A link keeps leading where it led, and a device stays a device.
#[cfg(unix)]
#[test]
fn links_and_devices_are_written_through() {
    let dir = tempfile::tempdir().unwrap();
    let [target, link] = ["target", "link"].map(|name| dir.path().join(name));
    std::fs::write(&target, "old").unwrap();
    std::os::unix::fs::symlink(&target, &link).unwrap();
    binesh::render::write_file(&link, b"new").unwrap();
    assert!(link.symlink_metadata().unwrap().is_symlink());
    assert_eq!(std::fs::read(&target).unwrap(), b"new");
    let null = std::path::Path::new("/dev/null");
    binesh::render::write_file(null, b"gone").unwrap();
    assert!(!null.symlink_metadata().unwrap().is_file());
}
