//! What is done to a learned picture before the network sees it, so that it does not live on single pixels: shifted, scaled
//! and turned at random. Lucid's `optvis/transform.py`, `standard_transforms`.
//!
//! Scaling and turning are bilinear over pixel centers with aligned corners, as Lucent has them (Lucid turns to the nearest
//! pixel). Shifting cuts out, as Lucid does; Lucent shifts zeros in.

use rand::RngExt;
use rand_chacha::ChaCha8Rng;

/// Gray put around the picture.
const MARGIN: usize = 12;
const GRAY: f32 = 0.5;
/// How far the two shifts go.
const JITTER: [usize; 2] = [8, 4];
/// Degrees turned at most; one turn in six is none at all.
const TURN: i64 = 10;

/// The random numbers of one step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Draw {
    /// Rows and columns cut off before, 0 to 8.
    pub(crate) first: [usize; 2],
    /// 0.9 to 1.1.
    pub(crate) scale: f64,
    /// Degrees against the clock.
    pub(crate) angle: f64,
    /// Rows and columns cut off before, 0 to 4.
    pub(crate) second: [usize; 2],
}

impl Draw {
    pub(crate) fn random(random: &mut ChaCha8Rng) -> Draw {
        let mut up_to = |most: usize| random.random_range(0..=most as u64) as usize;
        let first = [up_to(JITTER[0]), up_to(JITTER[0])];
        let scale = 1.0 + (up_to(10) as f64 - 5.0) / 50.0;
        // 21 angles and five zeros.
        let angle = up_to(2 * TURN as usize + 5) as i64 - TURN;
        let angle = if angle > TURN { 0.0 } else { angle as f64 };
        Draw { first, scale, angle, second: [up_to(JITTER[1]), up_to(JITTER[1])] }
    }
}

/// One change of a picture `[H, W, C]`, linear but for what it fills up with.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Warp {
    from: [usize; 2],
    to: [usize; 2],
    kind: Kind,
}

#[derive(Clone, Debug, PartialEq)]
enum Kind {
    /// As many rows and columns on every side.
    Pad(usize),
    /// From this row and column on.
    Crop([usize; 2]),
    /// Each pixel bilinearly from `[yy, yx, y0, xy, xx, x0]`: row `yy y + yx x + y0`, column `xy y + xx x + x0`; zero outside.
    Sample([f64; 6]),
}

/// Everything that a draw does to a picture of a size, which ends with the network's size.
pub(crate) fn chain(draw: &Draw, size: [usize; 2], network: [usize; 2]) -> Vec<Warp> {
    let mut steps = vec![Warp::pad(size, MARGIN)];
    let mut next = |make: &dyn Fn([usize; 2]) -> Warp| {
        let step = make(steps.last().expect("there is a first").to);
        steps.push(step);
    };
    next(&|size| Warp::crop(size, draw.first, size.map(|extent| extent - JITTER[0])));
    next(&|size| Warp::resize(size, size.map(|extent| (draw.scale * extent as f64).ceil() as usize)));
    next(&|size| Warp::turn(size, draw.angle));
    next(&|size| Warp::crop(size, draw.second, size.map(|extent| extent - JITTER[1])));
    next(&|size| Warp::resize(size, network));
    steps
}

impl Warp {
    fn pad(from: [usize; 2], margin: usize) -> Warp {
        Warp { from, to: from.map(|extent| extent + 2 * margin), kind: Kind::Pad(margin) }
    }

    fn crop(from: [usize; 2], at: [usize; 2], to: [usize; 2]) -> Warp {
        Warp { from, to, kind: Kind::Crop(at) }
    }

    /// `torch.nn.functional.interpolate(mode='bilinear', align_corners=True)`.
    pub(crate) fn resize(from: [usize; 2], to: [usize; 2]) -> Warp {
        let step = |axis: usize| match to[axis] {
            1 => 0.0,
            to => (from[axis] - 1) as f64 / (to - 1) as f64,
        };
        Warp { from, to, kind: Kind::Sample([step(0), 0.0, 0.0, 0.0, step(1), 0.0]) }
    }

