//! `binesh run`

use std::io::Cursor;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use binesh::Model;
use binesh::core::{Grads, NodeId, ReluRule, Session, Shape, Tensor};
use binesh::formats::Limits;
use binesh::formats::npy::{NpzWriter, read_npy};
use binesh::render::write_file;
use serde::Serialize;

use crate::args::{Common, ModelArgs, read_file};
use crate::cmd::Outcome;
use crate::output;

/// Run a network on raw arrays: NumPy files in and out, no preprocessing
///
/// Arrays are float32 in the model's own layout, channels last: [N, H, W, C].
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Examples:
  binesh run -m model.h5 --input x.npy --output y.npz
  binesh run -m model.h5 --input x.npy --output y.npz --layer block5_conv3 \\
      --grad-of predictions:386 --wrt block5_conv3 --wrt input_1")]
pub(crate) struct Args {
    #[command(flatten)]
    model: ModelArgs,

    /// Input array; NAME= says which input where there are several [default: in the model's order]
    #[arg(long, required = true, value_name = "[NAME=]X.npy")]
    input: Vec<String>,

    /// File to write the arrays to; keys are the layers asked for, `grad/NAME`, or the model's outputs
    #[arg(long, required = true, value_name = "Y.npz")]
    output: PathBuf,

    /// Layer to write, by path; nodes inside a layer have names too (`dense_1/pre_activation`) [default: the outputs]
    #[arg(long, value_name = "NAME")]
    layer: Vec<String>,

    /// Differentiate the sum of this layer's values, or of one entry of each item of the batch: position after the
    /// batch axis, as in `predictions:386` or `block5_conv3:3,4,17`
    #[arg(long, value_name = "LAYER[:INDEX]", requires = "wrt")]
    grad_of: Option<String>,

    /// Input, layer or weight (`block1_conv1/kernel`) to differentiate by
    #[arg(long, value_name = "NAME", requires = "grad_of")]
    wrt: Vec<String>,
}

/// The document of `--json`.
#[derive(Serialize)]
struct Report {
    output: String,
    arrays: Vec<Array>,
}

#[derive(Serialize)]
struct Array {
    key: String,
    shape: Vec<usize>,
}

pub(crate) fn run(args: &Args, common: &Common) -> Result<Outcome> {
    let model = args.model.load(common)?;
    let inputs = inputs(&model, &args.input)?;
    let wanted = wanted(&model, &args.layer)?;
    let differentiated = args.grad_of.as_deref().map(|text| Entry::parse(&model, text)).transpose()?;
    let wrt = named(&model, &args.wrt)?;

    let mut want: Vec<NodeId> = wanted.iter().map(|(_, node)| *node).collect();
    want.extend(differentiated.as_ref().map(|entry| entry.node));
    let wrt_nodes: Vec<NodeId> = wrt.iter().map(|(_, node)| *node).collect();
    let grads = if wrt_nodes.is_empty() { Grads::None } else { Grads::Wrt(&wrt_nodes) };
    let shapes: Vec<Shape> = inputs.iter().map(|x| x.shape().clone()).collect();
    let mut session = model.session(&shapes, &want, grads)?;
    let given = used(&model, &session, &inputs);
    output::waiting("running the network", || session.run(model.params(), &given))
        .map_err(binesh::Error::from)?;

    let mut archive = NpzWriter::new(Cursor::new(Vec::new()));
    let mut arrays = Vec::new();
    let mut add = |key: String, shape: &Shape, data: &[f32]| -> Result<()> {
        archive.add(&key, shape.dims(), data).map_err(binesh::Error::from)?;
        arrays.push(Array { key, shape: shape.dims().to_vec() });
        Ok(())
    };
    for (key, node) in wanted {
        let value = session.value(node);
        add(key, value.shape(), value.data())?;
    }
    if let Some(entry) = differentiated {
        let seed = entry.seed(session.value(entry.node).shape())?;
        session
            .backward(model.params(), &[(entry.node, seed)], ReluRule::Exact)
            .map_err(binesh::Error::from)?;
        for (name, node) in wrt {
            let grad = session.grad(node).context("the plan was made for this gradient")?;
            add(format!("grad/{name}"), grad.shape(), grad.data())?;
        }
    }
    let bytes = archive.finish().map_err(binesh::Error::from)?.into_inner();
    write_file(&args.output, &bytes)?;
    if common.json {
        output::print_json(&Report { output: args.output.display().to_string(), arrays })?;
    }
    Ok(Outcome::Done)
}

