//! Times one step of fine-tuning without any cache: from pictures in memory through the whole network, back to the first
//! unfrozen block, and the update. One JSON line; `bench/transfer/run.py` puts it beside Keras's and PyTorch's.
//!
//!     cargo run --release -p binesh --example transfer_step MODEL.h5 FIRST_LAYER BATCH THREADS STEPS

use std::time::Instant;

use binesh::Model;
use binesh::core::{Grads, NodeId, Plan, PlanSpec, ReluRule, Runtime, Session, Shape, Tensor, View};
use binesh::train::attach::{Attached, HeadConfig};
use binesh::train::blocks::blocks;
use binesh::train::loss::{Batch, Loss};
use binesh::train::optimizer::{Adam, Optimizer, OptimizerState, Update};
use binesh::train::stage::StageSpec;
use binesh::train::{BatchNormMode, FineTuningConfig, StageConfig, Unfreeze};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [file, first, batch, threads, steps] = args.as_slice() else {
        return Err("MODEL.h5 FIRST_LAYER BATCH THREADS STEPS".into());
    };
    let (n, threads, steps): (usize, usize, usize) = (batch.parse()?, threads.parse()?, steps.parse()?);
    let (model, _) = Model::open(file.as_ref(), None, &Default::default(), Runtime::new(threads))?;
    let [h, w] = model.preprocessing().ok_or("no pictures")?.preprocess.size;
    let classes: Vec<String> = (0..5).map(|i| format!("class {i}")).collect();
    let head = HeadConfig { dropout: 0.0, ..HeadConfig::default() };
    let attached = Attached::new(&model, &head, &classes, 0)?;
    let graph = &attached.network.graph;
    let input = (graph.inputs()[0], Shape::from([n, h, w, 3]));
    let shapes = graph.shapes(std::slice::from_ref(&input))?;
    let blocks = blocks(graph, &attached.network.layers, &shapes, attached.features);
    let layer = attached.network.layers.find(first).ok_or("no such layer")?;
    let from = blocks.iter().position(|b| b.layers.contains(&layer)).ok_or("the layer has no weights")?;
    let config = FineTuningConfig {
        unfreeze: Unfreeze::Auto,
        rate_decay: 1.0,
        batch_norm: BatchNormMode::Frozen,
        force: true,
        stage: StageConfig::default(),
    };
    let spec = StageSpec::fine_tuning(&attached, &blocks, from, &config);
    let learn: Vec<NodeId> = spec.trainable.iter().map(|t| t.node).collect();
    let plan = PlanSpec {
        inputs: std::slice::from_ref(&input),
        want: &[attached.logits],
        grads: Grads::Wrt(&learn),
        ..PlanSpec::default()
    };
    let mut session = Session::new(Plan::new(graph, plan)?, model.runtime().clone());
    let mut params = attached.network.params.clone();
    let sizes = spec.trainable.iter().map(|t| (t.name.as_str(), shapes[t.node.index()].len()));
    let mut optimizer = OptimizerState::new(Optimizer::Adam(Adam::default()), sizes);
    let x: Vec<f32> = (0..input.1.len()).map(|i| (i * 7919 % 255) as f32 / 127.5 - 1.0).collect();
    let labels: Vec<usize> = (0..n).map(|i| i % 5).collect();
    let targets = Loss::CategoricalCrossEntropy.targets(&labels, 5);
    let mut seconds = Vec::new();
    for _ in 0..steps + 2 {
        let start = Instant::now();
        session.run(&params, &[View::new(&input.1, &x)])?;
        let logits = session.value(attached.logits);
        let mut d_logits = Tensor::zeros(logits.shape().clone());
        let batch =
            Batch { logits: logits.data(), targets: &targets, units: 5, label_smoothing: 0.0, weights: None };
        Loss::CategoricalCrossEntropy.with_gradient(&batch, d_logits.data_mut());
        session.backward(&params, &[(attached.logits, d_logits)], ReluRule::Exact)?;
        let mut step = optimizer.begin_step();
        for (index, trainable) in spec.trainable.iter().enumerate() {
            let gradient = session.grad(trainable.node).ok_or("no gradient")?.data().into();
            let weights = params.get_mut(trainable.node).ok_or("no value")?.data_mut();
            step.apply(index, Update { weights, gradient, rate: 1e-5, decay: false });
        }
        seconds.push(start.elapsed().as_secs_f64());
    }
    let mut timed = seconds[2..].to_vec();
    timed.sort_by(f64::total_cmp);
    println!("{{\"step\": {}, \"step_best\": {}, \"batch\": {n}}}", timed[timed.len() / 2], timed[0]);
    Ok(())
}
