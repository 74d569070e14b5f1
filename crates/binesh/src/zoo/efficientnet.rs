//! EfficientNet (Tan and Le 2019, arXiv:1905.11946) and EfficientNetV2 (2021, arXiv:2104.00298) as torchvision has them.
//! timm's are in [`super::timm_mobile`].

use binesh_core::Activation::{Linear, Sigmoid, Silu};

use crate::zoo::architecture::{Architecture, Family, Source};
use crate::zoo::builder::{Builder, Value};
use crate::zoo::modules::Made;
use crate::zoo::names::Names;

pub(super) static FAMILY: Family = Family {
    architectures: &[
        Architecture::torchvision("efficientnet_b0", 224, 256).bicubic(),
        Architecture::torchvision("efficientnet_b1", 240, 256).bicubic(),
        Architecture::torchvision("efficientnet_b2", 288, 288).bicubic(),
        Architecture::torchvision("efficientnet_b3", 300, 320).bicubic(),
        Architecture::torchvision("efficientnet_b4", 380, 384).bicubic(),
        Architecture::torchvision("efficientnet_b5", 456, 456).bicubic(),
        Architecture::torchvision("efficientnet_b6", 528, 528).bicubic(),
        Architecture::torchvision("efficientnet_b7", 600, 600).bicubic(),
        Architecture::torchvision("efficientnet_v2_s", 384, 384),
        Architecture::torchvision("efficientnet_v2_m", 480, 480),
        Architecture::torchvision("efficientnet_v2_l", 480, 480).bicubic().signed(),
    ],
    recognize,
    build,
};

/// Blocks of each stage (table 1 and its multiples; V2: tables 4 and 7).
const DEPTHS: [(&str, &[usize]); 11] = [
    ("efficientnet_b0", &[1, 2, 2, 3, 3, 4, 1]),
    ("efficientnet_b1", &[2, 3, 3, 4, 4, 5, 2]),
    ("efficientnet_b2", &[2, 3, 3, 4, 4, 5, 2]),
    ("efficientnet_b3", &[2, 3, 3, 5, 5, 6, 2]),
    ("efficientnet_b4", &[2, 4, 4, 6, 6, 8, 2]),
    ("efficientnet_b5", &[3, 5, 5, 7, 7, 9, 3]),
    ("efficientnet_b6", &[3, 6, 6, 8, 8, 11, 3]),
    ("efficientnet_b7", &[4, 7, 7, 10, 10, 13, 4]),
    ("efficientnet_v2_s", &[2, 4, 4, 6, 9, 15]),
    ("efficientnet_v2_m", &[3, 5, 5, 7, 14, 18, 5]),
    ("efficientnet_v2_l", &[4, 7, 7, 10, 19, 25, 7]),
];

/// The stride of the first block of each stage; V2 has the same.
const STRIDES: [usize; 7] = [1, 2, 2, 2, 1, 2, 1];

fn recognize(names: &Names<'_>) -> Vec<(Source, String)> {
    let depths = names.counts(|stage, i| format!("features.{}.{i}.block.0.0.weight", stage + 1));
    if !names.has("classifier.1.weight") {
        return Vec::new();
    }
    let fits = DEPTHS.iter().filter(|(_, known)| *known == depths);
    // B1 and B2 are as deep; B2 is wider by 1.1, which its last convolution shows.
    let last = names.dims(&format!("features.{}.0.weight", depths.len() + 1)).map(|dims| dims[0]);
    fits.filter(|(name, _)| match (*name, last) {
        ("efficientnet_b1", Some(width)) => width != 1408,
        ("efficientnet_b2", Some(width)) => width == 1408,
        _ => true,
    })
    .map(|(name, _)| (Source::Torchvision, (*name).to_owned()))
    .collect()
}

fn build(b: &mut Builder, architecture: &Architecture, x: Value) -> Made {
    let coarse = matches!(architecture.name, "efficientnet_b5" | "efficientnet_b6" | "efficientnet_b7");
    let epsilon = if coarse || architecture.name.starts_with("efficientnet_v2") { 1e-3 } else { 1e-5 };
    let mut x = b.conv_norm_act("features.0", 2, epsilon, Silu, x)?;
    let mut stage = 0;
    while stage < STRIDES.len() && b.has(&format!("features.{}.0.block.0.0.weight", stage + 1)) {
        let path = format!("features.{}", stage + 1);
        for index in 0..b.count(|i| format!("{path}.{i}.block.0.0.weight")) {
            let stride = if index == 0 { STRIDES[stage] } else { 1 };
            x = block(b, &format!("{path}.{index}"), stride, epsilon, x)?;
        }
        stage += 1;
    }
    let x = b.conv_norm_act(&format!("features.{}", stage + 1), 1, epsilon, Silu, x)?;
    let x = b.global_pool("avgpool", x)?;
    let x = b.drop_out("classifier.0", 0.2, x)?;
    b.linear("classifier.1", x)
}

/// `MBConv`: expand (not by 1), depthwise, squeeze-and-excite, project; or `FusedMBConv`, where a full convolution stands
/// for the first two and there is no squeeze-and-excite.
fn block(b: &mut Builder, path: &str, stride: usize, epsilon: f32, input: Value) -> Made {
    let at = |part: usize| format!("{path}.block.{part}");
    let mut x = input;
    let first = b.dims_of(&format!("{}.0.weight", at(0)));
    let [fused, depthwise] = match first.as_deref() {
        Some(&[_, per_group, kh, _]) => [kh > 1 && per_group > 1, per_group == 1],
        _ => [false; 2],
    };
    if fused && !b.has(&format!("{}.0.weight", at(1))) {
        x = b.conv_norm_act(&at(0), stride, epsilon, Silu, x)?;
    } else if fused {
        x = b.conv_norm_act(&at(0), stride, epsilon, Silu, x)?;
        x = b.conv_norm_act(&at(1), 1, epsilon, Linear, x)?;
    } else {
        let mut part = 0;
        if !depthwise {
            x = b.conv_norm_act(&at(part), 1, epsilon, Silu, x)?;
            part += 1;
        }
        x = b.depthwise_norm_act(&at(part), stride, epsilon, Silu, x)?;
        x = b.squeeze_excite(&at(part + 1), ["fc1", "fc2"], [Silu, Sigmoid], x)?;
        x = b.conv_norm_act(&at(part + 2), 1, epsilon, Linear, x)?;
    }
    if stride == 1 && b.extents(x) == b.extents(input) {
        b.sum(&format!("{path}.add"), x, input)
    } else {
        Ok(x)
    }
}
