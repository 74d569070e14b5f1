//! MNASNet-B1 (Tan et al. 2018, arXiv:1807.11626), torchvision's names. timm's are in [`super::timm_mobile`].

use binesh_core::Activation::{self, Linear};

use crate::zoo::architecture::{Architecture, Family, Source};
use crate::zoo::builder::{Builder, Value};
use crate::zoo::modules::{Made, Zeros};
use crate::zoo::names::Names;

pub(super) static FAMILY: Family = Family {
    architectures: &[
        Architecture::torchvision("mnasnet0_5", 224, 256),
        Architecture::torchvision("mnasnet0_75", 224, 232),
        Architecture::torchvision("mnasnet1_0", 224, 256),
        Architecture::torchvision("mnasnet1_3", 224, 232),
    ],
    recognize,
    build,
};

const EPSILON: f32 = 1e-5;

/// Figure 7: repeats and stride of each stack.
const STACKS: [(usize, usize); 6] = [(3, 2), (3, 2), (3, 2), (2, 1), (4, 2), (1, 1)];

/// Sizes differ in width only.
fn recognize(names: &Names<'_>) -> Vec<(Source, String)> {
    if !names.has("layers.8.0.layers.0.weight") || !names.has("layers.14.weight") {
        return Vec::new();
    }
    let name = match names.dims("layers.8.0.layers.6.weight") {
        Some([16, ..]) if names.dims("layers.0.weight").is_some_and(|dims| dims[0] == 16) => "mnasnet0_5",
        Some([24, ..]) if names.dims("layers.0.weight").is_some_and(|dims| dims[0] == 24) => "mnasnet0_75",
        Some([32, ..]) => "mnasnet1_3",
        _ => "mnasnet1_0",
    };
    vec![(Source::Torchvision, name.to_owned())]
}

fn build(b: &mut Builder, _: &Architecture, x: Value) -> Made {
    let x = b.conv("layers.0", 2, Zeros::Half, x)?;
    let x = b.norm_act("layers.1", "layers.2", EPSILON, Activation::RELU, x)?;
    let x = b.depthwise_conv("layers.3", 1, Zeros::Half, x)?;
    let x = b.norm_act("layers.4", "layers.5", EPSILON, Activation::RELU, x)?;
    let x = b.conv("layers.6", 1, Zeros::Half, x)?;
    let mut x = b.norm_act("layers.7", "", EPSILON, Linear, x)?;
    for (stack, (repeats, stride)) in (8..).zip(STACKS) {
        for index in 0..repeats {
            x = block(b, &format!("layers.{stack}.{index}"), if index == 0 { stride } else { 1 }, x)?;
        }
    }
    let x = b.conv("layers.14", 1, Zeros::Half, x)?;
    let x = b.norm_act("layers.15", "layers.16", EPSILON, Activation::RELU, x)?;
    let x = b.global_pool("mean", x)?;
    let x = b.drop_out("classifier.0", 0.2, x)?;
    b.linear("classifier.1", x)
}

fn block(b: &mut Builder, path: &str, stride: usize, input: Value) -> Made {
    let at = |part: usize| format!("{path}.layers.{part}");
    let x = b.conv(&at(0), 1, Zeros::Half, input)?;
    let x = b.norm_act(&at(1), &at(2), EPSILON, Activation::RELU, x)?;
    let x = b.depthwise_conv(&at(3), stride, Zeros::Half, x)?;
    let x = b.norm_act(&at(4), &at(5), EPSILON, Activation::RELU, x)?;
    let x = b.conv(&at(6), 1, Zeros::Half, x)?;
    let x = b.norm_act(&at(7), "", EPSILON, Linear, x)?;
    if stride == 1 && b.extents(x) == b.extents(input) {
        b.sum(&format!("{path}.add"), x, input)
    } else {
        Ok(x)
    }
}