    /// About the center, against the clock: `kornia.geometry.transform.rotate`.
    pub(crate) fn turn(size: [usize; 2], degrees: f64) -> Warp {
        let [cy, cx] = size.map(|extent| (extent as f64 - 1.0) / 2.0);
        let (sin, cos) = degrees.to_radians().sin_cos();
        let map = [cos, sin, cy - cos * cy - sin * cx, -sin, cos, cx + sin * cy - cos * cx];
        Warp { from: size, to: size, kind: Kind::Sample(map) }
    }

    /// # Shapes
    /// x: `[H, W, C]` -> `[H', W', C]`
    pub(crate) fn forward(&self, x: &[f32], channels: usize) -> Vec<f32> {
        let mut y = vec![
            if matches!(self.kind, Kind::Pad(_)) { GRAY } else { 0.0 };
            self.to[0] * self.to[1] * channels
        ];
        match self.kind {
            Kind::Sample(map) => self.taps(&map, |to, from, weight| {
                let (from, to) = (from * channels, to * channels);
                for k in 0..channels {
                    y[to + k] += weight * x[from + k];
                }
            }),
            _ => self.rows(channels, |to, from, length| {
                y[to..to + length].copy_from_slice(&x[from..from + length])
            }),
        }
        y
    }

    /// The adjoint: from d(loss)/d(result) to d(loss)/d(x).
    pub(crate) fn backward(&self, dy: &[f32], channels: usize) -> Vec<f32> {
        let mut dx = vec![0.0; self.from[0] * self.from[1] * channels];
        match self.kind {
            Kind::Sample(map) => self.taps(&map, |to, from, weight| {
                let (from, to) = (from * channels, to * channels);
                for k in 0..channels {
                    dx[from + k] += weight * dy[to + k];
                }
            }),
            _ => self.rows(channels, |to, from, length| {
                dx[from..from + length].copy_from_slice(&dy[to..to + length])
            }),
        }
        dx
    }

    /// Calls `copy` with where a row begins in the result and in the picture, and how long it is.
    fn rows(&self, channels: usize, mut copy: impl FnMut(usize, usize, usize)) {
        let (rows, columns) = (self.from[0].min(self.to[0]), self.from[1].min(self.to[1]));
        let ([to_y, to_x], [from_y, from_x]) = match self.kind {
            Kind::Pad(margin) => ([margin; 2], [0; 2]),
            Kind::Crop(at) => ([0; 2], at),
            Kind::Sample(_) => unreachable!("a sampled picture has no rows of its own"),
        };
        for row in 0..rows {
            let to = ((to_y + row) * self.to[1] + to_x) * channels;
            let from = ((from_y + row) * self.from[1] + from_x) * channels;
            copy(to, from, columns * channels);
        }
    }

    /// Calls `add` with a place in the result, one of the four in the picture around where it comes from, and its weight.
    fn taps(&self, &[yy, yx, y0, xy, xx, x0]: &[f64; 6], mut add: impl FnMut(usize, usize, f32)) {
        let [h, w] = self.from.map(|extent| extent as i64);
        for row in 0..self.to[0] {
            for column in 0..self.to[1] {
                let (y, x) = (row as f64, column as f64);
                let (y, x) = (yy * y + yx * x + y0, xy * y + xx * x + x0);
                let (top, left) = (y.floor(), x.floor());
                let (down, right) = ((y - top) as f32, (x - left) as f32);
                let to = row * self.to[1] + column;
                for (dy, wy) in [(0, 1.0 - down), (1, down)] {
                    for (dx, wx) in [(0, 1.0 - right), (1, right)] {
                        let (y, x) = (top as i64 + dy, left as i64 + dx);
                        if (0..h).contains(&y) && (0..w).contains(&x) && wy * wx != 0.0 {
                            add(to, (y * w + x) as usize, wy * wx);
                        }
                    }
                }
            }
        }
    }
}
