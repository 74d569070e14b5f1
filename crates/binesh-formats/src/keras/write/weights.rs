//! `model.weights.h5`: variables in groups named by class and number.

use std::collections::HashMap;

use hdf5_pure::{AttrValue, DatasetBuilder, FileBuilder, LibVer};

use super::records::{Model, Weight};
use crate::error::FormatError;
use crate::keras::weights::snake_case;
use crate::network::Network;

/// The bytes of the file.
pub(super) fn h5(model: &Model, network: &Network) -> Result<Vec<u8>, FormatError> {
    let mut file = FileBuilder::new();
    // What HDF5 1.8 reads, every later version does.
    file.with_libver_bounds(LibVer::Earliest, LibVer::V18);
    let mut layers = file.create_group("layers");
    let mut counters: HashMap<String, usize> = HashMap::new();
    for layer in model.layers.iter().filter(|layer| !layer.class.is_operation()) {
        let class = snake_case(layer.class.name);
        let n = counters.entry(class.clone()).or_insert(0);
        let name = if *n == 0 { class } else { format!("{class}_{n}") };
        *n += 1;
        let mut group = layers.create_group(&name);
        let mut vars = group.create_group("vars");
        vars.set_attr("name", AttrValue::String(layer.name.clone()));
        for (i, weight) in layer.weights.iter().enumerate() {
            variable(vars.create_dataset(&i.to_string()), weight, network)?;
        }
        group.add_group(vars.finish());
        layers.add_group(group.finish());
    }
    file.add_group(layers.finish());
    file.finish().map_err(|e| FormatError::unsupported(format!("the weights cannot be written as HDF5: {e}")))
}

/// The values of one variable.
pub(super) fn variable(
    dataset: &mut DatasetBuilder,
    weight: &Weight,
    network: &Network,
) -> Result<(), FormatError> {
    match weight {
        Weight::Node(id, shape) => {
            let value = network.value(*id)?;
            let extents: Vec<u64> = shape.iter().map(|&n| n as u64).collect();
            dataset.with_f32_data(value.data()).with_shape(&extents);
        }
        Weight::Count(count) => {
            dataset.with_i32_data(&[*count]).with_shape(&[]);
        }
    }
    Ok(())
}
