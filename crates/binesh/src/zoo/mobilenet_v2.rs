//! MobileNetV2 (Sandler et al. 2018, arXiv:1801.04381).

use binesh_core::Activation::{self, Linear};

use crate::zoo::architecture::{Architecture, Family, Source};
use crate::zoo::builder::{Builder, Value};
use crate::zoo::modules::{Made, Zeros};
use crate::zoo::names::Names;

pub(super) static FAMILY: Family =
    Family { architectures: &[Architecture::torchvision("mobilenet_v2", 224, 256)], recognize, build };

const EPSILON: f32 = 1e-5;

/// Table 2: the blocks with a stride of 2.
const STRIDED: [usize; 4] = [2, 4, 7, 14];

fn recognize(names: &Names<'_>) -> Vec<(Source, String)> {
    let fits = names.has("features.1.conv.0.0.weight")
        && names.has("features.17.conv.3.weight")
        && names.has("features.18.0.weight");
    if fits { vec![(Source::Torchvision, "mobilenet_v2".to_owned())] } else { Vec::new() }
}

fn build(b: &mut Builder, _: &Architecture, x: Value) -> Made {
    let mut x = b.conv_norm_act("features.0", 2, EPSILON, Activation::RELU6, x)?;
    for index in 1..=17 {
        let stride = if STRIDED.contains(&index) { 2 } else { 1 };
        x = block(b, &format!("features.{index}"), stride, x)?;
    }
    let x = b.conv_norm_act("features.18", 1, EPSILON, Activation::RELU6, x)?;
    let x = b.global_pool("adaptive_avg_pool2d", x)?;
    let x = b.drop_out("classifier.0", 0.2, x)?;
    b.linear("classifier.1", x)
}

/// The input is added where neither extent nor width changes.
fn block(b: &mut Builder, path: &str, stride: usize, input: Value) -> Made {
    let mut x = input;
    let mut part = 0;
    if b.has(&format!("{path}.conv.1.0.weight")) {
        x = b.conv_norm_act(&format!("{path}.conv.0"), 1, EPSILON, Activation::RELU6, x)?;
        part = 1;
    }
    x = b.depthwise_norm_act(&format!("{path}.conv.{part}"), stride, EPSILON, Activation::RELU6, x)?;
    x = b.conv(&format!("{path}.conv.{}", part + 1), 1, Zeros::Half, x)?;
    x = b.norm_act(&format!("{path}.conv.{}", part + 2), "", EPSILON, Linear, x)?;
    if stride == 1 && b.extents(x) == b.extents(input) {
        b.sum(&format!("{path}.add"), input, x)
    } else {
        Ok(x)
    }
}
