//! Random views against Keras 2.0.8, Keras 3 and torchvision (`testdata/gen/augment.py`).

use std::collections::BTreeMap;
use std::path::Path;

use binesh::data::augment::{Adjust, Affine, Augment, Convention, Crop, Draw, Fill, Jitter, Order, Zoom};
use binesh::image::{Color, Fit, Interpolation, Picture, Preprocess, Scaling, to_tensor};
use binesh_formats::npy::{NpyArray, Npz};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng, TryRng};

struct Golden(BTreeMap<String, NpyArray>);

impl Golden {
    fn open(file: &str) -> Golden {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata/golden/augment").join(file);
        let bytes = std::fs::read(path).unwrap();
        let mut npz = Npz::open(&bytes, &binesh_formats::Limits::default()).unwrap();
        Golden(npz.names().into_iter().map(|name| (name.clone(), npz.read(&name).unwrap())).collect())
    }

    /// Names with this beginning, without it.
    fn names(&self, prefix: &str) -> Vec<String> {
        let names: Vec<_> = self.0.keys().filter_map(|n| n.strip_prefix(prefix)).map(str::to_owned).collect();
        assert!(!names.is_empty(), "nothing is named {prefix}");
        names
    }

    fn read(&self, name: &str) -> &NpyArray {
        &self.0[name]
    }

    fn numbers<const N: usize>(&self, name: &str) -> [f64; N] {
        let data: Vec<f64> = self.read(name).data.iter().map(|&v| v.into()).collect();
        data.try_into().unwrap()
    }

    /// The picture of this size, and a preprocessing that leaves it as it is.
    fn picture(&self, size: &str) -> (Picture, Preprocess) {
        let array = self.read(&format!("picture/{size}"));
        let [h, w] = [array.shape[0], array.shape[1]];
        let pixels = array.data.iter().map(|&v| v as u8).collect();
        (Picture::rgb(h, w, pixels).unwrap(), Preprocess::new(h, w, Scaling::None))
    }

    /// All views of a file, its draws applied.
    fn check_views(self, augment: impl Fn(&str) -> Augment, tolerance: f32) {
        for name in self.names("view/") {
            let (case, size) = name.rsplit_once('/').unwrap();
            let (picture, preprocess) = self.picture(size);
            let draw = self.draw(case);
            let got = augment(case).apply(&draw, &picture, &preprocess).unwrap();
            close(&got, &self.read(&format!("view/{name}")).data, tolerance, &name);
        }
    }

    fn draw(&self, case: &str) -> Draw {
        let [rotation, rows, columns, shear, zoom_rows, zoom_columns, horizontal, vertical] =
            self.numbers(&format!("draw/{case}"));
        Draw {
            affine: Affine { rotation, shift: [rows, columns], shear, zoom: [zoom_rows, zoom_columns] },
            horizontal_flip: horizontal == 1.0,
            vertical_flip: vertical == 1.0,
            ..Draw::default()
        }
    }
}

#[track_caller]
fn close(got: &[f32], want: &[f32], tolerance: f32, what: &str) {
    assert_eq!(got.len(), want.len(), "{what}");
    let worst = got.iter().zip(want).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    assert!(worst <= tolerance, "{what}: off by {worst}, more than {tolerance}");
}

fn fill(name: &str) -> Fill {
    match name {
        "nearest" => Fill::Nearest,
        "reflect" => Fill::Reflect,
        "constant" => Fill::Constant(64.0),
        _ => panic!("{name}"),
    }
}

fn rng(seed: u64) -> ChaCha8Rng {
    ChaCha8Rng::seed_from_u64(seed)
}

/// Gives these numbers in `[0, 1)`, each as often as a generator's 64 bits, and no more.
struct Given(std::vec::IntoIter<f64>);

impl TryRng for Given {
    type Error = std::convert::Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Self::Error> {
        unreachable!("numbers are made of 64 bits")
    }

    fn try_next_u64(&mut self) -> Result<u64, Self::Error> {
        Ok((self.0.next().expect("one number more than was given") * 2f64.powi(64)) as u64)
    }

    fn try_fill_bytes(&mut self, _: &mut [u8]) -> Result<(), Self::Error> {
        unreachable!("numbers are made of 64 bits")
    }
}

#[test]
fn the_books_views_equal_keras_2_0_8() {
    let book = |case: &str| Augment { fill: fill(case.rsplit('/').next().unwrap()), ..Augment::book() };
    Golden::open("keras208.npz").check_views(book, 0.0);
}

#[test]
fn legacy_views_equal_keras_3() {
    let legacy = |case: &str| {
        let parts: Vec<&str> = case.split('/').collect();
        Augment {
            fill: fill(parts[1]),
            order: if parts[2] == "0" { Order::Nearest } else { Order::Linear },
            convention: Convention::Keras3,
            ..Augment::none()
        }
    };
    Golden::open("keras3.npz").check_views(legacy, 1e-3);
}

