//! What a run tells its user, as text and as JSON.
//!
//! A report is plain data about a network; nothing here runs one or reads a file.

mod boxed;
mod columns;
pub mod depth;
pub mod filters;
mod markup;
pub mod plan;
pub mod profile;
pub mod rates;
pub mod run;
pub mod summary;
mod svg;
pub mod training;
mod units;
mod wrap;
