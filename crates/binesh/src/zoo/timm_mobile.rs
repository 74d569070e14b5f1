//! What timm's `EfficientNetBuilder` makes: MobileNetV2 and V3, MNASNet, EfficientNet, its Lite variants and V2, under timm's
//! names. Networks called `tf_...` pad as TensorFlow does and add 1e-3 to variances; their weights have the names and shapes
//! of the others', so only the user or the file's name can tell.

use binesh_core::Activation::{self, HardSigmoid3, HardSwish, Linear, Sigmoid, Silu};

use crate::zoo::architecture::{Architecture, Family, Source};
use crate::zoo::builder::{Builder, Value};
use crate::zoo::modules::{Made, Zeros};
use crate::zoo::names::Names;

const fn timm(name: &'static str, size: usize, resize: usize) -> Architecture {
    Architecture::timm(name, size, resize).bicubic()
}

/// Preprocessing is that of the weights which timm 1.0.31 loads by default.
pub(super) static FAMILY: Family = Family {
    architectures: &[
        timm("efficientnet_b0", 224, 256),
        timm("efficientnet_b1", 240, 266).signed(),
        timm("efficientnet_b2", 256, 292),
        timm("efficientnet_b3", 288, 329),
        timm("efficientnet_b4", 320, 365),
        timm("efficientnet_b5", 448, 448),
        timm("tf_efficientnet_b0", 224, 256),
        timm("tf_efficientnet_b1", 240, 272),
        timm("tf_efficientnet_b2", 260, 292),
        timm("tf_efficientnet_b3", 300, 331),
        timm("tf_efficientnet_b4", 380, 412),
        timm("tf_efficientnet_b5", 456, 488),
        timm("tf_efficientnet_b6", 528, 560),
        timm("tf_efficientnet_b7", 600, 632),
        timm("efficientnet_lite0", 224, 256),
        timm("tf_efficientnet_lite0", 224, 256).signed(),
        timm("tf_efficientnet_lite1", 240, 272).signed(),
        timm("tf_efficientnet_lite2", 260, 292).signed(),
        Architecture::timm("tf_efficientnet_lite3", 300, 331).signed(),
        Architecture::timm("tf_efficientnet_lite4", 380, 413).signed(),
        timm("efficientnetv2_s", 288, 288),
        timm("tf_efficientnetv2_s", 300, 300).signed(),
        timm("mobilenetv3_small_100", 224, 256),
        timm("mobilenetv3_large_100", 224, 256),
        Architecture::timm("tf_mobilenetv3_small_100", 224, 256).signed(),
        Architecture::timm("tf_mobilenetv3_large_100", 224, 256).signed(),
        timm("mobilenetv2_100", 224, 256),
        timm("mnasnet_100", 224, 256),
    ],
    recognize,
    build,
};

/// A kind of network: what its tensors do not say.
struct Kind {
    /// Beginning of the names, without `tf_`.
    name: &'static str,
    depths: &'static [usize],
    strides: [usize; 7],
    /// Activations before this stage, and from it on and outside the stages.
    functions: [Activation; 2],
    from: usize,
    /// Squeeze-and-excite: inner function and gate.
    excite: Option<[Activation; 2]>,
}

const STRIDES: [usize; 7] = [1, 2, 2, 2, 1, 2, 1];
const SMALL_STRIDES: [usize; 7] = [2, 2, 2, 1, 2, 1, 1];

const fn plain(name: &'static str, depths: &'static [usize], function: Activation) -> Kind {
    Kind { name, depths, strides: STRIDES, functions: [function; 2], from: 0, excite: None }
}

const fn efficient(name: &'static str, depths: &'static [usize]) -> Kind {
    Kind { excite: Some([Silu, Sigmoid]), ..plain(name, depths, Silu) }
}

const fn mobile(name: &'static str, depths: &'static [usize], strides: [usize; 7], from: usize) -> Kind {
    let functions = [Activation::RELU, HardSwish];
    Kind { name, depths, strides, functions, from, excite: Some([Activation::RELU, HardSigmoid3]) }
}