/// For a square the two differ in which axis is called which, so a picture mirrored in its diagonal shows it: about the
/// center, the pixel in the middle stays where it is.
#[test]
fn centered_views_turn_about_the_center() {
    let golden = Golden::open("keras3.npz");
    let (picture, preprocess) = golden.picture("9x9");
    let transposed = |x: &[f32]| -> Vec<f32> {
        let pixel = |i: usize| &x[(i % 9 * 9 + i / 9) * 3..][..3];
        (0..9 * 9).flat_map(pixel).copied().collect()
    };
    let mirrored = transposed(&picture.to_array()).iter().map(|&v| v as u8).collect();
    let mirrored = Picture::rgb(9, 9, mirrored).unwrap();
    for case in ["rotation/nearest/1", "shift/nearest/1", "shear/nearest/1", "zoom/nearest/1"] {
        let draw = golden.draw(case);
        let got = Augment::none().apply(&draw, &mirrored, &preprocess).unwrap();
        close(&transposed(&got), &golden.read(&format!("view/{case}/9x9")).data, 1e-3, case);
    }

    let (picture, preprocess) = golden.picture("7x11");
    let turned = Draw { affine: Affine { rotation: 180.0, ..Affine::default() }, ..Draw::default() };
    let flipped = Draw { horizontal_flip: true, vertical_flip: true, ..Draw::default() };
    let [turned, flipped] =
        [turned, flipped].map(|draw| Augment::none().apply(&draw, &picture, &preprocess).unwrap());
    close(&turned, &flipped, 1e-3, "half a turn");
}

#[test]
fn colors_equal_torchvision() {
    let golden = Golden::open("torch.npz");
    for name in golden.names("color/") {
        let [adjusts, factors, size] = name.split('/').collect::<Vec<_>>().try_into().unwrap();
        let color = adjusts.split('+').zip(factors.split('+')).map(|(adjust, factor)| {
            let factor = factor.parse().unwrap();
            match adjust {
                "brightness" => Adjust::Brightness(factor),
                "contrast" => Adjust::Contrast(factor),
                "saturation" => Adjust::Saturation(factor),
                "hue" => Adjust::Hue(factor),
                _ => panic!("{adjust}"),
            }
        });
        let draw = Draw { color: color.collect(), ..Draw::default() };
        let (picture, preprocess) = golden.picture(size);
        let got = Augment::none().apply(&draw, &picture, &preprocess).unwrap();
        close(&got, &golden.read(&format!("color/{name}")).data, 2e-3, &name);
    }
}

#[test]
fn gray_has_no_hue() {
    let (picture, preprocess) = Golden::open("torch.npz").picture("7x11");
    let gray = Preprocess { color: Color::Gray, ..preprocess };
    let draw = Draw { color: vec![Adjust::Hue(0.3), Adjust::Saturation(0.2)], ..Draw::default() };
    let got = Augment::none().apply(&draw, &picture, &gray).unwrap();
    assert_eq!(got, picture.to_gray().to_array());
}

#[test]
fn windows_equal_torchvision() {
    let golden = Golden::open("torch.npz");
    for name in golden.names("crop/") {
        let numbers: [f64; 10] = golden.numbers(&format!("crop/{name}"));
        let [height, width, top, left, h, w] = [0, 1, 6, 7, 8, 9].map(|i| numbers[i] as usize);
        let crop = Crop { area: [numbers[2], numbers[3]], aspect: [numbers[4], numbers[5]] };
        let augment = Augment { crop: Some(crop), ..Augment::none() };
        let uniform: Vec<f64> =
            golden.read(&format!("uniform/{name}")).data.iter().map(|&v| v.into()).collect();
        // The window's numbers come after fifteen others.
        let given: Vec<f64> = [0.5; 15].into_iter().chain(uniform).collect();
        let square = Preprocess { fit: Fit::CropToAspect, ..Preprocess::new(8, 8, Scaling::None) };
        let mut given = Given(given.into_iter());
        let window = augment.draw([height, width], &square, &mut given).crop.unwrap();
        assert_eq!([window.top, window.left, window.height, window.width], [top, left, h, w], "{name}");
        assert_eq!(given.0.next(), None, "{name}: a number is left");
    }
}

