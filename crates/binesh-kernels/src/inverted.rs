//! Inverted residual (Sandler et al. 2018, arXiv:1801.04381, figure 3b): a 1x1 convolution that widens, a depthwise
//! convolution, a 1x1 convolution that narrows, in one pass over the rows of the map.
//!
//! The wide map, six times the size of what goes in and out, is never whole: a task makes a few rows of it in a ring, just
//! those that the filter sees for the next output rows, filters them into a second small buffer, and multiplies that. Both
//! buffers and the weights stay in the second-level cache. The loops, from the outside: bands of output rows (a task
//! each), groups of 24 pixels or more, and within a group the three products one after the other, with the same
//! tiles and in the same order of additions as on their own, so that results are the same to the bit.

use std::ops::Range;

use crate::conv2d::PackedKernel;
use crate::depthwise::{self, Depthwise, Run};
use crate::scratch::{self, Scratch, lines};
use crate::threads::SharedMut;
use crate::tile::{Block, Panels, ROWS, Store};
use crate::window::product;
use crate::{Activation, Cx, Epilogue};

/// Pixels of the output that are finished together, at least: four tiles of rows, for whole tiles to prevail.
const GROUP: usize = 24;

/// Output rows of a band, at least: each band makes again the rows that its filter shares with the band before.
const BAND: usize = 12;

/// A 1x1 convolution of stride 1: `y = activation(x * kernel + bias)`.
#[derive(Clone, Copy, Debug)]
#[allow(missing_docs)]
pub struct Pointwise<'a> {
    pub kernel: &'a PackedKernel,
    /// Channels out.
    pub width: usize,
    pub bias: Option<&'a [f32]>,
    pub activation: Option<Activation>,
}

/// The depthwise convolution: `[Kh, Kw, C]` filters, then as [`Pointwise`].
#[derive(Clone, Copy, Debug)]
#[allow(missing_docs)]
pub struct Filter<'a> {
    pub kernel: &'a [f32],
    pub bias: Option<&'a [f32]>,
    pub activation: Option<Activation>,
}

/// Operands of [`forward`].
#[derive(Clone, Copy, Debug)]
#[allow(missing_docs)]
pub struct Inverted<'a> {
    /// The depthwise convolution, of one filter for each of `C` wide channels and of dilation 1.
    pub geom: Depthwise,
    /// Channels in.
    pub cin: usize,
    pub expand: Pointwise<'a>,
    pub filter: Filter<'a>,
    /// `None` where something else comes before the map is narrowed (squeeze and excite).
    pub project: Option<Pointwise<'a>>,
    /// Like `y`; added before the last activation.
    pub residual: Option<&'a [f32]>,
}

/// Whether one pass is faster than three: the rows in flight and all weights (`weights` values) fit in the second-level
/// cache, and the map has enough rows that few are made twice. Measured on a Zen 3.
pub fn is_faster(geom: &Depthwise, weights: usize) -> bool {
    const CACHED: usize = 96 * 1024;
    let rows = Ring::slots(geom) * Ring::row_len(geom) + Ring::group(geom) * geom.wo * geom.c;
    let enough = geom.ho * geom.n >= 2 * BAND;
    geom.multiplier == 1 && geom.dilation == [1, 1] && enough && rows + weights <= CACHED
}

/// `y = project(filter(expand(x)))`, each with its bias and activation; the residual is added before the last activation.
///
/// # Shapes
/// `x: [N, H, W, Cin]`; `y: [N, Ho, Wo, Cout]`, `Cout` = C without `project`.
pub fn forward(cx: Cx<'_>, job: &Inverted<'_>, x: &[f32], y: &mut [f32]) {
    let g = &job.geom;
    g.check();
    assert!(g.multiplier == 1 && g.dilation == [1, 1], "one filter for each channel, not dilated");
    assert_eq!(x.len(), product([g.n, g.h, g.w, job.cin]), "x length");
    assert_eq!(job.filter.kernel.len(), g.kernel_len(), "kernel length");
    let width = job.project.map_or(g.c, |project| project.width);
    assert_eq!(y.len(), product([g.n, g.ho, g.wo, width]), "y length");
    assert_eq!(job.expand.width, g.c, "width of the expansion");
    let bias_fits = |bias: Option<&[f32]>, width: usize| bias.is_none_or(|bias| bias.len() == width);
    assert!(bias_fits(job.expand.bias, g.c) && bias_fits(job.filter.bias, g.c), "bias length");
    assert!(job.project.is_none_or(|project| bias_fits(project.bias, width)), "bias length");
    assert!(job.residual.is_none_or(|residual| residual.len() == y.len()), "residual length");
    assert!(job.project.is_some() || job.residual.is_none(), "a residual needs a projection");
    if y.is_empty() {
        return;
    }
    let bands = bands(g, cx.threads.count());
    let band = g.ho.div_ceil(bands);
    let bands = g.ho.div_ceil(band);
    let task = Task {
        cx,
        job,
        x,
        y: SharedMut::new(y),
        expand: job.expand.kernel.pointwise(job.cin, g.c),
        project: job.project.map(|project| project.kernel.pointwise(g.c, width)),
        width,
    };
    scratch::run(Some(cx.threads), g.n * bands, task.lines(), |i, scratch| {
        let (image, first) = (i / bands, i % bands * band);
        task.band(image, first..g.ho.min(first + band), scratch);
    });
}

