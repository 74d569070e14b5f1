//! What a run tells its user, as text and as JSON.
//!
//! A report is plain data that the rest of the library fills in; nothing here runs a network or reads a file.

mod boxed;
pub mod summary;
mod units;
mod wrap;
