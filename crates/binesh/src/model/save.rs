//! Models to files, and what is written asked whether it still computes the same.

use std::path::Path;

use binesh_core::{Grads, NodeId, Op, Plan, PlanSpec, Runtime, Session, Shape, Tensor};
use binesh_formats::meta::Scaling;
use binesh_formats::{LoadCx, Loaded, Network, Writer, Written, load};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::{Model, PreprocessingSource, inside};
use crate::error::Error;
use crate::image::{Picture, to_tensor};
use crate::render::write_file;

/// What came of reading a file back before it is written.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum ReadBack {
    /// A network: the largest difference between its outputs and the original's on a random input, as a share of the
    /// largest value.
    Outputs(f32),
    /// Weights alone: how many tensors, all of them equal to the bit.
    Weights(usize),
}

/// More than rounding makes of any network: sums in another order and functions made of others.
const MOST: f32 = 1e-3;

/// Rows and columns of a random input where the network leaves them open and nothing says.
const SIDE: usize = 64;

impl Model {
    /// Writes the network to a file, whole or not at all, in the format that the name's ending says: `.keras`, `.h5`,
    /// `.weights.h5`, `.onnx` or `.safetensors` ([`binesh_formats::WRITERS`]). Class names and preprocessing, where they
    /// are known, travel along. Gives what a user should know of the file.
    ///
    /// ```
    /// # use binesh::{Model, core::Runtime, formats::LoadCx};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let folder = tempfile::tempdir()?;
    /// # let file = folder.path().join("lite0.onnx");
    /// let model = Model::embedded(Runtime::new(2));
    /// model.save(&file)?; // lite0.onnx
    /// let (again, _) = Model::open(&file, None, &LoadCx::default(), Runtime::new(2))?;
    /// assert_eq!(again.label(285), "Egyptian cat");
    /// assert_eq!(again.preprocessing().unwrap().preprocess, model.preprocessing().unwrap().preprocess);
    /// # Ok(())
    /// # }
    /// ```
    pub fn save(&self, path: &Path) -> Result<Vec<String>, Error> {
        let name = path.display().to_string();
        let writer = Writer::of(&name).ok_or(Error::NoWriter { path: name })?;
        let Written { bytes, notes } = self.export(writer)?;
        write_file(path, &bytes)?;
        Ok(notes)
    }

    /// The bytes of a file with the network. A preprocessing that is only assumed is not said.
    pub fn export(&self, writer: &Writer) -> Result<Written, Error> {
        Ok((writer.save)(&self.with_meta())?)
    }

    fn with_meta(&self) -> Network {
        let mut network = self.network.clone();
        let known = self.preprocessing.as_ref().filter(|known| known.source != PreprocessingSource::Assumed);
        network.meta.preprocess = known.map(|known| known.preprocess.clone());
        network
    }

    /// A network that takes pictures as they are, 0 to 255: what is done to their values are its first layers.
    pub fn scaled_inside(&self) -> Result<Model, Error> {
        let known = self.preprocessing.as_ref().ok_or(Error::NotAPictureModel)?;
        let network = inside::scaled(&self.with_meta(), &known.preprocess)?;
        let mut model = Model::new(network, self.runtime.clone());
        let preprocess =
            binesh_formats::meta::Preprocess { scaling: Scaling::None, ..known.preprocess.clone() };
        model.preprocessing = Some(super::Preprocessing { preprocess, source: known.source.clone() });
        Ok(model)
    }

    /// Reads a file that was made of `written`, this model or this model [`Model::scaled_inside`], and asks it about a
    /// random picture, or other random input, of which both get what their preprocessing makes. One that answers otherwise
    /// is an error.
    pub fn read_back(&self, written: &Model, bytes: &[u8]) -> Result<ReadBack, Error> {
        let (loaded, _) = load(bytes, "the written file", &LoadCx::default())?;
        let read = match loaded {
            Loaded::Model(read) => *read,
            Loaded::Weights(tensors) => return written.same_weights(&tensors),
            _ => return Err(Error::WrittenOtherwise { what: "neither a network nor weights".to_owned() }),
        };
        if read.meta != written.with_meta().meta {
            return Err(Error::WrittenOtherwise { what: "other class names or preprocessing".to_owned() });
        }
        let (own, theirs) = self.random_inputs(written)?;
        let want = outputs(&self.network, &own, &self.runtime)?;
        let got = outputs(&read, &theirs, &self.runtime)?;
        let difference = difference(&want, &got)?;
        if difference <= MOST {
            return Ok(ReadBack::Outputs(difference));
        }
        let what = format!("outputs that differ by {difference:.1e} of the largest value");
        Err(Error::WrittenOtherwise { what })
    }

