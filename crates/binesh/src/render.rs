//! Numbers to pixels: grids of channels, single channels, heatmaps over photos, the contact sheet, and PNG files.
//!
//! Nothing here runs a network; every function takes plain values and gives a [`Picture`] or text.

mod channels;
mod colormap;
pub(crate) mod contact_sheet;
mod heatmap;
mod sheet;
mod write;

pub use channels::{GridStyle, Sparsity, display_grid, enlarge, grid, matshow, sparsity};
pub use colormap::Colormap;
pub use contact_sheet::{ContactSheet, LayerTile, contact_sheet};
pub use heatmap::{Overlay, heat, overlay};
pub use sheet::{SheetStyle, kernels, outlined, sheet};
pub use write::{WriteError, encode_png, write_file, write_file_with, write_png};

pub use crate::image::Picture;
