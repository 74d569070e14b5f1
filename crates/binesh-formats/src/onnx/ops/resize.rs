//! Maps resized. Whole factors are an up-sampling; any other is, along each axis, a product with a constant matrix, whose
//! weights are those of the reference implementation (`onnx/reference/ops/op_resize.py`).

use binesh_core::ops::up_sampling2d::Interpolation;
use binesh_core::ops::{Constant, Dense, Take, UpSampling2d};

use super::super::array;
use super::{NodeCx, Operator, Traced, Value, one, operator, tensor_of};
use crate::error::FormatError;

pub(super) const OPERATORS: &[Operator] =
    &[operator("Resize", "Resizing", resize), operator("Upsample", "UpSampling2D", upsample)];

#[derive(Clone, Copy, Debug, PartialEq)]
enum Mode {
    Nearest,
    Linear,
    Cubic { a: f64 },
}

#[derive(Clone, Debug)]
struct Rule<'a> {
    mode: Mode,
    coordinates: &'a str,
    nearest: &'a str,
    antialias: bool,
    exclude_outside: bool,
    /// Per axis where the crop begins and ends, for `tf_crop_and_resize`.
    roi: Vec<[f64; 2]>,
    /// The value outside the input, for the same.
    extrapolation: f32,
}

/// An axis of `from` positions to `to`, by a factor that need not be exactly their quotient.
#[derive(Clone, Copy, Debug)]
struct Change {
    axis: usize,
    from: usize,
    to: usize,
    factor: f64,
}

fn upsample<'a>(cx: &mut NodeCx<'_, 'a>) -> Result<Vec<Value<'a>>, FormatError> {
    let x = cx.input(0)?;
    let factors: Vec<f32> = match cx.opset() {
        ..9 => cx.attrs.floats("scales")?,
        _ => cx.constant(1)?.map(|x| x.into_floats()),
    }
    .ok_or_else(|| super::super::missing_input(1))?;
    let mode = match cx.attrs.str("mode", "nearest")? {
        "nearest" => Mode::Nearest,
        "linear" | "bilinear" => Mode::Linear,
        _ => return Err(cx.attrs.refuse("mode")),
    };
    let rule = Rule { coordinates: "asymmetric", nearest: "floor", ..Rule::plain(mode) };
    let axes: Vec<usize> = (0..x.rank()).collect();
    by_factors(cx, x, &rule, &axes, &factors)
}

