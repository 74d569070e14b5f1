//! tract, its matrix products on several threads.

use std::path::Path;
use std::sync::Arc;

use anyhow::Result;
use ndarray::Array4;
use tract_linalg::multithread::{Executor, set_default_executor};
use tract_onnx::prelude::*;

pub(crate) struct Network {
    network: Arc<TypedRunnableModel>,
    pictures: TValue,
}

impl crate::Peer for Network {
    const VERSION: &'static str = "0.23.9";

    fn load(network: &Path, pictures: Array4<f32>, threads: usize) -> Result<Network> {
        if threads > 1 {
            set_default_executor(Executor::multithread(threads));
        }
        let shape = pictures.shape().to_vec();
        let network = tract_onnx::onnx()
            .with_ignore_output_shapes(true)
            .model_for_path(network)?
            .with_input_fact(0, f32::fact(&shape).into())?
            .into_optimized()?
            .into_runnable()?;
        let pictures = Tensor::from_shape(&shape, &pictures.into_raw_vec_and_offset().0)?;
        Ok(Network { network, pictures: pictures.into_tvalue() })
    }

    fn run(&mut self) -> Result<Vec<f32>> {
        let outputs = self.network.run(tvec![self.pictures.clone()])?;
        Ok(outputs[0].to_plain_array_view::<f32>()?.iter().copied().collect())
    }
}
