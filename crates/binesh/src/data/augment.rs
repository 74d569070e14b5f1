//! Random views of a photo, so that a network never sees the same one twice.
//!
//! [`Augment`] says how much may change. [`Augment::draw`] chooses by chance ([`Draw`]), [`Augment::apply`] does it, and
//! [`Augment::view`] is both. A view is made in this order:
//!
//! 1. a random window of the photo ([`Crop`]),
//! 2. the model's geometry: its fit, filter and size,
//! 3. rotation, shift, shear and zoom in one resampling, and the flips ([`Convention`] has the formulas),
//! 4. color, on values 0..=255 ([`Jitter`]),
//! 5. the model's scaling.
//!
//! Without any augmentation that is [`to_tensor`](crate::image::to_tensor), to the bit.
//!
//! # Random numbers
//! A draw takes numbers `u` uniform in `[0, 1)`, each made of the generator's next 64 bits, in this order: rotation,
//! shift of rows, shift of columns, shear, zoom of rows, zoom of columns (not used by [`Zoom::Both`]), horizontal flip,
//! vertical flip, three for the order of the color steps, brightness, contrast, saturation, hue; then the window's,
//! whose number varies ([`Crop`]). The first fifteen are taken whether they are needed or not: switching one
//! augmentation on leaves the others as they were.

mod affine;
mod color;
mod crop;

use std::borrow::Cow;

use rand::{Rng, RngExt};
use serde::{Deserialize, Serialize};

use crate::image::{self, FieldOfView, Fit, ImageError, Picture, Preprocess};

pub use affine::{Affine, Convention, Fill, Order, Zoom};
pub use color::{Adjust, Jitter};
pub use crop::Crop;

/// How much a view may differ from its photo. The default is no augmentation at all.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Augment {
    /// Probability of a mirror image.
    pub horizontal_flip: f64,
    /// Probability of turning upside down.
    pub vertical_flip: f64,
    /// Degrees, to either side.
    pub rotation: f64,
    /// Shares of height and width, to either side.
    pub shift: [f64; 2],
    /// To either side, in degrees; in radians with [`Convention::Keras208`].
    pub shear: f64,
    /// Range of factors. A factor multiplies positions, so more than 1 shows more, smaller.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub zoom: Option<Zoom>,
    /// A random window of the photo.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub crop: Option<Crop>,
    /// Colors.
    pub color: Jitter,
    /// What is where the photo does not reach.
    pub fill: Fill,
    /// Values between pixels.
    pub order: Order,
    /// Whose formulas: they differ in the center, the unit of shear and the order of axes.
    pub convention: Convention,
}

/// What chance chose for one view. [`Draw::default`] changes nothing.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Draw {
    /// The window of the photo that is used; `None`: the model's own fit.
    pub crop: Option<FieldOfView>,
    /// Rotation, shift, shear and zoom.
    pub affine: Affine,
    /// Mirrored.
    pub horizontal_flip: bool,
    /// Upside down.
    pub vertical_flip: bool,
    /// Steps of color, in the order in which they are taken.
    pub color: Vec<Adjust>,
}

impl Augment {
    /// No augmentation.
    pub fn none() -> Augment {
        Augment::default()
    }

    /// The chapter's, as its Keras 2.0.8 understood it: `ImageDataGenerator(rotation_range=40, width_shift_range=0.2,
    /// height_shift_range=0.2, shear_range=0.2, zoom_range=0.2, horizontal_flip=True, fill_mode='nearest')`.
    pub fn book() -> Augment {
        Augment {
            horizontal_flip: 0.5,
            rotation: 40.0,
            shift: [0.2, 0.2],
            shear: 0.2,
            zoom: Some(Zoom::Each([0.8, 1.2])),
            order: Order::Nearest,
            convention: Convention::Keras208,
            ..Augment::none()
        }
    }

    /// For fine-tuning on a few hundred photos: what may be expected of a photo taken a moment later by somebody else.
    pub fn standard() -> Augment {
        Augment {
            horizontal_flip: 0.5,
            rotation: 10.0,
            crop: Some(Crop { area: [0.6, 1.0], aspect: [0.8, 1.25] }),
            color: Jitter { brightness: 0.2, contrast: 0.2, saturation: 0.2, hue: 0.02 },
            fill: Fill::Reflect,
            ..Augment::none()
        }
    }

    /// True when every view is the photo itself.
    pub fn is_none(&self) -> bool {
        let Augment { horizontal_flip, vertical_flip, rotation, shift, shear, zoom, crop, color, .. } = self;
        let amounts = [*horizontal_flip, *vertical_flip, *rotation, shift[0], shift[1], *shear];
        amounts.iter().all(|&amount| amount == 0.0)
            && zoom.is_none_or(|zoom| zoom.range() == [1.0, 1.0])
            && crop.is_none()
            && *color == Jitter::default()
    }

