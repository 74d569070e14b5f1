//! Learned filters: pictures that a channel, a neuron, a class or a whole layer answers to most, found by climbing the
//! gradient of the answer from noise. Erhan et al. 2009, "Visualizing Higher-Layer Features of a Deep Network".
//!
//! Several pictures are learned as one batch; none depends on which others are with it.

mod book;
mod canvas;
mod kernel;
mod lucid;
mod objective;
mod spectrum;
mod subject;
#[cfg(test)]
mod tests;
mod warp;

use std::ops::ControlFlow;
use std::sync::Arc;

use binesh_core::{NodeId, ReluRule};
use rand_chacha::ChaCha8Rng;

use self::book::Book;
use self::canvas::{Canvas, Lens};
use self::lucid::Lucid;
use self::spectrum::Spectrum;
use self::subject::Subject;
use crate::error::Error;
use crate::image::Picture;
use crate::model::Model;
use crate::random::{Purpose, generator};

pub use kernel::{FirstKernel, first_kernel};
pub use objective::{Objective, Term};

/// Pictures learned together: enough to keep threads busy, few enough to keep a large network's maps small.
pub const BATCH: usize = 8;

/// Sides that may be asked for; more is a slip, and asks for more memory than there is.
const LARGEST_SIDE: usize = 4096;

/// How pictures are learned.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// Whose recipe.
    pub recipe: Recipe,
    /// Rows and columns of the learned picture. The book's recipe needs a size that the network takes.
    pub size: [usize; 2],
    /// Steps taken.
    pub steps: usize,
    /// What random numbers depend on, with what is learned.
    pub seed: u64,
}

/// Whose recipe.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Recipe {
    /// The book's: gradient ascent on pixels.
    Book,
    /// Lucid's: Adam on a spectrum, colors decorrelated, shifted, scaled and turned before each step.
    #[default]
    Lucid,
}

impl Recipe {
    /// Its defaults for a network.
    pub fn settings(self, model: &Model) -> Result<Settings, Error> {
        let fixed = input_size(model)?;
        Ok(match self {
            Recipe::Book => {
                let size = [0, 1].map(|axis| fixed[axis].unwrap_or(64));
                Settings { recipe: self, size, steps: 40, seed: 0 }
            }
            Recipe::Lucid => Settings { recipe: self, size: [128; 2], steps: 512, seed: 0 },
        })
    }
}

/// Something that pictures are learned for.
#[derive(Clone, Debug, PartialEq)]
pub struct Wanted {
    /// What is to rise.
    pub objective: Objective,
    /// How many pictures of it, at most [`BATCH`]. Several are kept apart: Lucid's `diversity`, times 100.
    pub copies: usize,
}

/// A learned picture.
#[derive(Clone, Debug, PartialEq)]
pub struct Learned {
    /// The picture.
    pub picture: Picture,
    /// What it brings the objective to, seen as it is.
    pub reached: f64,
    /// What the objective is for random pictures.
    pub random: Chance,
}

/// An objective over random pictures: starts of the recipe, and as many whose every value is equally likely.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Chance {
    /// The mean.
    pub mean: f64,
    /// The largest.
    pub most: f64,
    /// The standard deviation.
    pub deviation: f64,
    /// How many pictures.
    pub pictures: usize,
}

impl Learned {
    /// Whether anything was learned: more than any of the random pictures brings about.
    pub fn rose(&self) -> bool {
        self.reached > self.random.most
    }
}

/// How far a batch is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StepDone {
    /// Steps taken.
    pub done: usize,
    /// Steps to take.
    pub total: usize,
}

/// Height and width of the network's input, `None` where it takes any.
pub fn input_size(model: &Model) -> Result<[Option<usize>; 2], Error> {
    match (model.graph().inputs(), model.preprocessing()) {
        ([input], Some(_)) => match model.graph().dims(*input)[..] {
            [_, h, w, Some(_)] => Ok([h, w]),
            _ => Err(Error::NotAPictureModel),
        },
        _ => Err(Error::NotAPictureModel),
    }
}

/// In which range the recipe's pictures go into the network, in words.
pub fn input_range(model: &Model, recipe: Recipe) -> Result<String, Error> {
    let preprocess = &model.preprocessing().ok_or(Error::NotAPictureModel)?.preprocess;
    Ok(match recipe {
        Recipe::Book if Lens::book(preprocess).is_identity() => {
            "values around 128 go into the network as they are, as in the book".to_owned()
        }
        Recipe::Book => format!("values around 128, scaled as photos are: {}", preprocess.scaling),
        Recipe::Lucid => format!("colors 0 to 255, scaled as photos are: {}", preprocess.scaling),
    })
}

/// Divides what is wanted into batches that can be learned together; what has several copies is not divided.
pub fn batches(wanted: &[Wanted]) -> Vec<&[Wanted]> {
    let (mut batches, mut start, mut pictures) = (Vec::new(), 0, 0);
    for (at, next) in wanted.iter().enumerate() {
        if at > start && pictures + next.copies > BATCH {
            batches.push(&wanted[start..at]);
            (start, pictures) = (at, 0);
        }
        pictures += next.copies;
    }
    if start < wanted.len() {
        batches.push(&wanted[start..]);
    }
    batches
}

