//! Decoding, resizing and scaling against PIL, TensorFlow and Keras (`testdata/gen/images.py`).

use std::path::{Path, PathBuf};

use binesh::image::{
    Color, DecodeOptions, Fit, ImageError, Interpolation, Limits, Orientation, Picture, Preprocess, Scaling,
    Transparency, decode, deprocess, load_img, open, resize_tf, to_tensor,
};
use binesh_formats::npy::{NpyArray, Npz};

fn golden(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata/golden/images").join(file)
}

/// All arrays of an `.npz` whose names begin with `prefix`, the prefix taken off.
fn arrays(file: &str, prefix: &str) -> Vec<(String, NpyArray)> {
    let bytes = std::fs::read(golden(file)).unwrap();
    let mut npz = Npz::open(&bytes, &binesh_formats::Limits::default()).unwrap();
    let names: Vec<String> = npz.names().into_iter().filter(|n| n.starts_with(prefix)).collect();
    assert!(!names.is_empty(), "{file} has nothing named {prefix}");
    names.into_iter().map(|n| (n[prefix.len()..].to_owned(), npz.read(&n).unwrap())).collect()
}

fn bytes(array: &NpyArray) -> Vec<u8> {
    array.data.iter().map(|&v| v as u8).collect()
}

/// The largest difference and the share of values that differ.
fn differences(got: &[u8], want: &[u8]) -> (u8, f64) {
    assert_eq!(got.len(), want.len());
    let largest = got.iter().zip(want).map(|(a, b)| a.abs_diff(*b)).max().unwrap();
    let unequal = got.iter().zip(want).filter(|(a, b)| a != b).count();
    (largest, unequal as f64 / got.len() as f64)
}

#[track_caller]
fn close(got: &[f32], want: &[f32], tolerance: f32, what: &str) {
    assert_eq!(got.len(), want.len(), "{what}");
    let worst = got.iter().zip(want).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    assert!(worst <= tolerance, "{what}: off by {worst}, more than {tolerance}");
}

fn interpolation(name: &str) -> Interpolation {
    serde_json::from_value(name.into()).unwrap()
}

/// `HxW` at the end of an array's name.
fn size(name: &str) -> [usize; 2] {
    let (h, w) = name.rsplit('/').next().unwrap().split_once('x').unwrap();
    [h.parse().unwrap(), w.parse().unwrap()]
}

fn source(name: &str) -> Picture {
    open(&golden(&format!("{name}.png")), &DecodeOptions::default()).unwrap()
}

/// Lossy files: the decoder's inverse transform and chroma upsampling may round otherwise than libjpeg-turbo and
/// libwebp. Largest difference, share of values that differ.
fn allowance(file: &str) -> (u8, f64) {
    match file {
        f if f.ends_with(".jpg") => (4, 0.25),
        _ => (0, 0.0),
    }
}

#[test]
fn decoding_equals_pil() {
    let mut failures = Vec::new();
    for (file, want) in arrays("decode.npz", "rgb/") {
        let got = open(&golden(&file), &DecodeOptions::keras()).unwrap();
        assert_eq!(vec![got.height(), got.width(), 3], want.shape, "{file}");
        let (largest, share) = differences(got.pixels(), &bytes(&want));
        let allowed = allowance(&file);
        if largest > allowed.0 || share > allowed.1 {
            failures.push(format!("{file}: {largest} levels, {share:.4} of the values"));
        }
    }
    assert!(failures.is_empty(), "{failures:#?}");
}

#[test]
fn transparency_over_white() {
    for (file, want) in arrays("decode.npz", "white/") {
        let got = open(&golden(&file), &DecodeOptions::default()).unwrap();
        assert_eq!(differences(got.pixels(), &bytes(&want)), (0, 0.0), "{file}");
    }
    let over = |rgb| DecodeOptions { transparency: Transparency::Over(rgb), ..DecodeOptions::default() };
    let on_black = open(&golden("eye_alpha.png"), &over([0; 3])).unwrap();
    let on_white = open(&golden("eye_alpha.png"), &over([255; 3])).unwrap();
    assert_eq!(on_black.pixels()[..3], [0; 3], "alpha is 0 at the first pixel");
    assert_eq!(on_white.pixels()[..3], [255; 3]);
}

#[test]
fn exif_orientation() {
    for (file, want) in arrays("decode.npz", "upright/") {
        let got = open(&golden(&file), &DecodeOptions::default()).unwrap();
        assert_eq!(vec![got.height(), got.width(), 3], want.shape, "{file}");
        assert!(differences(got.pixels(), &bytes(&want)).0 <= 3, "{file}");
        let stored = DecodeOptions { orientation: Orientation::Stored, ..DecodeOptions::default() };
        let stored = open(&golden(&file), &stored).unwrap();
        assert_eq!((stored.height(), stored.width()), (16, 32), "{file}");
    }
}

