//! The part of the network that stays as it is: from photos to the values of its boundary, once for each view.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use binesh_core::{Grads, Graph, NodeId, Op, Params, Plan, PlanSpec, Runtime, Session, Shape, View};
use sha2::{Digest, Sha256};

use crate::data::augment::Augment;
use crate::data::{Dataset, Reader, ReaderOptions};
use crate::image::{DecodeOptions, ImageError, Interpolation, Preprocess};
use crate::train::error::TrainError;
use crate::train::event::{Event, Events, Progress};
use crate::train::features::{Features, Precision, Writer};
use crate::train::fit::tell;
use crate::train::random::{Purpose, generator};

/// Photos that run through the network together: enough to keep threads busy, few enough to keep the maps of a large
/// network small.
const BATCH: usize = 8;

/// What a row of features is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Shown {
    /// Number of the photo.
    pub(crate) item: usize,
    /// An augmented view, or the photo itself.
    pub(crate) view: Option<u64>,
}

/// Everything that decides what the network is shown.
#[derive(Clone)]
pub(crate) struct Eye {
    pub(crate) paths: Arc<[PathBuf]>,
    pub(crate) contents: Arc<[[u8; 32]]>,
    pub(crate) preprocess: Preprocess,
    pub(crate) augment: Augment,
    pub(crate) seed: u64,
    pub(crate) decode: DecodeOptions,
}

impl Eye {
    /// For features: large photos are shrunk while they are decoded.
    pub(crate) fn new(data: &Dataset, preprocess: Preprocess, augment: Augment, seed: u64) -> Eye {
        Eye {
            decode: match preprocess.interpolation {
                // These pick single pixels, and would pick others.
                Interpolation::Nearest | Interpolation::TfNearest => DecodeOptions::default(),
                _ => DecodeOptions::default().at_least(preprocess.size),
            },
            paths: data.items.iter().map(|item| item.path.clone()).collect(),
            contents: data.items.iter().map(|item| item.content).collect(),
            preprocess,
            augment,
            seed,
        }
    }

    /// Reads photos ahead and makes these views of each, in order: `[views, H, W, C]`.
    pub(crate) fn read(
        &self,
        photos: Vec<(usize, Vec<Option<u64>>)>,
    ) -> Reader<Result<Vec<f32>, ImageError>> {
        let eye = self.clone();
        let order: Vec<usize> = photos.iter().map(|(item, _)| *item).collect();
        let options = ReaderOptions { decode: self.decode, prefetch: 2 * BATCH, ..ReaderOptions::default() };
        Reader::new(Arc::clone(&self.paths), order, options, move |turn, picture| {
            let (item, views) = &photos[turn.position];
            let mut x = Vec::new();
            for view in views {
                let none = Augment::none();
                let augment = if view.is_some() { &eye.augment } else { &none };
                // The photo's content and not its number, so that other photos beside it change nothing.
                let content = u64::from_le_bytes(eye.contents[*item][..8].try_into().expect("8 bytes"));
                let mut random = generator(eye.seed ^ content, Purpose::View, view.unwrap_or_default());
                x.extend(augment.view(&picture, &eye.preprocess, &mut random)?);
            }
            Ok(x)
        })
    }

    /// Values of one view.
    pub(crate) fn len(&self) -> usize {
        let [h, w] = self.preprocess.size;
        h * w * self.preprocess.channels()
    }
}

/// The network from the photo up to some values.
pub(crate) struct Frozen {
    graph: Arc<Graph>,
    params: Arc<Params>,
    runtime: Runtime,
    pub(crate) eye: Eye,
    /// What is asked for.
    pub(crate) want: Vec<NodeId>,
    /// With its batch size.
    session: Option<(usize, Session)>,
}

impl Frozen {
    pub(crate) fn new(
        graph: &Arc<Graph>,
        params: &Arc<Params>,
        runtime: &Runtime,
        eye: Eye,
        want: Vec<NodeId>,
    ) -> Frozen {
        Frozen {
            graph: Arc::clone(graph),
            params: Arc::clone(params),
            runtime: runtime.clone(),
            eye,
            want,
            session: None,
        }
    }

