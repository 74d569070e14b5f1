//! Which photos of a folder a filter answers to most, and where in them: what to hold a learned picture against.

use std::ops::ControlFlow;
use std::path::PathBuf;

use crate::error::Error;
use crate::image::{self, Picture};
use crate::model::Model;
use crate::view::filters::{Objective, Term};
use crate::view::photos::{self, PhotosDone};
use crate::view::receptive::{Field, receptive_field};

/// A photo that a filter answers to.
#[derive(Clone, Debug, PartialEq)]
pub struct Excited {
    /// Number of the photo.
    pub photo: usize,
    /// The answer: where a single channel of a map is asked about, its largest value over the map; else the objective.
    pub answer: f64,
    /// Row and column of the map where that value is.
    pub at: Option<[usize; 2]>,
}

/// For each objective the photos that excite it most, first the strongest; of equal ones the earlier. `None` when `events`
/// stopped it. Memory does not grow with the photos.
pub fn excite(
    model: &Model,
    objectives: &[&Objective],
    photos: &[PathBuf],
    most: usize,
    events: &mut dyn FnMut(PhotosDone) -> ControlFlow<()>,
) -> Result<Option<Vec<Vec<Excited>>>, Error> {
    let mut nodes: Vec<_> = objectives.iter().flat_map(|objective| objective.nodes()).collect();
    nodes.sort();
    nodes.dedup();
    let mut best: Vec<Vec<Excited>> = vec![Vec::new(); objectives.len()];
    let finished = photos::each(model, &nodes, photos, events, |shown| {
        for (best, objective) in best.iter_mut().zip(objectives) {
            for row in 0..shown.count {
                let photo = shown.first + row;
                let (answer, at) = match peak(objective, &shown, row) {
                    Some((answer, at)) => (answer, Some(at)),
                    None => (objective.value(shown.session, row), None),
                };
                let place = best.iter().position(|other| answer > other.answer).unwrap_or(best.len());
                best.insert(place, Excited { photo, answer, at });
                best.truncate(most);
            }
        }
        Ok(())
    })?;
    Ok(finished.then_some(best))
}

/// The largest value of a single channel over its map, and where it is.
fn peak(objective: &Objective, shown: &photos::Shown<'_>, row: usize) -> Option<(f64, [usize; 2])> {
    let [(weight, Term::Channel { node, channel })] = objective.terms[..] else { return None };
    let value = shown.session.value(node);
    let &[_, h, w, c] = value.shape().dims() else { return None };
    let map = &value.data()[row * h * w * c..(row + 1) * h * w * c];
    let answers = map.iter().skip(channel).step_by(c).map(|v| weight * f64::from(*v));
    let first = |best: (usize, f64), (at, v): (usize, f64)| if v > best.1 { (at, v) } else { best };
    let (at, answer) = answers.enumerate().fold((0, f64::NEG_INFINITY), first);
    Some((answer, [at / w, at % w]))
}

/// A photo as the network is shown it, and the part of it that a place sees; all of it where there is no place.
pub fn patch(
    model: &Model,
    objective: &Objective,
    photo: &Picture,
    at: Option<[usize; 2]>,
) -> Result<(Picture, Field), Error> {
    let known = model.preprocessing().ok_or(Error::NotAPictureModel)?;
    let x = model.input(std::slice::from_ref(photo))?;
    let seen = image::deprocess(x.data(), &known.preprocess)?;
    let whole = Field { top: 0, left: 0, height: seen.height(), width: seen.width() };
    let Some(at) = at else { return Ok((seen, whole)) };
    let graph = model.graph();
    let shapes =
        graph.shapes(&[(graph.inputs()[0], x.shape().clone())]).map_err(binesh_core::PlanError::from)?;
    let field = receptive_field(graph, &shapes, objective.terms[0].1.node(), at).unwrap_or(whole);
    Ok((seen, field))
}
