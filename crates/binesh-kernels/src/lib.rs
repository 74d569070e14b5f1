//! CPU kernels of Binesh: slices in, slices out. The only crate of the workspace with `unsafe`.
//!
//! Data is `f32`, contiguous, channels last (`[N, H, W, C]`); convolution kernels are `[Kh, Kw, Cin/G, Cout]`.
//! Shapes are the caller's promise; every public function checks the slice lengths with `assert!` before
//! it touches them, so safe callers cannot reach undefined behaviour.
//!
//! *Forward* functions overwrite their output. *Backward* functions **add** to every gradient they are given, or take a
//! [`Write`] that says so.
//!
//! Results do not depend on the number of threads: work is shared out over outputs only, and the order of
//! additions within one output is fixed. They do depend, in the last bits, on the instruction set: AVX2 uses
//! fused multiply-add (one rounding) where the scalar set multiplies and then adds (two), because a fused
//! multiply-add without the instruction is a slow library call.

pub mod activation;
pub mod binary;
mod broadcast;
pub mod conv2d;
mod copy;
mod costs;
pub mod depthwise;
pub mod erf;
pub mod extremum;
pub mod inverted;
mod isa;
pub mod layout;
pub mod matmul;
pub mod norm;
mod outer;
pub mod pool;
pub mod prelu;
pub mod reduce;
pub mod resize;
mod scratch;
mod simd;
pub mod softmax;
pub mod take;
mod threads;
mod tile;
mod window;

pub use activation::Activation;
pub use costs::{Algorithm, Costs, Work};
pub use isa::{Isa, ParseIsaError};
pub use scratch::with_scratch;
pub use threads::Threads;

/// One value for each axis: on the stack for ranks that networks have.
type PerAxis<T> = smallvec::SmallVec<[T; 8]>;

/// What every kernel needs besides its data: the instruction set to use and the threads to run on.
#[derive(Clone, Copy, Debug)]
pub struct Cx<'a> {
    /// Instruction set; see [`Isa::detect`].
    pub isa: Isa,
    /// Threads that share the work of one call.
    pub threads: &'a Threads,
    /// Which convolutions take fewer multiplications for a few bits.
    pub winograd: Winograd,
    /// By what algorithms are chosen.
    pub costs: &'a Costs,
}

/// Where 3x3 convolutions of stride 1 are computed by Winograd's algorithm. F(4x4, 3x3) needs a quarter of the
/// multiplications and is up to 5e-5 of the largest value off, ten times as much as the direct sum; F(2x2, 3x3) needs four
/// ninths and is as exact as the direct sum.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Winograd {
    /// Where the sizes promise a gain.
    #[default]
    WhereFaster,
    /// Where the sizes promise a gain, and no digits are lost: F(2x2, 3x3) alone.
    WhereExact,
    /// With this tile wherever that is defined.
    WherePossible(Tile),
    /// Nowhere: every convolution is the direct sum.
    Never,
}

/// Outputs of Winograd's algorithm that are computed together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Tile {
    /// 2x2 outputs from 4x4 inputs.
    Two,
    /// 4x4 outputs from 6x6 inputs.
    Four,
}

/// What a gradient does to the buffer that it is given. To replace is a pass over memory less than to fill with zeros and
/// add.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Write {
    /// Adds to what is there.
    Add,
    /// Writes every value, whatever is there.
    Replace,
}

impl Write {
    /// `dx += d` or `dx = d`, value by value.
    #[inline(always)]
    pub(crate) fn put(self, dx: &mut [f32], d: impl Iterator<Item = f32>) {
        match self {
            Write::Add => dx.iter_mut().zip(d).for_each(|(dx, d)| *dx += d),
            Write::Replace => dx.iter_mut().zip(d).for_each(|(dx, d)| *dx = d),
        }
    }
}

/// What happens to an accumulated output before it is stored: `y = activation(acc + bias + residual)`.
#[derive(Clone, Copy, Debug, Default)]
pub struct Epilogue<'a> {
    /// One value per output channel.
    pub bias: Option<&'a [f32]>,
    /// Same shape as the output; added before the activation (the skip connection of a residual block).
    pub residual: Option<&'a [f32]>,
    /// Applied last.
    pub activation: Option<Activation>,
}

impl Epilogue<'_> {
    /// Panics unless the optional slices fit an output of `len` values with `channels` channels.
    fn check(&self, channels: usize, len: usize) {
        if let Some(bias) = self.bias {
            assert_eq!(bias.len(), channels, "bias length");
        }
        if let Some(residual) = self.residual {
            assert_eq!(residual.len(), len, "residual length");
        }
    }
}
