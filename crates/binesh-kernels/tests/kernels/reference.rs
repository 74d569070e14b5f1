//! What the tests share: made-up numbers, the set of contexts, and comparison.

use binesh_kernels::{Costs, Cx, Isa, Threads, Winograd, Write};

/// Reproducible values in -1..1, different for each `seed`.
pub(crate) fn values(len: usize, seed: u64) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ 0x2545_F491_4F6C_DD1D;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((state >> 40) as f32 / (1u64 << 23) as f32) - 1.0
    };
    (0..len).map(|_| next()).collect()
}

pub(crate) fn f64s(x: &[f32]) -> Vec<f64> {
    x.iter().map(|&x| f64::from(x)).collect()
}

/// Calls `run` on every instruction set with 1, 2 and 3 threads. Each call returns what the kernel wrote; checks
/// that the thread count does not change a bit, and that all is within `tolerance` of `want`, relative to its
/// largest magnitude.
pub(crate) fn check_everywhere(want: &[f64], tolerance: f64, run: impl Fn(Cx<'_>) -> Vec<f32>) {
    let largest = want.iter().fold(1e-30f64, |m, x| m.max(x.abs()));
    for isa in Isa::available() {
        let mut first: Option<Vec<f32>> = None;
        for count in 1..=3 {
            let got = POOLS.with(|pools| {
                run(Cx { isa, threads: &pools[count - 1], winograd: Winograd::Never, costs: &Costs::DEFAULT })
            });
            assert_eq!(got.len(), want.len());
            for (i, (&got, &want)) in got.iter().zip(want).enumerate() {
                let error = (f64::from(got) - want).abs();
                assert!(error <= tolerance * largest, "{isa}, value {i}: {got}, expected {want}");
            }
            let bits = |x: &[f32]| x.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
            match &first {
                Some(first) => assert_eq!(bits(first), bits(&got), "{isa}: {count} threads differ from one"),
                None => first = Some(got),
            }
        }
    }
}

/// `start` and what `backward` adds to it; checks that it writes the same in the place of anything as it adds to zeros.
pub(crate) fn added(start: &[f32], backward: impl Fn(&mut [f32], Write)) -> Vec<f32> {
    let [mut zeros, mut anything, mut sum] =
        [vec![0.0; start.len()], vec![f32::NAN; start.len()], start.to_vec()];
    backward(&mut zeros, Write::Add);
    backward(&mut anything, Write::Replace);
    assert_eq!(zeros, anything, "to replace is to add to zeros");
    backward(&mut sum, Write::Add);
    sum
}

/// Sums in `f64`, and the largest sum of the magnitudes of their terms: rounding errors go by that, and a result that
/// nearly cancels would ask too much.
pub(crate) struct Sums {
    pub(crate) values: Vec<f64>,
    magnitudes: Vec<f64>,
}

impl Sums {
    pub(crate) fn new(start: Vec<f64>) -> Self {
        let magnitudes = start.iter().map(|v| v.abs()).collect();
        Self { values: start, magnitudes }
    }

    pub(crate) fn add(&mut self, i: usize, term: f64) {
        self.values[i] += term;
        self.magnitudes[i] += term.abs();
    }

    pub(crate) fn scale(&mut self, i: usize, factor: f64) {
        self.values[i] *= factor;
        self.magnitudes[i] *= factor.abs();
    }

    /// As [`check_everywhere`], with a tolerance relative to the largest sum of magnitudes.
    pub(crate) fn check(&self, tolerance: f64, run: impl Fn(Cx<'_>) -> Vec<f32>) {
        let largest = |v: &[f64]| v.iter().fold(1e-30f64, |m, v| m.max(v.abs()));
        let factor = (largest(&self.magnitudes) / largest(&self.values)).max(1.0);
        check_everywhere(&self.values, tolerance * factor, run);
    }
}

thread_local! {
    static POOLS: [Threads; 3] = [Threads::new(1), Threads::new(2), Threads::new(3)];
}
