//! What a picture is learned for: a number of the network's that is to rise.

use binesh_core::{NodeId, Session, Tensor};

use crate::error::Error;
use crate::model::Model;

/// A sum of answers of the network, each with a weight. Lucid's `optvis/objectives.py`.
#[derive(Clone, Debug, PartialEq)]
pub struct Objective {
    /// As a user would type it.
    pub name: String,
    /// The parts; at least one.
    pub terms: Vec<(f64, Term)>,
}

/// One answer of the network to one picture. Where the value is a vector, a channel is one of its numbers.
#[derive(Clone, Debug, PartialEq)]
pub enum Term {
    /// The mean of a channel's map.
    Channel {
        /// Where.
        node: NodeId,
        /// Which.
        channel: usize,
    },
    /// A channel at one place of its map.
    Neuron {
        /// Where.
        node: NodeId,
        /// Which.
        channel: usize,
        /// Row and column; the middle where not said.
        at: Option<[usize; 2]>,
    },
    /// The mean over the map of the inner product with a vector of all channels.
    Direction {
        /// Where.
        node: NodeId,
        /// One number for each channel.
        vector: Vec<f32>,
    },
    /// The mean square of all values: what a layer already sees becomes more (DeepDream).
    Energy {
        /// Where.
        node: NodeId,
    },
}

impl Term {
    /// The value it is about.
    pub fn node(&self) -> NodeId {
        match *self {
            Term::Channel { node, .. }
            | Term::Neuron { node, .. }
            | Term::Direction { node, .. }
            | Term::Energy { node } => node,
        }
    }

    /// # Shapes
    /// values: `[H, W, C]` or `[C]`, of one picture
    fn value(&self, values: &[f32], dims: &[usize]) -> f64 {
        let channels = dims[dims.len() - 1];
        let mean = |sum: f64| sum / (values.len() / channels) as f64;
        let rows = values.chunks_exact(channels);
        match self {
            Term::Channel { channel, .. } => mean(rows.map(|row| f64::from(row[*channel])).sum()),
            Term::Neuron { channel, at, .. } => f64::from(values[place(dims, *at) * channels + channel]),
            Term::Direction { vector, .. } => {
                let inner = |row: &[f32]| -> f64 {
                    row.iter().zip(vector).map(|(a, v)| f64::from(*a) * f64::from(*v)).sum()
                };
                mean(rows.map(inner).sum())
            }
            Term::Energy { .. } => {
                values.iter().map(|v| f64::from(*v).powi(2)).sum::<f64>() / values.len() as f64
            }
        }
    }

    /// Adds the derivative by each value, times a weight.
    fn add_gradient(&self, values: &[f32], dims: &[usize], weight: f64, d: &mut [f32]) {
        let channels = dims[dims.len() - 1];
        let share = (weight / (values.len() / channels) as f64) as f32;
        let rows = d.chunks_exact_mut(channels);
        match self {
            Term::Channel { channel, .. } => rows.for_each(|row| row[*channel] += share),
            Term::Neuron { channel, at, .. } => d[place(dims, *at) * channels + channel] += weight as f32,
            Term::Direction { vector, .. } => {
                rows.for_each(|row| row.iter_mut().zip(vector).for_each(|(d, v)| *d += share * v));
            }
            Term::Energy { .. } => {
                let factor = (2.0 * weight / values.len() as f64) as f32;
                d.iter_mut().zip(values).for_each(|(d, v)| *d += factor * v);
            }
        }
    }
}

/// A place of a map `[H, W, C]`, counted row by row; the middle as Lucid has it, `H // 2` and `W // 2`.
fn place(dims: &[usize], at: Option<[usize; 2]>) -> usize {
    match dims {
        [h, w, _] => {
            let [y, x] = at.unwrap_or([h / 2, w / 2]);
            y * w + x
        }
        _ => 0,
    }
}

impl Objective {
    /// The mean of a channel.
    pub fn channel(model: &Model, node: NodeId, channel: usize) -> Result<Objective, Error> {
        check_channel(model, node, channel)?;
        let name = format!("{}:{channel}", model.graph().node(node).name);
        Ok(Objective { name, terms: vec![(1.0, Term::Channel { node, channel })] })
    }

