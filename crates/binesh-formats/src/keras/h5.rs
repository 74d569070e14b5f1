//! Reader of the HDF5 files of Keras: attributes, and weights by name or by path. Knows nothing of networks.
//!
//! Two layouts exist. Whole-model and old weights-only files list layers by *name*, in order, each with its weights by
//! name, in order. `.weights.h5` files and the weights inside a `.keras` archive have a *tree* of groups named after the
//! layers' classes, each with a group `vars` whose datasets are named 0, 1, 2...
//!
//! `hdf5-pure` returns an error for every damaged file it was tried on (14 files, each cut at every 37th byte and with
//! 60,000 random changes, arithmetic overflow trapped); here only sizes are limited.

use std::cell::Cell;
use std::collections::{BTreeMap, HashMap};

use half::f16;
use hdf5_pure::{AttrValue, Dataset, Datatype, DatatypeByteOrder, File, Group};

use crate::Limits;
use crate::error::FormatError;
use crate::meta::Meta;

/// Groups inside groups: every nested model costs three (`layers/functional/layers`).
const DEPTH_PER_NESTED_MODEL: usize = 4;

/// An opened file: what its attributes and names say. Values are read when asked for.
#[derive(Debug)]
pub(crate) struct H5 {
    /// By path: finding one again would walk every group on the way to it.
    datasets: HashMap<String, Dataset>,
    limits: Limits,
    /// Elements read so far: many names may be of one tensor.
    made: Cell<u64>,
    /// The architecture, as JSON text, of a whole-model file.
    pub(crate) model_config: Option<String>,
    /// `2.15.0`; `None` in files of Keras 1.0 and weights-only files of Keras 1.
    pub(crate) keras_version: Option<String>,
    /// `tensorflow`, `theano`...; not written before Keras 2.
    pub(crate) backend: Option<String>,
    /// Class names and preprocessing, when we wrote the file.
    pub(crate) meta: Meta,
    /// The weights, in one of the two layouts.
    pub(crate) weights: Stored,
}

/// Weights as the file arranges them.
#[derive(Debug, PartialEq)]
pub(crate) enum Stored {
    /// By layer name, in the order of `layer_names`; the weights of a nested model are one list under its name.
    Named(Vec<NamedLayer>),
    /// By class and position.
    Tree(TreeGroup),
}

/// One entry of `layer_names`.
#[derive(Debug, PartialEq)]
pub(crate) struct NamedLayer {
    pub(crate) name: String,
    pub(crate) tensors: Vec<StoredTensor>,
}

/// One group of the class-and-position layout.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct TreeGroup {
    /// The layer's own name, which Keras writes since 3.7 or so.
    pub(crate) layer_name: Option<String>,
    /// The datasets of `vars`, in the order of their numbers.
    pub(crate) vars: Vec<StoredTensor>,
    pub(crate) children: BTreeMap<String, TreeGroup>,
}

/// A tensor that is there to be read.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct StoredTensor {
    /// The weight's name as the file spells it: `block1_conv1/kernel:0`, or the number in `vars`.
    pub(crate) name: String,
    /// The path of the dataset.
    pub(crate) path: String,
    pub(crate) shape: Vec<usize>,
}

/// Whether `bytes` begin as an HDF5 file does.
pub(crate) fn is_h5(bytes: &[u8]) -> bool {
    hdf5_pure::is_hdf5_bytes(bytes)
}