    /// Checks what a file or a command line may have got wrong, so that the arithmetic need not.
    pub fn check(&self) -> Result<(), AugmentError> {
        let within = |name, value: f64, [low, high]: [f64; 2]| {
            let inside = (low..=high).contains(&value);
            inside.then_some(()).ok_or(AugmentError::Value { name, value, low, high })
        };
        let range = |name, [from, to]: [f64; 2], bounds: [f64; 2]| {
            within(name, from, bounds)?;
            within(name, to, bounds)?;
            (from <= to).then_some(()).ok_or(AugmentError::Range { name, from, to })
        };
        within("horizontal_flip", self.horizontal_flip, [0.0, 1.0])?;
        within("vertical_flip", self.vertical_flip, [0.0, 1.0])?;
        within("rotation", self.rotation, [0.0, 180.0])?;
        within("shift", self.shift[0], [0.0, 1.0])?;
        within("shift", self.shift[1], [0.0, 1.0])?;
        within("shear", self.shear, [0.0, self.convention.steepest_shear()])?;
        if let Some(zoom) = self.zoom {
            range("zoom", zoom.range(), [0.01, 100.0])?;
        }
        if let Some(Crop { area, aspect }) = self.crop {
            range("crop.area", area, [0.001, 1.0])?;
            range("crop.aspect", aspect, [0.01, 100.0])?;
        }
        for (name, value) in [
            ("color.brightness", self.color.brightness),
            ("color.contrast", self.color.contrast),
            ("color.saturation", self.color.saturation),
        ] {
            within(name, value, [0.0, 10.0])?;
        }
        within("color.hue", self.color.hue, [0.0, 0.5])?;
        if let Fill::Constant(value) = self.fill {
            within("fill.constant", value.into(), [0.0, 255.0])?;
        }
        Ok(())
    }

    /// A random view, ready for the network.
    ///
    /// # Shapes
    /// a picture of any size -> `[H, W, C]`, with `[H, W] = preprocess.size` and C = 3 or 1
    pub fn view(
        &self,
        picture: &Picture,
        preprocess: &Preprocess,
        rng: &mut (impl Rng + ?Sized),
    ) -> Result<Vec<f32>, ImageError> {
        preprocess.check()?;
        let draw = self.draw([picture.height(), picture.width()], preprocess, rng);
        self.apply(&draw, picture, preprocess)
    }

    /// Chooses a view of a picture of this height and width. The same generator gives the same view.
    pub fn draw(&self, picture: [usize; 2], preprocess: &Preprocess, rng: &mut (impl Rng + ?Sized)) -> Draw {
        let mut uniform = || rng.random::<f64>();
        let affine = Affine {
            rotation: either_side(self.rotation, uniform()),
            shift: [either_side(self.shift[0], uniform()), either_side(self.shift[1], uniform())],
            shear: either_side(self.shear, uniform()),
            zoom: Zoom::draw(self.zoom, [uniform(), uniform()]),
        };
        let horizontal_flip = uniform() < self.horizontal_flip;
        let vertical_flip = uniform() < self.vertical_flip;
        let color = self.color.draw(&mut uniform);
        let natural = natural_aspect(picture, preprocess);
        let crop = self.crop.map(|crop| crop.draw(picture, natural, &mut uniform));
        Draw { crop, affine, horizontal_flip, vertical_flip, color }
    }

    /// The view that was drawn.
    ///
    /// # Shapes
    /// a picture of any size -> `[H, W, C]`, as [`Augment::view`]
    ///
    /// # Panics
    /// If the window of the draw leaves the picture.
    pub fn apply(
        &self,
        draw: &Draw,
        picture: &Picture,
        preprocess: &Preprocess,
    ) -> Result<Vec<f32>, ImageError> {
        preprocess.check()?;
        let [h, w] = preprocess.size;
        let mut x = match draw.crop {
            None => image::geometry_only(picture, preprocess),
            Some(FieldOfView { top, left, height, width }) => {
                // The window takes the place of the model's fit.
                let stretched = Preprocess { fit: Fit::Stretch, ..preprocess.clone() };
                let window = if [height, width] == [picture.height(), picture.width()] {
                    Cow::Borrowed(picture)
                } else {
                    Cow::Owned(picture.crop(top, left, height, width))
                };
                image::geometry_only(&window, &stretched)
            }
        };
        let c = preprocess.channels();
        let shape = [h, w, c];
        let matrix = draw.affine.matrix([h, w], self.convention);
        x = affine::resample(x, shape, &matrix, self.fill, self.order);
        affine::flip(&mut x, shape, [draw.vertical_flip, draw.horizontal_flip]);
        for adjust in &draw.color {
            adjust.apply(&mut x, c);
        }
        image::scale(&mut x, preprocess);
        Ok(x)
    }
}

/// Columns per row of a window of the photo that looks to the network as the photos do which it will be shown: where the
/// model's fit distorts, the window is distorted alike.
fn natural_aspect([height, width]: [usize; 2], preprocess: &Preprocess) -> f64 {
    let [h, w] = preprocess.size;
    match preprocess.fit {
        Fit::Stretch => width as f64 / height as f64,
        Fit::CropThenResize { .. } => 1.0,
        _ => w as f64 / h as f64,
    }
}

/// From `u` in `[0, 1)` to `-amount..amount`.
fn either_side(amount: f64, u: f64) -> f64 {
    between([-amount, amount], u)
}

/// From `u` in `[0, 1)` to the range.
fn between([from, to]: [f64; 2], u: f64) -> f64 {
    from + (to - from) * u
}

/// An [`Augment`] that makes no sense.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum AugmentError {
    /// A number that is too small, too large or none.
    #[error("augmentation: `{name}` is {value}, not between {low} and {high}")]
    Value {
        /// The field.
        name: &'static str,
        /// What it says.
        value: f64,
        /// The smallest it may be.
        low: f64,
        /// The largest it may be.
        high: f64,
    },
    /// A range whose end is before its beginning.
    #[error("augmentation: `{name}` goes from {from} down to {to}")]
    Range {
        /// The field.
        name: &'static str,
        /// Its beginning.
        from: f64,
        /// Its end.
        to: f64,
    },
}
