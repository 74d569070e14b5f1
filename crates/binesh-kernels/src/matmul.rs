//! Matrix product `c = a b`, the dense layer. `a: [M, K]`, `b: [K, N]`, `c: [M, N]`, row-major.

use crate::outer::Outer;
use crate::simd::{Kernel, Simd, load_part, store_part};
use crate::threads::SharedMut;
use crate::tile::{PANEL, PARALLEL_MACS, Panels, Place, Places, Rows, Steps, Store};
use crate::window::product;
use crate::{Algorithm, Cx, Epilogue, Work, Write, activation};

/// A right-hand side in the order the product reads it. Made by [`pack`].
#[derive(Clone, Debug)]
pub struct PackedMatrix {
    panels: Panels,
}

impl PackedMatrix {
    /// Memory it takes, in bytes.
    pub fn bytes(&self) -> usize {
        self.panels.bytes()
    }
}

/// What the product takes, and each of its gradients.
pub fn work(m: usize, k: usize, n: usize) -> Work {
    let products = m as u64 * k as u64 * n as u64;
    Work { algorithm: Algorithm::Matrix, products, weight_bytes: Panels::bytes_of([1, 1, k, n]) }
}

/// Packs `b` for [`forward`]; `scale` multiplies its columns.
///
/// # Shapes
/// `b: [K, N]`, `scale: [N]`
pub fn pack(cx: Cx<'_>, k: usize, n: usize, b: &[f32], scale: Option<&[f32]>) -> PackedMatrix {
    assert_eq!(b.len(), product([k, n]), "b length");
    if let Some(scale) = scale {
        assert_eq!(scale.len(), n, "scale length");
    }
    let panels = Panels::pack(cx, [1, 1, k, n], |_, _, k, first, row| {
        row.copy_from_slice(&b[k * n + first..][..row.len()]);
        if let Some(scale) = scale {
            row.iter_mut().zip(&scale[first..]).for_each(|(b, s)| *b *= s);
        }
    });
    PackedMatrix { panels }
}

/// `c = activation(a b + bias + residual)`.
///
/// # Shapes
/// `a: [M, K]`, `b: [K, N]` packed, `c: [M, N]`
#[allow(clippy::too_many_arguments)]
pub fn forward(
    cx: Cx<'_>,
    m: usize,
    k: usize,
    n: usize,
    a: &[f32],
    b: &PackedMatrix,
    c: &mut [f32],
    epilogue: &Epilogue<'_>,
) {
    assert_eq!(a.len(), product([m, k]), "a length");
    assert_eq!([b.panels.depth, b.panels.width], [k, n], "b packed for another shape");
    assert_eq!(c.len(), product([m, n]), "c length");
    epilogue.check(n, c.len());
    let locate = |[_, _, m]: Place, _: usize, taps: &mut [usize]| {
        taps[0] = m * k;
        m * n
    };
    // SAFETY: rows of `c` are `n` apart and `n` long.
    unsafe {
        Rows {
            places: Places::flat(m),
            steps: Steps::flat(m, k, n),
            x: a,
            panels: &b.panels,
            locate,
            store: Store::Replace(*epilogue),
        }
        .run(cx, c)
    }
}

/// [`forward`] of a single row, with `b` as it lies: one pass over it, where packing it first would be a second one and as much
/// memory again. The same to the bit.
///
/// # Shapes
/// `a: [K]`, `b: [K, N]`, `c: [N]`
pub fn forward_row(
    cx: Cx<'_>,
    k: usize,
    n: usize,
    a: &[f32],
    b: &[f32],
    c: &mut [f32],
    epilogue: &Epilogue<'_>,
) {
    assert_eq!(a.len(), k, "a length");
    assert_eq!(b.len(), product([k, n]), "b length");
    assert_eq!(c.len(), n, "c length");
    epilogue.check(n, c.len());
    let parallel = k * n >= PARALLEL_MACS && cx.threads.count() > 1;
    let wanted = if parallel { n.div_ceil(2 * cx.threads.count()) } else { n };
    let columns = wanted.next_multiple_of(PANEL).max(ROW_COLUMNS);
    let task = |i: usize, c: &mut [f32]| {
        let first = i * columns;
        cx.isa.dispatch(Row { n, first, a, b, c: &mut *c });
        let columns = first..first + c.len();
        for more in [epilogue.bias, epilogue.residual].into_iter().flatten() {
            c.iter_mut().zip(&more[columns.clone()]).for_each(|(c, more)| *c += more);
        }
        if let Some(f) = epilogue.activation {
            activation::in_place(cx.isa, f, c);
        }
    };
    if parallel {
        cx.threads.run_chunks(c, columns, task);
    } else {
        c.chunks_mut(columns).enumerate().for_each(|(i, c)| task(i, c));
    }
}