impl H5 {
    /// Reads attributes, names and shapes; no values.
    pub(crate) fn open(bytes: Vec<u8>, limits: &Limits) -> Result<Self, FormatError> {
        Limits::check("the file's size in bytes", bytes.len() as u64, limits.file_bytes)?;
        let file = File::from_bytes(bytes).map_err(broken)?;
        let root = file.root();
        let attrs = root.attrs().map_err(broken)?;
        let text = |attrs: &HashMap<String, AttrValue>, name: &str| {
            attrs.get(name).and_then(AttrValue::as_str).map(str::to_owned)
        };
        let (model_config, mut keras_version, mut backend) =
            (text(&attrs, "model_config"), text(&attrs, "keras_version"), text(&attrs, "backend"));
        if let Some(config) = &model_config {
            Limits::check("the size in bytes of `model_config`", config.len() as u64, limits.json_bytes)?;
        }
        let meta = text(&attrs, Meta::KEY).map(|meta| {
            Limits::check("the size in bytes of `binesh`", meta.len() as u64, limits.json_bytes)?;
            Meta::from_text(&meta, "attributes")
        });
        let meta = meta.transpose()?.unwrap_or_default();
        let groups = root.groups().map_err(broken)?;
        let mut walk = Walk { limits, left: Walk::most(limits), datasets: HashMap::new() };
        let weights = if groups.iter().any(|g| g == "model_weights") {
            let group = root.group("model_weights").map_err(broken)?;
            let group_attrs = group.attrs().map_err(broken)?;
            keras_version = keras_version.or_else(|| text(&group_attrs, "keras_version"));
            backend = backend.or_else(|| text(&group_attrs, "backend"));
            walk.named(&group, &group_attrs, "model_weights/")?
        } else if strings(&attrs, "layer_names")?.is_some() {
            walk.named(&root, &attrs, "")?
        } else if groups.iter().any(|g| g == "layers" || g == "_layer_checkpoint_dependencies" || g == "vars")
        {
            let depth = limits.nesting.saturating_mul(DEPTH_PER_NESTED_MODEL);
            Stored::Tree(walk.tree(&root, "", depth)?)
        } else if model_config.is_some() {
            return Err(FormatError::malformed("the file has a `model_config` but no group `model_weights`"));
        } else if attrs.contains_key("nb_layers") {
            return Err(FormatError::unsupported("weights of Keras 0.3 or older, numbered instead of named"));
        } else {
            return Err(FormatError::unsupported(
                "an HDF5 file without `model_config`, `layer_names` or `layers`: not written by Keras",
            ));
        };
        let datasets = walk.datasets;
        Ok(Self {
            datasets,
            limits: limits.clone(),
            made: Cell::new(0),
            model_config,
            keras_version,
            backend,
            meta,
            weights,
        })
    }

    /// The values of a tensor in C order, as f32 whatever the file holds.
    pub(crate) fn read(&self, tensor: &StoredTensor) -> Result<Vec<f32>, FormatError> {
        let dataset = self
            .datasets
            .get(&tensor.path)
            .ok_or_else(|| FormatError::malformed(format!("the file has no tensor `{}`", tensor.path)))?;
        let elements = elements(&tensor.path, &tensor.shape, &self.limits)?;
        self.made.set(self.limits.all_elements(self.made.get(), elements)?);
        let values = decode(dataset, &tensor.path, elements)?;
        if values.len() != elements {
            return Err(FormatError::malformed(format!(
                "tensor `{}` has {} values, its shape {:?} needs {elements}",
                tensor.path,
                values.len(),
                tensor.shape
            )));
        }
        Ok(values)
    }
}

/// The walk over the groups that hold weights.
struct Walk<'a> {
    limits: &'a Limits,
    /// How many more groups and tensors may be met.
    left: u64,
    datasets: HashMap<String, Dataset>,
}