/// Bands of an image: two tasks for each thread, as long as bands are not too low.
fn bands(g: &Depthwise, threads: usize) -> usize {
    (2 * threads).div_ceil(g.n).min((g.ho / BAND).max(1))
}

/// Rows of the wide map, each where its number modulo `slots` says.
struct Ring;

impl Ring {
    /// Output rows that are finished together.
    fn group(g: &Depthwise) -> usize {
        GROUP.div_ceil(g.wo.max(1)).min(g.ho.max(1))
    }

    /// Rows that the filter sees for a group.
    fn slots(g: &Depthwise) -> usize {
        (Self::group(g) - 1) * g.stride[0] + g.kh
    }

    /// Columns, with those of the padding.
    fn columns(g: &Depthwise) -> usize {
        g.wo.saturating_sub(1) * g.stride[1] + g.kw
    }

    fn row_len(g: &Depthwise) -> usize {
        Self::columns(g) * g.c
    }
}

struct Task<'a> {
    cx: Cx<'a>,
    job: &'a Inverted<'a>,
    x: &'a [f32],
    y: SharedMut,
    expand: &'a Panels,
    project: Option<&'a Panels>,
    width: usize,
}

impl Task<'_> {
    /// Values of the ring, values of the filtered rows, rows of the largest product.
    fn sizes(&self) -> [usize; 3] {
        let g = &self.job.geom;
        let filtered = if self.project.is_some() { Ring::group(g) * g.wo } else { 0 };
        [Ring::slots(g) * Ring::row_len(g), filtered * g.c, filtered.max(Ring::slots(g) * g.w)]
    }

    /// Lines of working memory.
    fn lines(&self) -> usize {
        let ([ring, filtered, rows], g) = (self.sizes(), &self.job.geom);
        let table = lines::<*const f32>(rows.next_multiple_of(ROWS));
        lines::<f32>(ring)
            + lines::<f32>(filtered)
            + table
            + lines::<usize>(rows)
            + lines::<(usize, usize)>(g.kh * g.kw)
    }

    /// Some output rows of an image.
    fn band(&self, image: usize, rows: Range<usize>, mut scratch: Scratch<'_>) {
        let ([ring, filtered, most], g) = (self.sizes(), &self.job.geom);
        let group = Ring::group(g);
        let (ring, filtered) = (scratch.take::<f32>(ring), scratch.take::<f32>(filtered));
        let mut buffers = Buffers {
            table: scratch.take(most.next_multiple_of(ROWS)),
            outputs: scratch.take(most),
            rows: 0,
            taps: scratch.take(g.kh * g.kw),
        };
        self.clear_padding(ring);
        // The first row of the input that is not in the ring yet.
        let mut next = (rows.start * g.stride[0]).saturating_sub(g.pad[0]);
        for first in rows.clone().step_by(group) {
            let group = first..rows.end.min(first + group);
            let end = ((group.end - 1) * g.stride[0] + g.kh).saturating_sub(g.pad[0]).min(g.h);
            if next < end {
                self.expand(image, next..end, ring, &mut buffers);
                next = end;
            }
            match self.project {
                Some(panels) => {
                    for (row, to) in group.clone().zip(filtered.chunks_exact_mut(g.wo * g.c)) {
                        self.filter(row, ring, to, &mut buffers);
                    }
                    self.narrow(image, group, filtered, panels, &mut buffers);
                }
                None => {
                    for row in group {
                        let len = g.wo * g.c;
                        // SAFETY: bands do not overlap, and each row is written once.
                        let to = unsafe { self.y.slice((image * g.ho + row) * len, len) };
                        self.filter(row, ring, to, &mut buffers);
                    }
                }
            }
        }
    }

    /// Zeros in the columns of the ring that lie in the padding.
    fn clear_padding(&self, ring: &mut [f32]) {
        let g = &self.job.geom;
        for row in ring.chunks_exact_mut(Ring::row_len(g)) {
            let inside = self.columns_inside();
            row[..inside.start * g.c].fill(0.0);
            row[inside.end * g.c..].fill(0.0);
        }
    }

    /// The columns of the ring that hold pixels of the input.
    fn columns_inside(&self) -> Range<usize> {
        let g = &self.job.geom;
        let columns = Ring::columns(g);
        let start = g.pad[1].min(columns);
        start..columns.min(start + g.w)
    }

    /// Some rows of the wide map.
    fn expand(&self, image: usize, rows: Range<usize>, ring: &mut [f32], buffers: &mut Buffers<'_>) {
        let (g, cin) = (&self.job.geom, self.job.cin);
        let inside = self.columns_inside();
        buffers.clear();
        for row in rows {
            let slot = row % Ring::slots(g) * Ring::columns(g);
            for (column, at) in inside.clone().enumerate() {
                let from = ((image * g.h + row) * g.w + column) * cin;
                buffers.push(&self.x[from..from + cin], (slot + at) * g.c);
            }
        }
        let Pointwise { bias, activation, .. } = self.job.expand;
        let epilogue = Epilogue { bias, residual: None, activation };
        self.multiply(self.expand, epilogue, buffers, SharedMut::new(ring));
    }

    /// One row of the filtered map.
    fn filter(&self, row: usize, ring: &[f32], to: &mut [f32], buffers: &mut Buffers<'_>) {
        let g = &self.job.geom;
        let Filter { kernel, bias, activation } = self.job.filter;
        let mut seen = 0;
        for ky in g.rows().taps_inside(row) {
            let slot = (row * g.stride[0] + ky - g.pad[0]) % Ring::slots(g) * Ring::row_len(g);
            for kx in 0..g.kw {
                buffers.taps[seen] = (slot + kx * g.c, (ky * g.kw + kx) * g.c);
                seen += 1;
            }
        }
        self.cx.isa.dispatch(Run {
            x: ring,
            w: kernel,
            taps: &buffers.taps[..seen],
            count: g.wo,
            x_step: g.stride[1] * g.c,
            y_step: g.c,
            channels: g.c,
            y: to,
            epilogue: Some(&Epilogue { bias, residual: None, activation }),
            residual: None,
            fetch_ahead: false,
        });
        depthwise::finish(self.cx.isa, activation, to);
    }

    /// Some rows of the output.
    fn narrow(
        &self,
        image: usize,
        rows: Range<usize>,
        filtered: &[f32],
        panels: &Panels,
        buffers: &mut Buffers<'_>,
    ) {
        let g = &self.job.geom;
        let first = (image * g.ho + rows.start) * g.wo;
        buffers.clear();
        for (i, from) in filtered.chunks_exact(g.c).take(rows.len() * g.wo).enumerate() {
            buffers.push(from, (first + i) * self.width);
        }
        let project = self.job.project.as_ref();
        let epilogue = Epilogue {
            bias: project.and_then(|project| project.bias),
            residual: self.job.residual,
            activation: project.and_then(|project| project.activation),
        };
        self.multiply(panels, epilogue, buffers, self.y);
    }

    fn multiply(&self, panels: &Panels, epilogue: Epilogue<'_>, buffers: &mut Buffers, y: SharedMut) {
        let Buffers { table, outputs, rows, .. } = buffers;
        let whole = rows.next_multiple_of(ROWS);
        // A last tile that is not full reads its last row again.
        if let Some(&last) = table[..*rows].last() {
            table[*rows..whole].fill(last);
        }
        self.cx.isa.dispatch(Block {
            isa: self.cx.isa,
            table: &table[..whole],
            outputs: &outputs[..*rows],
            all: panels,
            group: 0,
            panels: 0..panels.per_group(),
            store: Store::Replace(epilogue),
            y,
        });
    }
}

/// Where the rows of a product come from and go to, and the taps of a filter.
struct Buffers<'a> {
    table: &'a mut [*const f32],
    outputs: &'a mut [usize],
    rows: usize,
    taps: &'a mut [(usize, usize)],
}

impl Buffers<'_> {
    fn clear(&mut self) {
        self.rows = 0;
    }

    fn push(&mut self, from: &[f32], to: usize) {
        self.table[self.rows] = from.as_ptr();
        self.outputs[self.rows] = to;
        self.rows += 1;
    }
}
