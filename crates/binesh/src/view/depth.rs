//! What becomes of pictures on their way through a network, measured: how sparse each layer is, how many directions its
//! channels take, how much of the picture and how much of its class are left, and how alike layers are.
//!
//! The picture that is left is what ridge regression makes of a layer's values, on photos that it was not fitted on; the class
//! that is there is what a linear probe finds (Alain and Bengio 2016, arXiv:1610.01644). Both are linear: what is there but
//! folded up does not count.

mod claims;
mod gather;

use std::ops::ControlFlow;
use std::path::PathBuf;
use std::thread;

use binesh_core::{Activation, NodeId, Op, View};

use self::gather::{Gathered, to_pixels};
use crate::error::Error;
use crate::image::Picture;
use crate::linear::{cka, explained, folds, held_out, probe_accuracy};
use crate::model::Model;
use crate::random::{Purpose, generator, permutation};
use crate::view::map_layers;
use crate::view::photos::{self, PhotosDone};

pub use claims::{Claim, Verdict};
pub(crate) use gather::pooled;

/// Rows and columns of the picture that is looked for in a layer, and of the layer's map, which is averaged down to no more.
pub const PICTURE_SIDE: usize = 16;
/// Features of a photo beyond this number are sketched: each is added, with a random sign, to one of so many sums (Charikar, Chen
/// and Farach-Colton 2002, "Finding frequent items in data streams"), which keeps inner products but for a few percent.
pub const SKETCH: usize = 4096;
/// Parts that photos are divided into; each is held out once.
const FOLDS: usize = 5;
/// Bytes that what is kept of layers may take at one time; more layers are measured in another pass over the photos.
const PASS_BYTES: usize = 768 << 20;

/// What to measure on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Photos beyond this number, drawn at random, are left out: time grows with its square.
    pub most_photos: usize,
    /// Photos of which every layer's picture is kept.
    pub shown: usize,
    /// What random numbers depend on.
    pub seed: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Settings { most_photos: 300, shown: 6, seed: 0 }
    }
}

/// All that was measured.
#[derive(Clone, Debug)]
pub struct Depth {
    /// In order of depth.
    pub layers: Vec<LayerDepth>,
    /// Numbers of the photos measured on.
    pub photos: Vec<usize>,
    /// The picture looked for: rows, columns, channels.
    pub picture: [usize; 3],
    /// R2 of that picture from the network's input, averaged down in the same way: what so few photos allow at most.
    pub ceiling: Option<f64>,
    /// Share of the largest class; absent without classes.
    pub chance: Option<f64>,
    /// The pictures shown, as they are.
    pub shown: Vec<Picture>,
    /// The same from the network's input, as [`LayerDepth::kept`] from a layer.
    pub shown_ceiling: Vec<Picture>,
    /// Passes over the photos that it took.
    pub passes: usize,
    /// `[N, N]` of each layer.
    grams: Vec<Vec<f64>>,
}

/// One layer.
#[derive(Clone, Debug)]
pub struct LayerDepth {
    /// Its output.
    pub node: NodeId,
    /// Its path.
    pub name: String,
    /// Its class, or the operator.
    pub class: String,
    /// H, W, C.
    pub shape: [usize; 3],
    /// It ends in a rectifier, so that zeros mean something.
    pub rectified: bool,
    /// Share of values that are exactly zero.
    pub zeros_share: f64,
    /// Channels that are the same everywhere in all photos.
    pub dead_channels: usize,
    /// Share of channels that are the same everywhere in a photo, mean over photos.
    pub blank_share: f64,
    /// How evenly a photo's activity is spread over channels: entropy of their mean magnitudes' shares over that of equal
    /// shares, 0 to 1, mean over photos.
    pub entropy: f64,
    /// [Effective rank](crate::view::depth) of the channels over places and photos: `exp` of the entropy of the singular
    /// values' shares.
    pub effective_rank: f64,
    /// Places it was measured on: up to 4 x 4 a photo.
    pub samples: usize,
    /// Rows and columns of the map after averaging.
    pub pooled: [usize; 2],
    /// Values of a photo after averaging.
    pub features: usize,
    /// They were more than [`SKETCH`].
    pub sketched: bool,
    /// R2 of the picture on photos held out; below 0 where the mean picture would be closer.
    pub picture_r2: Option<f64>,
    /// Share of photos held out whose class is found from the channels' means.
    pub accuracy: Option<f64>,
    /// CKA with the layer before.
    pub cka_before: Option<f64>,
    /// The shown photos as ridge regression finds them, each held out.
    pub kept: Vec<Picture>,
}

