//! The program as a user meets it: what it prints and where, its exit codes, the files it writes.
//!
//! Two kinds of test. *Transcripts* (`tests/snapshots/*.txt`) are commands with what they print; `BINESH_BLESS=1` writes
//! what they print now. The others compare numbers and pictures with references.

mod activations;
mod bad;
mod bench;
mod convert;
mod depth;
mod evaluate;
mod extract;
mod filters;
mod heatmap;
mod help;
mod json;
mod manners;
mod predict;
mod run;
mod sandbox;
mod summary;
mod train;
mod transcript;
mod weights;
