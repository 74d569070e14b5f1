//! SqueezeNet 1.0 and 1.1 (Iandola et al. 2016, arXiv:1602.07360).

use binesh_core::Activation;

use crate::zoo::architecture::{Architecture, Family, Source};
use crate::zoo::builder::{Builder, Value};
use crate::zoo::modules::{Made, Pool, Zeros};
use crate::zoo::names::Names;

pub(super) static FAMILY: Family = Family {
    architectures: &[
        Architecture::torchvision("squeezenet1_0", 224, 256),
        Architecture::torchvision("squeezenet1_1", 224, 256),
    ],
    recognize,
    build,
};

/// The last of the numbered modules.
const LAST: usize = 12;

fn recognize(names: &Names<'_>) -> Vec<(Source, String)> {
    let fires: Vec<usize> =
        (1..=LAST).filter(|i| names.has(&format!("features.{i}.squeeze.weight"))).collect();
    let name = match fires[..] {
        [3, 4, 5, 7, 8, 9, 10, 12] => "squeezenet1_0",
        [3, 4, 6, 7, 9, 10, 11, 12] => "squeezenet1_1",
        _ => return Vec::new(),
    };
    vec![(Source::Torchvision, name.to_owned())]
}

fn build(b: &mut Builder, _: &Architecture, x: Value) -> Made {
    let x = b.conv("features.0", 2, Zeros::Without, x)?;
    let mut x = b.act("features.1", Activation::RELU, x)?;
    for index in 2..=LAST {
        let path = format!("features.{index}");
        // What has no weights is a pool.
        x = if b.has(&format!("{path}.squeeze.weight")) {
            fire(b, &path, x)?
        } else {
            b.max_pool(&path, Pool { size: 3, stride: 2, pad: 0, ceil: true }, x)?
        };
    }
    let x = b.drop_out("classifier.0", 0.5, x)?;
    let x = b.conv("classifier.1", 1, Zeros::Without, x)?;
    let x = b.act("classifier.2", Activation::RELU, x)?;
    b.global_pool("classifier.3", x)
}

fn fire(b: &mut Builder, path: &str, x: Value) -> Made {
    let x = b.conv(&format!("{path}.squeeze"), 1, Zeros::Half, x)?;
    let x = b.act(&format!("{path}.squeeze_activation"), Activation::RELU, x)?;
    let mut parts = Vec::new();
    for part in ["expand1x1", "expand3x3"] {
        let y = b.conv(&format!("{path}.{part}"), 1, Zeros::Half, x)?;
        parts.push(b.act(&format!("{path}.{part}_activation"), Activation::RELU, y)?);
    }
    b.cat(&format!("{path}.cat"), &parts)
}
