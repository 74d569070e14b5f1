//! Vectors of `f32`, one implementation per instruction set. Kernels are generic over [`Simd`] and enter a set's
//! code through [`Isa::dispatch`], once per task; everything on the way must be `#[inline(always)]`, or it would
//! be compiled without the set's instructions, a hundred times slower. That rules out closures on the way.

#[cfg(target_arch = "x86_64")]
mod avx2;
pub(crate) mod math;
mod scalar;

use crate::isa::{Isa, Set};

/// A token that proves that its instruction set may be used, and the operations of that set.
pub(crate) trait Simd: Copy {
    /// `LANES` values. Comparisons give all ones or all zeros in a lane.
    type V: Copy;
    /// Values per vector, 8 for every set so far: the register tile and the packed panels build on it.
    const LANES: usize;

    fn splat(self, x: f32) -> Self::V;

    /// # Safety
    /// `LANES` values may be read from `from`; no alignment is needed.
    unsafe fn load(self, from: *const f32) -> Self::V;

    /// # Safety
    /// `LANES` values may be written to `to`; no alignment is needed.
    unsafe fn store(self, v: Self::V, to: *mut f32);

    /// Hints that the cache line at `at`, which need not be valid, is needed soon.
    fn prefetch(self, at: *const f32);

    fn add(self, a: Self::V, b: Self::V) -> Self::V;
    fn sub(self, a: Self::V, b: Self::V) -> Self::V;
    fn mul(self, a: Self::V, b: Self::V) -> Self::V;
    fn div(self, a: Self::V, b: Self::V) -> Self::V;
    /// `a * b + c`, fused where the set can.
    fn mul_add(self, a: Self::V, b: Self::V, c: Self::V) -> Self::V;
    fn sqrt(self, a: Self::V) -> Self::V;
    fn abs(self, a: Self::V) -> Self::V;
    /// `a > b ? a : b`, so `b` if either is NaN.
    fn max(self, a: Self::V, b: Self::V) -> Self::V;
    /// `a < b ? a : b`, so `b` if either is NaN.
    fn min(self, a: Self::V, b: Self::V) -> Self::V;
    fn less(self, a: Self::V, b: Self::V) -> Self::V;
    fn less_or_equal(self, a: Self::V, b: Self::V) -> Self::V;
    /// `mask ? yes : no`; `mask` comes from a comparison.
    fn select(self, mask: Self::V, yes: Self::V, no: Self::V) -> Self::V;
    /// To the nearest whole number, ties to even, for magnitudes below 2^22.
    fn round(self, a: Self::V) -> Self::V;
    /// `2^n` for whole `n` in -126..=127.
    fn exp2_whole(self, n: Self::V) -> Self::V;
    /// (m, e) with `a = m * 2^e`, `m` in [1, 2), for positive normal `a`.
    fn split(self, a: Self::V) -> (Self::V, Self::V);

    /// Lane `i` of vector `j` becomes lane `j` of vector `i`.
    fn transpose(self, rows: [Self::V; 8]) -> [Self::V; 8];

    /// The first `LANES` values of `from`.
    #[inline(always)]
    fn load_slice(self, from: &[f32]) -> Self::V {
        assert!(from.len() >= Self::LANES);
        // SAFETY: long enough, as asserted.
        unsafe { self.load(from.as_ptr()) }
    }

    /// Writes the first `LANES` values of `to`.
    #[inline(always)]
    fn store_slice(self, v: Self::V, to: &mut [f32]) {
        assert!(to.len() >= Self::LANES);
        // SAFETY: long enough, as asserted.
        unsafe { self.store(v, to.as_mut_ptr()) }
    }

    /// Sum of the lanes, halves first: (0+4, 1+5, 2+6, 3+7), then quarters.
    #[inline(always)]
    fn sum(self, v: Self::V) -> f32 {
        let mut lanes = [0.0; 8];
        self.store_slice(v, &mut lanes);
        let [a, b, c, d] = [0, 1, 2, 3].map(|i| lanes[i] + lanes[i + 4]);
        (a + c) + (b + d)
    }
}

/// Code that can be compiled for any set. `run` is to be marked `#[inline(always)]`.
pub(crate) trait Kernel {
    type Output;
    fn run<S: Simd>(self, s: S) -> Self::Output;
}

impl Isa {
    /// Runs `kernel` compiled for this set.
    #[inline(always)]
    pub(crate) fn dispatch<K: Kernel>(self, kernel: K) -> K::Output {
        match self.0 {
            Set::Scalar => kernel.run(scalar::Scalar),
            // SAFETY: `Set::Avx2` only exists after its features were detected.
            #[cfg(target_arch = "x86_64")]
            Set::Avx2 => unsafe { avx2::enter(kernel) },
        }
    }
}

/// The first `LANES` values of `from`; zeros where it is shorter.
#[inline(always)]
pub(crate) fn load_part<S: Simd>(s: S, from: &[f32]) -> S::V {
    if from.len() >= S::LANES {
        return s.load_slice(from);
    }
    let mut all = [0.0; 8];
    all[..from.len()].copy_from_slice(from);
    s.load_slice(&all)
}

/// Writes as much of `v` as fits.
#[inline(always)]
pub(crate) fn store_part<S: Simd>(s: S, v: S::V, to: &mut [f32]) {
    if to.len() >= S::LANES {
        return s.store_slice(v, to);
    }
    let mut all = [0.0; 8];
    s.store_slice(v, &mut all);
    to.copy_from_slice(&all[..to.len()]);
}
