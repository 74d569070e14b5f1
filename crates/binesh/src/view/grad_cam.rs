//! Grad-CAM (Selvaraju et al. 2017, arXiv:1610.02391), equations 1 and 2.

use crate::error::Error;
use crate::image::Picture;
use crate::view::{Method, Probe, RawMap};

pub(super) const METHOD: Method = Method {
    name: "grad-cam",
    title: "Grad-CAM",
    summary: "where the last convolution supports the class",
    run,
};

/// Negative values are dropped by [`RawMap::finish`], the paper's ReLU. The book takes the mean over channels where the
/// paper takes the sum: the same picture after scaling to 0..=1.
fn run(probe: &mut Probe<'_>, pictures: &[Picture]) -> Result<Vec<RawMap>, Error> {
    let samples = probe.gradients(pictures)?;
    let maps = samples.into_iter().map(|sample| {
        let channels = sample.channels;
        let rows = || sample.gradients.chunks_exact(channels);
        let mut alpha = vec![0.0f32; channels];
        for row in rows() {
            alpha.iter_mut().zip(row).for_each(|(alpha, g)| *alpha += g);
        }
        let positions = rows().len() as f32;
        alpha.iter_mut().for_each(|alpha| *alpha /= positions); // equation 1
        let weigh = |row: &[f32]| row.iter().zip(&alpha).map(|(a, alpha)| a * alpha).sum();
        let values = sample.activations.chunks_exact(channels).map(weigh).collect(); // equation 2
        let zero_gradient = sample.gradients.iter().all(|&g| g == 0.0);
        RawMap { values, spot: sample.spot, zero_gradient }
    });
    Ok(maps.collect())
}
