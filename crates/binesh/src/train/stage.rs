//! The five steps of fine-tuning, in their order, and what learns in each stage.
//!
//! Head added to the base; base frozen; head trained; last blocks unfrozen; both trained together at a lower rate. The
//! order matters: the error that an untrained head sends back is large and random, and destroys what the base has
//! learned (Chollet, *Deep Learning with Python*, 5.3).

use std::collections::HashSet;

use binesh_core::{Graph, LayerId, Layers, NodeId, Op};
use serde::{Deserialize, Serialize};

use crate::train::attach::Attached;
use crate::train::blocks::Block;
use crate::train::config::{BatchNormMode, FineTuningConfig};
use crate::train::error::TrainError;
use crate::train::history::HistoryRow;

/// Where a run is among the five steps. Steps can only be taken in order.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Step {
    /// 1: the base has a new head.
    #[default]
    HeadAdded,
    /// 2: nothing of the base learns.
    BaseFrozen,
    /// 3: the head was trained on the frozen base.
    HeadTrained(Convergence),
    /// 4: the last blocks of the base learn too.
    Unfrozen,
    /// 5: both were trained together.
    Trained,
}

/// Whether the head has learned what it can from the frozen base.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Convergence {
    /// Epochs trained.
    pub epochs: usize,
    /// How much the training loss fell in the last fifth of the epochs, against the fifth before, as a share.
    pub last_fall: f64,
    /// The same of the last epoch against the first: nothing is left of it when the head learned nothing.
    #[serde(default)]
    pub whole_fall: f64,
    /// Training accuracy of the last epoch.
    pub accuracy: f64,
    /// Ended by early stopping.
    pub stopped: bool,
}

impl Convergence {
    /// A loss that falls by less than this share from one fifth of the epochs to the next has settled.
    pub const SETTLED: f64 = 0.1;
    /// A head whose loss fell by less than this share over all its epochs has learned nothing.
    pub const LEARNED: f64 = 0.01;

    /// Of a head that was trained so.
    pub fn of(rows: &[HistoryRow], stopped: bool) -> Convergence {
        let window = (rows.len() / 5).max(1);
        let mean = |rows: &[HistoryRow]| rows.iter().map(|r| r.train_loss).sum::<f64>() / rows.len() as f64;
        let last_fall = match rows.len() {
            0 | 1 => 1.0,
            n => {
                let (before, last) =
                    (mean(&rows[n.saturating_sub(2 * window)..n - window]), mean(&rows[n - window..]));
                1.0 - last / before
            }
        };
        let whole_fall = match rows {
            [first, .., last] => 1.0 - last.train_loss / first.train_loss,
            _ => 0.0,
        };
        let accuracy = rows.last().map_or(0.0, |row| row.train_accuracy);
        Convergence { epochs: rows.len(), last_fall, whole_fall, accuracy, stopped }
    }

    /// True when more training of the head would change little, or when it makes hardly a mistake.
    pub fn converged(&self) -> bool {
        let settled = self.stopped || self.last_fall.abs() < Self::SETTLED;
        self.epochs > 0 && (settled && self.whole_fall >= Self::LEARNED || self.accuracy >= 0.99)
    }

    /// What is wrong with a head that has not converged.
    fn reason(&self) -> String {
        let Convergence { epochs, last_fall, .. } = *self;
        let last = (epochs / 5).max(1);
        let share = 100.0 * last_fall.abs();
        match epochs {
            0 => "the head is untrained".to_owned(),
            1 => {
                "the head has not converged: one epoch does not show whether its loss has settled".to_owned()
            }
            _ if last_fall >= Self::SETTLED => format!(
                "the head has not converged: its loss still fell by {share:.0} % in the last {last} of {epochs} epochs"
            ),
            _ if self.whole_fall < Self::LEARNED => {
                format!(
                    "the head has learned nothing: after {epochs} epochs its loss is no lower than in the first"
                )
            }
            _ => format!(
                "the head does not converge: its loss rose by {share:.0} % in the last {last} of {epochs} epochs"
            ),
        }
    }
}

impl Step {
    /// Step 2.
    pub fn freeze(&mut self) {
        assert_eq!(*self, Step::HeadAdded, "the base is frozen when the head was added, and once");
        *self = Step::BaseFrozen;
    }

    /// Step 3.
    pub fn head_trained(&mut self, convergence: Convergence) {
        assert_eq!(*self, Step::BaseFrozen, "the head is trained on the frozen base, and once");
        *self = Step::HeadTrained(convergence);
    }