    /// A channel at one place of its map, the middle where not said.
    pub fn neuron(
        model: &Model,
        node: NodeId,
        channel: usize,
        at: Option<[usize; 2]>,
    ) -> Result<Objective, Error> {
        check_channel(model, node, channel)?;
        let place = at.map_or("center".to_owned(), |[y, x]| format!("{y},{x}"));
        let name = format!("{}:{channel}@{place}", model.graph().node(node).name);
        let shape = model.graph().dims(node);
        if let (Some([y, x]), [_, h, w, _]) = (at, &shape[..])
            && (h.is_some_and(|h| y >= h) || w.is_some_and(|w| x >= w))
        {
            return Err(Error::Objective { text: name, reason: "the map has no such place".to_owned() });
        }
        Ok(Objective { name, terms: vec![(1.0, Term::Neuron { node, channel, at })] })
    }

    /// A mixture of a layer's channels.
    pub fn direction(model: &Model, node: NodeId, vector: Vec<f32>) -> Result<Objective, Error> {
        let name = format!("{}:direction", model.graph().node(node).name);
        let channels = channels(model, node)?;
        if vector.len() != channels {
            let reason = format!("{} numbers for {channels} channels", vector.len());
            return Err(Error::Objective { text: name, reason });
        }
        if !vector.iter().all(|v| v.is_finite()) || vector.iter().all(|v| *v == 0.0) {
            return Err(Error::Objective { text: name, reason: "the vector has no direction".to_owned() });
        }
        Ok(Objective { name, terms: vec![(1.0, Term::Direction { node, vector })] })
    }

    /// A class's value before softmax or sigmoid.
    pub fn class(model: &Model, class: usize) -> Result<Objective, Error> {
        let head = model.head()?;
        if class >= head.classes() {
            return Err(Error::NoClass {
                name: class.to_string(),
                classes: head.classes(),
                similar: Vec::new(),
            });
        }
        let (unit, sign) = head.direction(class);
        let term = Term::Channel { node: head.logits, channel: unit };
        Ok(Objective { name: format!("class:{}", model.label(class)), terms: vec![(f64::from(sign), term)] })
    }

    /// All of a layer (DeepDream).
    pub fn dream(model: &Model, node: NodeId) -> Result<Objective, Error> {
        channels(model, node)?;
        let name = format!("dream:{}", model.graph().node(node).name);
        Ok(Objective { name, terms: vec![(1.0, Term::Energy { node })] })
    }

    /// What is written as a sum: terms `LAYER:CHANNEL`, `LAYER:CHANNEL@center`, `LAYER:CHANNEL@ROW,COLUMN`, `class:CLASS`
    /// and `dream:LAYER`, each after `NUMBER*` or not, with ` + ` or ` - ` between them.
    pub fn parse(model: &Model, text: &str) -> Result<Objective, Error> {
        let mut terms = Vec::new();
        let mut rest = text.trim();
        let mut sign = 1.0;
        if let Some(after) = rest.strip_prefix('-') {
            (sign, rest) = (-1.0, after.trim_start());
        }
        loop {
            let next = [(" + ", 1.0), (" - ", -1.0)].map(|(mark, sign)| (rest.find(mark), sign));
            let cut = next.into_iter().filter_map(|(at, sign)| Some((at?, sign))).min_by_key(|(at, _)| *at);
            let (term, after) = match cut {
                Some((at, sign)) => (&rest[..at], Some((&rest[at + 3..], sign))),
                None => (rest, None),
            };
            let (weight, objective) = weighted(model, term.trim())?;
            terms.extend(objective.terms.into_iter().map(|(own, term)| (sign * weight * own, term)));
            match after {
                Some((after, next)) => (rest, sign) = (after, next),
                None => return Ok(Objective { name: text.trim().to_owned(), terms }),
            }
        }
    }

