//! Instruction sets, chosen at run time.

use std::fmt;
use std::str::FromStr;

/// An instruction set that this machine supports. Can only be made for supported sets.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Isa(pub(crate) Set);

/// Invariant: a variant other than `Scalar` is only constructed after its features were detected.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Set {
    Scalar,
    #[cfg(target_arch = "x86_64")]
    Avx2,
}

impl Isa {
    /// The fastest set of this machine.
    pub fn detect() -> Self {
        Self::available()[0]
    }

    /// Every set this machine supports, fastest first; the last is always [`Isa::scalar`].
    pub fn available() -> Vec<Self> {
        let mut sets = Vec::new();
        #[cfg(target_arch = "x86_64")]
        if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
            sets.push(Self(Set::Avx2));
        }
        sets.push(Self::scalar());
        sets
    }

    /// The portable set, supported everywhere.
    pub const fn scalar() -> Self {
        Self(Set::Scalar)
    }

    /// `"avx2"` or `"scalar"`; the inverse of `FromStr`.
    pub fn name(self) -> &'static str {
        match self.0 {
            Set::Scalar => "scalar",
            #[cfg(target_arch = "x86_64")]
            Set::Avx2 => "avx2",
        }
    }
}

impl Isa {
    /// Runs plain loops compiled for this set, so that the compiler vectorises them with its full width. Gives the
    /// same result on every set: without explicit intrinsics nothing is fused or reordered.
    #[inline(always)]
    pub(crate) fn vectorize<R>(self, f: impl FnOnce() -> R) -> R {
        match self.0 {
            Set::Scalar => f(),
            // SAFETY: `Set::Avx2` only exists after its features were detected.
            #[cfg(target_arch = "x86_64")]
            Set::Avx2 => unsafe { with_avx2(f) },
        }
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
fn with_avx2<R>(f: impl FnOnce() -> R) -> R {
    f()
}

impl fmt::Debug for Isa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl fmt::Display for Isa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The name of an instruction set is unknown, or this machine lacks it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParseIsaError(String);

impl fmt::Display for ParseIsaError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = Isa::available().iter().map(|isa| format!("`{isa}`")).collect();
        write!(f, "instruction set `{}` is not one of {}", self.0, names.join(", "))
    }
}

impl std::error::Error for ParseIsaError {}

impl FromStr for Isa {
    type Err = ParseIsaError;

    fn from_str(name: &str) -> Result<Self, ParseIsaError> {
        let found = Self::available().into_iter().find(|isa| isa.name() == name);
        found.ok_or_else(|| ParseIsaError(name.to_owned()))
    }
}