fn resize<'a>(cx: &mut NodeCx<'_, 'a>) -> Result<Vec<Value<'a>>, FormatError> {
    let x = cx.input(0)?;
    let a = f64::from(cx.attrs.float("cubic_coeff_a", -0.75)?);
    let mode = match cx.attrs.str("mode", "nearest")? {
        "nearest" => Mode::Nearest,
        "linear" | "bilinear" => Mode::Linear,
        "cubic" => Mode::Cubic { a },
        _ => return Err(cx.attrs.refuse("mode")),
    };
    let all: Vec<usize> = (0..x.rank()).collect();
    if cx.opset() < 11 {
        let factors = cx.constant(1)?.ok_or_else(|| super::super::missing_input(1))?.into_floats();
        let rule = Rule { coordinates: "asymmetric", nearest: "floor", ..Rule::plain(mode) };
        return by_factors(cx, x, &rule, &all, &factors);
    }
    let axes = match cx.attrs.ints("axes")? {
        Some(axes) => axes.iter().map(|&axis| array::axis(axis, x.rank())).collect::<Result<Vec<_>, _>>()?,
        None => all,
    };
    let mut rule = Rule {
        coordinates: cx.attrs.str("coordinate_transformation_mode", "half_pixel")?,
        nearest: cx.attrs.str("nearest_mode", "round_prefer_floor")?,
        antialias: cx.attrs.flag("antialias")?,
        exclude_outside: cx.attrs.flag("exclude_outside")?,
        extrapolation: cx.attrs.float("extrapolation_value", 0.0)?,
        ..Rule::plain(mode)
    };
    if rule.coordinates == "tf_crop_and_resize" {
        let roi = cx.constant(1)?.ok_or_else(|| super::super::missing_input(1))?.into_floats();
        if roi.len() != 2 * axes.len() {
            return Err(FormatError::malformed(format!(
                "{} bounds do not crop {} axes",
                roi.len(),
                axes.len()
            )));
        }
        rule.roi = vec![[0.0, 1.0]; x.rank()];
        for (i, &axis) in axes.iter().enumerate() {
            rule.roi[axis] = [roi[i], roi[i + axes.len()]].map(f64::from);
        }
    }
    let policy = cx.attrs.str("keep_aspect_ratio_policy", "stretch")?;
    if let Some(factors) = cx.constant(2)?.map(|x| x.into_floats()).filter(|factors| !factors.is_empty()) {
        return by_factors(cx, x, &rule, &axes, &factors);
    }
    let sizes = cx.known(3)?.ok_or_else(|| super::super::missing_input(3))?;
    let sizes = [super::fold::ints(sizes.probe(0))?, super::fold::ints(sizes.probe(1))?];
    if sizes.iter().any(|sizes| sizes.len() != axes.len()) {
        return Err(FormatError::malformed(format!(
            "{} sizes do not fit {} axes",
            sizes[0].len(),
            axes.len()
        )));
    }
    let mut changes = Vec::new();
    for (i, &axis) in axes.iter().enumerate() {
        let to = sizes.map(|sizes| usize::try_from(sizes[i]).ok().filter(|to| (1..1 << 24).contains(to)));
        let [Some(to), Some(other)] = to else {
            return Err(FormatError::malformed(format!("a size of {}", sizes[0][i])));
        };
        match cx.dims(&x)[axis] {
            [a, b] if a == b && to == other => {
                changes.push(Change { axis, from: a, to, factor: to as f64 / a as f64 });
            }
            // An axis of any extent that stays as it is.
            own if own == [to, other] => {}
            // The batch size of the file, where there is any.
            _ if axis == 0 && to == other && cx.mapper.stated_batch == Some(to) => {}
            _ => return Err(super::depends_on_size()),
        }
    }
    let factors = changes.iter().map(|change| change.factor);
    let common = match policy {
        "stretch" => None,
        "not_larger" => Some(factors.fold(f64::INFINITY, f64::min)),
        "not_smaller" => Some(factors.fold(0.0, f64::max)),
        _ => return Err(cx.attrs.refuse("keep_aspect_ratio_policy")),
    };
    if let Some(factor) = common {
        for change in &mut changes {
            (change.factor, change.to) = (factor, (factor * change.from as f64 + 0.5).floor() as usize);
        }
    }
    apply(cx, x, &rule, &changes).map(one)
}

fn by_factors<'a>(
    cx: &mut NodeCx<'_, 'a>,
    x: Traced,
    rule: &Rule<'_>,
    axes: &[usize],
    factors: &[f32],
) -> Result<Vec<Value<'a>>, FormatError> {
    if factors.len() != axes.len() {
        return Err(FormatError::malformed(format!(
            "{} factors do not fit {} axes",
            factors.len(),
            axes.len()
        )));
    }
    if let Some(bad) = factors.iter().find(|f| !(f.is_finite() && **f > 0.0 && **f < 1e6)) {
        return Err(FormatError::malformed(format!("a factor of {bad}")));
    }
    if let Some(up) = up_sampling(rule, axes, factors, x.rank()) {
        let x = cx.mapper.image(&x)?;
        return Ok(one(x.like(cx.add(up, &[x.node])?)));
    }
    let mut changes = Vec::new();
    for (&axis, &factor) in axes.iter().zip(factors) {
        if factor == 1.0 && rule.roi.is_empty() {
            continue;
        }
        let from = cx.extent(&x, axis)?;
        let to = (from as f64 * f64::from(factor)).floor() as usize;
        changes.push(Change { axis, from, to, factor: f64::from(factor) });
    }
    apply(cx, x, rule, &changes).map(one)
}