#[test]
fn gray_is_pils_luma() {
    let want = &arrays("decode.npz", "gray/")[0].1;
    assert_eq!(source("photo").to_gray().pixels(), bytes(want));
    assert_eq!(source("eye_gray").to_gray().to_rgb(), source("eye_gray"));
}

#[test]
fn resizing_equals_pil_to_the_byte() {
    for (name, want) in arrays("resize.npz", "pil/") {
        let parts: Vec<&str> = name.split('/').collect();
        let got = source(parts[1]).resize(size(&name), interpolation(parts[0]));
        assert_eq!(differences(got.pixels(), &bytes(&want)), (0, 0.0), "{name}");
    }
    for (name, want) in arrays("resize.npz", "pil_gray/") {
        let got = source("photo").to_gray().resize(size(&name), interpolation("bicubic"));
        assert_eq!(differences(got.pixels(), &bytes(&want)), (0, 0.0), "gray {name}");
    }
}

#[test]
fn resizing_equals_tensorflow() {
    for (name, want) in arrays("resize.npz", "tf/") {
        let parts: Vec<&str> = name.split('/').collect();
        let x = source(parts[1]);
        let got = resize_tf(x.pixels(), [x.height(), x.width(), 3], size(&name), interpolation(parts[0]));
        close(&got, &want.data, 255.0 * 1e-6, &name);
    }
}

/// The table of values that Keras 2.15 printed: 7 x 5, value 2 (15 row + 3 column), to 3 x 4.
#[test]
fn resizing_the_ramp() {
    let ramp: Vec<u8> = (0..35).map(|i| (2 * (15 * (i / 5) + 3 * (i % 5))) as u8).collect();
    let x = Picture::gray(7, 5, ramp).unwrap();
    let to = [3, 4];
    assert_eq!(
        x.resize(to, Interpolation::Nearest).pixels(),
        [30, 36, 48, 54, 90, 96, 108, 114, 150, 156, 168, 174]
    );
    assert_eq!(
        x.resize(to, Interpolation::Bilinear).pixels(),
        [28, 35, 41, 49, 92, 99, 105, 113, 156, 163, 169, 177]
    );
    let tf = |interpolation| resize_tf(x.pixels(), [7, 5, 1], to, interpolation);
    let plain = [20.75, 28.25, 35.75, 43.25, 90.75, 98.25, 105.75, 113.25, 160.75, 168.25, 175.75, 183.25];
    close(&tf(Interpolation::TfBilinear), &plain, 1e-4, "tf bilinear");
    let antialiased = [
        27.2143, 34.2143, 41.2143, 48.2143, 91.5, 98.5, 105.5, 112.5, 155.7857, 162.7857, 169.7857, 176.7857,
    ];
    close(&tf(Interpolation::TfBilinearAntialias), &antialiased, 1e-4, "tf bilinear, antialiased");
}

#[test]
fn fits() {
    let photo = [source("photo")];
    let plain = |size: [usize; 2], fit, interpolation| {
        let preprocess =
            Preprocess { fit, interpolation, ..Preprocess::new(size[0], size[1], Scaling::None) };
        to_tensor(&photo, &preprocess).unwrap().0
    };
    for (name, want) in arrays("resize.npz", "keep_aspect_ratio/") {
        let filter = interpolation(name.split('/').next().unwrap());
        close(&plain(size(&name), Fit::CropToAspect, filter), &want.data, 0.0, &name);
    }
    for (name, want) in arrays("resize.npz", "smart_resize/") {
        let got = plain(size(&name), Fit::CropToAspect, Interpolation::TfBilinear);
        close(&got, &want.data, 255.0 * 1e-6, &name);
    }
    for (name, want) in arrays("resize.npz", "center_crop/") {
        let ratio = name.split('/').next().unwrap().parse().unwrap();
        close(&plain(size(&name), Fit::CenterCrop { ratio }, Interpolation::Bicubic), &want.data, 0.0, &name);
    }
    for (name, want) in arrays("resize.npz", "crop_then_resize/") {
        let fit = Fit::CropThenResize { ratio: 0.875 };
        close(&plain(size(&name), fit, Interpolation::TfBicubic), &want.data, 255.0 * 1e-6, &name);
    }
}