/// Columns of a task of [`forward_row`], at least: sixteen lines of the cache one after the other.
const ROW_COLUMNS: usize = 256;

/// Rows of `b` that are added together, so that a sum is loaded and stored once for all.
const ROWS_TOGETHER: usize = 4;

/// Rows of `b` from the one that is read to the one that is fetched: more than the processor looks ahead by itself, which
/// ends with a page.
const ROWS_AHEAD: usize = 2 * ROWS_TOGETHER;

/// Some columns of a row of the product, sums in the order of `b`'s rows. The loops: four rows of `b`, and within them all
/// columns, whose sums stay in the first-level cache.
struct Row<'a> {
    n: usize,
    /// First column.
    first: usize,
    a: &'a [f32],
    b: &'a [f32],
    c: &'a mut [f32],
}

impl Kernel for Row<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(mut self, s: S) {
        self.c.fill(0.0);
        let whole = self.a.len() / ROWS_TOGETHER * ROWS_TOGETHER;
        for row in (0..whole).step_by(ROWS_TOGETHER) {
            self.rows::<S, ROWS_TOGETHER>(s, row);
        }
        for row in whole..self.a.len() {
            self.rows::<S, 1>(s, row);
        }
    }
}

impl Row<'_> {
    /// Adds `R` rows of `b` from `row` on.
    #[inline(always)]
    #[allow(clippy::needless_range_loop)] // Constant indices keep the factors in registers.
    fn rows<S: Simd, const R: usize>(&mut self, s: S, row: usize) {
        let width = self.c.len();
        let (mut factors, mut b) = ([s.splat(0.0); R], [&self.b[..0]; R]);
        for r in 0..R {
            factors[r] = s.splat(self.a[row + r]);
            b[r] = &self.b[(row + r) * self.n + self.first..][..width];
        }
        let ahead = ROWS_AHEAD * self.n;
        let whole = width / S::LANES * S::LANES;
        for at in (0..whole).step_by(S::LANES) {
            let c = &mut self.c[at..];
            let mut sum = s.load_slice(c);
            for r in 0..R {
                // SAFETY: every row has `width` values, and `at + LANES <= whole <= width`.
                let v = unsafe { s.load(b[r].as_ptr().add(at)) };
                if at % (2 * S::LANES) == 0 {
                    s.prefetch(b[r].as_ptr().wrapping_add(at + ahead));
                }
                sum = s.mul_add(factors[r], v, sum);
            }
            s.store_slice(sum, c);
        }
        if whole < width {
            let mut sum = load_part(s, &self.c[whole..]);
            for r in 0..R {
                sum = s.mul_add(factors[r], load_part(s, &b[r][whole..]), sum);
            }
            store_part(s, sum, &mut self.c[whole..]);
        }
    }
}

/// `dc b^T` to `da`.
///
/// # Shapes
/// `dc: [M, N]`, `b: [K, N]`, `da: [M, K]`
#[allow(clippy::too_many_arguments)]
pub fn backward_input(
    cx: Cx<'_>,
    m: usize,
    k: usize,
    n: usize,
    dc: &[f32],
    b: &[f32],
    da: &mut [f32],
    write: Write,
) {
    assert_eq!(da.len(), product([m, k]), "da length");
    assert_eq!(b.len(), product([k, n]), "b length");
    assert_eq!(dc.len(), product([m, n]), "dc length");
    if da.is_empty() {
        return;
    }
    let parallel = m * k * n >= PARALLEL_MACS && cx.threads.count() > 1;
    let per_task = if parallel { DOT_ROWS } else { k.next_multiple_of(DOT_COLUMNS) };
    let da = SharedMut::new(da);
    let task = |i: usize| {
        let rows = i * per_task..((i + 1) * per_task).min(k);
        cx.isa.dispatch(Dots { m, k, n, dc, b, rows, da, write });
    };
    let tasks = k.div_ceil(per_task);
    if parallel { cx.threads.run(tasks, task) } else { (0..tasks).for_each(task) }
}