/// A square network that stretches photos sees them narrowed; its windows are narrowed alike.
#[test]
fn windows_have_the_proportions_of_the_fit() {
    let exact = Crop { area: [0.25, 0.25], aspect: [1.0, 1.0] };
    let augment = Augment { crop: Some(exact), ..Augment::none() };
    let window = |fit, size: [usize; 2]| {
        let preprocess = Preprocess { fit, ..Preprocess::new(size[0], size[1], Scaling::None) };
        let window = augment.draw([100, 400], &preprocess, &mut rng(1)).crop.unwrap();
        [window.height, window.width]
    };
    assert_eq!(window(Fit::Stretch, [8, 8]), [50, 200]);
    assert_eq!(window(Fit::CropToAspect, [8, 8]), [100, 100]);
    assert_eq!(window(Fit::CenterCrop { ratio: 0.875 }, [8, 16]), [71, 141]);
    assert_eq!(window(Fit::CropThenResize { ratio: 0.875 }, [8, 16]), [100, 100]);
}

#[test]
fn a_window_is_cut_out_then_resized() {
    let (picture, _) = Golden::open("keras3.npz").picture("7x11");
    let bicubic = Preprocess { interpolation: Interpolation::Bicubic, ..Preprocess::new(6, 7, Scaling::Tf) };
    let fit = Preprocess { fit: Fit::CenterCrop { ratio: 0.5 }, ..bicubic.clone() };
    let crop = Some(binesh::image::FieldOfView { top: 1, left: 2, height: 5, width: 8 });
    let got = Augment::none().apply(&Draw { crop, ..Draw::default() }, &picture, &fit).unwrap();
    assert_eq!(got, to_tensor(&[picture.crop(1, 2, 5, 8)], &bicubic).unwrap().0);
}

/// Every fit, filter of both families, order of channels and scaling: nothing drawn is nothing changed.
#[test]
fn without_augmentation_a_view_is_the_models_input() {
    let (picture, _) = Golden::open("keras3.npz").picture("7x11");
    let fits = [
        Fit::Stretch,
        Fit::CropToAspect,
        Fit::CutToAspect,
        Fit::CenterCrop { ratio: 0.875 },
        Fit::CropThenResize { ratio: 0.9 },
    ];
    let values = [
        (Color::Rgb, Scaling::Caffe),
        (Color::Bgr, Scaling::Torch),
        (Color::Gray, Scaling::Tf),
        (Color::Rgb, Scaling::None),
    ];
    for fit in fits {
        for interpolation in [Interpolation::Bilinear, Interpolation::Nearest, Interpolation::TfBicubic] {
            for (color, scaling) in values.clone() {
                let preprocess = Preprocess { size: [9, 10], interpolation, fit, color, scaling };
                let want = to_tensor(std::slice::from_ref(&picture), &preprocess).unwrap().0;
                let got = Augment::none().view(&picture, &preprocess, &mut rng(3)).unwrap();
                assert_eq!(got, want, "{preprocess}");
            }
        }
    }
}

#[test]
fn draws_fill_their_ranges() {
    let augment = Augment {
        vertical_flip: 0.1,
        color: Jitter { brightness: 0.4, contrast: 0.3, saturation: 1.5, hue: 0.1 },
        crop: Some(Crop { area: [0.5, 0.9], aspect: [0.8, 1.25] }),
        ..Augment::book()
    };
    let preprocess = Preprocess::new(224, 224, Scaling::None);
    let mut rng = rng(1337);
    let draws: Vec<Draw> = (0..4000).map(|_| augment.draw([400, 500], &preprocess, &mut rng)).collect();

    // Uniform: the extremes of 4000 numbers are within 1 % of the ends, the mean near the middle.
    let fills = |what: &str, [from, to]: [f64; 2], value: &dyn Fn(&Draw) -> f64| {
        let values: Vec<f64> = draws.iter().map(value).collect();
        let (least, most) = values.iter().fold((f64::MAX, f64::MIN), |(a, b), &v| (a.min(v), b.max(v)));
        let (mean, width) = (values.iter().sum::<f64>() / 4000.0, to - from);
        assert!(least >= from && least < from + 0.01 * width, "{what}: least {least} of {from}..{to}");
        assert!(most <= to && most > to - 0.01 * width, "{what}: most {most} of {from}..{to}");
        assert!((mean - (from + to) / 2.0).abs() < 0.03 * width, "{what}: mean {mean} of {from}..{to}");
    };
    fills("rotation", [-40.0, 40.0], &|d| d.affine.rotation);
    fills("shift of rows", [-0.2, 0.2], &|d| d.affine.shift[0]);
    fills("shift of columns", [-0.2, 0.2], &|d| d.affine.shift[1]);
    fills("shear", [-0.2, 0.2], &|d| d.affine.shear);
    fills("zoom of rows", [0.8, 1.2], &|d| d.affine.zoom[0]);
    fills("zoom of columns", [0.8, 1.2], &|d| d.affine.zoom[1]);
    let amount = |d: &Draw, of: fn(&Adjust) -> Option<f64>| d.color.iter().find_map(of).unwrap();
    fills("brightness", [0.6, 1.4], &|d| {
        amount(d, |a| if let Adjust::Brightness(f) = a { Some(*f) } else { None })
    });
    fills("contrast", [0.7, 1.3], &|d| {
        amount(d, |a| if let Adjust::Contrast(f) = a { Some(*f) } else { None })
    });
    fills("saturation", [0.0, 2.5], &|d| {
        amount(d, |a| if let Adjust::Saturation(f) = a { Some(*f) } else { None })
    });
    fills("hue", [-0.1, 0.1], &|d| amount(d, |a| if let Adjust::Hue(f) = a { Some(*f) } else { None }));

    let share = |chosen: &dyn Fn(&Draw) -> bool| draws.iter().filter(|d| chosen(d)).count() as f64 / 4000.0;
    assert!((share(&|d| d.horizontal_flip) - 0.5).abs() < 0.03);
    assert!((share(&|d| d.vertical_flip) - 0.1).abs() < 0.02);
    // Each of the 24 orders: 1 of 24, give or take four standard deviations.
    let mut orders = BTreeMap::new();
    for draw in &draws {
        let order: Vec<_> = draw.color.iter().map(std::mem::discriminant).collect();
        *orders.entry(format!("{order:?}")).or_insert(0) += 1;
    }
    assert_eq!(orders.len(), 24);
    assert!(orders.values().all(|&n| (117..=217).contains(&n)), "{orders:?}");
    for window in draws.iter().map(|d| d.crop.unwrap()) {
        let area = (window.height * window.width) as f64 / (400.0 * 500.0);
        assert!((0.497..0.903).contains(&area), "{window:?}");
        assert!(window.top + window.height <= 400 && window.left + window.width <= 500, "{window:?}");
    }
}