#[test]
fn thin_pictures_fit_too() {
    for (h, w) in [(1, 500), (500, 1), (1, 1)] {
        let x = [Picture::filled(h, w, [9, 8, 7])];
        for fit in [
            Fit::Stretch,
            Fit::CropToAspect,
            Fit::CenterCrop { ratio: 0.875 },
            Fit::CropThenResize { ratio: 0.01 },
        ] {
            for filter in [Interpolation::Nearest, Interpolation::Lanczos, Interpolation::TfBicubic] {
                let preprocess =
                    Preprocess { fit, interpolation: filter, ..Preprocess::new(4, 5, Scaling::None) };
                let (got, shape) = to_tensor(&x, &preprocess).unwrap();
                assert_eq!(shape, [1, 4, 5, 3]);
                close(&got, &[9.0, 8.0, 7.0].repeat(20), 1e-5, &format!("{h} x {w} {fit} {filter}"));
            }
        }
    }
}

#[test]
fn scaling_equals_keras() {
    let bytes_of = |name: &str| arrays("preprocess.npz", name).remove(0).1;
    let x = bytes_of("x");
    let picture = Picture::rgb(2, 2, bytes(&x)).unwrap();
    for (name, scaling) in [("caffe", Scaling::Caffe), ("tf", Scaling::Tf), ("torch", Scaling::Torch)] {
        let preprocess = Preprocess::new(2, 2, scaling);
        let (got, _) = to_tensor(std::slice::from_ref(&picture), &preprocess).unwrap();
        close(&got, &bytes_of(name).data, 1e-5, name);
        assert_eq!(deprocess(&got, &preprocess).unwrap(), picture, "{name} back to pixels");
    }
}

#[test]
fn colors_and_scaling_by_hand() {
    let x = [Picture::rgb(1, 1, vec![255, 128, 0]).unwrap()];
    let check = |color, scaling, want: &[f32]| {
        let preprocess = Preprocess { color, ..Preprocess::new(1, 1, scaling) };
        let (got, shape) = to_tensor(&x, &preprocess).unwrap();
        assert_eq!(shape, [1, 1, 1, want.len()]);
        close(&got, want, 1e-6, &preprocess.to_string());
        let back = deprocess(&got, &preprocess).unwrap();
        assert_eq!(back.pixels(), if color == Color::Gray { &[151][..] } else { &[255, 128, 0] });
    };
    check(Color::Rgb, Scaling::None, &[255.0, 128.0, 0.0]);
    check(Color::Rgb, Scaling::Unit, &[1.0, 128.0 / 255.0, 0.0]);
    check(Color::Bgr, Scaling::None, &[0.0, 128.0, 255.0]);
    check(
        Color::Bgr,
        Scaling::Torch,
        &[-0.406 / 0.225, (128.0 / 255.0 - 0.456) / 0.224, (1.0 - 0.485) / 0.229],
    );
    // (19595 * 255 + 38470 * 128 + 32768) / 65536 = 151.88
    check(Color::Gray, Scaling::Unit, &[151.0 / 255.0]);
    check(
        Color::Rgb,
        Scaling::MeanStd { mean: vec![127.0], std: vec![128.0] },
        &[1.0, 1.0 / 128.0, -127.0 / 128.0],
    );
    let each = Scaling::MeanStd { mean: vec![5.0, 8.0, 1.0], std: vec![10.0, 4.0, 2.0] };
    check(Color::Rgb, each, &[25.0, 30.0, -0.5]);
}

#[test]
fn a_batch_equals_its_pictures_one_by_one() {
    let pictures = [source("photo"), source("eye"), source("eye_gray")];
    let preprocess =
        Preprocess { interpolation: Interpolation::Bicubic, ..Preprocess::new(20, 24, Scaling::Tf) };
    let (batch, shape) = to_tensor(&pictures, &preprocess).unwrap();
    assert_eq!(shape, [3, 20, 24, 3]);
    for (i, picture) in pictures.iter().enumerate() {
        let (one, _) = to_tensor(std::slice::from_ref(picture), &preprocess).unwrap();
        assert_eq!(batch[i * one.len()..(i + 1) * one.len()], one);
    }
}

#[test]
fn load_img_is_keras_load_img() {
    let got = load_img(&golden("photo.png"), Some([24, 33]), Interpolation::Nearest).unwrap();
    let want = &arrays("resize.npz", "pil/nearest/photo/24x33")[0].1;
    assert_eq!(got.to_array(), want.data);
}

#[track_caller]
fn refused(name: &str, content: &[u8], options: &DecodeOptions, message: &str) {
    assert_eq!(decode(name, content, options).unwrap_err().to_string(), message);
}

