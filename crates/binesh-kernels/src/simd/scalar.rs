//! The portable set: eight lanes in an array, one operation after the other. Its results define the others'.

use super::Simd;

#[derive(Clone, Copy)]
pub(crate) struct Scalar;

type V = [f32; 8];

#[inline(always)]
fn each(f: impl Fn(usize) -> f32) -> V {
    std::array::from_fn(f)
}

#[inline(always)]
fn mask(yes: bool) -> f32 {
    f32::from_bits(if yes { u32::MAX } else { 0 })
}

impl Simd for Scalar {
    type V = V;
    const LANES: usize = 8;

    #[inline(always)]
    fn splat(self, x: f32) -> V {
        [x; 8]
    }

    #[inline(always)]
    unsafe fn load(self, from: *const f32) -> V {
        // SAFETY: the caller promises eight readable values; `read_unaligned` needs no more.
        unsafe { from.cast::<V>().read_unaligned() }
    }

    #[inline(always)]
    unsafe fn store(self, v: V, to: *mut f32) {
        // SAFETY: the caller promises eight writable values.
        unsafe { to.cast::<V>().write_unaligned(v) }
    }

    #[inline(always)]
    fn prefetch(self, _at: *const f32) {}

    #[inline(always)]
    fn add(self, a: V, b: V) -> V {
        each(|i| a[i] + b[i])
    }

    #[inline(always)]
    fn sub(self, a: V, b: V) -> V {
        each(|i| a[i] - b[i])
    }

    #[inline(always)]
    fn mul(self, a: V, b: V) -> V {
        each(|i| a[i] * b[i])
    }

    #[inline(always)]
    fn div(self, a: V, b: V) -> V {
        each(|i| a[i] / b[i])
    }

    #[inline(always)]
    fn mul_add(self, a: V, b: V, c: V) -> V {
        each(|i| a[i] * b[i] + c[i])
    }

    #[inline(always)]
    fn sqrt(self, a: V) -> V {
        each(|i| a[i].sqrt())
    }

    #[inline(always)]
    fn abs(self, a: V) -> V {
        each(|i| a[i].abs())
    }

    #[inline(always)]
    fn max(self, a: V, b: V) -> V {
        each(|i| if a[i] > b[i] { a[i] } else { b[i] })
    }

    #[inline(always)]
    fn min(self, a: V, b: V) -> V {
        each(|i| if a[i] < b[i] { a[i] } else { b[i] })
    }

    #[inline(always)]
    fn less(self, a: V, b: V) -> V {
        each(|i| mask(a[i] < b[i]))
    }

    #[inline(always)]
    fn less_or_equal(self, a: V, b: V) -> V {
        each(|i| mask(a[i] <= b[i]))
    }

    #[inline(always)]
    fn select(self, mask: V, yes: V, no: V) -> V {
        each(|i| if mask[i].to_bits() != 0 { yes[i] } else { no[i] })
    }

    #[inline(always)]
    fn round(self, a: V) -> V {
        // Adding 1.5 * 2^23 leaves no bits for a fraction.
        const MAGIC: f32 = 12_582_912.0;
        each(|i| (a[i] + MAGIC) - MAGIC)
    }

    #[inline(always)]
    fn exp2_whole(self, n: V) -> V {
        each(|i| f32::from_bits(((n[i] as i32 + 127) as u32) << 23))
    }

    #[inline(always)]
    fn split(self, a: V) -> (V, V) {
        let mantissa = |i: usize| f32::from_bits((a[i].to_bits() & 0x007F_FFFF) | 0x3F80_0000);
        let exponent = |i: usize| ((a[i].to_bits() >> 23) as i32 - 127) as f32;
        (each(mantissa), each(exponent))
    }

    #[inline(always)]
    fn transpose(self, rows: [V; 8]) -> [V; 8] {
        std::array::from_fn(|i| each(|j| rows[j][i]))
    }
}
