//! RegNetY, and RegNetX, which has no squeeze-and-excite (Radosavovic et al. 2020, arXiv:2003.13678).

use binesh_core::Activation::{self, Linear, Sigmoid};

use crate::zoo::architecture::{Architecture, Family, Source};
use crate::zoo::builder::{Builder, Value};
use crate::zoo::modules::{Made, Zeros};
use crate::zoo::names::Names;

pub(super) static FAMILY: Family = Family {
    architectures: &[
        Architecture::torchvision("regnet_y_400mf", 224, 256),
        Architecture::torchvision("regnet_y_800mf", 224, 256),
        Architecture::torchvision("regnet_y_1_6gf", 224, 256),
        Architecture::torchvision("regnet_y_3_2gf", 224, 256),
        Architecture::torchvision("regnet_y_8gf", 224, 256),
        Architecture::torchvision("regnet_y_16gf", 224, 256),
        Architecture::torchvision("regnet_y_32gf", 224, 256),
        Architecture::torchvision("regnet_x_400mf", 224, 256),
        Architecture::torchvision("regnet_x_800mf", 224, 256),
        Architecture::torchvision("regnet_x_1_6gf", 224, 256),
        Architecture::torchvision("regnet_x_3_2gf", 224, 256),
        Architecture::torchvision("regnet_x_8gf", 224, 256),
        Architecture::torchvision("regnet_x_16gf", 224, 256),
        Architecture::torchvision("regnet_x_32gf", 224, 256),
    ],
    recognize,
    build,
};

const EPSILON: f32 = 1e-5;

/// Size of Y and of X: blocks of each stage, width of the last.
const DEPTHS: [(&str, [usize; 4], usize); 14] = [
    ("y_400mf", [1, 3, 6, 6], 440),
    ("y_800mf", [1, 3, 8, 2], 784),
    ("y_1_6gf", [2, 6, 17, 2], 888),
    ("y_3_2gf", [2, 5, 13, 1], 1512),
    ("y_8gf", [2, 4, 10, 1], 2016),
    ("y_16gf", [2, 4, 11, 1], 3024),
    ("y_32gf", [2, 5, 12, 1], 3712),
    ("x_400mf", [1, 2, 7, 12], 400),
    ("x_800mf", [1, 3, 7, 5], 672),
    ("x_1_6gf", [2, 4, 10, 2], 912),
    ("x_3_2gf", [2, 6, 15, 2], 1008),
    ("x_8gf", [2, 5, 15, 1], 1920),
    ("x_16gf", [2, 6, 13, 1], 2048),
    ("x_32gf", [2, 7, 13, 1], 2520),
];

fn block_path(stage: usize, index: usize) -> String {
    format!("trunk_output.block{stage}.block{stage}-{index}")
}

fn recognize(names: &Names<'_>) -> Vec<(Source, String)> {
    let depths = names.counts(|stage, i| format!("{}.f.a.0.weight", block_path(stage + 1, i)));
    let letter = if names.has(&format!("{}.f.se.fc1.weight", block_path(1, 0))) { "y" } else { "x" };
    let fits = DEPTHS.iter().filter(|(name, known, _)| name.starts_with(letter) && known[..] == depths);
    fits.map(|(name, ..)| (Source::Torchvision, format!("regnet_{name}"))).collect()
}

fn build(b: &mut Builder, _: &Architecture, x: Value) -> Made {
    let mut x = b.conv_norm_act("stem", 2, EPSILON, Activation::RELU, x)?;
    for stage in 1..=4 {
        for index in 0..b.count(|i| format!("{}.f.a.0.weight", block_path(stage, i))) {
            x = block(b, &block_path(stage, index), if index == 0 { 2 } else { 1 }, x)?;
        }
    }
    let x = b.global_pool("avgpool", x)?;
    b.linear("fc", x)
}

fn block(b: &mut Builder, path: &str, stride: usize, input: Value) -> Made {
    let at = |part: &str| format!("{path}.{part}");
    let mut identity = input;
    if b.has(&at("proj.0.weight")) {
        identity = b.conv_norm_act(&at("proj"), stride, EPSILON, Linear, input)?;
    }
    let x = b.conv_norm_act(&at("f.a"), 1, EPSILON, Activation::RELU, input)?;
    let x = b.grouped_conv(&at("f.b.0"), stride, Zeros::Half, x)?;
    let mut x = b.norm_act(&at("f.b.1"), &at("f.b.2"), EPSILON, Activation::RELU, x)?;
    if b.has(&at("f.se.fc1.weight")) {
        x = b.squeeze_excite(&at("f.se"), ["fc1", "fc2"], [Activation::RELU, Sigmoid], x)?;
    }
    let x = b.conv_norm_act(&at("f.c"), 1, EPSILON, Linear, x)?;
    let x = b.sum(&at("add"), identity, x)?;
    b.act(&at("activation"), Activation::RELU, x)
}