#[test]
fn limits_hold_before_decoding() {
    let small = |limits| DecodeOptions { limits, ..DecodeOptions::default() };
    // A header that promises 623 megapixels, and nothing behind it.
    let mut huge = std::fs::read(golden("eye.png")).unwrap();
    huge[16..20].copy_from_slice(&29_977u32.to_be_bytes());
    huge[20..24].copy_from_slice(&20_777u32.to_be_bytes());
    let crc = crc32(&huge[12..29]);
    huge[29..33].copy_from_slice(&crc.to_be_bytes());
    refused(
        "wall.png",
        &huge,
        &DecodeOptions::default(),
        "wall.png: 29977 x 20777 pixels (623 megapixels), more than the limit of 180 megapixels",
    );
    let photo = std::fs::read(golden("photo.jpg")).unwrap();
    refused(
        "photo.jpg",
        &photo,
        &small(Limits { max_pixels: 8474, ..Limits::default() }),
        "photo.jpg: 113 x 75 pixels (0.0 megapixels), more than the limit of 0.0 megapixels",
    );
    decode("photo.jpg", &photo, &small(Limits { max_pixels: 8475, ..Limits::default() })).unwrap();

    let limits = Limits { max_bytes: photo.len() as u64 - 1, ..Limits::default() };
    let error = open(&golden("photo.jpg"), &small(limits)).unwrap_err();
    assert!(matches!(error, ImageError::TooManyBytes { bytes, limit, .. } if bytes == limit + 1), "{error}");
}

/// PNG's checksum, to forge a header with.
fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0u32, |crc, &b| {
        (0..8).fold(crc ^ u32::from(b), |c, _| if c & 1 == 1 { 0xedb8_8320 ^ (c >> 1) } else { c >> 1 })
    })
}

#[test]
fn messages() {
    let options = DecodeOptions::default();
    let text = "notes.jpg: not a picture: the content is none of PNG, JPEG, WebP, GIF, BMP, TIFF";
    refused("notes.jpg", b"just some words", &options, text);
    refused("notes.jpg", b"", &options, text);
    let photo = std::fs::read(golden("photo.jpg")).unwrap();
    refused("a.jpg", &photo[..photo.len() / 2], &options, "a.jpg: damaged JPEG picture: the file is cut off");
    let eye = std::fs::read(golden("eye.png")).unwrap();
    refused("eye.png", &eye[..eye.len() / 2], &options, "eye.png: damaged PNG picture: the file is cut off");
    let missing = open(Path::new("no/such/cat.jpg"), &options).unwrap_err().to_string();
    assert_eq!(missing, "no/such/cat.jpg: No such file or directory (os error 2)");
}

#[test]
fn a_file_is_what_its_content_says() {
    let folder = tempfile::tempdir().unwrap();
    let disguised = folder.path().join("cat.jpg");
    std::fs::copy(golden("eye.png"), &disguised).unwrap();
    assert_eq!(open(&disguised, &DecodeOptions::default()).unwrap(), source("eye"));
}

/// Every kind of file cut short and with bits flipped: an error of one line or a picture, never a panic.
#[test]
fn damaged_files_never_panic() {
    let limits = Limits { max_pixels: 100_000, ..Limits::default() };
    let options = DecodeOptions { limits, ..DecodeOptions::default() };
    let mut files: Vec<PathBuf> = std::fs::read_dir(golden("")).unwrap().map(|e| e.unwrap().path()).collect();
    files.sort();
    let (mut refused, mut decoded) = (0, 0);
    let mut state = 1u64;
    for file in files.iter().filter(|f| f.extension().is_some_and(|e| e != "npz")) {
        let good = std::fs::read(file).unwrap();
        let mut check = |bytes: &[u8]| match decode("x", bytes, &options) {
            Ok(_) => decoded += 1,
            Err(error) => {
                refused += 1;
                assert!(!error.to_string().contains('\n'), "{error}");
            }
        };
        for length in (0..good.len()).step_by(good.len() / 40 + 1) {
            check(&good[..length]);
        }
        for _ in 0..60 {
            let mut bad = good.clone();
            for _ in 0..3 {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                // Half of the flips hit the header, where they matter most.
                let within = if state & 1 == 0 { bad.len() } else { bad.len().min(200) };
                bad[(state >> 33) as usize % within] ^= 1 << (state >> 29 & 7);
            }
            check(&bad);
        }
    }
    assert!(refused > 1000 && decoded > 100, "{refused} refused, {decoded} decoded");
}

/// A truncated photo is an error in every format, never a picture with a gray lower half.
#[test]
fn truncated_files_are_errors() {
    for file in [
        "photo.jpg",
        "photo_progressive.jpg",
        "eye.png",
        "eye.webp",
        "eye_animated.gif",
        "eye.bmp",
        "eye.tif",
    ] {
        let good = std::fs::read(golden(file)).unwrap();
        let cut = &good[..good.len() * 3 / 10];
        let error = decode(file, cut, &DecodeOptions::default()).map(|_| ()).unwrap_err();
        assert!(matches!(error, ImageError::Malformed { .. }), "{file}: {error}");
    }
}