/// The arrays in the order of the model's inputs.
fn inputs(model: &Model, given: &[String]) -> Result<Vec<Tensor>> {
    let graph = model.graph();
    let names: Vec<&str> = graph.inputs().iter().map(|&id| graph.node(id).name.as_str()).collect();
    let mut arrays: Vec<Option<Tensor>> = vec![None; names.len()];
    for text in given {
        let named = text
            .split_once('=')
            .and_then(|(name, path)| Some((names.iter().position(|n| *n == name)?, path)));
        let next = arrays.iter().position(Option::is_none);
        let (position, path) = match (named, next) {
            (Some(named), _) => named,
            // A file's own name may hold `=`.
            (None, _) if text.contains('=') && !Path::new(text).exists() => {
                bail!(
                    "`{text}`: no such file, and no such input; the model's inputs: `{}`",
                    names.join("`, `")
                )
            }
            (None, Some(next)) => (next, text.as_str()),
            (None, None) => {
                bail!("`{text}`: one array too many; the model's inputs: `{}`", names.join("`, `"))
            }
        };
        ensure!(arrays[position].is_none(), "input `{}` is given twice", names[position]);
        arrays[position] = Some(read(Path::new(path))?);
    }
    let missing = arrays.iter().position(Option::is_none);
    if let Some(missing) = missing {
        bail!("input `{}` is not given (`--input {}=X.npy`)", names[missing], names[missing]);
    }
    Ok(arrays.into_iter().flatten().collect())
}

fn read(path: &Path) -> Result<Tensor> {
    let bytes = read_file(path, Limits::default().file_bytes)?;
    let array = read_npy(&bytes, &Limits::default())
        .map_err(|error| binesh::Error::from(error.in_file(&path.display().to_string())))?;
    Ok(Tensor::new(array.shape, array.data)?)
}

/// Inputs that nothing wanted depends on are not run.
fn used<'a>(model: &Model, session: &Session, inputs: &'a [Tensor]) -> Vec<binesh::core::View<'a>> {
    let all = model.graph().inputs().iter().zip(inputs);
    all.filter(|(id, _)| session.inputs().contains(id)).map(|(_, x)| x.view()).collect()
}

/// The keys and nodes to write.
fn wanted(model: &Model, layers: &[String]) -> Result<Vec<(String, NodeId)>> {
    if !layers.is_empty() {
        return named(model, layers);
    }
    let graph = model.graph();
    Ok(graph.outputs().iter().map(|&id| (graph.node(id).name.clone(), id)).collect())
}

/// The nodes of these names; a name given twice counts once, because it is a key.
fn named(model: &Model, names: &[String]) -> Result<Vec<(String, NodeId)>> {
    let first = |(index, name): &(usize, &String)| !names[..*index].contains(name);
    let distinct = names.iter().enumerate().filter(first);
    distinct.map(|(_, name)| Ok((name.clone(), model.find_node(name)?))).collect()
}

/// `LAYER[:INDEX]`
struct Entry {
    node: NodeId,
    index: Option<Vec<usize>>,
}

impl Entry {
    fn parse(model: &Model, text: &str) -> Result<Entry> {
        let index =
            |text: &str| text.split(',').map(|i| i.trim().parse().ok()).collect::<Option<Vec<usize>>>();
        let split = text.rsplit_once(':').and_then(|(name, tail)| Some((name, index(tail)?)));
        Ok(match split {
            // A layer's own name may hold a colon.
            Some((name, index)) if model.find_node(text).is_err() => {
                Entry { node: model.find_node(name)?, index: Some(index) }
            }
            _ => Entry { node: model.find_node(text)?, index: None },
        })
    }

    /// 1 at the entry of each item of the batch, or everywhere.
    fn seed(&self, shape: &Shape) -> Result<Tensor> {
        let mut seed = Tensor::zeros(shape.clone());
        let Some(index) = &self.index else {
            seed.data_mut().fill(1.0);
            return Ok(seed);
        };
        let item = shape.dims().get(1..).unwrap_or_default();
        let inside = index.len() == item.len() && index.iter().zip(item).all(|(i, extent)| i < extent);
        ensure!(inside, "index {index:?} is not inside {item:?}, the layer's output without its batch axis");
        let offset = index.iter().zip(item).fold(0, |at, (i, extent)| at * extent + i);
        for item in seed.data_mut().chunks_exact_mut(item.iter().product()) {
            item[offset] = 1.0;
        }
        Ok(seed)
    }
}
