//! DenseNet (Huang et al. 2016, arXiv:1608.06993). Old files say `norm.1` for `norm1`; timm has torchvision's names.

use binesh_core::Activation;

use crate::zoo::architecture::{Architecture, Family, Source};
use crate::zoo::builder::{Builder, Value};
use crate::zoo::modules::{Made, Pool, Zeros};
use crate::zoo::names::Names;

pub(super) static FAMILY: Family = Family {
    architectures: &[
        Architecture::torchvision("densenet121", 224, 256),
        Architecture::torchvision("densenet161", 224, 256),
        Architecture::torchvision("densenet169", 224, 256),
        Architecture::torchvision("densenet201", 224, 256),
    ],
    recognize,
    build,
};

const EPSILON: f32 = 1e-5;

/// Between a layer's kind and its number, `.` in files of before 2017.
fn dot(has: impl Fn(&str) -> bool) -> &'static str {
    if has("features.denseblock1.denselayer1.norm.1.weight") { "." } else { "" }
}

fn recognize(names: &Names<'_>) -> Vec<(Source, String)> {
    let dot = dot(|name| names.has(name));
    let layers = names
        .counts(|block, i| format!("features.denseblock{}.denselayer{}.conv{dot}1.weight", block + 1, i + 1));
    let name = match layers[..] {
        [6, 12, 24, 16] => "densenet121",
        [6, 12, 36, 24] => "densenet161",
        [6, 12, 32, 32] => "densenet169",
        [6, 12, 48, 32] => "densenet201",
        _ => return Vec::new(),
    };
    vec![(Source::Torchvision, name.to_owned())]
}

fn build(b: &mut Builder, _: &Architecture, x: Value) -> Made {
    let dot = dot(|name| b.has(name));
    let x = b.conv("features.conv0", 2, Zeros::Half, x)?;
    let x = b.norm_act("features.norm0", "features.relu0", EPSILON, Activation::RELU, x)?;
    let mut x = b.max_pool("features.pool0", Pool { size: 3, stride: 2, pad: 1, ceil: false }, x)?;
    for block in 1.. {
        let path = format!("features.denseblock{block}");
        for layer in 1..=b.count(|i| format!("{path}.denselayer{}.conv{dot}1.weight", i + 1)) {
            x = dense_layer(b, &format!("{path}.denselayer{layer}"), dot, x)?;
        }
        let path = format!("features.transition{block}");
        if !b.has(&format!("{path}.conv.weight")) {
            break;
        }
        x = b.norm_act(&format!("{path}.norm"), &format!("{path}.relu"), EPSILON, Activation::RELU, x)?;
        x = b.conv(&format!("{path}.conv"), 1, Zeros::Half, x)?;
        x = b.average_pool(&format!("{path}.pool"), Pool { size: 2, stride: 2, pad: 0, ceil: false }, x)?;
    }
    let x = b.norm_act("features.norm5", "relu", EPSILON, Activation::RELU, x)?;
    let x = b.global_pool("adaptive_avg_pool2d", x)?;
    b.linear("classifier", x)
}

/// What is computed is appended to the input.
fn dense_layer(b: &mut Builder, path: &str, dot: &str, input: Value) -> Made {
    let mut x = input;
    for number in [1, 2] {
        let at = |part: &str| format!("{path}.{part}{dot}{number}");
        x = b.norm_act(&at("norm"), &at("relu"), EPSILON, Activation::RELU, x)?;
        x = b.conv(&at("conv"), 1, Zeros::Half, x)?;
    }
    b.cat(&format!("{path}.cat"), &[input, x])
}