/// Rows of `b` in a task.
const DOT_ROWS: usize = 48;

/// Rows of `dc` and of `b` in a tile: 12 sums, 4 + 1 operands in registers.
const DOT_M: usize = 4;
const DOT_COLUMNS: usize = 3;

/// Some columns of `da`, as dot products of rows of `dc` and `b`: reads `b` as it lies, once if `m` is at most
/// [`DOT_M`], where transposing it first would cost several times the product. The order of additions does not
/// depend on `m`.
struct Dots<'a> {
    m: usize,
    k: usize,
    n: usize,
    dc: &'a [f32],
    b: &'a [f32],
    /// Rows of `b`, columns of `da`.
    rows: std::ops::Range<usize>,
    da: SharedMut,
    write: Write,
}

impl Kernel for Dots<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        for row in self.rows.clone().step_by(DOT_COLUMNS) {
            let mut i = 0;
            while i < self.m {
                match (self.m - i, self.rows.end - row) {
                    (DOT_M.., DOT_COLUMNS..) => self.tile::<S, DOT_M, DOT_COLUMNS>(s, i, row),
                    (DOT_M.., 2) => self.tile::<S, DOT_M, 2>(s, i, row),
                    (DOT_M.., _) => self.tile::<S, DOT_M, 1>(s, i, row),
                    (_, DOT_COLUMNS..) => self.tile::<S, 1, DOT_COLUMNS>(s, i, row),
                    (_, 2) => self.tile::<S, 1, 2>(s, i, row),
                    (_, _) => self.tile::<S, 1, 1>(s, i, row),
                }
                i += if self.m - i >= DOT_M { DOT_M } else { 1 };
            }
        }
    }
}

impl Dots<'_> {
    #[inline(always)]
    fn tile<S: Simd, const M: usize, const K: usize>(&self, s: S, i: usize, row: usize) {
        let n = self.n;
        let dc: [&[f32]; M] = std::array::from_fn(|r| &self.dc[(i + r) * n..][..n]);
        let b: [&[f32]; K] = std::array::from_fn(|j| &self.b[(row + j) * n..][..n]);
        let mut sums = [[s.splat(0.0); K]; M];
        let whole = n / S::LANES * S::LANES;
        for at in (0..whole).step_by(S::LANES) {
            // SAFETY: every row has `n` values, and `at + LANES <= whole <= n`.
            let load = |row: &[f32]| unsafe { s.load(row.as_ptr().add(at)) };
            let b = b.map(load);
            for (sums, dc) in sums.iter_mut().zip(dc) {
                let dc = load(dc);
                *sums = std::array::from_fn(|j| s.mul_add(dc, b[j], sums[j]));
            }
        }
        for (r, (sums, dc)) in sums.iter().zip(dc).enumerate() {
            for (j, (&sum, b)) in sums.iter().zip(b).enumerate() {
                let tail: f32 = dc[whole..].iter().zip(&b[whole..]).map(|(x, y)| x * y).sum();
                // SAFETY: tasks cover different columns of `da`.
                let da = unsafe { self.da.slice((i + r) * self.k + row + j, 1) };
                self.write.put(da, std::iter::once(s.sum(sum) + tail));
            }
        }
    }
}

/// `db += a^T dc`.
///
/// # Shapes
/// `a: [M, K]`, `dc: [M, N]`, `db: [K, N]`
pub fn backward_kernel(cx: Cx<'_>, m: usize, k: usize, n: usize, a: &[f32], dc: &[f32], db: &mut [f32]) {
    assert_eq!(a.len(), product([m, k]), "a length");
    assert_eq!(db.len(), product([k, n]), "db length");
    assert_eq!(dc.len(), product([m, n]), "dc length");
    let locate = |[_, _, m]: Place, _: usize, taps: &mut [usize]| {
        taps[0] = m * k;
        m * n
    };
    Outer { places: Places::flat(m), x: a, dy: dc, groups: 1, taps: 1, depth: k, width: n, locate }
        .run(cx, db);
}