impl Walk<'_> {
    fn most(limits: &Limits) -> u64 {
        (limits.layers as u64).saturating_mul(4)
    }

    fn spend(&mut self, n: usize) -> Result<(), FormatError> {
        let most = Self::most(self.limits);
        self.left = self.left.checked_sub(n as u64).ok_or_else(|| {
            FormatError::limit("the number of groups and tensors", most.saturating_add(1), most)
        })?;
        Ok(())
    }

    fn named(
        &mut self,
        group: &Group,
        attrs: &HashMap<String, AttrValue>,
        prefix: &str,
    ) -> Result<Stored, FormatError> {
        let names = strings(attrs, "layer_names")?
            .ok_or_else(|| FormatError::malformed("the group of weights has no attribute `layer_names`"))?;
        Limits::check("the number of layers", names.len() as u64, self.limits.layers as u64)?;
        let groups: HashMap<String, Group> = group.iter_groups().map_err(broken)?.collect();
        let mut layers = Vec::new();
        for name in names {
            let path = format!("{prefix}{name}");
            let tensors = match groups.get(&name) {
                Some(layer) => self.tensors(layer, &path)?,
                // A name with a slash is a group in a group.
                None => self.tensors(&group.group(&name).map_err(broken)?, &path)?,
            };
            layers.push(NamedLayer { name, tensors });
        }
        // Weights of the outer model itself, outside any layer. Empty except for subclassed models.
        const TOP: &str = "top_level_model_weights";
        if let Some(top) = groups.get(TOP) {
            let tensors = self.tensors(top, &format!("{prefix}{TOP}"))?;
            if !tensors.is_empty() {
                layers.push(NamedLayer { name: TOP.to_owned(), tensors });
            }
        }
        Ok(Stored::Named(layers))
    }

    /// The tensors that a layer's `weight_names` lists, in its order.
    fn tensors(&mut self, layer: &Group, path: &str) -> Result<Vec<StoredTensor>, FormatError> {
        let attrs = layer.attrs().map_err(broken)?;
        let names = strings(&attrs, "weight_names")?.ok_or_else(|| {
            FormatError::malformed(format!("group `{path}` has no attribute `weight_names`"))
        })?;
        self.spend(names.len())?;
        let mut tensors = Vec::new();
        for name in names {
            let path = format!("{path}/{name}");
            let dataset =
                layer.dataset(&name).map_err(|e| FormatError::malformed(format!("tensor `{path}`: {e}")))?;
            tensors.push(self.tensor(name, path, dataset)?);
        }
        Ok(tensors)
    }

    fn tensor(&mut self, name: String, path: String, dataset: Dataset) -> Result<StoredTensor, FormatError> {
        let shape = shape(&dataset, &path, self.limits)?;
        self.datasets.insert(path.clone(), dataset);
        Ok(StoredTensor { name, path, shape })
    }

    fn tree(&mut self, group: &Group, path: &str, depth: usize) -> Result<TreeGroup, FormatError> {
        let mut node = TreeGroup::default();
        for (name, child) in group.iter_groups().map_err(broken)? {
            self.spend(1)?;
            let path = if path.is_empty() { name.clone() } else { format!("{path}/{name}") };
            if path == "optimizer" {
                continue;
            }
            if name == "vars" {
                let attrs = child.attrs().map_err(broken)?;
                node.layer_name = attrs.get("name").and_then(AttrValue::as_str).map(str::to_owned);
                for (name, dataset) in child.iter_datasets().map_err(broken)? {
                    self.spend(1)?;
                    let path = format!("{path}/{name}");
                    node.vars.push(self.tensor(name, path, dataset)?);
                }
                node.vars.sort_by_cached_key(|tensor| {
                    (tensor.name.parse().unwrap_or(u64::MAX), tensor.name.clone())
                });
            } else {
                // A hard link may lead back to a parent: depth and budget end the walk.
                let depth =
                    depth.checked_sub(1).ok_or_else(|| FormatError::limit("the depth of groups", 1, 0))?;
                node.children.insert(name, self.tree(&child, &path, depth)?);
            }
        }
        Ok(node)
    }
}

/// A list of strings, which Keras splits over `name0`, `name1`... when it is long. h5py stores an empty list as an
/// empty array of floats. `None` when the attribute is not there.
fn strings(attrs: &HashMap<String, AttrValue>, name: &str) -> Result<Option<Vec<String>>, FormatError> {
    let list = |value: &AttrValue| match (value.as_strings(), value.to_f64s()) {
        (Some(strings), _) => Ok(strings.to_vec()),
        (None, Some(floats)) if floats.is_empty() => Ok(Vec::new()),
        _ => Err(FormatError::malformed(format!("attribute `{name}` is not a list of names"))),
    };
    if let Some(value) = attrs.get(name) {
        return list(value).map(Some);
    }
    let mut all = None::<Vec<String>>;
    for part in 0.. {
        let Some(value) = attrs.get(&format!("{name}{part}")) else { break };
        all.get_or_insert_default().extend(list(value)?);
    }
    Ok(all)
}

fn shape(dataset: &Dataset, path: &str, limits: &Limits) -> Result<Vec<usize>, FormatError> {
    let dims = dataset.shape().map_err(|e| FormatError::malformed(format!("tensor `{path}`: {e}")))?;
    let dims: Option<Vec<usize>> = dims.into_iter().map(|d| usize::try_from(d).ok()).collect();
    let dims = dims.ok_or_else(|| FormatError::malformed(format!("tensor `{path}`: its shape overflows")))?;
    elements(path, &dims, limits)?;
    Ok(dims)
}

fn elements(path: &str, shape: &[usize], limits: &Limits) -> Result<usize, FormatError> {
    let n = shape
        .iter()
        .try_fold(1u64, |n, &d| n.checked_mul(d as u64))
        .ok_or_else(|| FormatError::malformed(format!("tensor `{path}`: its shape {shape:?} overflows")))?;
    Limits::check(&format!("the number of elements of tensor `{path}`"), n, limits.tensor_elements)?;
    usize::try_from(n).map_err(|_| FormatError::limit("the number of elements", n, usize::MAX as u64))
}

/// Bytes that are decoded at a time: the raw values of a large tensor are never in memory a second time, whose pages would
/// cost more than the decoding.
const WINDOW: usize = 1 << 20;