    /// The same random picture, or other values, as this model takes it and as the other does.
    fn random_inputs(&self, other: &Model) -> Result<(Vec<Tensor>, Vec<Tensor>), Error> {
        let mut random = ChaCha8Rng::seed_from_u64(0);
        let known = (self.preprocessing(), other.preprocessing());
        if let ([_], (Some(own), Some(theirs))) = (self.graph().inputs(), known) {
            let [h, w] = own.preprocess.size;
            let bytes = (0..h * w * 3).map(|_| random.random::<u8>()).collect();
            let picture = Picture::rgb(h, w, bytes).expect("three bytes for each pixel");
            let of = |preprocess| -> Result<Vec<Tensor>, Error> {
                let (data, shape) = to_tensor(std::slice::from_ref(&picture), preprocess)?;
                Ok(vec![Tensor::new(shape, data).expect("as many values as its shape says")])
            };
            return Ok((of(&own.preprocess)?, of(&theirs.preprocess)?));
        }
        let graph = self.graph();
        let mut input = |&id: &NodeId| {
            let extent = |(axis, d): (usize, &Option<usize>)| d.unwrap_or(if axis == 0 { 1 } else { SIDE });
            let shape: Vec<usize> = graph.dims(id).iter().enumerate().map(extent).collect();
            let data = (0..shape.iter().product()).map(|_| 2.0 * random.random::<f32>() - 1.0).collect();
            Tensor::new(shape, data).expect("as many values as its shape says")
        };
        let inputs: Vec<Tensor> = graph.inputs().iter().map(&mut input).collect();
        Ok((inputs.clone(), inputs))
    }

    /// Every weight of the network is among the tensors: under its name in safetensors, else by its values.
    fn same_weights(&self, tensors: &[(String, Tensor)]) -> Result<ReadBack, Error> {
        let bits = |tensor: &Tensor| -> Vec<u32> { tensor.data().iter().map(|v| v.to_bits()).collect() };
        let mut found: Vec<Vec<u32>> = tensors.iter().map(|(_, tensor)| bits(tensor)).collect();
        found.sort_unstable();
        let graph = self.graph();
        let (needed, _) = self.network.needed();
        let is_weight = |id: &NodeId| needed[id.index()] && matches!(graph.node(*id).op, Op::Param(_));
        for id in graph.ids().filter(is_weight) {
            let value = self.params().get(id).map(bits).unwrap_or_default();
            if found.binary_search(&value).is_err() {
                let what = format!("no weight like `{}`", graph.node(id).name);
                return Err(Error::WrittenOtherwise { what });
            }
        }
        Ok(ReadBack::Weights(tensors.len()))
    }
}

/// What a network makes of these inputs.
fn outputs(network: &Network, inputs: &[Tensor], runtime: &Runtime) -> Result<Vec<Tensor>, Error> {
    let graph = &network.graph;
    if graph.inputs().len() != inputs.len() {
        return Err(Error::WrittenOtherwise { what: format!("{} inputs", graph.inputs().len()) });
    }
    let shapes: Vec<(NodeId, Shape)> =
        graph.inputs().iter().zip(inputs).map(|(&id, x)| (id, x.shape().clone())).collect();
    let spec = PlanSpec { inputs: &shapes, want: graph.outputs(), grads: Grads::None, ..PlanSpec::default() };
    let mut session = Session::new(Plan::new(graph, spec)?, runtime.clone());
    let given = |id: &NodeId| {
        let at =
            shapes.iter().position(|(input, _)| input == id).expect("a session's inputs are its graph's");
        inputs[at].view()
    };
    let views: Vec<_> = session.inputs().iter().map(given).collect();
    session.run(&network.params, &views)?;
    Ok(graph.outputs().iter().map(|&id| session.value(id).to_tensor()).collect())
}

/// The largest difference as a share of the largest value. What is no number in both is the same.
fn difference(want: &[Tensor], got: &[Tensor]) -> Result<f32, Error> {
    let shapes = |tensors: &[Tensor]| -> Vec<String> {
        tensors.iter().map(|tensor| tensor.shape().to_string()).collect()
    };
    if shapes(want) != shapes(got) {
        let what = format!("outputs {} instead of {}", shapes(got).join(" "), shapes(want).join(" "));
        return Err(Error::WrittenOtherwise { what });
    }
    let mut worst = 0.0f32;
    for (want, got) in want.iter().zip(got) {
        let finite = want.data().iter().filter(|v| v.is_finite());
        let peak = finite.fold(f32::MIN_POSITIVE, |m, v| m.max(v.abs()));
        for (a, b) in want.data().iter().zip(got.data()) {
            let same = a == b || (a.is_nan() && b.is_nan());
            let d = if same { 0.0 } else { (a - b).abs() / peak };
            worst = if d.is_nan() { f32::INFINITY } else { worst.max(d) };
        }
    }
    Ok(worst)
}
