//! MobileNetV3 (Howard et al. 2019, arXiv:1905.02244). timm's are in [`super::timm_mobile`].

use binesh_core::Activation::{self, HardSigmoid3, HardSwish, Linear};

use crate::zoo::architecture::{Architecture, Family, Source};
use crate::zoo::builder::{Builder, Value};
use crate::zoo::modules::Made;
use crate::zoo::names::Names;

pub(super) static FAMILY: Family = Family {
    architectures: &[
        Architecture::torchvision("mobilenet_v3_small", 224, 256),
        Architecture::torchvision("mobilenet_v3_large", 224, 256),
    ],
    recognize,
    build,
};

const EPSILON: f32 = 1e-3;

/// Tables 1 and 2: how many blocks, those with a stride of 2, and the first with hard swish.
struct Plan {
    blocks: usize,
    strided: [usize; 4],
    swish_from: usize,
}

const SMALL: Plan = Plan { blocks: 11, strided: [1, 2, 4, 9], swish_from: 4 };
const LARGE: Plan = Plan { blocks: 15, strided: [2, 4, 7, 13], swish_from: 7 };

fn recognize(names: &Names<'_>) -> Vec<(Source, String)> {
    if !names.has("features.1.block.0.0.weight") || !names.has("classifier.3.weight") {
        return Vec::new();
    }
    match names.count(|i| format!("features.{}.block.0.0.weight", i + 1)) {
        11 => vec![(Source::Torchvision, "mobilenet_v3_small".to_owned())],
        15 => vec![(Source::Torchvision, "mobilenet_v3_large".to_owned())],
        _ => Vec::new(),
    }
}

fn build(b: &mut Builder, architecture: &Architecture, x: Value) -> Made {
    let plan = if architecture.name == "mobilenet_v3_small" { SMALL } else { LARGE };
    let mut x = b.conv_norm_act("features.0", 2, EPSILON, HardSwish, x)?;
    for index in 1..=plan.blocks {
        let stride = if plan.strided.contains(&index) { 2 } else { 1 };
        let function = if index >= plan.swish_from { HardSwish } else { Activation::RELU };
        x = block(b, &format!("features.{index}"), stride, function, x)?;
    }
    let x = b.conv_norm_act(&format!("features.{}", plan.blocks + 1), 1, EPSILON, HardSwish, x)?;
    let x = b.global_pool("avgpool", x)?;
    let x = b.linear("classifier.0", x)?;
    let x = b.act("classifier.1", HardSwish, x)?;
    let x = b.drop_out("classifier.2", 0.2, x)?;
    b.linear("classifier.3", x)
}

/// Expand (not where the width stays), depthwise, squeeze-and-excite (in some), project.
fn block(b: &mut Builder, path: &str, stride: usize, function: Activation, input: Value) -> Made {
    let mut x = input;
    let mut part = 0;
    let at = |part: usize| format!("{path}.block.{part}");
    if b.dims_of(&format!("{}.0.weight", at(0))).is_some_and(|dims| dims.get(1) != Some(&1)) {
        x = b.conv_norm_act(&at(part), 1, EPSILON, function, x)?;
        part += 1;
    }
    x = b.depthwise_norm_act(&at(part), stride, EPSILON, function, x)?;
    part += 1;
    if b.has(&format!("{}.fc1.weight", at(part))) {
        x = b.squeeze_excite(&at(part), ["fc1", "fc2"], [Activation::RELU, HardSigmoid3], x)?;
        part += 1;
    }
    x = b.conv_norm_act(&at(part), 1, EPSILON, Linear, x)?;
    if stride == 1 && b.extents(x) == b.extents(input) {
        b.sum(&format!("{path}.add"), x, input)
    } else {
        Ok(x)
    }
}
