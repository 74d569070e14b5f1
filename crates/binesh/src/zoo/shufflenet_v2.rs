//! ShuffleNetV2 (Ma et al. 2018, arXiv:1807.11164).

use binesh_core::Activation::{self, Linear};

use crate::zoo::architecture::{Architecture, Family, Source};
use crate::zoo::builder::{Builder, Value};
use crate::zoo::modules::{Made, Pool, Zeros};
use crate::zoo::names::Names;

pub(super) static FAMILY: Family = Family {
    architectures: &[
        Architecture::torchvision("shufflenet_v2_x0_5", 224, 256),
        Architecture::torchvision("shufflenet_v2_x1_0", 224, 256),
        Architecture::torchvision("shufflenet_v2_x1_5", 224, 232),
        Architecture::torchvision("shufflenet_v2_x2_0", 224, 232),
    ],
    recognize,
    build,
};

const EPSILON: f32 = 1e-5;

/// Sizes differ in width only.
fn recognize(names: &Names<'_>) -> Vec<(Source, String)> {
    if !names.has("stage2.0.branch2.0.weight") || !names.has("conv5.0.weight") {
        return Vec::new();
    }
    let size = match names.dims("stage2.0.branch2.0.weight").map(|dims| dims[0]) {
        Some(24) => "x0_5",
        Some(88) => "x1_5",
        Some(122) => "x2_0",
        _ => "x1_0",
    };
    vec![(Source::Torchvision, format!("shufflenet_v2_{size}"))]
}

fn build(b: &mut Builder, _: &Architecture, x: Value) -> Made {
    let x = b.conv_norm_act("conv1", 2, EPSILON, Activation::RELU, x)?;
    let mut x = b.max_pool("maxpool", Pool { size: 3, stride: 2, pad: 1, ceil: false }, x)?;
    for stage in 2..=4 {
        for index in 0..b.count(|i| format!("stage{stage}.{i}.branch2.0.weight")) {
            x = block(b, &format!("stage{stage}.{index}"), x)?;
        }
    }
    let x = b.conv_norm_act("conv5", 1, EPSILON, Activation::RELU, x)?;
    let x = b.global_pool("mean", x)?;
    b.linear("fc", x)
}

/// A block with two branches halves the extent; one with one computes the second half of the channels.
fn block(b: &mut Builder, path: &str, x: Value) -> Made {
    let at = |part: &str| format!("{path}.{part}");
    let halves = b.has(&at("branch1.0.weight"));
    let parts = if halves {
        [branch1(b, &at("branch1"), x)?, branch2(b, &at("branch2"), 2, x)?]
    } else {
        let [_, _, c] = b.extents(x);
        let first = b.channels(&at("chunk"), 0, c / 2, x)?;
        let second = b.channels(&at("chunk_1"), c / 2, c, x)?;
        [first, branch2(b, &at("branch2"), 1, second)?]
    };
    let x = b.cat(&at("cat"), &parts)?;
    b.channel_shuffle(path, 2, x)
}

fn branch1(b: &mut Builder, path: &str, x: Value) -> Made {
    let at = |part: usize| format!("{path}.{part}");
    let x = b.depthwise_conv(&at(0), 2, Zeros::Half, x)?;
    let x = b.norm_act(&at(1), "", EPSILON, Linear, x)?;
    let x = b.conv(&at(2), 1, Zeros::Half, x)?;
    b.norm_act(&at(3), &at(4), EPSILON, Activation::RELU, x)
}

fn branch2(b: &mut Builder, path: &str, stride: usize, x: Value) -> Made {
    let at = |part: usize| format!("{path}.{part}");
    let x = b.conv(&at(0), 1, Zeros::Half, x)?;
    let x = b.norm_act(&at(1), &at(2), EPSILON, Activation::RELU, x)?;
    let x = b.depthwise_conv(&at(3), stride, Zeros::Half, x)?;
    let x = b.norm_act(&at(4), "", EPSILON, Linear, x)?;
    let x = b.conv(&at(5), 1, Zeros::Half, x)?;
    b.norm_act(&at(6), &at(7), EPSILON, Activation::RELU, x)
}
