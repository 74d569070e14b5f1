//! Which stored tensor is which weight, and how its values are laid out.
//!
//! Files list weights by layer name, or in a tree by class and position ([`Stored`]). Layers are never counted against
//! each other: a name that fits decides, then the order among layers with weights; every shape is checked.

use std::collections::{BTreeMap, HashMap, HashSet};

use binesh_core::{LayerId, Layers, Params, Tensor};

use super::h5::{H5, NamedLayer, Stored, StoredTensor, TreeGroup};
use super::mapper::{Mapped, Role, Slot};
use crate::error::FormatError;
use crate::network::{LoadReport, UsedTensor};

/// What the file says about how its weights are laid out.
#[derive(Clone, Debug, Default)]
pub(super) struct Origin {
    /// Written by Keras 1.
    pub(super) keras1: bool,
    /// Trained by Theano, whose convolutions turn the kernel around.
    pub(super) theano: bool,
}

/// Gives every weight its value.
pub(super) fn fill(
    mapped: &Mapped,
    h5: &H5,
    origin: &Origin,
    report: &mut LoadReport,
) -> Result<Params, FormatError> {
    let matcher = Matcher::new(mapped, origin);
    let pairs = match &h5.weights {
        Stored::Named(layers) => matcher.named(layers)?,
        Stored::Tree(root) => matcher.tree(root)?,
    };
    let mut params = Params::default();
    let mut used = HashSet::new();
    for (slot, tensor) in pairs {
        let name = mapped.graph.node(slot.node).name.clone();
        let layer = mapped.layers.get(slot.layer);
        let place = |e: FormatError| e.in_layer(&layer.path, &layer.class);
        let values = h5.read(tensor).map_err(place)?;
        let (values, change) = laid_out(slot, tensor, values, origin);
        if let Some(change) = change {
            report.transposed.push(format!("{name}: {change}"));
        }
        let shape: Vec<usize> = mapped.graph.dims(slot.node).into_iter().flatten().collect();
        let values =
            if slot.role == Role::Broadcast { vec![values[0]; shape.iter().product()] } else { values };
        let value = Tensor::new(shape, values).map_err(|e| place(FormatError::malformed(e.to_string())))?;
        params.set(slot.node, value);
        used.insert(tensor.path.as_str());
        report.used.push(UsedTensor { tensor: tensor.path.clone(), weight: name });
    }
    let mut all = Vec::new();
    match &h5.weights {
        Stored::Named(layers) => all.extend(layers.iter().flat_map(|layer| &layer.tensors)),
        Stored::Tree(root) => every_tensor(root, &mut all),
    }
    report.unused.extend(all.iter().filter(|t| !used.contains(t.path.as_str())).map(|t| t.path.clone()));
    Ok(params)
}

fn every_tensor<'a>(group: &'a TreeGroup, to: &mut Vec<&'a StoredTensor>) {
    to.extend(&group.vars);
    group.children.values().for_each(|child| every_tensor(child, to));
}

type Pairs<'a> = Vec<(&'a Slot, &'a StoredTensor)>;

struct Matcher<'a> {
    layers: &'a Layers,
    origin: &'a Origin,
    slots: HashMap<LayerId, Vec<&'a Slot>>,
    children: HashMap<Option<LayerId>, Vec<LayerId>>,
    trainable: HashMap<LayerId, Vec<bool>>,
}

impl<'a> Matcher<'a> {
    fn new(mapped: &'a Mapped, origin: &'a Origin) -> Self {
        let mut slots: HashMap<LayerId, Vec<&Slot>> = HashMap::new();
        let mut trainable: HashMap<LayerId, Vec<bool>> = HashMap::new();
        for slot in &mapped.slots {
            slots.entry(slot.layer).or_default().push(slot);
            let learns = mapped.layers.learns(&mapped.graph, slot.layer, slot.node);
            trainable.entry(slot.layer).or_default().push(learns);
        }
        let mut children: HashMap<Option<LayerId>, Vec<LayerId>> = HashMap::new();
        for (id, layer) in mapped.layers.iter() {
            children.entry(layer.parent).or_default().push(id);
        }
        Self { layers: &mapped.layers, origin, slots, children, trainable }
    }

    fn inside(&self, row: Option<LayerId>) -> &[LayerId] {
        self.children.get(&row).map(Vec::as_slice).unwrap_or_default()
    }

