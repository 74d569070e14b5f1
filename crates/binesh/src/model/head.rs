//! The classifying end of a network: where its logits and probabilities are.

use binesh_core::{Activation, Graph, NodeId, Op};

use crate::error::Error;

/// The last nodes of a classifier.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// What the network returns.
    pub output: NodeId,
    /// What it returns before softmax or sigmoid; the output itself where there is neither.
    pub logits: NodeId,
    /// Values per picture.
    pub units: usize,
    /// What the values mean.
    pub kind: HeadKind,
}

/// What a classifier's outputs mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeadKind {
    /// Probabilities of exclusive classes.
    Softmax,
    /// One unit: the probability of class 1; class 0 has the rest.
    Binary,
    /// Several units with a sigmoid each: classes that do not exclude one another.
    MultiLabel,
    /// One unit without a sigmoid: the logit of class 1, as networks trained with `from_logits=True` end.
    BinaryLogit,
    /// Logits of exclusive classes.
    Logits,
}

impl Head {
    /// The head of a network whose first output is a vector per picture.
    pub fn of(graph: &Graph) -> Result<Head, Error> {
        let output = *graph.outputs().first().ok_or(Error::NotAClassifier)?;
        let [_, Some(units)] = graph.dims(output)[..] else { return Err(Error::NotAClassifier) };
        let last = last_computed(graph, output);
        let node = graph.node(last);
        let (logits, kind) = match &node.op {
            Op::Softmax(_) => (node.inputs[0], HeadKind::Softmax),
            Op::Activate(activate) if activate.function == Activation::Sigmoid => {
                (node.inputs[0], if units == 1 { HeadKind::Binary } else { HeadKind::MultiLabel })
            }
            // Between 0 and 1 like a sigmoid, but a logit behind it would be another one's.
            Op::Activate(activate) if units == 1 && is_hard_sigmoid(activate.function) => {
                (output, HeadKind::Binary)
            }
            Op::Activate(_) if units == 1 => return Err(Error::NotAClassifier),
            _ if units == 1 => (output, HeadKind::BinaryLogit),
            _ => (output, HeadKind::Logits),
        };
        // A softmax over a map that is flattened afterwards has logits of another shape.
        let same = graph.dims(logits) == graph.dims(output);
        Ok(if same {
            Head { output, logits, units, kind }
        } else {
            Head { output, logits: output, units, kind }
        })
    }

    /// True for one unit that tells two classes apart.
    pub fn is_binary(&self) -> bool {
        matches!(self.kind, HeadKind::Binary | HeadKind::BinaryLogit)
    }

    /// Number of classes; two for a single unit.
    pub fn classes(&self) -> usize {
        if self.is_binary() { 2 } else { self.units }
    }

    /// A picture's outputs as one probability per class.
    pub fn probabilities(&self, outputs: &[f32]) -> Vec<f32> {
        match self.kind {
            HeadKind::Softmax | HeadKind::MultiLabel => outputs.to_vec(),
            HeadKind::Binary => vec![1.0 - outputs[0], outputs[0]],
            HeadKind::BinaryLogit => vec![1.0 / (1.0 + outputs[0].exp()), 1.0 / (1.0 + (-outputs[0]).exp())],
            HeadKind::Logits => {
                let max = outputs.iter().copied().fold(f32::NEG_INFINITY, f32::max);
                let exp: Vec<f32> = outputs.iter().map(|x| (x - max).exp()).collect();
                let sum: f32 = exp.iter().sum();
                exp.iter().map(|e| e / sum).collect()
            }
        }
    }

    /// What to add to the head's values, and with which sign, so that the sum is the class's score: its unit, or for
    /// class 0 of a single sigmoid unit minus that unit.
    pub fn direction(&self, class: usize) -> (usize, f32) {
        match self.is_binary() {
            true => (0, if class == 1 { 1.0 } else { -1.0 }),
            false => (class, 1.0),
        }
    }
}

fn is_hard_sigmoid(function: Activation) -> bool {
    matches!(function, Activation::HardSigmoid2 | Activation::HardSigmoid3)
}

/// The node that computed a value, past nodes that only pass it on.
fn last_computed(graph: &Graph, mut id: NodeId) -> NodeId {
    loop {
        let node = graph.node(id);
        match node.op {
            Op::Flatten(_) | Op::Reshape(_) | Op::Identity(_) | Op::Dropout(_) => id = node.inputs[0],
            _ => return id,
        }
    }
}
