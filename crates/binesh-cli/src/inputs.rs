//! What a network is given where nobody has a picture for it: the verbs that time it and show its plan.

use anyhow::{Result, bail, ensure};
use binesh::Model;
use binesh::core::{NodeId, Shape};

use crate::output::Hinted;

/// Rows and columns of `--size`.
pub(crate) fn size(text: &str) -> Result<[usize; 2], &'static str> {
    let extents = text.split_once('x').and_then(|(h, w)| Some([h.parse().ok()?, w.parse().ok()?]));
    extents.filter(|extents: &[usize; 2]| !extents.contains(&0)).ok_or("rows and columns, as in 224x224")
}

/// The shape of each of the network's inputs.
pub(crate) fn shapes(model: &Model, batch: usize, size: Option<[usize; 2]>) -> Result<Vec<Shape>> {
    let pictures = model.graph().inputs().iter().any(|&id| model.is_map(id));
    ensure!(size.is_none() || pictures, "the network takes no picture that `--size` could be the size of");
    let prepared = model.preprocessing().map(|known| known.preprocess.size);
    let shape = |&id: &NodeId| -> Result<Shape> {
        let dims = model.graph().dims(id);
        let map = model.is_map(id);
        let extent = |(axis, fixed): (usize, &Option<usize>)| match axis {
            0 => Some(batch),
            1 | 2 if map => {
                size.map(|size| size[axis - 1]).or(*fixed).or(prepared.map(|size| size[axis - 1]))
            }
            _ => *fixed,
        };
        let extents: Option<Vec<usize>> = dims.iter().enumerate().map(extent).collect();
        if let Some(extents) = extents {
            return Ok(extents.into());
        }
        let message =
            format!("the network leaves the size of its input `{}` open", model.graph().node(id).name);
        match map {
            true => Err(Hinted { message, hint: "`--size 224x224` sets rows and columns".to_owned() }.into()),
            false => bail!(message),
        }
    };
    model.graph().inputs().iter().map(shape).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        assert_eq!(size("20x31"), Ok([20, 31]));
        for wrong in ["", "x", "20", "20x", "20x31x3", "0x1", "-1x2", "20 x 31"] {
            assert!(size(wrong).is_err(), "{wrong}");
        }
    }
}