    /// The weights of a layer and of all layers inside it, in the order of the file's architecture.
    fn within(&self, row: LayerId) -> Vec<&'a Slot> {
        let mut found = self.slots.get(&row).cloned().unwrap_or_default();
        for &child in self.inside(Some(row)) {
            found.extend(self.within(child));
        }
        found
    }

    fn learns(&self, slot: &Slot) -> bool {
        let of_layer = self.slots[&slot.layer].iter().zip(&self.trainable[&slot.layer]);
        of_layer.into_iter().any(|(other, learns)| other.node == slot.node && *learns)
    }

    /// By layer name.
    fn named(&self, stored: &'a [NamedLayer]) -> Result<Pairs<'a>, FormatError> {
        let by_name: HashMap<&str, &NamedLayer> = stored.iter().map(|l| (l.name.as_str(), l)).collect();
        let by_names = self.named_within(None, &by_name, &mut HashSet::new());
        let names_failed = match by_names {
            Ok(pairs) => return Ok(pairs),
            Err(e) => e,
        };
        // Names made up by Keras count on from model to model: `conv2d_5` may be another's `conv2d`.
        let ours: Vec<LayerId> =
            self.inside(None).iter().copied().filter(|&row| !self.within(row).is_empty()).collect();
        let theirs: Vec<&NamedLayer> = stored.iter().filter(|l| !l.tensors.is_empty()).collect();
        if ours.len() == theirs.len() {
            let mut pairs = Vec::new();
            let in_order = ours.iter().zip(&theirs).try_for_each(|(&row, stored)| {
                pairs.extend(self.one_named(row, stored)?);
                Ok::<_, FormatError>(())
            });
            if in_order.is_ok() {
                return Ok(pairs);
            }
        }
        let names = |names: Vec<&str>| names.join(" ");
        let ours = names(ours.iter().map(|&row| self.layers.get(row).path.as_str()).collect());
        let theirs = names(theirs.iter().map(|l| l.name.as_str()).collect());
        Err(names_failed.with_hint(sides(&ours, &theirs)))
    }

    fn named_within(
        &self,
        parent: Option<LayerId>,
        by_name: &HashMap<&str, &'a NamedLayer>,
        taken: &mut HashSet<String>,
    ) -> Result<Pairs<'a>, FormatError> {
        let mut pairs = Vec::new();
        for &row in self.inside(parent) {
            let slots = self.within(row);
            if slots.is_empty() {
                continue;
            }
            let layer = self.layers.get(row);
            match by_name.get(layer.name.as_str()) {
                Some(stored) if taken.insert(layer.name.clone()) => {
                    pairs.extend(self.one_named(row, stored)?);
                }
                // Keras 1 lists the layers of a nested model beside the others.
                _ if !self.inside(Some(row)).is_empty() => {
                    pairs.extend(self.named_within(Some(row), by_name, taken)?);
                }
                _ => return Err(self.missing(slots[0])),
            }
        }
        Ok(pairs)
    }

    /// The stored list of one layer or nested model.
    fn one_named(&self, row: LayerId, stored: &'a NamedLayer) -> Result<Pairs<'a>, FormatError> {
        let slots = self.within(row);
        if self.inside(Some(row)).is_empty() {
            return self.in_order(row, &slots, &stored.tensors);
        }
        if let Some(pairs) = self.by_weight_names(&slots, &stored.tensors) {
            return Ok(pairs);
        }
        // Keras lists what learns before what does not.
        let (mut learning, rest): (Vec<&Slot>, Vec<&Slot>) = slots.iter().partition(|slot| self.learns(slot));
        learning.extend(rest);
        self.in_order(row, &learning, &stored.tensors)
            .or_else(|e| self.in_order(row, &slots, &stored.tensors).map_err(|_| e))
    }

    /// `block1_conv1/kernel:0` names the layer and the weight, if each does so once.
    fn by_weight_names(&self, slots: &[&'a Slot], stored: &'a [StoredTensor]) -> Option<Pairs<'a>> {
        let mut by_name: HashMap<(&str, &str), Option<&StoredTensor>> = HashMap::new();
        for tensor in stored {
            let mut parts = tensor.name.rsplit('/');
            let weight = parts.next()?.split(':').next()?;
            by_name.entry((parts.next()?, weight)).and_modify(|twice| *twice = None).or_insert(Some(tensor));
        }
        let mut pairs = Vec::new();
        for slot in slots {
            let name = self.layers.get(slot.layer).name.as_str();
            let tensor = (*by_name.get(&(name.rsplit('/').next()?, slot.name))?)?;
            self.fits(slot, tensor).then_some(())?;
            pairs.push((*slot, tensor));
        }
        let distinct: HashSet<&str> = pairs.iter().map(|(_, t)| t.path.as_str()).collect();
        (distinct.len() == pairs.len()).then_some(pairs)
    }

    /// One stored tensor for each weight, in order.
    fn in_order(
        &self,
        row: LayerId,
        slots: &[&'a Slot],
        stored: &'a [StoredTensor],
    ) -> Result<Pairs<'a>, FormatError> {
        let layer = self.layers.get(row);
        let names = || {
            let ours: Vec<&str> = slots.iter().map(|slot| slot.name).collect();
            let theirs: Vec<&str> = stored.iter().map(|t| t.name.as_str()).collect();
            sides(&ours.join(" "), &theirs.join(" "))
        };
        if let Some(lacking) = slots.get(stored.len()) {
            return Err(self.missing(lacking).with_hint(names()));
        }
        // A state that is no weight of ours, such as a random generator's, may follow those of a nested model.
        if stored.len() > slots.len() && self.inside(Some(row)).is_empty() {
            let e = FormatError::WeightCount {
                place: Box::default(),
                expected: slots.len(),
                got: stored.len(),
                hint: Some(names()),
            };
            return Err(e.in_layer(&layer.path, &layer.class));
        }
        for (slot, tensor) in slots.iter().zip(stored) {
            if !self.fits(slot, tensor) {
                return Err(self.wrong_shape(slot, tensor).with_hint(names()));
            }
        }
        Ok(slots.iter().copied().zip(stored).collect())
    }

    fn fits(&self, slot: &Slot, tensor: &StoredTensor) -> bool {
        match slot.role {
            Role::Broadcast => tensor.shape.iter().product::<usize>() == 1,
            _ => tensor.shape == self.stored_shape(slot),
        }
    }

    /// The shape that the file should have.
    fn stored_shape(&self, slot: &Slot) -> Vec<usize> {
        match (keras1_axes(slot.role).filter(|_| self.origin.keras1), &slot.stored[..]) {
            // The inverse of what brings the file's axes into our order.
            (Some(axes), [_, _, _, _]) => {
                let mut shape = vec![0; 4];
                axes.iter().zip(&slot.stored).for_each(|(&axis, &extent)| shape[axis] = extent);
                shape
            }
            _ => slot.stored.clone(),
        }
    }

    /// By class and position.
    fn tree(&self, root: &'a TreeGroup) -> Result<Pairs<'a>, FormatError> {
        let mut pairs = Vec::new();
        self.tree_within(None, root, &mut pairs)?;
        Ok(pairs)
    }

    fn tree_within(
        &self,
        parent: Option<LayerId>,
        group: &'a TreeGroup,
        pairs: &mut Pairs<'a>,
    ) -> Result<(), FormatError> {
        let wanted: Vec<LayerId> =
            self.inside(parent).iter().copied().filter(|&row| !self.within(row).is_empty()).collect();
        let Some(&first) = wanted.first() else { return Ok(()) };
        // Keras up to 2.12 reached the layers through another attribute of the model.
        let container = ["layers", "_layer_checkpoint_dependencies"];
        let groups = container.iter().find_map(|name| group.children.get(*name)).map(|g| &g.children);
        let groups = groups.ok_or_else(|| self.missing(self.within(first)[0]))?;
        let found = self
            .by_layer_names(&wanted, groups)
            .or_else(|| self.by_class_counters(parent, &wanted, groups))
            .or_else(|| self.by_class_order(&wanted, groups));
        let Some(found) = found else {
            let lacking = wanted.iter().find(|&&row| !groups.contains_key(&self.counters(parent)[&row]));
            let ours: Vec<&str> = wanted.iter().map(|&row| self.layers.get(row).path.as_str()).collect();
            let theirs: Vec<&str> = groups.keys().map(String::as_str).collect();
            let lacking = self.within(*lacking.unwrap_or(&first))[0];
            return Err(self.missing(lacking).with_hint(sides(&ours.join(" "), &theirs.join(" "))));
        };
        for (&row, group) in wanted.iter().zip(found) {
            if let Some(slots) = self.slots.get(&row) {
                pairs.extend(self.in_order(row, slots, &group.vars)?);
            }
            self.tree_within(Some(row), group, pairs)?;
        }
        Ok(())
    }

    /// Keras writes the layer's own name beside its variables since 3.7 or so.
    fn by_layer_names(
        &self,
        wanted: &[LayerId],
        groups: &'a BTreeMap<String, TreeGroup>,
    ) -> Option<Vec<&'a TreeGroup>> {
        let named = groups.values().filter_map(|group| Some((group.layer_name.as_deref()?, group)));
        let named: HashMap<&str, &TreeGroup> = named.collect();
        wanted.iter().map(|&row| named.get(self.layers.get(row).name.as_str()).copied()).collect()
    }

    /// `conv2d`, `conv2d_1`, `conv2d_2`...: the class in snake case, counted over all layers of the model.
    fn by_class_counters(
        &self,
        parent: Option<LayerId>,
        wanted: &[LayerId],
        groups: &'a BTreeMap<String, TreeGroup>,
    ) -> Option<Vec<&'a TreeGroup>> {
        let names = self.counters(parent);
        let found: Option<Vec<&TreeGroup>> = wanted.iter().map(|row| groups.get(&names[row])).collect();
        found.filter(|found| wanted.iter().zip(found).all(|(&row, group)| self.plausible(row, group)))
    }

    fn counters(&self, parent: Option<LayerId>) -> HashMap<LayerId, String> {
        let mut next: HashMap<String, usize> = HashMap::new();
        let mut names = HashMap::new();
        for &row in self.inside(parent) {
            let class = snake_case(&self.layers.get(row).class);
            let n = next.entry(class.clone()).or_insert(0);
            names.insert(row, if *n == 0 { class } else { format!("{class}_{n}") });
            *n += 1;
        }
        names
    }

    /// Groups of one class with weights in them, in the order of their numbers, whichever those are.
    fn by_class_order(
        &self,
        wanted: &[LayerId],
        groups: &'a BTreeMap<String, TreeGroup>,
    ) -> Option<Vec<&'a TreeGroup>> {
        let mut by_class: HashMap<&str, Vec<(usize, &TreeGroup)>> = HashMap::new();
        for (name, group) in groups {
            let numbered =
                name.rsplit_once('_').and_then(|(class, n)| Some((class, n.parse::<usize>().ok()?)));
            let (class, n) = numbered.unwrap_or((name, 0));
            let mut tensors = Vec::new();
            every_tensor(group, &mut tensors);
            if !tensors.is_empty() {
                by_class.entry(class).or_default().push((n, group));
            }
        }
        by_class.values_mut().for_each(|groups| groups.sort_by_key(|(n, _)| *n));
        let mut taken: HashMap<String, usize> = HashMap::new();
        let mut found = Vec::new();
        for &row in wanted {
            let class = snake_case(&self.layers.get(row).class);
            let n = taken.entry(class.clone()).or_insert(0);
            let (_, group) = by_class.get(class.as_str())?.get(*n)?;
            *n += 1;
            found.push(*group);
        }
        wanted.iter().zip(&found).all(|(&row, group)| self.plausible(row, group)).then_some(found)
    }

    /// Whether a group has variables where the layer has weights.
    fn plausible(&self, row: LayerId, group: &TreeGroup) -> bool {
        self.slots.get(&row).is_none_or(|slots| slots.len() <= group.vars.len())
    }

    fn missing(&self, slot: &Slot) -> FormatError {
        let layer = self.layers.get(slot.layer);
        FormatError::MissingWeight {
            place: Box::default(),
            weight: slot.name.to_owned(),
            expected: self.stored_shape(slot).into_iter().map(Some).collect(),
            hint: None,
        }
        .in_layer(&layer.path, &layer.class)
    }

    fn wrong_shape(&self, slot: &Slot, tensor: &StoredTensor) -> FormatError {
        let layer = self.layers.get(slot.layer);
        FormatError::WrongShape {
            place: Box::default(),
            weight: slot.name.to_owned(),
            expected: self.stored_shape(slot).into_iter().map(Some).collect(),
            got: tensor.shape.clone(),
            hint: None,
        }
        .in_layer(&layer.path, &layer.class)
    }
}