/// Measures layers, all with a map where `nodes` is empty, on photos with or without labels. `None` when `events` stopped it.
pub fn measure(
    model: &Model,
    nodes: &[NodeId],
    photos: &[PathBuf],
    labels: Option<&[usize]>,
    settings: Settings,
    events: &mut dyn FnMut(PhotosDone) -> ControlFlow<()>,
) -> Result<Option<Depth>, Error> {
    let nodes = if nodes.is_empty() { map_layers(model) } else { nodes.to_vec() };
    let known = model.preprocessing().ok_or(Error::NotAPictureModel)?;
    if nodes.is_empty() {
        return Err(Error::NoMap);
    }
    let used = chosen(photos.len(), settings);
    let paths: Vec<PathBuf> = used.iter().map(|&photo| photos[photo].clone()).collect();
    let order = permutation(used.len(), &mut generator(settings.seed, Purpose::Depth, 1));
    let fold = folds(&order, FOLDS);
    let labels: Option<Vec<usize>> = labels.map(|labels| used.iter().map(|&photo| labels[photo]).collect());
    let classes = labels.as_ref().and_then(|labels| labels.iter().max()).map_or(0, |most| most + 1);
    let judge = Judge {
        fold,
        labels: labels.filter(|_| classes > 1),
        classes,
        shown: shown(used.len(), settings.shown),
    };

    let [h, w] = known.preprocess.size;
    let channels = known.preprocess.channels();
    let side = [h.min(PICTURE_SIDE), w.min(PICTURE_SIDE)];
    let input = binesh_core::Shape::from([1, h, w, channels]);
    let shapes =
        model.graph().shapes(&[(model.graph().inputs()[0], input)]).map_err(binesh_core::PlanError::from)?;
    let dims =
        |node: NodeId| -> [usize; 3] { std::array::from_fn(|axis| shapes[node.index()].dims()[axis + 1]) };

    let groups = passes(&nodes, |node| Gathered::bytes(dims(node), used.len()));
    let mut targets: Vec<f32> = Vec::new();
    let (mut layers, mut grams) = (Vec::new(), Vec::new());
    for (pass, group) in groups.iter().enumerate() {
        let mut gathered: Vec<Gathered> =
            group.iter().map(|&node| Gathered::new(dims(node), settings.seed)).collect();
        let total = groups.len() * used.len();
        let mut told =
            |photos: PhotosDone| events(PhotosDone { done: pass * used.len() + photos.done, total });
        let finished = photos::each(model, group, &paths, &mut told, |shown| {
            if pass == 0 {
                for x in shown.x.chunks_exact(shown.x.len() / shown.count) {
                    let picture = to_pixels(x, &known.preprocess);
                    targets.extend(pooled(&picture, [h, w, channels], side));
                }
            }
            let values: Vec<View<'_>> = group.iter().map(|&node| shown.session.value(node)).collect();
            let work: Vec<(&mut Gathered, View<'_>)> = gathered.iter_mut().zip(values).collect();
            shared(work, model.runtime().threads(), |(gathered, value)| gathered.take(value.data()));
            Ok(())
        })?;
        if !finished {
            return Ok(None);
        }
        let work: Vec<(NodeId, Gathered)> = group.iter().copied().zip(gathered).collect();
        let done = shared(work, model.runtime().threads(), |(node, gathered)| {
            judge.layer(model, node, gathered, &targets, [side[0], side[1], channels])
        });
        for done in done {
            let (layer, gram) = done?;
            layers.push(layer);
            grams.push(gram);
        }
    }
    for at in 1..layers.len() {
        layers[at].cka_before = cka(&grams[at - 1], &grams[at]);
    }
    let picture = [side[0], side[1], channels];
    let (ceiling, shown_ceiling) =
        judge.picture(&crate::linear::gram(&targets, used.len()), &targets, picture);
    let chance = judge.labels.as_ref().map(|labels| {
        let count = |class: usize| labels.iter().filter(|label| **label == class).count();
        (0..classes).map(count).max().unwrap_or(0) as f64 / labels.len() as f64
    });
    let shown = judge.shown.iter().map(|&photo| judge.drawn(&targets, photo, picture)).collect();
    Ok(Some(Depth {
        layers,
        photos: used,
        picture,
        ceiling,
        chance,
        shown,
        shown_ceiling,
        passes: groups.len(),
        grams,
    }))
}

impl Depth {
    /// CKA of every pair of layers.
    ///
    /// # Shapes
    /// `[L, L]`
    pub fn similarity(&self) -> Vec<Option<f64>> {
        let n = self.grams.len();
        let mut all = vec![None; n * n];
        for i in 0..n {
            for j in 0..=i {
                let value = cka(&self.grams[i], &self.grams[j]);
                (all[i * n + j], all[j * n + i]) = (value, value);
            }
        }
        all
    }

    /// CKA of each layer with the layer of the same name of another network, measured on the same photos; absent where there
    /// is none, or nothing varies.
    ///
    /// # Panics
    /// If the photos differ.
    pub fn against(&self, other: &Depth) -> Vec<Option<f64>> {
        assert_eq!(self.photos, other.photos, "both networks are measured on the same photos");
        let of = |(layer, gram): (&LayerDepth, &Vec<f64>)| {
            let same = other.layers.iter().position(|own| own.name == layer.name)?;
            cka(gram, &other.grams[same])
        };
        self.layers.iter().zip(&self.grams).map(of).collect()
    }

    /// What is commonly said of depth, and whether this network bears it out.
    pub fn claims(&self) -> Vec<Claim> {
        claims::all(self)
    }
}

/// Which photos are measured on, in order.
fn chosen(photos: usize, settings: Settings) -> Vec<usize> {
    let mut order = permutation(photos, &mut generator(settings.seed, Purpose::Depth, 0));
    order.truncate(settings.most_photos);
    order.sort_unstable();
    order
}

/// A few of `n`, evenly.
fn shown(n: usize, most: usize) -> Vec<usize> {
    let most = most.min(n);
    (0..most).map(|at| at * n / most).collect()
}

/// Consecutive layers of which what is kept fits together; at least one each.
fn passes(nodes: &[NodeId], bytes: impl Fn(NodeId) -> usize) -> Vec<Vec<NodeId>> {
    let (mut groups, mut held): (Vec<Vec<NodeId>>, usize) = (Vec::new(), 0);
    for &node in nodes {
        let own = bytes(node);
        match groups.last_mut().filter(|_| held.saturating_add(own) <= PASS_BYTES) {
            Some(group) => group.push(node),
            None => {
                groups.push(vec![node]);
                held = 0;
            }
        }
        held = held.saturating_add(own);
    }
    groups
}

/// Does work on several threads; results in order.
fn shared<T: Send, R: Send>(work: Vec<T>, threads: usize, each: impl Fn(T) -> R + Sync) -> Vec<R> {
    let threads = threads.clamp(1, work.len().max(1));
    let mut hands: Vec<Vec<(usize, T)>> = (0..threads).map(|_| Vec::new()).collect();
    work.into_iter().enumerate().for_each(|(at, work)| hands[at % threads].push((at, work)));
    let each = &each;
    let mut done: Vec<(usize, R)> = thread::scope(|scope| {
        let hand = |hand: Vec<(usize, T)>| {
            scope.spawn(move || hand.into_iter().map(|(at, work)| (at, each(work))).collect::<Vec<_>>())
        };
        let hands: Vec<_> = hands.into_iter().map(hand).collect();
        hands
            .into_iter()
            .flat_map(|hand| hand.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
            .collect()
    });
    done.sort_by_key(|(at, _)| *at);
    done.into_iter().map(|(_, result)| result).collect()
}

/// What all layers are judged by.
struct Judge {
    fold: Vec<usize>,
    labels: Option<Vec<usize>>,
    classes: usize,
    shown: Vec<usize>,
}

impl Judge {
    fn layer(
        &self,
        model: &Model,
        node: NodeId,
        gathered: Gathered,
        targets: &[f32],
        picture: [usize; 3],
    ) -> Result<(LayerDepth, Vec<f64>), Error> {
        let graph = model.graph();
        let name = graph.node(node).name.clone();
        if !gathered.is_finite() {
            let reason =
                "its values are not numbers: the weights are damaged, or pictures are scaled wrongly"
                    .to_owned();
            return Err(Error::Objective { text: name, reason });
        }
        let n = self.fold.len();
        let gram = crate::linear::gram(&gathered.rows, n);
        let (picture_r2, kept) = self.picture(&gram, targets, picture);
        let accuracy = self
            .labels
            .as_ref()
            .map(|labels| probe_accuracy(&gathered.means, labels, self.classes, &self.fold, FOLDS));
        let owner = model.layers().owner(graph, node);
        let class = match owner {
            Some(id) => model.layers().get(id).class.clone(),
            None => graph.node(node).op.operator().name().to_owned(),
        };
        let rectifies = |op: &Op| match op {
            Op::Activate(activate) => matches!(activate.function, Activation::Relu { slope: 0.0, .. }),
            _ => false,
        };
        let layer = LayerDepth {
            node,
            name,
            class,
            shape: gathered.dims,
            rectified: rectifies(&graph.node(node).op),
            zeros_share: gathered.zeros_share(),
            dead_channels: gathered.dead_channels(),
            blank_share: gathered.blank_share(),
            entropy: gathered.entropy(),
            samples: gathered.samples,
            pooled: gathered.pooled,
            features: gathered.features(),
            sketched: gathered.features() > SKETCH,
            picture_r2,
            accuracy,
            cka_before: None,
            kept,
            effective_rank: gathered.effective_rank(),
        };
        Ok((layer, gram))
    }

    /// How much of the pictures is found from features with these inner products, and those that are shown.
    fn picture(&self, gram: &[f64], targets: &[f32], picture: [usize; 3]) -> (Option<f64>, Vec<Picture>) {
        let found = held_out(gram, targets, &self.fold, FOLDS);
        let shown = self.shown.iter().map(|&photo| self.drawn(&found, photo, picture)).collect();
        (explained(targets, &found, self.fold.len()), shown)
    }

    /// # Shapes
    /// pictures: `[N, H, W, C]`, 0 to 255
    fn drawn(&self, pictures: &[f32], photo: usize, [h, w, c]: [usize; 3]) -> Picture {
        let one = h * w * c;
        let bytes = pictures[photo * one..(photo + 1) * one]
            .iter()
            .map(|v| v.round().clamp(0.0, 255.0) as u8)
            .collect();
        let picture = if c == 1 { Picture::gray(h, w, bytes) } else { Picture::rgb(h, w, bytes) };
        picture.expect("a byte for each value of a picture that is not empty")
    }
}

#[cfg(test)]
mod tests;