#[test]
fn the_same_generator_gives_the_same_view() {
    let (picture, preprocess) = Golden::open("keras3.npz").picture("7x11");
    let view = |seed| Augment::standard().view(&picture, &preprocess, &mut rng(seed)).unwrap();
    assert_eq!(view(5), view(5));
    assert_ne!(view(5), view(6));
    // Switching one thing on leaves the others as they were.
    let draw = |augment: &Augment| augment.draw([7, 11], &preprocess, &mut rng(7));
    let book = draw(&Augment::book());
    let more = draw(&Augment {
        vertical_flip: 1.0,
        color: Jitter { hue: 0.2, ..Jitter::default() },
        crop: Some(Crop { area: [0.5, 1.0], aspect: [1.0, 1.0] }),
        ..Augment::book()
    });
    assert_eq!((more.affine, more.horizontal_flip), (book.affine, book.horizontal_flip));
    // A generator that is used as a trait object gives the same.
    let dynamic: &mut dyn Rng = &mut rng(7);
    assert_eq!(Augment::book().draw([7, 11], &preprocess, dynamic), book);
}

#[test]
fn settings_survive_a_file() {
    for augment in [Augment::none(), Augment::book(), Augment::standard()] {
        augment.check().unwrap();
        let text = toml::to_string(&augment).unwrap();
        assert_eq!(toml::from_str::<Augment>(&text).unwrap(), augment, "{text}");
    }
    assert!(Augment::none().is_none() && toml::from_str::<Augment>("").unwrap().is_none());
    assert!(!Augment::book().is_none() && !Augment::standard().is_none());
    let text = "
        rotation = 15
        zoom = { both = [0.9, 1.1] }
        fill = { constant = 0 }
        order = 'nearest'
        convention = 'keras_2.0.8'
    ";
    let want = Augment {
        rotation: 15.0,
        zoom: Some(Zoom::Both([0.9, 1.1])),
        fill: Fill::Constant(0.0),
        order: Order::Nearest,
        convention: Convention::Keras208,
        ..Augment::none()
    };
    assert_eq!(toml::from_str::<Augment>(text).unwrap(), want);
}

#[test]
fn nonsense_is_refused() {
    let refused = |text: &str| toml::from_str::<Augment>(text).unwrap().check().unwrap_err().to_string();
    assert_eq!(
        refused("horizontal_flip = 1.5"),
        "augmentation: `horizontal_flip` is 1.5, not between 0 and 1"
    );
    assert_eq!(refused("rotation = nan"), "augmentation: `rotation` is NaN, not between 0 and 180");
    assert_eq!(refused("zoom = { each = [1.2, 0.8] }"), "augmentation: `zoom` goes from 1.2 down to 0.8");
    assert_eq!(
        refused("crop = { area = [0, 1], aspect = [1, 1] }"),
        "augmentation: `crop.area` is 0, not between 0.001 and 1"
    );
    assert_eq!(refused("color = { hue = 0.6 }"), "augmentation: `color.hue` is 0.6, not between 0 and 0.5");
    let unknown = toml::from_str::<Augment>("rotate = 3").unwrap_err().to_string();
    assert!(unknown.contains("unknown field `rotate`"), "{unknown}");
}