/// Both sides of a match that failed, each short enough to be read.
fn sides(ours: &str, theirs: &str) -> String {
    let cut = |text: &str| match text.char_indices().nth(600) {
        Some((at, _)) => format!("{}...", &text[..at]),
        None => text.to_owned(),
    };
    format!("the network wants: {}; the file has: {}", cut(ours), cut(theirs))
}

/// For a convolution's kernel in a file of Keras 1: which of its axes each of ours is.
fn keras1_axes(role: Role) -> Option<[usize; 4]> {
    match role {
        Role::Kernel { channels_first: true } | Role::TransposedKernel { channels_first: true } => {
            Some([2, 3, 1, 0])
        }
        Role::TransposedKernel { channels_first: false } => Some([0, 1, 3, 2]),
        Role::Kernel { channels_first: false } | Role::Plain | Role::Broadcast => None,
    }
}

/// The values in the order of the node's shape, and what was done to them.
fn laid_out(
    slot: &Slot,
    tensor: &StoredTensor,
    values: Vec<f32>,
    origin: &Origin,
) -> (Vec<f32>, Option<&'static str>) {
    let dims = <[usize; 4]>::try_from(&tensor.shape[..]);
    let (Role::Kernel { .. } | Role::TransposedKernel { .. }, Ok(dims)) = (slot.role, dims) else {
        return (values, None);
    };
    let axes = keras1_axes(slot.role).filter(|_| origin.keras1);
    let values = match axes {
        Some(axes) => transpose(&values, dims, axes),
        None => values,
    };
    if !origin.theano {
        return (values, axes.map(|_| "transposed"));
    }
    let per_tap = (slot.stored[2] * slot.stored[3]).max(1);
    let turned = values.chunks(per_tap).rev().flatten().copied().collect();
    (
        turned,
        Some(if axes.is_some() { "transposed and turned by 180 degrees" } else { "turned by 180 degrees" }),
    )
}

