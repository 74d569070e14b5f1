//! What computing costs: by this the algorithm of a convolution is chosen, and the time of a step foretold.

use std::fmt;

use crate::{Isa, Tile};

/// How an operator is computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Algorithm {
    /// A convolution as rows times panels; the kernel's rows and columns.
    Direct {
        /// `[Kh, Kw]`
        kernel: [usize; 2],
    },
    /// A 3x3 convolution by F(4x4, 3x3), a quarter of the products, or F(2x2, 3x3), four ninths.
    Winograd(Tile),
    /// Every channel by itself; the kernel's rows and columns.
    Depthwise {
        /// `[Kh, Kw]`
        kernel: [usize; 2],
    },
    /// A 1x1 convolution, a depthwise one and mostly another 1x1 one, row by row.
    Inverted,
    /// A dense layer.
    Matrix,
    /// Anything else: no products worth counting, the time is that of its memory.
    Plain,
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Algorithm::Direct { kernel: [rows, columns] } => write!(f, "direct {rows}x{columns}"),
            Algorithm::Winograd(Tile::Two) => f.pad("Winograd F(2x2, 3x3)"),
            Algorithm::Winograd(Tile::Four) => f.pad("Winograd F(4x4, 3x3)"),
            Algorithm::Depthwise { kernel: [rows, columns] } => write!(f, "depthwise {rows}x{columns}"),
            Algorithm::Inverted => f.pad("inverted residual"),
            Algorithm::Matrix => f.pad("matrix product"),
            Algorithm::Plain => f.pad("plain loop"),
        }
    }
}

/// A call of a kernel, counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Work {
    /// How it is computed.
    pub algorithm: Algorithm,
    /// Multiplications that are really done, one for each multiply-add of a direct sum: those of Winograd's transforms
    /// count too.
    pub products: u64,
    /// Bytes of the weights as the kernel reads them.
    pub weight_bytes: u64,
}

/// What computing costs on a machine.
///
/// Only the six weights and `winograd_transform` decide anything: which convolutions are computed by Winograd's algorithm;
/// their defaults were measured on a Zen 2. The others foretell times. Theirs are of a Zen 3 (two virtual cores), from
/// `binesh bench --profile` of six networks, with one and two threads, at batch 1 and 8: shares of the peak are what one
/// step in ten exceeds (88 GFLOP/s a thread direct, 26 depthwise). No one number is right for `bandwidth`: weights that stream from
/// memory came at 17 to 19 GB/s, loops over values that a cache still held at 21 in the mean and 81 at the best tenth.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Costs {
    /// What one thread can do at most with AVX2, in GFLOP/s, two for each multiply-add.
    pub peak_avx2: f64,
    /// The same of the portable instruction set.
    pub peak_scalar: f64,
    /// What all threads together read and write, in GB/s.
    pub bandwidth: f64,
    /// What a step takes whatever its size, in microseconds.
    pub step: f64,
    /// Share of the peak that [`Algorithm::Direct`] reaches, 0 to 1.
    pub direct: f64,
    /// Share of the peak that [`Algorithm::Winograd`] reaches, by [`Work::products`].
    pub winograd: f64,
    /// Share of the peak that [`Algorithm::Depthwise`] reaches.
    pub depthwise: f64,
    /// Share of the peak that [`Algorithm::Matrix`] reaches.
    pub matrix: f64,
    /// What transforming a Winograd tile of 4x4 costs for each channel, in multiplications; one of 2x2 costs four ninths.
    pub winograd_transform: f64,
    /// What a weight costs in the forward pass, in multiplications: one of the direct sum's 9 for each pair of channels.
    pub forward_direct_weight: f64,
    /// The same: one of Winograd's 36, or 16.
    pub forward_winograd_weight: f64,
    /// As `forward_direct_weight`, in the gradient of the input, where kernels are packed on the way.
    pub input_direct_weight: f64,
    /// As `forward_winograd_weight`, in the gradient of the input.
    pub input_winograd_weight: f64,
    /// As `forward_direct_weight`, in the gradient of the kernel.
    pub kernel_direct_weight: f64,
    /// As `forward_winograd_weight`, in the gradient of the kernel.
    pub kernel_winograd_weight: f64,
}

impl Costs {
    /// Those of [`Costs::default`].
    pub const DEFAULT: Costs = Costs {
        peak_avx2: 105.0,
        peak_scalar: 8.0,
        bandwidth: 40.0,
        step: 1.3,
        direct: 0.84,
        winograd: 0.65,
        depthwise: 0.25,
        matrix: 0.84,
        winograd_transform: 240.0,
        forward_direct_weight: 14.0,
        forward_winograd_weight: 14.0,
        input_direct_weight: 60.0,
        input_winograd_weight: 24.0,
        kernel_direct_weight: 60.0,
        kernel_winograd_weight: 60.0,
    };

    /// Every cost with its name, that of its field.
    pub fn named_mut(&mut self) -> [(&'static str, &mut f64); 15] {
        [
            ("peak_avx2", &mut self.peak_avx2),
            ("peak_scalar", &mut self.peak_scalar),
            ("bandwidth", &mut self.bandwidth),
            ("step", &mut self.step),
            ("direct", &mut self.direct),
            ("winograd", &mut self.winograd),
            ("depthwise", &mut self.depthwise),
            ("matrix", &mut self.matrix),
            ("winograd_transform", &mut self.winograd_transform),
            ("forward_direct_weight", &mut self.forward_direct_weight),
            ("forward_winograd_weight", &mut self.forward_winograd_weight),
            ("input_direct_weight", &mut self.input_direct_weight),
            ("input_winograd_weight", &mut self.input_winograd_weight),
            ("kernel_direct_weight", &mut self.kernel_direct_weight),
            ("kernel_winograd_weight", &mut self.kernel_winograd_weight),
        ]
    }

    /// What this many threads can do at most, in products a second.
    pub fn peak(&self, isa: Isa, threads: usize) -> f64 {
        let thread = if isa == Isa::scalar() { self.peak_scalar } else { self.peak_avx2 };
        thread * threads as f64 * 1e9 / 2.0
    }

    /// The time of some work, one after the other, that together moves this many bytes, in seconds: that of its products, or
    /// of its memory if that is longer.
    pub fn seconds(&self, isa: Isa, threads: usize, works: &[Work], bytes: u64) -> f64 {
        let products: f64 = works.iter().map(|work| work.products as f64 / self.share(work.algorithm)).sum();
        let memory = bytes as f64 / (1e9 * self.bandwidth);
        1e-6 * self.step + memory.max(products / self.peak(isa, threads))
    }

    /// Share of the peak that an algorithm reaches.
    fn share(&self, algorithm: Algorithm) -> f64 {
        match algorithm {
            Algorithm::Direct { .. } | Algorithm::Inverted => self.direct,
            Algorithm::Winograd(_) => self.winograd,
            Algorithm::Depthwise { .. } => self.depthwise,
            Algorithm::Matrix => self.matrix,
            Algorithm::Plain => 1.0,
        }
    }
}

impl Default for Costs {
    fn default() -> Costs {
        Costs::DEFAULT
    }
}
