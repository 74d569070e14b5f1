//! EfficientNet-Lite (Google 2020): EfficientNet (Tan and Le 2019, arXiv:1905.11946) without squeeze-and-excite, ReLU6
//! for swish. Layer names are those of Keras's EfficientNet, tensor names those of the package
//! `efficientnet-lite-pytorch` 0.1.0.

use std::sync::Arc;

use binesh_core::{Activation, Padding, Window};
use binesh_formats::meta::{Color, Fit, Interpolation, Meta, Preprocess, Scaling};
use binesh_formats::safetensors::StateDict;
use binesh_formats::{Kind, Network};

use crate::zoo::builder::{Builder, Parts, Value};
use crate::zoo::{ZooError, imagenet_labels};

const EPSILON: f32 = 1e-3;

/// A run of inverted residual blocks; the first has the stride.
struct Stage {
    repeats: usize,
    kernel: usize,
    stride: usize,
    expands: bool,
}

const fn stage(repeats: usize, kernel: usize, stride: usize) -> Stage {
    Stage { repeats, kernel, stride, expands: true }
}

/// Table 1 of the paper; widths come from the weights.
const LITE0: [Stage; 7] = [
    Stage { expands: false, ..stage(1, 3, 1) },
    stage(2, 3, 2),
    stage(2, 5, 2),
    stage(3, 3, 2),
    stage(3, 5, 1),
    stage(4, 5, 2),
    stage(1, 3, 1),
];

/// EfficientNet-Lite0, 224 x 224 RGB, 1000 ImageNet classes.
pub fn lite0(weights: StateDict) -> Result<Network, ZooError> {
    let size = 224;
    let mut b = Builder::new(weights);
    let x = b.input("input", size, size, 3)?;
    let x = b.conv2d("stem_conv", "_conv_stem", Window::square(3, 2, Padding::Same), x)?;
    let x = b.batch_norm("stem_bn", "_bn0", EPSILON, x)?;
    let mut x = b.activation("stem_activation", Activation::RELU6, x)?;
    let mut index = 0;
    for (number, stage) in (1..).zip(&LITE0) {
        for (repeat, letter) in (0..stage.repeats).zip('a'..) {
            x = block(
                &mut b,
                &format!("block{number}{letter}"),
                &format!("_blocks.{index}"),
                stage,
                repeat,
                x,
            )?;
            index += 1;
        }
    }
    let x = b.conv2d("top_conv", "_conv_head", Window::square(1, 1, Padding::Same), x)?;
    let x = b.batch_norm("top_bn", "_bn1", EPSILON, x)?;
    let x = b.activation("top_activation", Activation::RELU6, x)?;
    let x = b.global_average_pool("avg_pool", x)?;
    let x = b.dropout("top_dropout", 0.2, x)?;
    let x = b.classifier("predictions", "_fc", x)?;
    b.output(x);
    let Parts { graph, params, layers } = b.finish()?;
    // Of the recipes tried on real photos the one that gives the published probabilities; (x - 127) / 128, which the
    // weights were trained with, differs by less than 0.002 there.
    let preprocess = Preprocess {
        size: [size, size],
        interpolation: Interpolation::Bicubic,
        fit: Fit::CutToAspect,
        color: Color::Rgb,
        scaling: Scaling::Tf,
    };
    let meta = Meta { preprocess: Some(preprocess), labels: Some(imagenet_labels()) };
    let name = "efficientnet-lite0".to_owned();
    Ok(Network { name, kind: Kind::Functional, graph: Arc::new(graph), params, layers, meta })
}

/// Expand, depthwise, project; the input is added to all but the first of a stage, which changes the width.
fn block(
    b: &mut Builder,
    name: &str,
    torch: &str,
    stage: &Stage,
    repeat: usize,
    input: Value,
) -> Result<Value, ZooError> {
    let stride = if repeat == 0 { stage.stride } else { 1 };
    let mut x = input;
    if stage.expands {
        let window = Window::square(1, 1, Padding::Same);
        x = b.conv2d(&format!("{name}_expand_conv"), &format!("{torch}._expand_conv"), window, x)?;
        x = b.batch_norm(&format!("{name}_expand_bn"), &format!("{torch}._bn0"), EPSILON, x)?;
        x = b.activation(&format!("{name}_expand_activation"), Activation::RELU6, x)?;
    }
    let window = Window::square(stage.kernel, stride, Padding::Same);
    x = b.depthwise(&format!("{name}_dwconv"), &format!("{torch}._depthwise_conv"), window, x)?;
    x = b.batch_norm(&format!("{name}_bn"), &format!("{torch}._bn1"), EPSILON, x)?;
    x = b.activation(&format!("{name}_activation"), Activation::RELU6, x)?;
    let window = Window::square(1, 1, Padding::Same);
    x = b.conv2d(&format!("{name}_project_conv"), &format!("{torch}._project_conv"), window, x)?;
    x = b.batch_norm(&format!("{name}_project_bn"), &format!("{torch}._bn2"), EPSILON, x)?;
    if repeat > 0 {
        x = b.add(&format!("{name}_add"), x, input)?;
    }
    Ok(x)
}
