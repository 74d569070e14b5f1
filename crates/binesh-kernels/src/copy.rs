//! Copies with vectors. The C library's `memcpy` takes `rep movsb` for long pieces where the processor says that it is
//! fast, which on Zen 3 it is not when the two are aligned differently: 3 GB/s from one first-level line to another.

use crate::isa::Isa;
use crate::simd::{Kernel, Simd};

/// `to = from`, of equal length.
pub(crate) fn copy(isa: Isa, from: &[f32], to: &mut [f32]) {
    assert_eq!(from.len(), to.len(), "a copy of another length");
    isa.dispatch(Copy { from, to });
}

struct Copy<'a> {
    from: &'a [f32],
    to: &'a mut [f32],
}

impl Kernel for Copy<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let step = 4 * S::LANES;
        // Four vectors at a time: a loop over single ones is recognised and made a call of `memcpy`.
        for (to, from) in self.to.chunks_mut(step).zip(self.from.chunks(step)) {
            if to.len() == step {
                for i in 0..4 {
                    s.store_slice(s.load_slice(&from[i * S::LANES..]), &mut to[i * S::LANES..]);
                }
            } else {
                to.iter_mut().zip(from).for_each(|(to, from)| *to = *from);
            }
        }
    }
}
