//! rten, its weights packed when loading.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result};
use ndarray::Array4;
use rten::{Model, ModelOptions, RunOptions, ThreadPool};
use rten_tensor::prelude::*;
use rten_tensor::{NdTensor, Tensor};

pub(crate) struct Network {
    network: Model,
    pictures: NdTensor<f32, 4>,
    threads: Arc<ThreadPool>,
}

impl crate::Peer for Network {
    const VERSION: &'static str = "0.27.0";

    fn load(network: &Path, pictures: Array4<f32>, threads: usize) -> Result<Network> {
        let network = ModelOptions::with_all_ops().prepack_weights(true).load_file(network)?;
        let (n, c, h, w) = pictures.dim();
        let pictures = NdTensor::from_data([n, c, h, w], pictures.into_raw_vec_and_offset().0);
        Ok(Network { network, pictures, threads: Arc::new(ThreadPool::with_num_threads(threads)) })
    }

    fn run(&mut self) -> Result<Vec<f32>> {
        let mut options = RunOptions::default();
        options.thread_pool = Some(self.threads.clone());
        let logits = self.network.run_one(self.pictures.view().into(), Some(options))?;
        let logits: Tensor<f32> = logits.into_tensor().context("logits of 32 bits")?;
        Ok(logits.to_vec())
    }
}