/// All of `elements` values, or what the file has of them.
fn decode(dataset: &Dataset, path: &str, elements: usize) -> Result<Vec<f32>, FormatError> {
    let in_tensor = |e: hdf5_pure::Error| FormatError::malformed(format!("tensor `{path}`: {e}"));
    let datatype = dataset.datatype().map_err(in_tensor)?;
    let refuse =
        || FormatError::unsupported(format!("tensor `{path}`: element type {datatype} is not supported"));
    let (size, order) = match &datatype {
        Datatype::FloatingPoint { size, byte_order, .. } => (*size, *byte_order),
        // A counter or a seed: kept only so that the list of weights has no holes.
        Datatype::FixedPoint { .. } => {
            let whole = dataset.read_f64().map_err(in_tensor)?;
            return Ok(whole.into_iter().map(|v| v as f32).collect());
        }
        _ => return Err(refuse()),
    };
    let little = match order {
        DatatypeByteOrder::LittleEndian => true,
        DatatypeByteOrder::BigEndian => false,
        DatatypeByteOrder::Vax => return Err(refuse()),
    };
    let layout = match &datatype {
        Datatype::FloatingPoint { layout, .. } => (layout.exponent_size, layout.mantissa_size),
        _ => return Err(refuse()),
    };
    let kind = match (size, layout) {
        (2, (5, 10)) => Kind::F16,
        (2, (8, 7)) => Kind::Bf16,
        (4, (8, 23)) => Kind::F32,
        (8, (11, 52)) => Kind::F64,
        _ => return Err(refuse()),
    };
    let rows = dataset.shape().map_err(in_tensor)?.first().copied().unwrap_or(1);
    let row = (elements / usize::try_from(rows).unwrap_or(usize::MAX).max(1)).saturating_mul(size as usize);
    let together = (WINDOW / row.max(1)).max(1) as u64;
    if dataset.is_chunked() || together >= rows {
        let raw = dataset.read_raw().map_err(in_tensor)?;
        return Ok(kind.values(&raw, little, raw.len() / size as usize));
    }
    let mut values = Vec::new();
    for first in (0..rows).step_by(together as usize) {
        let raw = dataset.read_raw_rows(first, together).map_err(in_tensor)?;
        // The first window proves that the file has values at all before room is made for those it promises.
        if first == 0 && !raw.is_empty() {
            let most = values.capacity() as u64;
            let refused =
                |_| FormatError::limit("the memory for the number of elements", elements as u64, most);
            values.try_reserve_exact(elements).map_err(refused)?;
        }
        kind.append(&raw, little, &mut values);
    }
    Ok(values)
}

/// Floating-point numbers of HDF5 that are read.
#[derive(Clone, Copy)]
enum Kind {
    F16,
    Bf16,
    F32,
    F64,
}

impl Kind {
    fn values(self, raw: &[u8], little: bool, count: usize) -> Vec<f32> {
        let mut values = Vec::with_capacity(count);
        self.append(raw, little, &mut values);
        values
    }

    fn append(self, raw: &[u8], little: bool, to: &mut Vec<f32>) {
        match self {
            Kind::F16 => append(raw, little, to, |b| f16::from_le_bytes(b).to_f32()),
            Kind::Bf16 => append(raw, little, to, |[a, b]| f32::from_le_bytes([0, 0, a, b])),
            Kind::F32 => append(raw, little, to, f32::from_le_bytes),
            Kind::F64 => append(raw, little, to, |b| f64::from_le_bytes(b) as f32),
        }
    }
}

fn append<const SIZE: usize>(raw: &[u8], little: bool, to: &mut Vec<f32>, f: impl Fn([u8; SIZE]) -> f32) {
    let ordered = |b: &[u8; SIZE]| {
        let mut b = *b;
        if !little {
            b.reverse();
        }
        b
    };
    to.extend(raw.as_chunks::<SIZE>().0.iter().map(|b| f(ordered(b))));
}

fn broken(e: hdf5_pure::Error) -> FormatError {
    use hdf5_pure::FormatError::UnexpectedEof;
    match e {
        hdf5_pure::Error::Format(UnexpectedEof { expected, available }) => FormatError::malformed(format!(
            "the file is cut short or damaged: it names byte {expected} of {available}"
        )),
        e => FormatError::malformed(format!("not a readable HDF5 file: {e}")),
    }
}

#[cfg(test)]
mod tests {
    use hdf5_pure::FileBuilder;

    use super::*;

    fn open(file: FileBuilder) -> Result<H5, FormatError> {
        H5::open(file.finish().unwrap(), &Limits::default())
    }