    /// Shape of a wanted value for one view, without the batch.
    pub(crate) fn row(&self, node: NodeId) -> Result<Vec<usize>, TrainError> {
        let shapes = self.graph.shapes(&[(self.graph.inputs()[0], self.input(1))])?;
        Ok(shapes[node.index()].dims()[1..].to_vec())
    }

    fn input(&self, n: usize) -> Shape {
        let [h, w] = self.eye.preprocess.size;
        [n, h, w, self.eye.preprocess.channels()].into()
    }

    /// Runs views; `take` gets each wanted value.
    ///
    /// # Shapes
    /// x: `[n, H, W, C]`; values `[n, ...]`
    pub(crate) fn run(
        &mut self,
        x: &[f32],
        mut take: impl FnMut(usize, View<'_>) -> Result<(), TrainError>,
    ) -> Result<(), TrainError> {
        let one = self.eye.len();
        for x in x.chunks(one * BATCH) {
            let n = x.len() / one;
            let input = self.input(n);
            if self.want == [self.graph.inputs()[0]] {
                take(0, View::new(&input, x))?;
                continue;
            }
            let kept = self.session.take().filter(|(size, _)| *size == n);
            let mut session = match kept {
                Some((_, session)) => session,
                None => {
                    let inputs = [(self.graph.inputs()[0], input.clone())];
                    let spec = PlanSpec {
                        inputs: &inputs,
                        want: &self.want,
                        grads: Grads::None,
                        ..PlanSpec::default()
                    };
                    Session::new(Plan::new(&self.graph, spec)?, self.runtime.clone())
                }
            };
            session.run(&self.params, &[View::new(&input, x)])?;
            for (at, &node) in self.want.iter().enumerate() {
                take(at, session.value(node))?;
            }
            self.session = Some((n, session));
        }
        Ok(())
    }

    /// Features of all `shown` at each wanted node, computed in one pass or found where an earlier run left them.
    pub(crate) fn features(
        &mut self,
        shown: &[Shown],
        precisions: Vec<Precision>,
        folder: Option<&Path>,
        events: &mut Events<'_>,
    ) -> Result<(Vec<Features>, Timing), TrainError> {
        let mut found: Vec<Option<Features>> = Vec::new();
        let mut writers = Vec::new();
        for (node, precision) in self.want.clone().into_iter().zip(precisions) {
            let row: usize = self.row(node)?.iter().product();
            let key = self.key(node, shown);
            let path = folder.map(|folder| folder.join(format!("{}.features", &key[..32])));
            let old = path.as_ref().and_then(|path| Features::open(path, &key, precision, row, shown.len()));
            if old.is_none() {
                writers.push((node, Writer::new(path.as_deref(), &key, precision, row, shown.len())?));
            }
            found.push(old);
        }
        let mut timing = Timing::default();
        if writers.is_empty() {
            tell(events, Event::FeaturesFound(shown.len()))?;
        } else {
            let all = std::mem::replace(&mut self.want, writers.iter().map(|(node, _)| *node).collect());
            let result = self.compute(shown, &mut writers, events);
            self.want = all;
            self.session = None;
            timing = result?;
        }
        let mut made = writers.into_iter();
        let finish = |old: Option<Features>| match old {
            Some(features) => Ok(features),
            None => made.next().expect("a writer was made for each that was not found").1.finish(),
        };
        Ok((found.into_iter().map(finish).collect::<Result<_, _>>()?, timing))
    }

    fn compute(
        &mut self,
        shown: &[Shown],
        writers: &mut [(NodeId, Writer)],
        events: &mut Events<'_>,
    ) -> Result<Timing, TrainError> {
        let start = std::time::Instant::now();
        // Each photo is decoded once for all its views that follow one another.
        let mut photos: Vec<(usize, Vec<Option<u64>>)> = Vec::new();
        for shown in shown {
            match photos.last_mut() {
                Some((item, views)) if *item == shown.item => views.push(shown.view),
                _ => photos.push((shown.item, vec![shown.view])),
            }
        }
        let mut told = |progress| events(Event::Features(progress));
        let waiting = self.each(photos, &mut told, |at, value| writers[at].1.push(value.data()))?;
        Ok(Timing { views: shown.len(), seconds: start.elapsed().as_secs_f64(), waiting })
    }

    /// Runs views of photos through the network in their order, and returns the share of the time spent waiting for
    /// photos. `take` gets each wanted value.
    pub(crate) fn each(
        &mut self,
        photos: Vec<(usize, Vec<Option<u64>>)>,
        events: &mut dyn FnMut(Progress) -> ControlFlow<()>,
        mut take: impl FnMut(usize, View<'_>) -> Result<(), TrainError>,
    ) -> Result<f64, TrainError> {
        let total = photos.iter().map(|(_, views)| views.len()).sum();
        let mut reader = self.eye.read(photos);
        let mut progress = Progress { total, ..Progress::default() };
        let mut x: Vec<f32> = Vec::new();
        let (one, whole) = (self.eye.len(), self.eye.len() * BATCH);
        loop {
            let next = reader.next();
            let last = next.is_none();
            if let Some((_, views)) = next {
                x.extend(views.and_then(|views| views).map_err(crate::Error::from)?);
            }
            let ready = if last { x.len() } else { x.len() / whole * whole };
            if ready > 0 {
                self.run(&x[..ready], &mut take)?;
                x.drain(..ready);
                progress.done += ready / one;
                progress.waiting = reader.waiting();
                if events(progress).is_break() {
                    return Err(TrainError::Stopped);
                }
            }
            if last {
                return Ok(reader.waiting());
            }
        }
    }

    /// Of everything that decides the values: the network up to there, its weights, the photos and how they are shown.
    fn key(&self, node: NodeId, shown: &[Shown]) -> String {
        let mut hash = Sha256::new();
        let mut needed = vec![false; self.graph.nodes().len()];
        needed[node.index()] = true;
        for (index, node) in self.graph.nodes().iter().enumerate().rev() {
            if needed[index] {
                node.inputs.iter().for_each(|input| needed[input.index()] = true);
            }
        }
        for id in self.graph.ids().filter(|id| needed[id.index()]) {
            let node = self.graph.node(id);
            hash.update(format!("{:?} {:?}\n", node.op, node.inputs));
            if let (Op::Param(_), Some(value)) = (&node.op, self.params.get(id)) {
                value.data().chunks(1024).for_each(|values| {
                    hash.update(values.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<u8>>());
                });
            }
        }
        hash.update(serde_json::to_vec(&self.eye.preprocess).expect("settings are JSON"));
        hash.update(serde_json::to_vec(&self.eye.augment).expect("settings are JSON"));
        hash.update(self.eye.seed.to_le_bytes());
        for shown in shown {
            hash.update(self.eye.contents[shown.item]);
            hash.update(shown.view.map_or(u64::MAX, |view| view).to_le_bytes());
        }
        hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

/// What computing features took.
#[derive(Clone, Copy, Debug, Default, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Timing {
    /// Views computed; none when all were found.
    pub views: usize,
    /// Time it took.
    pub seconds: f64,
    /// Share of it in which the network waited for photos, 0 to 1.
    pub waiting: f64,
}

/// The mean over the map of each channel; vectors as they are.
///
/// # Shapes
/// `[N, H, W, C]` -> `[N, C]`
pub(crate) fn averaged(value: View<'_>) -> Vec<f32> {
    let dims = value.shape().dims();
    let [n, c] = [dims[0], dims[dims.len() - 1]];
    let per = value.data().len() / n / c;
    let mut out = vec![0.0; n * c];
    for (out, rows) in out.chunks_exact_mut(c).zip(value.data().chunks_exact(per * c)) {
        for row in rows.chunks_exact(c) {
            out.iter_mut().zip(row).for_each(|(out, v)| *out += v / per as f32);
        }
    }
    out
}
