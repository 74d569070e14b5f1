//! ResNet (He et al. 2015, arXiv:1512.03385), the stride in the 3x3 convolution as in torchvision; ResNeXt (Xie et al. 2016,
//! arXiv:1611.05431) and Wide ResNet (Zagoruyko and Komodakis 2016, arXiv:1605.07146). timm has the same names.

use binesh_core::Activation::{self, Linear};

use crate::zoo::architecture::{Architecture, Family, Source};
use crate::zoo::builder::{Builder, Value};
use crate::zoo::modules::{Made, Pool, Zeros};
use crate::zoo::names::Names;

pub(super) static FAMILY: Family = Family {
    architectures: &[
        Architecture::torchvision("resnet18", 224, 256),
        Architecture::torchvision("resnet34", 224, 256),
        Architecture::torchvision("resnet50", 224, 256),
        Architecture::torchvision("resnet101", 224, 256),
        Architecture::torchvision("resnet152", 224, 256),
        Architecture::torchvision("resnext50_32x4d", 224, 256),
        Architecture::torchvision("resnext101_32x8d", 224, 256),
        Architecture::torchvision("resnext101_64x4d", 224, 232),
        Architecture::torchvision("wide_resnet50_2", 224, 256),
        Architecture::torchvision("wide_resnet101_2", 224, 256),
    ],
    recognize,
    build,
};

const EPSILON: f32 = 1e-5;

/// By the numbers of blocks, then by the width of the first 3x3 convolution and of its groups.
fn recognize(names: &Names<'_>) -> Vec<(Source, String)> {
    if !names.has("conv1.weight") || !names.has("layer1.0.conv1.weight") {
        return Vec::new();
    }
    let blocks: Vec<usize> =
        (1..=4).map(|stage| names.count(|i| format!("layer{stage}.{i}.conv1.weight"))).collect();
    let bottleneck = names.has("layer1.0.conv3.weight");
    let depth = match (&blocks[..], bottleneck) {
        ([2, 2, 2, 2], false) => 18,
        ([3, 4, 6, 3], false) => 34,
        ([3, 4, 6, 3], true) => 50,
        ([3, 4, 23, 3], true) => 101,
        ([3, 8, 36, 3], true) => 152,
        _ => return Vec::new(),
    };
    let width = match names.dims("layer1.0.conv2.weight") {
        Some(&[width, per_group, _, _]) if bottleneck => Some((width, per_group)),
        _ => None,
    };
    let name = match width {
        Some((128, 4)) => format!("resnext{depth}_32x4d"),
        Some((256, 8)) => format!("resnext{depth}_32x8d"),
        Some((256, 4)) => format!("resnext{depth}_64x4d"),
        Some((128, 128)) => format!("wide_resnet{depth}_2"),
        _ => format!("resnet{depth}"),
    };
    vec![(Source::Torchvision, name)]
}

fn build(b: &mut Builder, _: &Architecture, x: Value) -> Made {
    let x = b.conv("conv1", 2, Zeros::Half, x)?;
    let x = b.norm_act("bn1", "relu", EPSILON, Activation::RELU, x)?;
    let mut x = b.max_pool("maxpool", Pool { size: 3, stride: 2, pad: 1, ceil: false }, x)?;
    for stage in 1..=4 {
        for index in 0..b.count(|i| format!("layer{stage}.{i}.conv1.weight")) {
            let stride = if stage > 1 && index == 0 { 2 } else { 1 };
            x = block(b, &format!("layer{stage}.{index}"), stride, x)?;
        }
    }
    let x = b.global_pool("avgpool", x)?;
    b.linear("fc", x)
}

fn block(b: &mut Builder, path: &str, stride: usize, input: Value) -> Made {
    let at = |part: &str| format!("{path}.{part}");
    let mut x = input;
    if b.has(&at("conv3.weight")) {
        x = b.conv(&at("conv1"), 1, Zeros::Half, x)?;
        x = b.norm_act(&at("bn1"), &at("relu"), EPSILON, Activation::RELU, x)?;
        x = b.grouped_conv(&at("conv2"), stride, Zeros::Half, x)?;
        x = b.norm_act(&at("bn2"), &at("relu_1"), EPSILON, Activation::RELU, x)?;
        x = b.conv(&at("conv3"), 1, Zeros::Half, x)?;
        x = b.norm_act(&at("bn3"), "", EPSILON, Linear, x)?;
    } else {
        x = b.conv(&at("conv1"), stride, Zeros::Half, x)?;
        x = b.norm_act(&at("bn1"), &at("relu"), EPSILON, Activation::RELU, x)?;
        x = b.conv(&at("conv2"), 1, Zeros::Half, x)?;
        x = b.norm_act(&at("bn2"), "", EPSILON, Linear, x)?;
    }
    let mut identity = input;
    if b.has(&at("downsample.0.weight")) {
        identity = b.conv(&at("downsample.0"), stride, Zeros::Half, identity)?;
        identity = b.norm_act(&at("downsample.1"), "", EPSILON, Linear, identity)?;
    }
    x = b.sum(&at("add"), x, identity)?;
    let last = if b.has_layer(&at("relu_1")) { "relu_2" } else { "relu_1" };
    b.act(&at(last), Activation::RELU, x)
}
