//! ConvNeXt (Liu et al. 2022, arXiv:2201.03545), torchvision's names and timm's.

use binesh_core::Activation::Gelu;

use crate::zoo::architecture::{Architecture, Family, Source};
use crate::zoo::builder::{Builder, Value};
use crate::zoo::modules::{Made, Zeros};
use crate::zoo::names::Names;

pub(super) static FAMILY: Family = Family {
    architectures: &[
        Architecture::torchvision("convnext_tiny", 224, 236),
        Architecture::torchvision("convnext_small", 224, 230),
        Architecture::torchvision("convnext_base", 224, 232),
        Architecture::torchvision("convnext_large", 224, 232),
        Architecture::timm("convnext_tiny", 224, 235).bicubic(),
        Architecture::timm("convnext_small", 224, 235).bicubic(),
        Architecture::timm("convnext_base", 224, 256).bicubic(),
        Architecture::timm("convnext_large", 224, 256).bicubic(),
    ],
    recognize,
    build,
};

const EPSILON: f32 = 1e-6;

/// Where the parts of a network are: both name the same modules in the same order.
struct Scheme {
    stem: [&'static str; 2],
    /// Of stage and block.
    block: fn(usize, usize) -> String,
    /// Scale, depthwise, norm and the two dense layers of a block.
    parts: [&'static str; 5],
    /// Norm and convolution before a stage.
    downsample: fn(usize) -> String,
    head: [&'static str; 3],
}

const TORCHVISION: Scheme = Scheme {
    stem: ["features.0.0", "features.0.1"],
    block: |stage, i| format!("features.{}.{i}", 2 * stage + 1),
    parts: ["layer_scale", "block.0", "block.2", "block.3", "block.5"],
    downsample: |stage| format!("features.{}", 2 * stage),
    head: ["avgpool", "classifier.0", "classifier.2"],
};

const TIMM: Scheme = Scheme {
    stem: ["stem.0", "stem.1"],
    block: |stage, i| format!("stages.{stage}.blocks.{i}"),
    parts: ["gamma", "conv_dw", "norm", "mlp.fc1", "mlp.fc2"],
    downsample: |stage| format!("stages.{stage}.downsample"),
    head: ["head.global_pool", "head.norm", "head.fc"],
};

/// Sizes differ in depth, then in width only.
fn recognize(names: &Names<'_>) -> Vec<(Source, String)> {
    for (source, scheme) in [(Source::Torchvision, &TORCHVISION), (Source::Timm, &TIMM)] {
        let scale = |stage, i| format!("{}.{}", (scheme.block)(stage, i), scheme.parts[0]);
        let width = names.dims(&scale(0, 0)).map(|dims| dims[0]);
        let size = match (&names.counts(scale)[..], width) {
            ([3, 3, 9, 3], _) => "tiny",
            ([3, 3, 27, 3], Some(128)) => "base",
            ([3, 3, 27, 3], Some(192)) => "large",
            ([3, 3, 27, 3], _) => "small",
            _ => continue,
        };
        return vec![(source, format!("convnext_{size}"))];
    }
    Vec::new()
}

fn build(b: &mut Builder, architecture: &Architecture, x: Value) -> Made {
    let scheme = if architecture.source == Source::Timm { &TIMM } else { &TORCHVISION };
    let x = b.conv(scheme.stem[0], 4, Zeros::Without, x)?;
    let mut x = b.layer_norm(scheme.stem[1], EPSILON, x)?;
    for stage in 0..4 {
        if stage > 0 {
            let path = (scheme.downsample)(stage);
            x = b.layer_norm(&format!("{path}.0"), EPSILON, x)?;
            x = b.conv(&format!("{path}.1"), 2, Zeros::Without, x)?;
        }
        for index in 0..b.count(|i| format!("{}.{}", (scheme.block)(stage, i), scheme.parts[0])) {
            x = block(b, &(scheme.block)(stage, index), &scheme.parts, x)?;
        }
    }
    let [pool, norm, linear] = scheme.head;
    let x = b.global_pool(pool, x)?;
    let x = b.layer_norm(norm, EPSILON, x)?;
    b.linear(linear, x)
}

fn block(b: &mut Builder, path: &str, parts: &[&str; 5], input: Value) -> Made {
    let [scale, depthwise, norm, wide, narrow] = parts.map(|part| format!("{path}.{part}"));
    let x = b.depthwise_conv(&depthwise, 1, Zeros::Half, input)?;
    let x = b.layer_norm(&norm, EPSILON, x)?;
    let x = b.linear(&wide, x)?;
    let x = b.act(&format!("{path}.gelu"), Gelu { approximate: false }, x)?;
    let x = b.linear(&narrow, x)?;
    let x = b.layer_scale(&scale, x)?;
    b.sum(&format!("{path}.add"), x, input)
}
