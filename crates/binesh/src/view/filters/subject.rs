//! The network that pictures are learned for: several at once, each with its own objective.

use std::thread;

use binesh_core::{Grads, NodeId, ReluRule, Session, Shape, Tensor, View};

use super::canvas::Canvas;
use super::{Objective, Wanted};
use crate::error::Error;
use crate::model::Model;

/// Weight of Lucid's `diversity` in its tutorial.
const DIVERSITY: f64 = 100.0;

pub(crate) struct Subject<'m> {
    model: &'m Model,
    session: Session,
    shape: Shape,
    input: NodeId,
    nodes: Vec<NodeId>,
    /// `[N, H, W, C]`
    x: Vec<f32>,
    dx: Vec<f32>,
}

impl<'m> Subject<'m> {
    /// For this many pictures of a size.
    pub(crate) fn new(
        model: &'m Model,
        [h, w]: [usize; 2],
        pictures: usize,
        nodes: &[NodeId],
    ) -> Result<Subject<'m>, Error> {
        let known = model.preprocessing().ok_or(Error::NotAPictureModel)?;
        let shape = Shape::from([pictures, h, w, known.preprocess.channels()]);
        let input = model.graph().inputs()[0];
        let session = model.session(std::slice::from_ref(&shape), nodes, Grads::Wrt(&[input]))?;
        let x = vec![0.0; shape.len()];
        Ok(Subject { model, session, dx: x.clone(), x, shape, input, nodes: nodes.to_vec() })
    }

    /// Each picture's input.
    pub(crate) fn pictures(&mut self) -> impl Iterator<Item = &mut [f32]> {
        let one = self.x.len() / self.shape.dims()[0];
        self.x.chunks_exact_mut(one)
    }

    /// Calls `work` with each canvas, its input and the gradient by it, on several threads.
    pub(crate) fn each(
        &mut self,
        canvases: &mut [Box<dyn Canvas>],
        threads: usize,
        work: impl Fn(&mut dyn Canvas, &mut [f32], &[f32]) + Sync,
    ) {
        let one = self.x.len() / canvases.len();
        let share = canvases.len().div_ceil(threads.max(1));
        let parts = canvases.chunks_mut(share);
        let parts = parts.zip(self.x.chunks_mut(share * one)).zip(self.dx.chunks(share * one));
        thread::scope(|scope| {
            for ((canvases, x), dx) in parts {
                let work = &work;
                scope.spawn(move || {
                    let pictures = x.chunks_exact_mut(one).zip(dx.chunks_exact(one));
                    canvases
                        .iter_mut()
                        .zip(pictures)
                        .for_each(|(canvas, (x, dx))| work(canvas.as_mut(), x, dx));
                });
            }
        });
    }

    /// The gradient by all pictures' input.
    #[cfg(test)]
    pub(crate) fn gradient(&self) -> &[f32] {
        &self.dx
    }

    pub(crate) fn run(&mut self) -> Result<(), Error> {
        Ok(self.session.run(self.model.params(), &[View::new(&self.shape, &self.x)])?)
    }

    /// An objective for one picture of the last run.
    pub(crate) fn value(&self, objective: &Objective, picture: usize) -> f64 {
        objective.value(&self.session, picture)
    }

    /// The objectives of all pictures in the last run.
    pub(crate) fn values(&self, wanted: &[Wanted]) -> Vec<f64> {
        let objectives =
            wanted.iter().flat_map(|wanted| std::iter::repeat_n(&wanted.objective, wanted.copies));
        objectives.enumerate().map(|(picture, objective)| self.value(objective, picture)).collect()
    }

    /// Runs, and forms the gradient by the input of what is to fall: the objectives with the sign turned.
    pub(crate) fn descend(&mut self, wanted: &[Wanted], rule: ReluRule) -> Result<(), Error> {
        self.run()?;
        let zeros = |&node: &NodeId| (node, Tensor::zeros(self.session.plan().shape(node).clone()));
        let mut seeds: Vec<(NodeId, Tensor)> = self.nodes.iter().map(zeros).collect();
        let mut picture = 0;
        for Wanted { objective, copies } in wanted {
            let group = picture..picture + copies;
            for picture in group.clone() {
                objective.add_gradient(&self.session, picture, -1.0, &mut seeds);
            }
            if *copies > 1 {
                let node = objective.terms[0].1.node();
                let (_, seed) =
                    seeds.iter_mut().find(|(own, _)| *own == node).expect("it is one of the nodes");
                add_likeness(self.session.value(node), group, DIVERSITY, seed.data_mut());
            }
            picture += copies;
        }
        self.session.backward(self.model.params(), &seeds, rule)?;
        let gradient = self.session.grad(self.input).expect("the plan was made for this gradient");
        self.dx.copy_from_slice(gradient.data());
        Ok(())
    }
}

/// Lucid's `diversity` with the sign turned, so that it is to fall: the inner products of the pictures' normalised Gram
/// matrices `G = A' A / |A' A|`, of all pairs, over the number of pictures. Adds its derivative by the values, times `weight`.
///
/// # Shapes
/// value and d: `[N, H, W, C]`
pub(crate) fn add_likeness(value: View<'_>, group: std::ops::Range<usize>, weight: f64, d: &mut [f32]) {
    let dims = value.shape().dims();
    let (channels, one) = (dims[dims.len() - 1], value.data().len() / dims[0]);
    let rows = |picture: usize| value.data()[picture * one..(picture + 1) * one].chunks_exact(channels);
    let gram = |picture: usize| {
        let mut gram = vec![0.0f32; channels * channels];
        for row in rows(picture) {
            for (line, a) in gram.chunks_exact_mut(channels).zip(row).filter(|(_, a)| **a != 0.0) {
                line.iter_mut().zip(row).for_each(|(g, b)| *g += a * b);
            }
        }
        let norm = gram.iter().map(|g| f64::from(*g).powi(2)).sum::<f64>().sqrt().max(1e-10);
        gram.iter_mut().for_each(|g| *g = (f64::from(*g) / norm) as f32);
        (gram, norm)
    };
    let grams: Vec<(Vec<f32>, f64)> = group.clone().map(gram).collect();
    let mut sum = vec![0.0f32; channels * channels];
    for (gram, _) in &grams {
        sum.iter_mut().zip(gram).for_each(|(s, g)| *s += g);
    }
    for (picture, (gram, norm)) in group.clone().zip(&grams) {
        // The others' sum, each pair counted from both sides; less its part along this matrix, whose length is fixed.
        let others: Vec<f32> = sum.iter().zip(gram).map(|(s, g)| s - g).collect();
        let along: f64 = others.iter().zip(gram).map(|(o, g)| f64::from(*o) * f64::from(*g)).sum();
        let scale = 2.0 * weight / (norm * grams.len() as f64);
        let d_gram: Vec<f32> = (others.iter().zip(gram))
            .map(|(o, g)| (scale * (f64::from(*o) - along * f64::from(*g))) as f32)
            .collect();
        // d(A' A) is symmetric here, so A gets it twice.
        let d = &mut d[picture * one..(picture + 1) * one];
        for (d, row) in d.chunks_exact_mut(channels).zip(rows(picture)) {
            for (line, a) in d_gram.chunks_exact(channels).zip(row).filter(|(_, a)| **a != 0.0) {
                d.iter_mut().zip(line).for_each(|(d, g)| *d += 2.0 * a * g);
            }
        }
    }
}
