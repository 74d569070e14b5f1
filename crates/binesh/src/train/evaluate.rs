//! A network judged on labelled photos, as it will be used: photos decoded in full, nothing augmented.

use std::ops::ControlFlow;
use std::sync::Arc;

use binesh_core::{NodeId, Runtime, View};
use binesh_formats::Network;

use crate::data::Dataset;
use crate::data::augment::Augment;
use crate::error::Error;
use crate::image::DecodeOptions;
use crate::model::Model;
use crate::train::error::TrainError;
use crate::train::event::Progress;
use crate::train::frozen::{Eye, Frozen, averaged};
use crate::train::metrics::{Scores, ScoresError};
use crate::train::moved::{LayerMoved, linear_cka, relative_change};
use crate::train::run::Trained;

/// The probabilities of all classes for these photos of `data`, with their labels.
pub fn evaluate(
    model: &Model,
    data: &Dataset,
    items: &[usize],
    events: &mut dyn FnMut(Progress) -> ControlFlow<()>,
) -> Result<Scores, TrainError> {
    let head = model.head()?;
    let mut probabilities = Vec::new();
    let (network, runtime) = (model.network(), model.runtime());
    let preprocess = &model.preprocessing().ok_or(Error::NotAPictureModel)?.preprocess;
    let mut eye = Eye::new(data, preprocess.clone(), Augment::none(), 0);
    eye.decode = DecodeOptions::default();
    values(network, runtime, eye, &[head.output], items, events, |_, outputs| {
        outputs
            .data()
            .chunks_exact(head.units)
            .for_each(|outputs| probabilities.extend(head.probabilities(outputs)));
    })?;
    let labels = items.iter().map(|&item| data.items[item].label).collect();
    Scores::new(probabilities, labels, head.classes()).map_err(|error| match error {
        ScoresError::Probability { index, value } => TrainError::Config(format!(
            "{}: the network's score {value} is no probability: its weights are damaged, or pictures are scaled wrongly",
            data.items[items[index]].path.display()
        )),
        error => TrainError::Config(error.to_string()),
    })
}

/// Most photos that activations are compared on.
const COMPARED: usize = 64;

/// What training did to each block: how far its weights went, and how much its answers (averaged over the map) to the
/// photos that judge are still the same.
pub fn what_moved(
    trained: &Trained,
    data: &Dataset,
    runtime: &Runtime,
) -> Result<Vec<LayerMoved>, TrainError> {
    let judge = data.indices(&trained.splits, crate::data::Split::Validation);
    let items =
        if judge.is_empty() { data.indices(&trained.splits, crate::data::Split::Train) } else { judge };
    let step = items.len().div_ceil(COMPARED).max(1);
    let items: Vec<usize> = items.into_iter().step_by(step).collect();
    let outputs: Vec<NodeId> = trained.blocks.iter().map(|block| block.output).collect();
    let answers = |network: &Network| -> Result<Vec<Vec<f32>>, TrainError> {
        let mut rows = vec![Vec::new(); outputs.len()];
        let preprocess = network.meta.preprocess.clone().expect("a network that was trained has it");
        let eye = Eye::new(data, preprocess, Augment::none(), 0);
        let go_on = &mut |_| ControlFlow::Continue(());
        values(network, runtime, eye, &outputs, &items, go_on, |at, value| {
            rows[at].extend(averaged(value));
        })?;
        Ok(rows)
    };
    let (before, after) = (answers(&trained.attached.network)?, answers(&trained.network)?);
    let moved = |(at, block): (usize, &super::blocks::Block)| {
        // Kernels: the moving statistics of batch norms, large numbers that stay, would hide what they do.
        let kernel = |node: &&binesh_core::NodeId| trained.network.graph.dims(**node).len() > 1;
        let weights = block.params.iter().filter(kernel).filter_map(|&node| {
            Some((
                trained.attached.network.params.get(node)?.data(),
                trained.network.params.get(node)?.data(),
            ))
        });
        LayerMoved {
            layer: block.name.clone(),
            weight_change: relative_change(weights),
            cka: linear_cka(&before[at], &after[at], items.len()),
        }
    };
    Ok(trained.blocks.iter().enumerate().map(moved).collect())
}

/// Runs photos through a network, in order.
fn values(
    network: &Network,
    runtime: &Runtime,
    eye: Eye,
    want: &[NodeId],
    items: &[usize],
    events: &mut dyn FnMut(Progress) -> ControlFlow<()>,
    mut take: impl FnMut(usize, View<'_>),
) -> Result<(), TrainError> {
    let mut frozen =
        Frozen::new(&network.graph, &Arc::new(network.params.clone()), runtime, eye, want.to_vec());
    let shown: Vec<_> = items.iter().map(|&item| (item, vec![None])).collect();
    frozen.each(shown, &mut |progress| events(progress), |at, value| {
        take(at, value);
        Ok(())
    })?;
    Ok(())
}