    /// The values it is about.
    pub fn nodes(&self) -> impl Iterator<Item = NodeId> + '_ {
        self.terms.iter().map(|(_, term)| term.node())
    }

    /// What it comes to for one picture of the session's last run.
    pub(crate) fn value(&self, session: &Session, picture: usize) -> f64 {
        let of = |(weight, term): &(f64, Term)| {
            let value = session.value(term.node());
            let dims = value.shape().dims();
            weight * term.value(row(value.data(), dims, picture), &dims[1..])
        };
        self.terms.iter().map(of).sum()
    }

    /// Adds the derivative by each value of its nodes to their seeds, times `weight`.
    pub(crate) fn add_gradient(
        &self,
        session: &Session,
        picture: usize,
        weight: f64,
        seeds: &mut [(NodeId, Tensor)],
    ) {
        for (own, term) in &self.terms {
            let value = session.value(term.node());
            let dims = value.shape().dims();
            let seed = seeds.iter_mut().find(|(node, _)| *node == term.node());
            let (_, seed) = seed.expect("there is a seed for each node");
            let one = value.data().len() / dims[0];
            let d = &mut seed.data_mut()[picture * one..(picture + 1) * one];
            term.add_gradient(row(value.data(), dims, picture), &dims[1..], weight * own, d);
        }
    }
}

fn row<'a>(values: &'a [f32], dims: &[usize], picture: usize) -> &'a [f32] {
    let one = values.len() / dims[0];
    &values[picture * one..(picture + 1) * one]
}

/// `NUMBER*TERM` or a term.
fn weighted(model: &Model, text: &str) -> Result<(f64, Objective), Error> {
    let number = text.split_once('*').and_then(|(number, rest)| Some((number.trim().parse().ok()?, rest)));
    match number.filter(|(number, _): &(f64, &str)| number.is_finite()) {
        Some((number, rest)) => Ok((number, single(model, rest.trim())?)),
        None => Ok((1.0, single(model, text)?)),
    }
}

fn single(model: &Model, text: &str) -> Result<Objective, Error> {
    if let Some(class) = text.strip_prefix("class:") {
        return Objective::class(model, model.find_class(class.trim())?);
    }
    if let Some(layer) = text.strip_prefix("dream:") {
        return Objective::dream(model, model.find_node(layer.trim())?);
    }
    let wrong = || Error::Objective {
        text: text.to_owned(),
        reason: "expected `LAYER:CHANNEL`, `LAYER:CHANNEL@ROW,COLUMN`, `class:CLASS` or `dream:LAYER`"
            .to_owned(),
    };
    let (layer, index) = text.rsplit_once(':').ok_or_else(wrong)?;
    let node = model.find_node(layer.trim())?;
    let number = |text: &str| text.trim().parse::<usize>().map_err(|_| wrong());
    match index.split_once('@') {
        None => Objective::channel(model, node, number(index)?),
        Some((channel, "center")) => Objective::neuron(model, node, number(channel)?, None),
        Some((channel, place)) => {
            let (y, x) = place.split_once(',').ok_or_else(wrong)?;
            Objective::neuron(model, node, number(channel)?, Some([number(y)?, number(x)?]))
        }
    }
}

/// Channels of a map, or numbers of a vector, that each picture has of its own.
pub(crate) fn channels(model: &Model, node: NodeId) -> Result<usize, Error> {
    match model.graph().dims(node)[..] {
        [_, Some(channels)] if !is_weight(model, node) => Ok(channels),
        [_, _, _, Some(channels)] if model.is_map(node) => Ok(channels),
        _ => Err(Error::not_a_map(model.graph(), node)),
    }
}

fn is_weight(model: &Model, node: NodeId) -> bool {
    use binesh_core::Op;
    matches!(model.graph().node(node).op, Op::Param(_) | Op::Constant(_))
}

fn check_channel(model: &Model, node: NodeId, channel: usize) -> Result<(), Error> {
    let channels = channels(model, node)?;
    if channel < channels {
        return Ok(());
    }
    Err(Error::NoChannel { layer: model.graph().node(node).name.clone(), channel, channels })
}