    /// Step 4: refused when the head has not converged, unless forced. Returns what is risked when it is.
    pub fn unfreeze(&mut self, force: bool) -> Result<Option<String>, TrainError> {
        let Step::HeadTrained(convergence) = self else {
            panic!("blocks are unfrozen when the head was trained, and once");
        };
        let reason = (!convergence.converged()).then(|| convergence.reason());
        if let (Some(reason), false) = (&reason, force) {
            return Err(TrainError::NotConverged { reason: reason.clone() });
        }
        *self = Step::Unfrozen;
        Ok(reason)
    }

    /// Step 5.
    pub fn trained(&mut self) {
        assert_eq!(*self, Step::Unfrozen, "base and head are trained together when blocks were unfrozen");
        *self = Step::Trained;
    }
}

/// A weight that learns.
#[derive(Clone, Debug, PartialEq)]
pub struct Trainable {
    /// Its node.
    pub node: NodeId,
    /// Its node's name.
    pub name: String,
    /// Its learning rate is the stage's times this.
    pub factor: f32,
    /// Whether weight decay acts on it: kernels only.
    pub decay: bool,
}

/// What learns in a stage, and from where on values change.
#[derive(Clone, Debug)]
pub struct StageSpec {
    /// `head` or `fine-tuning`.
    pub name: &'static str,
    /// In node order.
    pub trainable: Vec<Trainable>,
    /// Batch norms that use and learn their batch's statistics.
    pub batch_statistics: Vec<NodeId>,
    /// Dropout of the head.
    pub dropout: Vec<NodeId>,
    /// The last value that stays as it is for a view: below it nothing learns and nothing is random.
    pub boundary: NodeId,
}

impl StageSpec {
    /// Stage one: the head alone.
    pub fn head(attached: &Attached) -> StageSpec {
        let graph = &attached.network.graph;
        let trainable = weights(graph, attached.head_params(), 1.0);
        StageSpec::new("head", attached, trainable, Vec::new())
    }

    /// Stage two: the head, and the base's blocks from `first` on at falling rates.
    pub fn fine_tuning(
        attached: &Attached,
        blocks: &[Block],
        first: usize,
        config: &FineTuningConfig,
    ) -> StageSpec {
        let graph = &attached.network.graph;
        let train_norms = config.batch_norm == BatchNormMode::Train;
        let of_norm = norm_weights(graph);
        let mut trainable = weights(graph, attached.head_params(), 1.0);
        let mut batch_statistics = Vec::new();
        for (depth, block) in blocks[first..].iter().rev().enumerate() {
            let factor = config.rate_decay.powi(depth as i32 + 1) as f32;
            let learns = block.params.iter().copied().filter(|p| train_norms || !of_norm.contains(p));
            trainable.extend(weights(graph, learns.collect(), factor));
            let reads_block = |id: &NodeId| graph.node(*id).inputs.iter().any(|i| block.params.contains(i));
            let norms = graph.ids().filter(|id| matches!(graph.node(*id).op, Op::BatchNorm(_)));
            batch_statistics.extend(norms.filter(|id| train_norms && reads_block(id)));
        }
        trainable.sort_by_key(|t| t.node);
        StageSpec::new("fine-tuning", attached, trainable, batch_statistics)
    }

    fn new(
        name: &'static str,
        attached: &Attached,
        trainable: Vec<Trainable>,
        batch_statistics: Vec<NodeId>,
    ) -> StageSpec {
        let graph = &attached.network.graph;
        let in_head = |id: &NodeId| id.index() > attached.features.index();
        let dropout: Vec<NodeId> =
            graph.ids().filter(|id| in_head(id) && matches!(graph.node(*id).op, Op::Dropout(_))).collect();
        let mut changing: HashSet<NodeId> = trainable.iter().map(|t| t.node).collect();
        changing.extend(&batch_statistics);
        changing.extend(&dropout);
        let boundary = boundary(graph, attached.logits, &changing);
        StageSpec { name, trainable, batch_statistics, dropout, boundary }
    }
}

/// The deepest single value on the way to `end` that carries everything and does not depend on what changes.
fn boundary(graph: &Graph, end: NodeId, changing: &HashSet<NodeId>) -> NodeId {
    let mut constant = vec![true; graph.nodes().len()];
    for id in graph.ids() {
        let depends = graph.node(id).inputs.iter().any(|i| !constant[i.index()]);
        constant[id.index()] = !depends && !changing.contains(&id);
    }
    let carriers = crate::train::blocks::carriers(graph, end);
    let input = graph.inputs()[0];
    carriers.into_iter().rfind(|id| constant[id.index()]).unwrap_or(input)
}

/// The weights of normalisations: scale, shift and statistics.
fn norm_weights(graph: &Graph) -> HashSet<NodeId> {
    let norms = graph.nodes().iter().filter(|node| matches!(node.op, Op::BatchNorm(_)));
    norms.flat_map(|node| node.inputs[1..].iter().copied()).collect()
}