/// Whole factors of height and width, where every position is repeated or lies halfway between.
fn up_sampling(rule: &Rule<'_>, axes: &[usize], factors: &[f32], rank: usize) -> Option<UpSampling2d> {
    let mut whole = [1; 2];
    for (&axis, &factor) in axes.iter().zip(factors) {
        match axis {
            2 | 3 if factor >= 1.0 && factor.fract() == 0.0 => whole[axis - 2] = factor as usize,
            _ if factor == 1.0 => {}
            _ => return None,
        }
    }
    let half_pixel = matches!(rule.coordinates, "half_pixel" | "pytorch_half_pixel" | "half_pixel_symmetric");
    let repeats = (rule.coordinates == "asymmetric" && rule.nearest == "floor")
        || (half_pixel && matches!(rule.nearest, "round_prefer_floor" | "round_prefer_ceil"));
    let interpolation = match rule.mode {
        Mode::Nearest if repeats => Interpolation::Nearest,
        Mode::Linear if half_pixel && !rule.exclude_outside => Interpolation::Bilinear,
        _ => return None,
    };
    (rank == 4 && rule.roi.is_empty() && whole != [1; 2])
        .then_some(UpSampling2d { factors: whole, interpolation })
}

fn apply(
    cx: &mut NodeCx<'_, '_>,
    mut x: Traced,
    rule: &Rule<'_>,
    changes: &[Change],
) -> Result<Traced, FormatError> {
    for change in changes {
        if change.to == 0 {
            return Err(FormatError::malformed("nothing is left of its input"));
        }
        let same = change.from == change.to && change.factor == 1.0 && rule.roi.is_empty();
        if same {
            continue;
        }
        cx.keeps_pictures_apart(&x, change.axis)?;
        if rule.mode == Mode::Nearest && rule.roi.is_empty() {
            cx.mapper.spend(change.to)?;
            let positions =
                (0..change.to).map(|o| rule.nearest(change, o).map(Some)).collect::<Result<_, _>>()?;
            x = x.like(cx.add(Take { axis: x.at[change.axis] as i64, positions, fill: 0.0 }, &[x.node])?);
            continue;
        }
        let n = array::elements("the weights of a resize", &[change.from, change.to], 1 << 26)?;
        cx.mapper.spend(n)?;
        let (mut matrix, mut fill) = (vec![0.0; n], vec![0.0; change.to]);
        for o in 0..change.to {
            match rule.weights(change, o)? {
                Some(weights) => {
                    weights
                        .into_iter()
                        .for_each(|(from, weight)| matrix[from * change.to + o] += weight as f32);
                }
                None => fill[o] = rule.extrapolation,
            }
        }
        x = cx.mapper.with_last(&x, change.axis)?;
        let value = tensor_of(vec![change.from, change.to], matrix)?;
        let mut inputs = vec![x.node, cx.add(Constant { value }, &[])?];
        if fill.iter().any(|&value| value != 0.0) {
            let value = tensor_of(vec![change.to], fill)?;
            inputs.push(cx.add(Constant { value }, &[])?);
        }
        x = x.like(cx.add(Dense, &inputs)?);
    }
    Ok(x)
}

