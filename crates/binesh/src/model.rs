//! A network ready to be asked: loaded, with its runtime, its head understood and its preprocessing known.

mod external;
mod head;
mod inside;
mod names;
mod open;
mod save;

use std::path::Path;
use std::sync::Arc;

use binesh_core::{
    Activation, Grads, Graph, Layers, NodeId, Op, Params, Plan, PlanSpec, Runtime, Session, Shape, Tensor,
};
use binesh_formats::meta::{Application, Color, Interpolation, Preprocess, Scaling};
use binesh_formats::{LoadCx, LoadReport, Network};

use crate::error::Error;
use crate::image::{self, Picture};
use crate::zoo;

pub use head::{Head, HeadKind};
pub use save::ReadBack;

/// A network with everything needed to ask it about pictures.
pub struct Model {
    network: Network,
    runtime: Runtime,
    preprocessing: Option<Preprocessing>,
}

/// How pictures are prepared, and how that is known.
#[derive(Clone, Debug, PartialEq)]
pub struct Preprocessing {
    /// What is done.
    pub preprocess: Preprocess,
    /// Why.
    pub source: PreprocessingSource,
}

/// How the preprocessing is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PreprocessingSource {
    /// The file says so.
    File,
    /// The weights are those of an architecture of this name and source.
    Architecture(String),
    /// The network is, or contains, a known application of this name.
    Application(String),
    /// The network scales its input itself, so pictures go in as 0 to 255.
    InNetwork,
    /// Nothing says: `x / 255`, as most small networks are trained. May be wrong.
    Assumed,
    /// The user said so.
    User,
}

impl Model {
    /// Loads a model file; `weights` is a file of weights alone for a model file that has none. A file of PyTorch's or
    /// safetensors', which has weights alone, needs none: it is of an architecture of [`zoo`].
    pub fn open(
        path: &Path,
        weights: Option<&Path>,
        cx: &LoadCx,
        runtime: Runtime,
    ) -> Result<(Model, LoadReport), Error> {
        let (network, report, architecture) = open::open(path, weights, cx)?;
        let mut model = Model::new(network, runtime);
        if let (Some(known), Some(architecture)) = (&mut model.preprocessing, architecture) {
            let name = format!("{} `{}`", architecture.source, architecture.name);
            known.source = PreprocessingSource::Architecture(name);
        }
        Ok((model, report))
    }

    /// Wraps a network. Preprocessing comes from the file, else from a known application's name, else it is assumed.
    pub fn new(network: Network, runtime: Runtime) -> Model {
        let preprocessing = preprocessing(&network);
        Model { network, runtime, preprocessing }
    }

    /// EfficientNet-Lite0 with ImageNet weights, compiled into the library.
    pub fn embedded(runtime: Runtime) -> Model {
        Model::new(zoo::embedded(), runtime)
    }

    /// What the file said.
    pub fn network(&self) -> &Network {
        &self.network
    }

    /// The operators and their wiring.
    pub fn graph(&self) -> &Arc<Graph> {
        &self.network.graph
    }

    /// The table of layers.
    pub fn layers(&self) -> &Layers {
        &self.network.layers
    }

    /// The weights.
    pub fn params(&self) -> &Params {
        &self.network.params
    }

    /// How it computes.
    pub fn runtime(&self) -> &Runtime {
        &self.runtime
    }

    /// How pictures are prepared; `None` for networks that do not take one picture.
    pub fn preprocessing(&self) -> Option<&Preprocessing> {
        self.preprocessing.as_ref()
    }

    /// Replaces the preprocessing.
    pub fn set_preprocess(&mut self, preprocess: Preprocess) {
        self.preprocessing = Some(Preprocessing { preprocess, source: PreprocessingSource::User });
    }