    fn names(names: &[&str]) -> AttrValue {
        AttrValue::StringArray(names.iter().map(|&n| n.to_owned()).collect())
    }

    /// A weights-only file: `conv` with `kernel:0` and `bias:0`, and `relu` without weights as h5py writes it.
    fn weights_only(split: bool) -> FileBuilder {
        let mut file = FileBuilder::new();
        if split {
            file.set_attr("layer_names0", names(&["conv"]));
            file.set_attr("layer_names1", names(&["relu"]));
        } else {
            file.set_attr("layer_names", names(&["conv", "relu"]));
        }
        let mut conv = file.create_group("conv");
        conv.set_attr("weight_names", names(&["conv/kernel:0", "conv/bias:0"]));
        let mut inner = conv.create_group("conv");
        inner.create_dataset("kernel:0").with_f32_data(&[1., 2., 3., 4.]).with_shape(&[2, 2]);
        inner.create_dataset("bias:0").with_f64_data(&[0.1, -2.5]).with_shape(&[2]);
        conv.add_group(inner.finish());
        file.add_group(conv.finish());
        let mut relu = file.create_group("relu");
        relu.set_attr("weight_names", AttrValue::F64Array(Vec::new()));
        file.add_group(relu.finish());
        file
    }

    #[test]
    fn weights_are_listed_by_name_in_order() {
        for split in [false, true] {
            let h5 = open(weights_only(split)).unwrap();
            let Stored::Named(layers) = &h5.weights else { panic!("{:?}", h5.weights) };
            assert_eq!(layers.iter().map(|l| l.name.as_str()).collect::<Vec<_>>(), ["conv", "relu"]);
            let [kernel, bias] = &layers[0].tensors[..] else { panic!("{layers:?}") };
            assert_eq!((kernel.name.as_str(), &kernel.shape[..]), ("conv/kernel:0", &[2, 2][..]));
            assert_eq!(h5.read(kernel).unwrap(), [1., 2., 3., 4.]);
            assert_eq!(h5.read(bias).unwrap(), [0.1, -2.5]);
            assert_eq!(layers[1].tensors, []);
        }
    }

    #[test]
    fn the_tree_of_classes_is_read_in_the_order_of_the_numbers() {
        let mut file = FileBuilder::new();
        let mut layers = file.create_group("layers");
        let mut dense = layers.create_group("dense");
        let mut vars = dense.create_group("vars");
        vars.set_attr("name", AttrValue::String("fc".into()));
        for i in [10, 2, 0, 1] {
            vars.create_dataset(&i.to_string()).with_f32_data(&[i as f32]).with_shape(&[1]);
        }
        dense.add_group(vars.finish());
        layers.add_group(dense.finish());
        file.add_group(layers.finish());
        let mut optimizer = file.create_group("optimizer");
        let mut vars = optimizer.create_group("vars");
        vars.create_dataset("0").with_i64_data(&[7]);
        optimizer.add_group(vars.finish());
        file.add_group(optimizer.finish());
        let h5 = open(file).unwrap();
        let Stored::Tree(root) = &h5.weights else { panic!("{:?}", h5.weights) };
        assert_eq!(root.children.keys().collect::<Vec<_>>(), ["layers"]);
        let dense = &root.children["layers"].children["dense"];
        assert_eq!(dense.layer_name.as_deref(), Some("fc"));
        let values: Vec<f32> = dense.vars.iter().flat_map(|t| h5.read(t).unwrap()).collect();
        assert_eq!(values, [0., 1., 2., 10.]);
    }

    #[test]
    fn a_tensor_over_the_limit_is_refused_before_it_is_read() {
        let bytes = weights_only(false).finish().unwrap();
        let e = H5::open(bytes, &Limits { tensor_elements: 3, ..Limits::default() }).unwrap_err();
        assert_eq!(
            e.to_string(),
            "the number of elements of tensor `conv/conv/kernel:0` is 4, more than the limit of 3"
        );
    }

    #[test]
    fn what_is_wrong_is_said() {
        let e = open(FileBuilder::new()).unwrap_err();
        let want = "an HDF5 file without `model_config`, `layer_names` or `layers`: not written by Keras";
        assert_eq!(e.to_string(), want);
        let e = H5::open(b"hello".to_vec(), &Limits::default()).unwrap_err();
        assert!(e.to_string().starts_with("not a readable HDF5 file: "), "{e}");
        let mut file = weights_only(false);
        file.set_attr("layer_names", names(&["conv", "lost"]));
        assert!(open(file).unwrap_err().to_string().contains("lost"));
    }
}