/// Learns pictures, all together. Gives those of each wanted; `None` when `events` stopped it.
pub fn learn(
    model: &Model,
    wanted: &[Wanted],
    settings: &Settings,
    events: &mut dyn FnMut(StepDone) -> ControlFlow<()>,
) -> Result<Option<Vec<Vec<Learned>>>, Error> {
    let studio = Studio::new(model, settings)?;
    let mut nodes: Vec<NodeId> = wanted.iter().flat_map(|wanted| wanted.objective.nodes()).collect();
    nodes.sort();
    nodes.dedup();
    let canvases = wanted.iter().flat_map(|wanted| {
        (0..wanted.copies)
            .map(|copy| studio.canvas(generator(settings.seed, Purpose::Filter, key(wanted, copy))))
    });
    let mut canvases: Vec<Box<dyn Canvas>> = canvases.collect();
    if canvases.is_empty() {
        return Ok(Some(Vec::new()));
    }
    let mut subject = Subject::new(model, studio.network, canvases.len(), &nodes)?;
    let threads = model.runtime().threads();
    for step in 0..settings.steps {
        subject.each(&mut canvases, threads, |canvas, x, _| canvas.show(x));
        let rule = match settings.recipe {
            // Lucid redirects in its first 16 steps.
            Recipe::Lucid if step < 16 => ReluRule::Redirected,
            _ => ReluRule::Exact,
        };
        subject.descend(wanted, rule)?;
        subject.each(&mut canvases, threads, |canvas, _, dx| canvas.learn(dx));
        if events(StepDone { done: step + 1, total: settings.steps }).is_break() {
            return Ok(None);
        }
    }
    subject.each(&mut canvases, threads, |canvas, x, _| canvas.still(x));
    subject.run()?;
    let reached = subject.values(wanted);
    let chance = chance(&studio, settings.seed, wanted, &mut subject)?;
    let mut pictures = canvases.iter().map(|canvas| canvas.picture()).zip(reached);
    let of = |(wanted, random): (&Wanted, Chance)| {
        let learned = |(picture, reached)| Learned { picture, reached, random };
        pictures.by_ref().take(wanted.copies).map(learned).collect()
    };
    Ok(Some(wanted.iter().zip(chance).map(of).collect()))
}

/// What random numbers of a picture depend on: what it is of, not where in a batch it is.
fn key(wanted: &Wanted, copy: usize) -> u64 {
    // FNV-1a.
    let bytes = wanted.objective.name.bytes().chain(copy.to_le_bytes());
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

/// Everything that canvases of one recipe share.
struct Studio {
    size: [usize; 2],
    network: [usize; 2],
    lens: Lens,
    transform: Option<Arc<Spectrum>>,
}

impl Studio {
    fn new(model: &Model, settings: &Settings) -> Result<Studio, Error> {
        let preprocess = &model.preprocessing().ok_or(Error::NotAPictureModel)?.preprocess;
        let (recipe, size) = (settings.recipe, settings.size);
        let fixed = input_size(model)?;
        let whole = |axis: usize| fixed[axis].unwrap_or(preprocess.size[axis]);
        let network = match recipe {
            Recipe::Book => [0, 1].map(|axis| fixed[axis].unwrap_or(size[axis])),
            Recipe::Lucid => [whole(0), whole(1)],
        };
        if recipe == Recipe::Book && network != size {
            return Err(Error::Size { size, fixed: network });
        }
        if size.iter().any(|side| !(2..=LARGEST_SIDE).contains(side)) {
            let reason = format!("a picture has 2 to {LARGEST_SIDE} rows and columns");
            return Err(Error::Objective { text: format!("{}x{}", size[0], size[1]), reason });
        }
        let lens = match recipe {
            Recipe::Book => Lens::book(preprocess),
            Recipe::Lucid => Lens::new(preprocess),
        };
        let transform = || Arc::new(Spectrum::new(size, lens.channels()));
        let transform = (recipe == Recipe::Lucid).then(transform);
        Ok(Studio { size, network, lens, transform })
    }

    fn canvas(&self, mut random: ChaCha8Rng) -> Box<dyn Canvas> {
        match &self.transform {
            None => Box::new(Book::new(self.size, self.lens.clone(), &mut random)),
            Some(transform) => {
                let (sizes, lens) = ([self.size, self.network], self.lens.clone());
                Box::new(Lucid::new(Arc::clone(transform), sizes, lens, random))
            }
        }
    }
}

/// Random pictures of each kind that an objective is held against.
const CHANCES: usize = 8;

/// What each objective comes to for random pictures.
fn chance(
    studio: &Studio,
    seed: u64,
    wanted: &[Wanted],
    subject: &mut Subject<'_>,
) -> Result<Vec<Chance>, Error> {
    let mut seen = vec![Vec::new(); wanted.len()];
    let mut number = 0;
    while number < 2 * CHANCES {
        let first = number;
        for x in subject.pictures() {
            let mut random = generator(seed, Purpose::Noise, number as u64);
            match number < CHANCES {
                true => studio.canvas(random).still(x),
                false => studio.lens.noise(&mut random, x),
            }
            number += 1;
        }
        subject.run()?;
        for (seen, wanted) in seen.iter_mut().zip(wanted) {
            let rows = 0..(2 * CHANCES).min(number) - first;
            seen.extend(rows.map(|row| subject.value(&wanted.objective, row)));
        }
    }
    let of = |values: Vec<f64>| {
        let n = values.len() as f64;
        let mean = values.iter().sum::<f64>() / n;
        let deviation = (values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / n).sqrt();
        // What is not a number must not look like something that was exceeded.
        let most = values.iter().fold(f64::NEG_INFINITY, |most, &v| if v.is_nan() { v } else { most.max(v) });
        Chance { mean, most, deviation, pictures: values.len() }
    };
    Ok(seen.into_iter().map(of).collect())
}