/// `y[i, j, k, l] = x[...]` where axis `n` of y is axis `axes[n]` of x.
///
/// # Shapes
/// `x` has the extents `dims`, the result `axes.map(|a| dims[a])`.
fn transpose(x: &[f32], dims: [usize; 4], axes: [usize; 4]) -> Vec<f32> {
    let strides = [dims[1] * dims[2] * dims[3], dims[2] * dims[3], dims[3], 1];
    let [a, b, c, d] = axes.map(|axis| dims[axis]);
    let [sa, sb, sc, sd] = axes.map(|axis| strides[axis]);
    let mut y = Vec::with_capacity(x.len());
    for i in 0..a {
        for j in 0..b {
            for k in 0..c {
                y.extend((0..d).map(|l| x[i * sa + j * sb + k * sc + l * sd]));
            }
        }
    }
    y
}

/// `keras.src.utils.naming.to_snake_case`: `Conv2DTranspose` is `conv2d_transpose`.
pub(super) fn snake_case(name: &str) -> String {
    let chars: Vec<char> = name.chars().filter(|c| c.is_alphanumeric() || *c == '_').collect();
    // `(.)([A-Z][a-z]+)` becomes `\1_\2`, then `([a-z])([A-Z])` becomes `\1_\2`.
    let mut words = Vec::new();
    let mut i = 0;
    while i < chars.len() {
        let lower = chars[(i + 2).min(chars.len())..].iter().take_while(|c| c.is_ascii_lowercase()).count();
        if lower > 0 && chars[i + 1].is_ascii_uppercase() {
            words.extend([chars[i], '_', chars[i + 1]]);
            words.extend(&chars[i + 2..i + 2 + lower]);
            i += 2 + lower;
        } else {
            words.push(chars[i]);
            i += 1;
        }
    }
    let mut snake = String::new();
    let mut i = 0;
    while i < words.len() {
        snake.push(words[i]);
        if words[i].is_ascii_lowercase() && words.get(i + 1).is_some_and(char::is_ascii_uppercase) {
            snake.extend(['_', words[i + 1]]);
            i += 1;
        }
        i += 1;
    }
    snake.to_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Values of `keras.src.utils.naming.to_snake_case` of Keras 3.15.
    #[test]
    fn class_names_in_snake_case() {
        for (class, want) in [
            ("Conv2D", "conv2d"),
            ("Conv2DTranspose", "conv2d_transpose"),
            ("DepthwiseConv2D", "depthwise_conv2d"),
            ("SeparableConv2D", "separable_conv2d"),
            ("BatchNormalization", "batch_normalization"),
            ("ReLU", "re_lu"),
            ("PReLU", "p_re_lu"),
            ("LeakyReLU", "leaky_re_lu"),
            ("ELU", "elu"),
            ("InputLayer", "input_layer"),
            ("GlobalAveragePooling2D", "global_average_pooling2d"),
            ("TFOpLambda", "tf_op_lambda"),
            ("Functional", "functional"),
            ("LayerScale", "layer_scale"),
        ] {
            assert_eq!(snake_case(class), want);
        }
    }

    /// `np.transpose(np.arange(24).reshape(1, 2, 3, 4), (2, 3, 1, 0))`, flattened.
    #[test]
    fn transposes_as_numpy() {
        let x: Vec<f32> = (0..24).map(|v| v as f32).collect();
        let y = transpose(&x, [1, 2, 3, 4], [2, 3, 1, 0]);
        assert_eq!(y[..8], [0., 12., 1., 13., 2., 14., 3., 15.]);
        assert_eq!(y.len(), 24);
    }
}