const KINDS: [Kind; 17] = [
    efficient("efficientnet_b0", &[1, 2, 2, 3, 3, 4, 1]),
    efficient("efficientnet_b1", &[2, 3, 3, 4, 4, 5, 2]),
    efficient("efficientnet_b2", &[2, 3, 3, 4, 4, 5, 2]),
    efficient("efficientnet_b3", &[2, 3, 3, 5, 5, 6, 2]),
    efficient("efficientnet_b4", &[2, 4, 4, 6, 6, 8, 2]),
    efficient("efficientnet_b5", &[3, 5, 5, 7, 7, 9, 3]),
    efficient("efficientnet_b6", &[3, 6, 6, 8, 8, 11, 3]),
    efficient("efficientnet_b7", &[4, 7, 7, 10, 10, 13, 4]),
    efficient("efficientnetv2_s", &[2, 4, 4, 6, 9, 15]),
    plain("efficientnet_lite0", &[1, 2, 2, 3, 3, 4, 1], Activation::RELU6),
    plain("efficientnet_lite1", &[1, 3, 3, 4, 4, 5, 1], Activation::RELU6),
    plain("efficientnet_lite2", &[1, 3, 3, 4, 4, 5, 1], Activation::RELU6),
    plain("efficientnet_lite3", &[1, 3, 3, 5, 5, 6, 1], Activation::RELU6),
    plain("efficientnet_lite4", &[1, 4, 4, 6, 6, 8, 1], Activation::RELU6),
    plain("mobilenetv2_100", &[1, 2, 3, 4, 3, 3, 1], Activation::RELU6),
    plain("mnasnet_100", &[1, 3, 3, 3, 2, 4, 1], Activation::RELU),
    mobile("mobilenetv3_small_100", &[1, 2, 3, 2, 3, 1], SMALL_STRIDES, 2),
];

const LARGE: Kind = mobile("mobilenetv3_large_100", &[1, 2, 3, 4, 2, 3, 1], STRIDES, 3);

fn kinds() -> impl Iterator<Item = &'static Kind> {
    KINDS.iter().chain(std::iter::once(&LARGE))
}

/// The first convolution of a block, by its kind.
const FIRST: [&str; 4] = ["conv_pw", "conv_dw", "conv_exp", "conv"];

fn recognize(names: &Names<'_>) -> Vec<(Source, String)> {
    let first = |stage, i| {
        let name = |part: &&str| format!("blocks.{stage}.{i}.{part}.weight");
        let found = FIRST.iter().find(|part| names.has(&name(part)));
        name(found.unwrap_or(&FIRST[0]))
    };
    let depths = names.counts(first);
    let excites =
        names.has("blocks.2.0.se.conv_reduce.weight") || names.has("blocks.3.0.se.conv_reduce.weight");
    let late_head = names.has("conv_head.bias") && !names.has("bn2.weight");
    let fused = names.has("blocks.0.0.conv.weight");
    let fits = |kind: &&Kind| {
        let v2 = kind.name.starts_with("efficientnetv2");
        kind.depths == depths
            && kind.excite.is_some() == excites
            && kind.name.starts_with("mobilenetv3") == late_head
            && v2 == fused
            && names.has("conv_stem.weight")
    };
    // Two pairs differ in width only.
    let dims = |name: &str| names.dims(name).map(|dims| dims[0]);
    let wide = dims("conv_head.weight") == Some(1408) || dims("blocks.6.0.conv_pwl.weight") == Some(352);
    let width = |kind: &&Kind| match kind.name {
        "efficientnet_b1" | "efficientnet_lite1" => !wide,
        "efficientnet_b2" | "efficientnet_lite2" => wide,
        _ => true,
    };
    let known = |name: &String| FAMILY.architectures.iter().any(|known| known.name == *name);
    let kinds = kinds().filter(fits).filter(width);
    let both = kinds.flat_map(|kind| [kind.name.to_owned(), format!("tf_{}", kind.name)]);
    both.filter(known).map(|name| (Source::Timm, name)).collect()
}

