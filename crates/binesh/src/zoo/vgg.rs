//! VGG (Simonyan and Zisserman 2014, arXiv:1409.1556), with and without batch norm: torchvision's and timm's, which has
//! convolutions for the first two dense layers.

use binesh_core::Activation::{self, Linear};

use crate::zoo::architecture::{Architecture, Family, Source};
use crate::zoo::builder::{Builder, Value};
use crate::zoo::modules::{Made, Pool, Zeros};
use crate::zoo::names::Names;

pub(super) static FAMILY: Family = Family {
    architectures: &[
        Architecture::torchvision("vgg11", 224, 256),
        Architecture::torchvision("vgg11_bn", 224, 256),
        Architecture::torchvision("vgg13", 224, 256),
        Architecture::torchvision("vgg13_bn", 224, 256),
        Architecture::torchvision("vgg16", 224, 256),
        Architecture::torchvision("vgg16_bn", 224, 256),
        Architecture::torchvision("vgg19", 224, 256),
        Architecture::torchvision("vgg19_bn", 224, 256),
        Architecture::timm("vgg11", 224, 256),
        Architecture::timm("vgg11_bn", 224, 256),
        Architecture::timm("vgg13", 224, 256),
        Architecture::timm("vgg13_bn", 224, 256),
        Architecture::timm("vgg16", 224, 256),
        Architecture::timm("vgg16_bn", 224, 256),
        Architecture::timm("vgg19", 224, 256),
        Architecture::timm("vgg19_bn", 224, 256),
    ],
    recognize,
    build,
};

fn recognize(names: &Names<'_>) -> Vec<(Source, String)> {
    let source = if names.has("pre_logits.fc1.weight") {
        Source::Timm
    } else if names.has("classifier.6.weight") {
        Source::Torchvision
    } else {
        return Vec::new();
    };
    let convolutions = (0..60).filter(|i| names.rank(&format!("features.{i}.weight")) == Some(4)).count();
    let norm = if names.has("features.1.running_mean") { "_bn" } else { "" };
    vec![(source, format!("vgg{}{norm}", convolutions + 3))]
}

fn build(b: &mut Builder, architecture: &Architecture, x: Value) -> Made {
    let x = features(b, x)?;
    if architecture.source == Source::Timm {
        let x = b.conv("pre_logits.fc1", 1, Zeros::Without, x)?;
        let x = b.act("pre_logits.act1", Activation::RELU, x)?;
        let x = b.drop_out("pre_logits.drop", 0.0, x)?;
        let x = b.conv("pre_logits.fc2", 1, Zeros::Without, x)?;
        let x = b.act("pre_logits.act2", Activation::RELU, x)?;
        let x = b.global_pool("head.global_pool", x)?;
        return b.linear("head.fc", x);
    }
    let mut x = b.adaptive_pool("avgpool", 7, x)?;
    x = b.flatten("flatten", x)?;
    for (linear, act) in [(0, 1), (3, 4)] {
        x = b.linear(&format!("classifier.{linear}"), x)?;
        x = b.act(&format!("classifier.{act}"), Activation::RELU, x)?;
        x = b.drop_out(&format!("classifier.{}", act + 1), 0.5, x)?;
    }
    b.linear("classifier.6", x)
}

/// Convolutions follow one another in the numbering; where one number is left out there is a pool.
fn features(b: &mut Builder, mut x: Value) -> Made {
    let mut at = 0;
    loop {
        x = b.conv(&format!("features.{at}"), 1, Zeros::Half, x)?;
        at += 1;
        if b.has(&format!("features.{at}.running_mean")) {
            x = b.norm_act(&format!("features.{at}"), "", 1e-5, Linear, x)?;
            at += 1;
        }
        x = b.act(&format!("features.{at}"), Activation::RELU, x)?;
        at += 1;
        if b.has(&format!("features.{at}.weight")) {
            continue;
        }
        x = b.max_pool(&format!("features.{at}"), Pool { size: 2, stride: 2, pad: 0, ceil: false }, x)?;
        at += 1;
        if !b.has(&format!("features.{at}.weight")) {
            return Ok(x);
        }
    }
}