    /// Replaces the class names.
    pub fn set_labels(&mut self, labels: Vec<String>) -> Result<(), Error> {
        let classes = self.head()?.classes();
        if labels.len() != classes {
            return Err(Error::LabelCount { given: labels.len(), classes });
        }
        self.network.meta.labels = Some(labels);
        Ok(())
    }

    /// True for a value that is a map per picture, `[N, H, W, C]`; a kernel has four axes too.
    pub fn is_map(&self, node: NodeId) -> bool {
        let graph = self.graph();
        graph.dims(node).len() == 4 && !matches!(graph.node(node).op, Op::Param(_) | Op::Constant(_))
    }

    /// The classifying end of the network.
    pub fn head(&self) -> Result<Head, Error> {
        Head::of(self.graph())
    }

    /// The name of a class, or `class 7` when the file has no names.
    pub fn label(&self, class: usize) -> String {
        let names = self.network.meta.labels.as_ref();
        names.and_then(|names| names.get(class)).cloned().unwrap_or_else(|| format!("class {class}"))
    }

    /// A session for these input shapes, in the order of the graph's inputs.
    pub fn session(&self, inputs: &[Shape], want: &[NodeId], grads: Grads<'_>) -> Result<Session, Error> {
        let graph = self.graph();
        let inputs: Vec<(NodeId, Shape)> =
            graph.inputs().iter().copied().zip(inputs.iter().cloned()).collect();
        let plan = Plan::new(graph, PlanSpec { inputs: &inputs, want, grads, ..PlanSpec::default() })?;
        // Memory that does not exist is an error here, before it is an abort there.
        let bytes = plan.peak_bytes();
        Vec::<u8>::new().try_reserve_exact(bytes).map_err(|_| Error::Memory { bytes })?;
        Ok(Session::new(plan, self.runtime.clone()))
    }

    /// The inputs' shapes for one picture, with the size that pictures are brought to where the network leaves it open;
    /// empty when a size is not known.
    pub fn picture_shape(&self) -> Vec<(NodeId, Shape)> {
        let graph = self.graph();
        let size = self.preprocessing.as_ref().map(|known| known.preprocess.size);
        let extents = |id: NodeId| {
            let dims = graph.dims(id);
            let extent = |(axis, d): (usize, &Option<usize>)| match axis {
                0 => Some(1),
                1 | 2 if dims.len() == 4 => d.or(size.map(|size| size[axis - 1])),
                _ => *d,
            };
            let extents: Option<Vec<usize>> = dims.iter().enumerate().map(extent).collect();
            Some((id, extents?.into()))
        };
        graph.inputs().iter().map(|&id| extents(id)).collect::<Option<Vec<_>>>().unwrap_or_default()
    }

    /// Pictures as the network's input.
    ///
    /// # Shapes
    /// n pictures -> `[n, H, W, C]`
    pub fn input(&self, pictures: &[Picture]) -> Result<Tensor, Error> {
        let known = self.preprocessing.as_ref().ok_or(Error::NotAPictureModel)?;
        let (data, shape) = image::to_tensor(pictures, &known.preprocess)?;
        Ok(Tensor::new(shape, data).expect("`to_tensor` returns as many values as its shape says"))
    }

    /// A map over the network's input as a map over the picture it was made from: zero where the network did not look,
    /// because pictures are cropped. Returns the values and their `[rows, columns]`.
    pub fn over_picture(
        &self,
        map: &[f32],
        shape: [usize; 2],
        picture: [usize; 2],
    ) -> Result<(Vec<f32>, [usize; 2]), Error> {
        let known = self.preprocessing.as_ref().ok_or(Error::NotAPictureModel)?;
        let seen = image::field_of_view(&known.preprocess, picture);
        if seen.covers(picture) {
            return Ok((map.to_vec(), shape));
        }
        let inner = image::resize_map(map, shape, [seen.height, seen.width]);
        let mut values = vec![0.0; picture[0] * picture[1]];
        for (row, inner) in inner.chunks_exact(seen.width).enumerate() {
            let start = (seen.top + row) * picture[1] + seen.left;
            values[start..start + seen.width].copy_from_slice(inner);
        }
        Ok((values, picture))
    }

