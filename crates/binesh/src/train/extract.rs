//! The features of photos, written to a file for other tools: what the frozen part of a network makes of each.

mod npz;
mod parquet;

use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;

use binesh_core::{NodeId, Op, Shape, View};

use crate::data::augment::Augment;
use crate::data::{Collection, Photo};
use crate::error::Error;
use crate::image::DecodeOptions;
use crate::model::Model;
use crate::train::attach::last_map;
use crate::train::error::TrainError;
use crate::train::event::Progress;
use crate::train::frozen::{Eye, Frozen, averaged};

/// How a map `[N, H, W, C]` becomes a row of features. Vectors are rows as they are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FeaturePooling {
    /// The mean over the map of each channel: Keras `GlobalAveragePooling2D`.
    #[default]
    Average,
    /// The largest value of each channel: Keras `GlobalMaxPooling2D`.
    Max,
    /// The map itself.
    None,
}

/// A network ready to turn photos into rows of features. Photos are decoded in full, so that a row is what the network
/// computes when it is asked about the photo.
pub struct Extraction<'a> {
    collection: &'a Collection,
    frozen: Frozen,
    layer: NodeId,
    pooling: FeaturePooling,
    /// The layer's value of one photo.
    value: Vec<usize>,
}

impl<'a> Extraction<'a> {
    /// For the value of a layer; of the last map, where a classifier would be put, when there is none.
    pub fn new(
        model: &Model,
        collection: &'a Collection,
        layer: Option<NodeId>,
        pooling: FeaturePooling,
    ) -> Result<Extraction<'a>, TrainError> {
        let preprocess = &model.preprocessing().ok_or(Error::NotAPictureModel)?.preprocess;
        let graph = model.graph();
        let [h, w] = preprocess.size;
        let shapes = |n: usize| {
            let picture = Shape::from([n, h, w, preprocess.channels()]);
            graph.shapes(&[(graph.inputs()[0], picture)])
        };
        let (one, two) = (shapes(1)?, shapes(2)?);
        let layer = match layer {
            Some(layer) => layer,
            None => last_map(graph, &one).ok_or(Error::NoMap)?,
        };
        let [one, two] = [&one, &two].map(|shapes| shapes[layer.index()].dims());
        let node = graph.node(layer);
        let per_photo = matches!((one, two), ([1, a @ ..], [2, b @ ..]) if a == b);
        if !per_photo || matches!(node.op, Op::Param(_) | Op::Constant(_)) {
            return Err(TrainError::Config(format!("`{}` is not a value of each photo", node.name)));
        }
        let eye = Eye {
            paths: collection.photos.iter().map(|photo| photo.path.clone()).collect(),
            // Nothing is augmented, so nothing is drawn at random.
            contents: collection.photos.iter().map(|_| [0; 32]).collect(),
            preprocess: preprocess.clone(),
            augment: Augment::none(),
            seed: 0,
            decode: DecodeOptions::default(),
        };
        let params = Arc::new(model.params().clone());
        let frozen = Frozen::new(graph, &params, model.runtime(), eye, vec![layer]);
        Ok(Extraction { collection, frozen, layer, pooling, value: one[1..].to_vec() })
    }

    /// The layer whose values these are.
    pub fn layer(&self) -> NodeId {
        self.layer
    }

    /// Shape of the layer's value of one photo, before it is pooled.
    pub fn value(&self) -> &[usize] {
        &self.value
    }

    /// Shape of the features of one photo.
    pub fn row(&self) -> &[usize] {
        match (self.pooling, &self.value[..]) {
            (FeaturePooling::None, value) | (_, value @ ([] | [_])) => value,
            (_, value) => &value[value.len() - 1..],
        }
    }

    /// Computes the features of all photos in their order; `take` gets those of a few photos at a time.
    ///
    /// # Shapes
    /// `[n, row...]`
    pub fn each(
        &mut self,
        events: &mut dyn FnMut(Progress) -> ControlFlow<()>,
        mut take: impl FnMut(&[Photo], &[f32]) -> Result<(), TrainError>,
    ) -> Result<(), TrainError> {
        let photos = &self.collection.photos;
        let shown = (0..photos.len()).map(|photo| (photo, vec![None])).collect();
        let (pooling, vector) = (self.pooling, self.value.len() < 2);
        let mut done = 0;
        self.frozen.each(shown, &mut |progress| events(progress), |_, value| {
            let n = value.shape().dims()[0];
            let photos = &photos[done..done + n];
            done += n;
            let wrong = value.data().chunks_exact(value.data().len() / n);
            if let Some(at) = { wrong }.position(|row| row.iter().any(|value| !value.is_finite())) {
                return Err(TrainError::Config(format!(
                    "{}: the network's values are not numbers: its weights are damaged, or pictures are scaled wrongly",
                    photos[at].path.display()
                )));
            }
            match pooling {
                FeaturePooling::Average if !vector => take(photos, &averaged(value)),
                FeaturePooling::Max if !vector => take(photos, &largest(value)),
                _ => take(photos, value.data()),
            }
        })?;
        Ok(())
    }

    /// Writes a NumPy `.npz` file, whole or not at all, in memory that does not grow with the photos: `features`
    /// `[N, row...]` (`<f4`), `labels` `[N]` (`<i8`; -1 for a photo without one), `paths` `[N]` and `classes` (`<U`).
    pub fn write_npz(
        &mut self,
        path: &Path,
        events: &mut dyn FnMut(Progress) -> ControlFlow<()>,
    ) -> Result<(), TrainError> {
        npz::write(self, path, events)
    }

    /// Writes a Parquet file, whole or not at all, in memory that does not grow with the photos: a row for each with
    /// the columns `path` (string), `label` (string, null for a photo without one) and `features` (list of float, in C
    /// order).
    pub fn write_parquet(
        &mut self,
        path: &Path,
        events: &mut dyn FnMut(Progress) -> ControlFlow<()>,
    ) -> Result<(), TrainError> {
        parquet::write(self, path, events)
    }
}

/// # Shapes
/// `[N, H, W, C]` -> `[N, C]`
fn largest(value: View<'_>) -> Vec<f32> {
    let dims = value.shape().dims();
    let [n, c] = [dims[0], dims[dims.len() - 1]];
    let mut out = vec![f32::NEG_INFINITY; n * c];
    for (out, rows) in out.chunks_exact_mut(c).zip(value.data().chunks_exact(value.data().len() / n)) {
        for row in rows.chunks_exact(c) {
            out.iter_mut().zip(row).for_each(|(out, v)| *out = out.max(*v));
        }
    }
    out
}