/// How a network of a kind is built.
struct Style {
    kind: &'static Kind,
    zeros: Zeros,
    epsilon: f32,
}

fn build(b: &mut Builder, architecture: &Architecture, x: Value) -> Made {
    let tensorflow = architecture.name.starts_with("tf_");
    let name = architecture.name.trim_start_matches("tf_");
    let kind = kinds().find(|kind| kind.name == name).unwrap_or(&KINDS[0]);
    let (zeros, epsilon) = if tensorflow { (Zeros::Same, 1e-3) } else { (Zeros::Half, 1e-5) };
    let style = Style { kind, zeros, epsilon };
    let [_, function] = kind.functions;
    let x = b.conv("conv_stem", 2, zeros, x)?;
    let mut x = b.norm_act("bn1", "bn1.act", epsilon, function, x)?;
    for (stage, &depth) in kind.depths.iter().enumerate() {
        for index in 0..depth {
            let stride = if index == 0 { kind.strides[stage] } else { 1 };
            let function = kind.functions[usize::from(stage >= kind.from)];
            x = block(b, &format!("blocks.{stage}.{index}"), stride, function, &style, x)?;
        }
    }
    if b.has("bn2.weight") {
        x = b.conv("conv_head", 1, zeros, x)?;
        x = b.norm_act("bn2", "bn2.act", epsilon, function, x)?;
        x = b.global_pool("global_pool", x)?;
    } else {
        x = b.mean_map("global_pool", x)?;
        x = b.conv("conv_head", 1, zeros, x)?;
        x = b.act("act2", function, x)?;
        x = b.global_pool("flatten", x)?;
    }
    b.linear("classifier", x)
}

/// timm's `InvertedResidual` (conv_pw, conv_dw, conv_pwl), `DepthwiseSeparableConv` (conv_dw, conv_pw), `EdgeResidual`
/// (conv_exp, conv_pwl) and `ConvBnAct` (conv): the last convolution has no activation, but for the only one.
fn block(
    b: &mut Builder,
    path: &str,
    stride: usize,
    function: Activation,
    style: &Style,
    input: Value,
) -> Made {
    let at = |part: &str| format!("{path}.{part}");
    let has = |b: &Builder, part: &str| b.has(&format!("{path}.{part}.weight"));
    let (zeros, epsilon) = (style.zeros, style.epsilon);
    let parts: &[&str] = match [has(b, "conv_pwl"), has(b, "conv_dw"), has(b, "conv_exp")] {
        [true, _, true] => &["conv_exp", "conv_pwl"],
        [true, ..] => &["conv_pw", "conv_dw", "conv_pwl"],
        [_, true, _] => &["conv_dw", "conv_pw"],
        _ => &["conv"],
    };
    let mut x = input;
    for (number, part) in (1..).zip(parts) {
        let last = number == parts.len() && parts.len() > 1;
        if last
            && let Some(excite) = style.kind.excite
            && has(b, "se.conv_reduce")
        {
            x = b.squeeze_excite(&at("se"), ["conv_reduce", "conv_expand"], excite, x)?;
        }
        x = match *part {
            "conv_dw" => b.depthwise_conv(&at(part), stride, zeros, x)?,
            "conv_exp" | "conv" => b.conv(&at(part), stride, zeros, x)?,
            _ => b.conv(&at(part), 1, zeros, x)?,
        };
        let norm = format!("{path}.bn{number}");
        x = b.norm_act(&norm, &format!("{norm}.act"), epsilon, if last { Linear } else { function }, x)?;
    }
    // Only the convolution at the end of MobileNetV3 has no sum whatever its widths.
    let sums = stride == 1 && b.extents(x) == b.extents(input) && !(parts == ["conv"] && style.kind.from > 0);
    if sums { b.sum(&at("add"), x, input) } else { Ok(x) }
}
