//! The file that `BINESH_COSTS` names.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use binesh::core::Costs;

/// Costs of this machine: TOML, a line for each that differs from the default, `bandwidth = 25.0`.
pub(crate) fn read(path: &Path) -> Result<Costs> {
    let text = fs::read_to_string(path).with_context(|| format!("BINESH_COSTS: {}", path.display()))?;
    parse(&text).with_context(|| format!("BINESH_COSTS: {}", path.display()))
}

fn parse(text: &str) -> Result<Costs> {
    let given: BTreeMap<String, f64> = toml::from_str(text)?;
    let mut costs = Costs::DEFAULT;
    let mut named = costs.named_mut();
    for (name, value) in given {
        ensure!(value.is_finite() && value > 0.0, "`{name}` is {value}, but costs are more than 0");
        match named.iter_mut().find(|(known, _)| *known == name) {
            Some((_, cost)) => **cost = value,
            None => {
                let known: Vec<&str> = named.iter().map(|(known, _)| *known).collect();
                bail!("there is no cost `{name}`, only {}", known.join(", "));
            }
        }
    }
    Ok(costs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_given_replaces_the_default() {
        let costs = parse("peak_avx2 = 50\nwinograd_transform = 1e12\n").unwrap();
        let expected = Costs { peak_avx2: 50.0, winograd_transform: 1e12, ..Costs::DEFAULT };
        assert_eq!(costs, expected);
        assert_eq!(parse("").unwrap(), Costs::DEFAULT);
    }

    #[test]
    fn rejects() {
        for (text, expected) in [
            ("peek = 1.0", "no cost `peek`, only peak_avx2, "),
            ("bandwidth = 0", "`bandwidth` is 0"),
            ("bandwidth = nan", "`bandwidth` is NaN"),
            ("bandwidth = \"much\"", "much"),
        ] {
            let error = format!("{:#}", parse(text).unwrap_err());
            assert!(error.contains(expected), "{error}");
        }
    }
}
