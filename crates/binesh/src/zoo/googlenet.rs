//! GoogLeNet (Szegedy et al. 2014, arXiv:1409.4842) as torchvision has it: with batch norm, and 3x3 convolutions where the
//! paper has 5x5. The two auxiliary classifiers are not used.
//!
//! Published weights were trained with `x / 127.5 - 1`: torchvision's `transform_input` makes that of what it standardised.

use binesh_core::Activation;

use crate::zoo::architecture::{Architecture, Family, Source};
use crate::zoo::builder::{Builder, Value};
use crate::zoo::modules::{Made, Pool, Zeros};
use crate::zoo::names::Names;

pub(super) static FAMILY: Family =
    Family { architectures: &[Architecture::torchvision("googlenet", 224, 256).signed()], recognize, build };

fn recognize(names: &Names<'_>) -> Vec<(Source, String)> {
    let fits = names.has("inception3a.branch1.conv.weight") && names.has("inception5b.branch4.1.conv.weight");
    if fits { vec![(Source::Torchvision, "googlenet".to_owned())] } else { Vec::new() }
}

const POOL: Pool = Pool { size: 3, stride: 2, pad: 0, ceil: true };

fn build(b: &mut Builder, _: &Architecture, x: Value) -> Made {
    b.leave("aux1.");
    b.leave("aux2.");
    let x = basic_conv(b, "conv1", 2, Zeros::Half, x)?;
    let x = b.max_pool("maxpool1", POOL, x)?;
    let x = basic_conv(b, "conv2", 1, Zeros::Half, x)?;
    let x = basic_conv(b, "conv3", 1, Zeros::Half, x)?;
    let mut x = b.max_pool("maxpool2", POOL, x)?;
    for (blocks, pool) in [
        (&["3a", "3b"][..], Some(("maxpool3", POOL))),
        (&["4a", "4b", "4c", "4d", "4e"], Some(("maxpool4", Pool { size: 2, ..POOL }))),
        (&["5a", "5b"], None),
    ] {
        for block in blocks {
            x = inception(b, &format!("inception{block}"), x)?;
        }
        if let Some((name, pool)) = pool {
            x = b.max_pool(name, pool, x)?;
        }
    }
    let x = b.global_pool("avgpool", x)?;
    let x = b.drop_out("dropout", 0.2, x)?;
    b.linear("fc", x)
}

fn inception(b: &mut Builder, path: &str, x: Value) -> Made {
    let at = |part: &str| format!("{path}.{part}");
    let mut parts = vec![basic_conv(b, &at("branch1"), 1, Zeros::Half, x)?];
    for branch in ["branch2", "branch3"] {
        let y = basic_conv(b, &at(&format!("{branch}.0")), 1, Zeros::Half, x)?;
        parts.push(basic_conv(b, &at(&format!("{branch}.1")), 1, Zeros::Half, y)?);
    }
    let y = b.max_pool(&at("branch4.0"), Pool { size: 3, stride: 1, pad: 1, ceil: true }, x)?;
    parts.push(basic_conv(b, &at("branch4.1"), 1, Zeros::Half, y)?);
    b.cat(&at("cat"), &parts)
}

/// torchvision's `BasicConv2d`: convolution, batch norm, relu.
pub(super) fn basic_conv(b: &mut Builder, path: &str, stride: usize, zeros: Zeros, x: Value) -> Made {
    let x = b.conv(&format!("{path}.conv"), stride, zeros, x)?;
    b.norm_act(&format!("{path}.bn"), &format!("{path}.relu"), 1e-3, Activation::RELU, x)
}
