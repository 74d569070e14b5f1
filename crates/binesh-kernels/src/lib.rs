//! CPU kernels: slices in, slices out. The only crate of the workspace with `unsafe`.
