//! The work that all heatmap methods share: choosing the layer, running pictures, seeding the score, gradients.

use binesh_core::{Grads, NodeId, Op, ReluRule, Session, Shape, Tensor};

use crate::error::Error;
use crate::image::Picture;
use crate::model::{Head, Model};
use crate::view::{Score, Target};

/// A model asked about one layer and one kind of score.
pub struct Probe<'m> {
    model: &'m Model,
    head: Head,
    layer: NodeId,
    target: Target,
    score: Score,
    /// For the last batch size.
    session: Option<(usize, Session)>,
}

/// What was explained about one picture.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Spot {
    /// Class.
    pub class: usize,
    /// Its probability.
    pub probability: f32,
    /// Its score: logit or probability, negated for class 0 of a single sigmoid unit.
    pub score: f32,
}

/// One picture's layer, and the gradient of the score there.
pub(crate) struct Sample {
    /// `[H, W, C]`
    pub(crate) activations: Vec<f32>,
    /// `[H, W, C]`
    pub(crate) gradients: Vec<f32>,
    /// C.
    pub(crate) channels: usize,
    /// What was explained.
    pub(crate) spot: Spot,
}

impl<'m> Probe<'m> {
    /// Asks at this layer, or at the default one.
    pub fn new(
        model: &'m Model,
        layer: Option<NodeId>,
        target: Target,
        score: Score,
    ) -> Result<Probe<'m>, Error> {
        let head = model.head()?;
        let layer = match layer {
            Some(layer) => layer,
            None => default_layer(model)?,
        };
        if !model.is_map(layer) {
            return Err(Error::not_a_map(model.graph(), layer));
        }
        let classes = head.classes();
        if let Target::Class(class) = target
            && class >= classes
        {
            return Err(Error::NoClass { name: class.to_string(), classes, similar: Vec::new() });
        }
        let mut probe = Probe { model, head, layer, target, score, session: None };
        probe.session(1)?;
        Ok(probe)
    }

    /// The layer asked about.
    pub fn layer(&self) -> NodeId {
        self.layer
    }

    /// Height and width of the layer's map.
    pub fn map_size(&self) -> [usize; 2] {
        let (_, session) = self.session.as_ref().expect("`new` made a session");
        let dims = session.plan().shape(self.layer).dims();
        [dims[1], dims[2]]
    }

    /// Values at the layer and the gradient of each picture's score with respect to them.
    pub(crate) fn gradients(&mut self, pictures: &[Picture]) -> Result<Vec<Sample>, Error> {
        let (model, head, layer, target) = (self.model, self.head, self.layer, self.target);
        let x = model.input(pictures)?;
        let scored = self.scored();
        let session = self.session(pictures.len())?;
        session.run(model.params(), &[x.view()])?;
        let outputs = session.value(head.output);
        let scores = session.value(scored);
        let mut seed = Tensor::zeros(scores.shape().clone());
        let mut spots = Vec::new();
        for (index, outputs) in outputs.data().chunks_exact(head.units).enumerate() {
            let probabilities = head.probabilities(outputs);
            let class = match target {
                Target::Top => top(&probabilities),
                Target::Class(class) => class,
            };
            let (unit, sign) = head.direction(class);
            let at = index * head.units + unit;
            seed.data_mut()[at] = sign;
            spots.push(Spot { class, probability: probabilities[class], score: sign * scores.data()[at] });
        }
        session.backward(model.params(), &[(scored, seed)], ReluRule::Exact)?;
        let activations = session.value(layer);
        let gradients = session.grad(layer).expect("the plan was made for this gradient");
        let dims = activations.shape().dims();
        let per_picture = dims[1] * dims[2] * dims[3];
        let samples =
            activations.data().chunks_exact(per_picture).zip(gradients.data().chunks_exact(per_picture));
        let sample = |((a, g), spot): ((&[f32], &[f32]), Spot)| Sample {
            activations: a.to_vec(),
            gradients: g.to_vec(),
            channels: dims[3],
            spot,
        };
        Ok(samples.zip(spots).map(sample).collect())
    }

    fn scored(&self) -> NodeId {
        match self.score {
            Score::Logit => self.head.logits,
            Score::Probability => self.head.output,
        }
    }

    fn session(&mut self, batch: usize) -> Result<&mut Session, Error> {
        if self.session.as_ref().is_none_or(|(planned, _)| *planned != batch) {
            let known = self.model.preprocessing().ok_or(Error::NotAPictureModel)?;
            let [h, w] = known.preprocess.size;
            let shape = Shape::from([batch, h, w, known.preprocess.channels()]);
            let want = [self.layer, self.scored(), self.head.output];
            let session = self.model.session(&[shape], &want, Grads::Wrt(&[self.layer]))?;
            self.session = Some((batch, session));
        }
        let (_, session) = self.session.as_mut().expect("made above");
        Ok(session)
    }
}

/// The first of the largest.
fn top(probabilities: &[f32]) -> usize {
    let best =
        |best: usize, class: usize| if probabilities[class] > probabilities[best] { class } else { best };
    (0..probabilities.len()).fold(0, best)
}

/// See [`crate::view::default_layer`].
pub(super) fn default_layer(model: &Model) -> Result<NodeId, Error> {
    let (graph, head) = (model.graph(), model.head()?);
    let mut leads_there = vec![false; graph.nodes().len()];
    leads_there[head.logits.index()] = true;
    for id in graph.ids().collect::<Vec<_>>().into_iter().rev().filter(|id| id.index() <= head.logits.index())
    {
        if leads_there[id.index()] {
            graph.node(id).inputs.iter().for_each(|input| leads_there[input.index()] = true);
        }
    }
    // Unknown sizes count as large.
    let is_map = |id: &NodeId| {
        let dims = graph.dims(*id);
        dims.len() == 4 && dims[1].unwrap_or(2) * dims[2].unwrap_or(2) > 1
    };
    let only_moves = |op: &Op| {
        matches!(
            op,
            Op::Input(_)
                | Op::Param(_)
                | Op::Constant(_)
                | Op::MaxPool2d(_)
                | Op::AveragePool2d(_)
                | Op::Identity(_)
                | Op::Dropout(_)
                | Op::ZeroPad2d(_)
                | Op::Crop2d(_)
                | Op::Reshape(_)
                | Op::Permute(_)
        )
    };
    let mut outputs: Vec<NodeId> = model
        .layers()
        .iter()
        .flat_map(|(_, layer)| layer.calls.iter().flat_map(|call| call.outputs.clone()))
        .collect();
    outputs.sort();
    let chosen = |id: &NodeId| leads_there[id.index()] && is_map(id) && !only_moves(&graph.node(*id).op);
    outputs.into_iter().rfind(chosen).ok_or(Error::NoMap)
}
