//! EfficientNet-Lite (Google 2020): EfficientNet (Tan and Le 2019, arXiv:1905.11946) without squeeze-and-excite, ReLU6
//! for swish. Layer names are those of Keras's EfficientNet, tensor names those of the package
//! `efficientnet-lite-pytorch` 0.1.0. timm's are in [`super::timm_mobile`].

use binesh_core::ops::BatchNorm;
use binesh_core::{Activation, Padding, Window};

use crate::zoo::architecture::{Architecture, Family, Source};
use crate::zoo::builder::{Builder, Value};
use crate::zoo::modules::Made;
use crate::zoo::names::Names;

const EPSILON: f32 = 1e-3;

/// Of the recipes tried on real photos the one that gives the published probabilities; (x - 127) / 128, which the
/// weights were trained with, differs by less than 0.002 there.
const fn lite(name: &'static str, size: usize) -> Architecture {
    let source = Source::EfficientNetLitePytorch;
    Architecture { source, resize: None, ..Architecture::timm(name, size, size) }.bicubic().signed()
}

pub(super) static FAMILY: Family = Family {
    architectures: &[
        lite("efficientnet-lite0", 224),
        lite("efficientnet-lite1", 240),
        lite("efficientnet-lite2", 260),
        lite("efficientnet-lite3", 280),
        lite("efficientnet-lite4", 300),
    ],
    recognize,
    build,
};

/// Blocks of each stage; the first and the last are not multiplied.
const DEPTHS: [(&str, [usize; 7]); 5] = [
    ("efficientnet-lite0", [1, 2, 2, 3, 3, 4, 1]),
    ("efficientnet-lite1", [1, 3, 3, 4, 4, 5, 1]),
    ("efficientnet-lite2", [1, 3, 3, 4, 4, 5, 1]),
    ("efficientnet-lite3", [1, 3, 3, 5, 5, 6, 1]),
    ("efficientnet-lite4", [1, 4, 4, 6, 6, 8, 1]),
];

/// Table 1 of the paper: kernel and stride of each stage. Widths come from the weights.
const STAGES: [(usize, usize); 7] = [(3, 1), (3, 2), (5, 2), (3, 2), (5, 1), (5, 2), (3, 1)];

fn recognize(names: &Names<'_>) -> Vec<(Source, String)> {
    let blocks = names.count(|i| format!("_blocks.{i}._depthwise_conv.weight"));
    if !names.has("_conv_stem.weight") || names.has("_blocks.0._se_reduce.weight") {
        return Vec::new();
    }
    // Lite1 and Lite2 are as deep; Lite2 is wider by 1.1, which its last block shows.
    let last = names.dims(&format!("_blocks.{}._project_conv.weight", blocks.saturating_sub(1)));
    let wide = last.is_some_and(|dims| dims[0] == 352);
    let fits = DEPTHS.iter().filter(|(name, depths)| {
        depths.iter().sum::<usize>() == blocks
            && match *name {
                "efficientnet-lite1" => !wide,
                "efficientnet-lite2" => wide,
                _ => true,
            }
    });
    fits.map(|(name, _)| (Source::EfficientNetLitePytorch, (*name).to_owned())).collect()
}

fn build(b: &mut Builder, architecture: &Architecture, x: Value) -> Made {
    let depths = DEPTHS.iter().find(|(name, _)| *name == architecture.name).unwrap_or(&DEPTHS[0]).1;
    let x = b.conv2d("stem_conv", "_conv_stem", Window::square(3, 2, Padding::Same), x)?;
    let mut x = norm(b, "stem_bn", "_bn0", Some("stem_activation"), x)?;
    let mut index = 0;
    for (stage, (depth, (kernel, stride))) in (1..).zip(depths.into_iter().zip(STAGES)) {
        for (repeat, letter) in (0..depth).zip('a'..) {
            let (name, torch) = (format!("block{stage}{letter}"), format!("_blocks.{index}"));
            let window = Window::square(kernel, if repeat == 0 { stride } else { 1 }, Padding::Same);
            let input = x;
            x = block(b, &name, &torch, window, input)?;
            // The first of a stage changes the width.
            if repeat > 0 {
                x = b.add(&format!("{name}_add"), x, input)?;
            }
            index += 1;
        }
    }
    let x = b.conv2d("top_conv", "_conv_head", Window::square(1, 1, Padding::Same), x)?;
    let x = norm(b, "top_bn", "_bn1", Some("top_activation"), x)?;
    let x = b.global_average_pool("avg_pool", x)?;
    let x = b.dropout("top_dropout", 0.2, x)?;
    b.classifier("predictions", "_fc", x)
}

/// Expand (not in the first stage), depthwise, project.
fn block(b: &mut Builder, name: &str, torch: &str, window: Window, mut x: Value) -> Made {
    let point = Window::square(1, 1, Padding::Same);
    if b.has(&format!("{torch}._expand_conv.weight")) {
        x = b.conv2d(&format!("{name}_expand_conv"), &format!("{torch}._expand_conv"), point, x)?;
        let act = format!("{name}_expand_activation");
        x = norm(b, &format!("{name}_expand_bn"), &format!("{torch}._bn0"), Some(&act), x)?;
    }
    x = b.depthwise(&format!("{name}_dwconv"), &format!("{torch}._depthwise_conv"), window, x)?;
    let act = format!("{name}_activation");
    x = norm(b, &format!("{name}_bn"), &format!("{torch}._bn1"), Some(&act), x)?;
    x = b.conv2d(&format!("{name}_project_conv"), &format!("{torch}._project_conv"), point, x)?;
    norm(b, &format!("{name}_project_bn"), &format!("{torch}._bn2"), None, x)
}

fn norm(b: &mut Builder, name: &str, torch: &str, activation: Option<&str>, x: Value) -> Made {
    let x = b.batch_norm(name, torch, EPSILON, BatchNorm::MOMENTUM, x)?;
    match activation {
        Some(activation) => b.activation(activation, Activation::RELU6, x),
        None => Ok(x),
    }
}