    /// The scores of all classes for each picture: probabilities where the network ends in softmax or sigmoid, and
    /// softmax of its outputs where it ends in logits.
    pub fn predict(&self, pictures: &[Picture]) -> Result<Vec<Prediction>, Error> {
        if pictures.is_empty() {
            return Ok(Vec::new());
        }
        let head = self.head()?;
        let x = self.input(pictures)?;
        let mut session = self.session(&[x.shape().clone()], &[head.output], Grads::None)?;
        session.run(self.params(), &[x.view()])?;
        let scores = session.value(head.output).data().chunks_exact(head.units);
        Ok(scores.map(|scores| Prediction { probabilities: head.probabilities(scores) }).collect())
    }
}

/// What a network says of one picture.
#[derive(Clone, Debug, PartialEq)]
pub struct Prediction {
    /// One per class.
    pub probabilities: Vec<f32>,
}

impl Prediction {
    /// Classes by falling probability, equal ones by index.
    pub fn ranked(&self) -> Vec<(usize, f32)> {
        let mut ranked: Vec<(usize, f32)> = self.probabilities.iter().copied().enumerate().collect();
        ranked.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
        ranked
    }
}

fn preprocessing(network: &Network) -> Option<Preprocessing> {
    if let Some(preprocess) = &network.meta.preprocess {
        return Some(Preprocessing { preprocess: preprocess.clone(), source: PreprocessingSource::File });
    }
    let [input] = network.graph.inputs() else { return None };
    let dims = network.graph.dims(*input);
    let [_, h, w, Some(channels @ (1 | 3))] = dims[..] else { return None };
    let names =
        std::iter::once(network.name.as_str()).chain(network.layers.iter().map(|(_, l)| l.name.as_str()));
    let application = names.filter_map(|name| Some((name, Application::find(name)?))).next();
    let size = application.map_or(224, |(_, application)| application.size);
    let size = [h.unwrap_or(size), w.unwrap_or(size)];
    let (scaling, source) = match application {
        _ if scales_itself(network, *input) => (Scaling::None, PreprocessingSource::InNetwork),
        Some((name, application)) => {
            (application.scaling.clone(), PreprocessingSource::Application(name.to_owned()))
        }
        None => (Scaling::Unit, PreprocessingSource::Assumed),
    };
    let color = if channels == 1 { Color::Gray } else { Color::Rgb };
    // Nothing says how pictures were resized; bicubic is what PIL's `resize` does unless told otherwise.
    let interpolation = Interpolation::Bicubic;
    let preprocess = Preprocess { color, interpolation, ..Preprocess::new(size[0], size[1], scaling) };
    Some(Preprocessing { preprocess, source })
}

/// The first thing that happens to the input, besides moving and cropping it, is arithmetic with constants.
fn scales_itself(network: &Network, input: NodeId) -> bool {
    let graph = &network.graph;
    let constant = |id: &NodeId| matches!(graph.node(*id).op, Op::Constant(_));
    let mut node = input;
    while let Some(next) = graph.ids().find(|&id| graph.node(id).inputs.contains(&node)) {
        let reader = graph.node(next);
        match &reader.op {
            Op::Rescaling(_) | Op::Normalization(_) => return true,
            Op::Activate(activate) => return matches!(activate.function, Activation::Affine { .. }),
            Op::Binary(_) => return reader.inputs.iter().any(constant),
            // A resize is a product with a constant.
            Op::Dense(_) if reader.inputs[1..].iter().all(constant) => node = next,
            Op::Identity(_) | Op::Dropout(_) | Op::ZeroPad2d(_) | Op::Crop2d(_) | Op::Slice(_) => node = next,
            Op::Permute(_) | Op::Reshape(_) => node = next,
            _ => return false,
        }
    }
    false
}
