//! Inception v3 (Szegedy et al. 2015, arXiv:1512.00567), torchvision's and timm's. The auxiliary classifier is not used.
//!
//! Published weights were trained with `x / 127.5 - 1`: torchvision's `transform_input` makes that of what it standardised.

use crate::zoo::architecture::{Architecture, Family, Source};
use crate::zoo::builder::{Builder, Value};
use crate::zoo::googlenet::basic_conv;
use crate::zoo::modules::{Made, Pool, Zeros};
use crate::zoo::names::Names;

pub(super) static FAMILY: Family = Family {
    architectures: &[Architecture::torchvision("inception_v3", 299, 342).signed()],
    recognize,
    build,
};

fn recognize(names: &Names<'_>) -> Vec<(Source, String)> {
    let fits = names.has("Mixed_5b.branch1x1.conv.weight") && names.has("Mixed_7c.branch_pool.conv.weight");
    if fits { vec![(Source::Torchvision, "inception_v3".to_owned())] } else { Vec::new() }
}

const POOL: Pool = Pool { size: 3, stride: 2, pad: 0, ceil: false };
const MEAN: Pool = Pool { size: 3, stride: 1, pad: 1, ceil: false };

fn build(b: &mut Builder, _: &Architecture, x: Value) -> Made {
    b.leave("AuxLogits.");
    let x = basic_conv(b, "Conv2d_1a_3x3", 2, Zeros::Without, x)?;
    let x = basic_conv(b, "Conv2d_2a_3x3", 1, Zeros::Without, x)?;
    let x = basic_conv(b, "Conv2d_2b_3x3", 1, Zeros::Half, x)?;
    let x = b.max_pool("maxpool1", POOL, x)?;
    let x = basic_conv(b, "Conv2d_3b_1x1", 1, Zeros::Half, x)?;
    let x = basic_conv(b, "Conv2d_4a_3x3", 1, Zeros::Without, x)?;
    let mut x = b.max_pool("maxpool2", POOL, x)?;
    for block in ["Mixed_5b", "Mixed_5c", "Mixed_5d"] {
        let branches = [
            &["branch1x1"][..],
            &["branch5x5_1", "branch5x5_2"],
            &["branch3x3dbl_1", "branch3x3dbl_2", "branch3x3dbl_3"],
        ];
        x = mixed(b, block, &branches, x)?;
    }
    x = reduction(
        b,
        "Mixed_6a",
        &[&["branch3x3"], &["branch3x3dbl_1", "branch3x3dbl_2", "branch3x3dbl_3"]],
        x,
    )?;
    for block in ["Mixed_6b", "Mixed_6c", "Mixed_6d", "Mixed_6e"] {
        let double =
            ["branch7x7dbl_1", "branch7x7dbl_2", "branch7x7dbl_3", "branch7x7dbl_4", "branch7x7dbl_5"];
        let branches = [&["branch1x1"][..], &["branch7x7_1", "branch7x7_2", "branch7x7_3"], &double];
        x = mixed(b, block, &branches, x)?;
    }
    let long = ["branch7x7x3_1", "branch7x7x3_2", "branch7x7x3_3", "branch7x7x3_4"];
    x = reduction(b, "Mixed_7a", &[&["branch3x3_1", "branch3x3_2"], &long], x)?;
    for block in ["Mixed_7b", "Mixed_7c"] {
        x = widest(b, block, x)?;
    }
    let x = b.global_pool("avgpool", x)?;
    let x = b.drop_out("dropout", 0.5, x)?;
    b.linear("fc", x)
}

fn chain(b: &mut Builder, block: &str, names: &[&str], mut x: Value) -> Made {
    for name in names {
        x = basic_conv(b, &format!("{block}.{name}"), 1, Zeros::Half, x)?;
    }
    Ok(x)
}

/// Figures 5 and 6: chains of convolutions, and one behind an average pool.
fn mixed(b: &mut Builder, block: &str, branches: &[&[&str]], x: Value) -> Made {
    let mut parts = Vec::new();
    for names in branches {
        parts.push(chain(b, block, names, x)?);
    }
    parts.push(pooled(b, block, x)?);
    b.cat(&format!("{block}.cat"), &parts)
}

fn pooled(b: &mut Builder, block: &str, x: Value) -> Made {
    let y = b.average_pool(&format!("{block}.avg_pool2d"), MEAN, x)?;
    chain(b, block, &["branch_pool"], y)
}

/// Figure 10: chains whose last convolution has a stride of 2, and a max pool.
fn reduction(b: &mut Builder, block: &str, branches: &[&[&str]], x: Value) -> Made {
    let mut parts = Vec::new();
    for names in branches {
        let (last, before) = names.split_last().expect("a branch has a convolution");
        let y = chain(b, block, before, x)?;
        parts.push(basic_conv(b, &format!("{block}.{last}"), 2, Zeros::Without, y)?);
    }
    parts.push(b.max_pool(&format!("{block}.max_pool2d"), POOL, x)?);
    b.cat(&format!("{block}.cat"), &parts)
}

/// Figure 7: the last convolutions side by side.
fn widest(b: &mut Builder, block: &str, x: Value) -> Made {
    let mut parts = vec![chain(b, block, &["branch1x1"], x)?];
    let branches: [(&[&str], [&str; 2], &str); 2] = [
        (&["branch3x3_1"], ["branch3x3_2a", "branch3x3_2b"], "cat"),
        (&["branch3x3dbl_1", "branch3x3dbl_2"], ["branch3x3dbl_3a", "branch3x3dbl_3b"], "cat_1"),
    ];
    for (before, [a, other], cat) in branches {
        let y = chain(b, block, before, x)?;
        let sides = [chain(b, block, &[a], y)?, chain(b, block, &[other], y)?];
        parts.push(b.cat(&format!("{block}.{cat}"), &sides)?);
    }
    parts.push(pooled(b, block, x)?);
    b.cat(&format!("{block}.cat_2"), &parts)
}