impl<'a> Rule<'a> {
    fn plain(mode: Mode) -> Rule<'a> {
        Rule {
            mode,
            coordinates: "half_pixel",
            nearest: "round_prefer_floor",
            antialias: false,
            exclude_outside: false,
            roi: Vec::new(),
            extrapolation: 0.0,
        }
    }

    /// Where on the input the centre of output position `o` lies.
    fn source(&self, change: &Change, o: usize) -> Result<f64, FormatError> {
        let (from, to, o) = (change.from as f64, change.to as f64, o as f64);
        let exact = from * change.factor;
        let half_pixel = (o + 0.5) / change.factor - 0.5;
        Ok(match self.coordinates {
            "half_pixel" => half_pixel,
            "half_pixel_symmetric" => from / 2.0 * (1.0 - to / exact) + half_pixel,
            "pytorch_half_pixel" => {
                if to > 1.0 {
                    half_pixel
                } else {
                    -0.5
                }
            }
            "align_corners" => {
                if to > 1.0 {
                    o * (from - 1.0) / (to - 1.0)
                } else {
                    0.0
                }
            }
            "asymmetric" => o / change.factor,
            "tf_crop_and_resize" => {
                let [start, end] = self.roi[change.axis];
                match to > 1.0 {
                    true => start * (from - 1.0) + o * (end - start) * (from - 1.0) / (to - 1.0),
                    false => 0.5 * (start + end) * (from - 1.0),
                }
            }
            other => {
                let text = format!("attribute `coordinate_transformation_mode` = `{other}` is not supported");
                return Err(FormatError::unsupported(text));
            }
        })
    }

    fn nearest(&self, change: &Change, o: usize) -> Result<usize, FormatError> {
        let at = self.source(change, o)?;
        let rounded = match self.nearest {
            "round_prefer_floor" => (at - 0.5).ceil(),
            "round_prefer_ceil" => (at + 0.5).floor(),
            "floor" => at.floor(),
            "ceil" => at.ceil(),
            other => {
                return Err(FormatError::unsupported(format!(
                    "attribute `nearest_mode` = `{other}` is not supported"
                )));
            }
        };
        Ok(rounded.clamp(0.0, change.from as f64 - 1.0) as usize)
    }

    /// Input positions and their weights for output position `o`; `None` where it lies outside the input.
    fn weights(&self, change: &Change, o: usize) -> Result<Option<Vec<(usize, f64)>>, FormatError> {
        let at = self.source(change, o)?;
        let last = change.from as f64 - 1.0;
        if !self.roi.is_empty() && !(0.0..=last).contains(&at) {
            return Ok(None);
        }
        if self.mode == Mode::Nearest {
            return Ok(Some(vec![(self.nearest(change, o)?, 1.0)]));
        }
        // The position on the left, and how far right of it, in (0, 1].
        let base = at.ceil() - 1.0;
        let ratio = at - base;
        let factor = if self.antialias { change.factor.min(1.0) } else { 1.0 };
        let (reach, kernel): (f64, Box<dyn Fn(f64) -> f64>) = match self.mode {
            Mode::Cubic { a } => (2.0, Box::new(move |x| cubic(a, x))),
            _ => (1.0, Box::new(|x: f64| (1.0 - x.abs()).max(0.0))),
        };
        let start = (-reach / factor).floor() + 1.0;
        let end = 2.0 - start;
        let mut taps = Vec::new();
        let mut i = start;
        while i < end {
            let outside = base + i < 0.0 || base + i > last;
            let weight = if outside && self.exclude_outside { 0.0 } else { kernel(factor * (i - ratio)) };
            taps.push(((base + i).clamp(0.0, last) as usize, weight));
            i += 1.0;
        }
        if self.antialias || self.exclude_outside {
            let sum: f64 = taps.iter().map(|(_, weight)| weight).sum();
            taps.iter_mut().for_each(|(_, weight)| *weight /= sum);
        }
        Ok(Some(taps))
    }
}

/// Keys 1981, with its parameter.
fn cubic(a: f64, x: f64) -> f64 {
    let x = x.abs();
    match x {
        x if x <= 1.0 => (a + 2.0) * x.powi(3) - (a + 3.0) * x.powi(2) + 1.0,
        x if x < 2.0 => a * x.powi(3) - 5.0 * a * x.powi(2) + 8.0 * a * x - 4.0 * a,
        _ => 0.0,
    }
}