fn weights(graph: &Graph, params: Vec<NodeId>, factor: f32) -> Vec<Trainable> {
    let learns = |node: NodeId| match &graph.node(node).op {
        Op::Param(param) if param.trainable => {
            let decay = param.shape.rank() > 1;
            Some(Trainable { node, name: graph.node(node).name.clone(), factor, decay })
        }
        _ => None,
    };
    params.into_iter().filter_map(learns).collect()
}

/// What is told before a stage: each layer with weights.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StageTable {
    /// `head` or `fine-tuning`.
    pub stage: String,
    /// Layers with weights, in order.
    pub rows: Vec<StageRow>,
}

/// A layer in a stage.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StageRow {
    /// The layer's path.
    pub layer: String,
    /// Its class.
    pub class: String,
    /// The block it belongs to; `head` for the head's.
    pub block: String,
    /// Its weights, counted.
    pub weights: usize,
    /// Whether it learns.
    pub trainable: bool,
    /// At which rate.
    pub learning_rate: Option<f64>,
    /// What a batch norm does: `frozen` or `train`.
    pub batch_norm: Option<String>,
}

impl StageTable {
    /// The table of a stage.
    pub fn of(attached: &Attached, blocks: &[Block], spec: &StageSpec, learning_rate: f64) -> StageTable {
        let graph = &attached.network.graph;
        let layers: &Layers = &attached.network.layers;
        let row = |(id, layer): (LayerId, &binesh_core::Layer)| {
            let factor = layer
                .params
                .iter()
                .find_map(|p| spec.trainable.iter().find(|t| t.node == *p))
                .map(|t| t.factor);
            let norm = graph.nodes().iter().enumerate().find(|(_, node)| {
                matches!(node.op, Op::BatchNorm(_)) && node.inputs.iter().any(|i| layer.params.contains(i))
            });
            let measures = |at: usize| spec.batch_statistics.iter().any(|id| id.index() == at);
            let mode = |(at, _)| if measures(at) { "train" } else { "frozen" }.to_owned();
            let block = blocks.iter().find(|block| block.layers.contains(&id));
            StageRow {
                layer: layer.path.clone(),
                class: layer.class.clone(),
                block: block.map_or("head", |block| &block.name).to_owned(),
                weights: layer
                    .params
                    .iter()
                    .map(|&p| graph.dims(p).iter().flatten().product::<usize>())
                    .sum(),
                trainable: factor.is_some(),
                learning_rate: factor.map(|factor| learning_rate * f64::from(factor)),
                batch_norm: norm.map(mode),
            }
        };
        let rows = layers.iter().filter(|(_, layer)| !layer.params.is_empty()).map(row).collect();
        StageTable { stage: spec.name.to_owned(), rows }
    }

    /// Weights that learn, and all.
    pub fn weights(&self) -> [usize; 2] {
        let sum = |rows: &mut dyn Iterator<Item = &StageRow>| rows.map(|row| row.weights).sum();
        [sum(&mut self.rows.iter().filter(|row| row.trainable)), sum(&mut self.rows.iter())]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(losses: &[f64], train_accuracy: f64) -> Option<String> {
        let row = |&train_loss| HistoryRow {
            stage: "head".into(),
            epoch: 1,
            train_loss,
            train_accuracy,
            val_loss: None,
            val_accuracy: None,
            learning_rate: 0.1,
            seconds: 1.0,
            images_per_second: 1.0,
        };
        let rows: Vec<HistoryRow> = losses.iter().map(row).collect();
        let mut step = Step::HeadTrained(Convergence::of(&rows, false));
        step.unfreeze(true).unwrap()
    }

    #[test]
    fn only_a_head_that_learned_and_settled_is_unfrozen_without_a_word() {
        assert_eq!(refused(&[1.0, 0.5, 0.3, 0.29, 0.28], 0.8), None);
        assert_eq!(refused(&[1.0, 0.5], 0.995), None, "it makes hardly a mistake");
        let said = |losses: &[f64]| refused(losses, 0.5).unwrap();
        assert_eq!(said(&[]), "the head is untrained");
        assert!(said(&[1.0]).ends_with("one epoch does not show whether its loss has settled"));
        assert!(said(&[1.0, 0.5]).ends_with("its loss still fell by 50 % in the last 1 of 2 epochs"));
        assert!(said(&[1.0, 1.0, 1.0]).starts_with("the head has learned nothing: after 3 epochs"));
        assert!(said(&[1.0, 2.0, 4.0]).starts_with("the head has learned nothing: after 3 epochs"));
        assert_eq!(
            said(&[1.0, 0.4, 0.6]),
            "the head does not converge: its loss rose by 50 % in the last 1 of 3 epochs"
        );
    }
}
