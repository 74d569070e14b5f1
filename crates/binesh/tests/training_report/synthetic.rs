//! A report as a run on the sample pictures would give it; every figure is made up, from a fixed sequence.

use binesh::report::training::{
    CacheFacts, ClassCounts, DataFacts, DuplicateGroup, Evaluation, LinearProbe, MistakePicture, ModelFacts,
    MovedRun, ProbedBlock, RejectedFile, Reproduce, Stage, StageLayer, Timing, TrainingReport,
};
use binesh::train::{HistoryRow, LayerMoved, Scores};

const CLASSES: [&str; 5] = ["birds", "fruit", "mammals", "plants", "vehicles"];
const BLOCKS: usize = 16;

/// The picture and its heatmap as files; both may be absent.
pub(crate) type Pictures<'a> = &'a dyn Fn(&str) -> (Option<Vec<u8>>, Option<Vec<u8>>);

/// The whole report.
pub(crate) fn report(pictures: Pictures) -> TrainingReport {
    TrainingReport {
        title: "pictures".into(),
        facts: [("trained", "2026-11-24 09:41"), ("binesh", "0.1.0"), ("seed", "0"), ("threads", "2")]
            .map(|(name, value)| (name.into(), value.into()))
            .into(),
        model: ModelFacts {
            base: "EfficientNet-Lite0".into(),
            method: "fine-tuning".into(),
            input: [224, 224, 3],
            parameters: 3_379_429,
            trainable: 1_132_165,
        },
        data: data(),
        stages: stages(),
        history: history(),
        best_epoch: Some(23),
        evaluation: Some(evaluation(pictures)),
        probe: Some(probe()),
        moved: vec![moved("staged", 0.3, 0.93), moved("no warm-up", 6.0, 0.71)],
        timing: Some(Timing {
            total_seconds: 47.3,
            parts: [("reading", 2.1), ("frozen part", 9.8), ("head", 3.4), ("fine-tuning", 28.9), ("evaluation", 3.1)]
                .map(|(name, seconds)| (name.into(), seconds))
                .into(),
            waiting_for_data: Some(0.013),
            peak_memory: Some(412 << 20),
            cache: Some(CacheFacts { hits: 5_040, misses: 168, bytes: 52 << 20, kind: "memory, f32".into() }),
        }),
        reproduce: Some(Reproduce {
            command: "binesh train examples/data/pictures --recipe default --seed 0 --out runs/pictures".into(),
            config: "seed = 0\nrecipe = \"default\"\n\n[data]\nsource = \"examples/data/pictures\"\nsplit = { stratified = { \
                     validation = 0.25, test = 0.0 } }\n\n[[stage]]\nname = \"head\"\nepochs = 12\noptimizer = { adam = { \
                     learning_rate = 1e-3 } }\n\n[[stage]]\nname = \"fine-tuning\"\nepochs = 18\nunfreeze = \"auto\"\noptimizer \
                     = { adam = { learning_rate = 1e-4 } }\n"
                .into(),
        }),
    }
}

/// Numbers from 0 to 1 that look random and are the same everywhere.
struct Sequence(u32);

impl Sequence {
    /// The next one.
    fn draw(&mut self) -> f64 {
        self.0 = self.0.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        f64::from(self.0 >> 8) / f64::from(1 << 24)
    }
}

fn data() -> DataFacts {
    let class = |name: &str| ClassCounts { name: name.into(), train: 36, validation: 12, test: 0 };
    DataFacts {
        source: "examples/data/pictures".into(),
        split: "stratified, seed 0".into(),
        classes: CLASSES.map(class).into(),
        rejected: vec![
            RejectedFile { path: "plants/notes.txt".into(), reason: "not a picture".into() },
            RejectedFile { path: "birds/half.jpg".into(), reason: "the file ends within the picture".into() },
        ],
        duplicates: vec![
            DuplicateGroup {
                paths: vec!["fruit/cherries.jpg".into(), "fruit/cherries_copy.jpg".into()],
                exact: true,
                across_splits: false,
            },
            DuplicateGroup {
                paths: vec!["mammals/cow.jpg".into(), "mammals/cow_small.jpg".into()],
                exact: false,
                across_splits: true,
            },
        ],
    }
}

fn stages() -> Vec<Stage> {
    let layer = |layer: String, parameters: u64, rate: Option<f64>, batch_norm: bool| StageLayer {
        layer,
        parameters,
        trainable: if rate.is_some() { parameters } else { 0 },
        learning_rate: rate,
        batch_norm: batch_norm.then(|| "moving statistics".into()),
    };
    let blocks = |from: usize| {
        (1..=BLOCKS).map(move |i| {
            let rate = (i >= from).then(|| 1e-4 * 0.8_f64.powi((BLOCKS - i) as i32));
            layer(format!("block{i}"), 2_000 * (i * i) as u64 + 896, rate, true)
        })
    };
    let head = |rate| {
        [layer("head/dropout".into(), 0, None, false), layer("head/dense".into(), 6_405, Some(rate), false)]
    };
    vec![
        Stage {
            name: "head".into(),
            note: "The new head learns on the features of the frozen network.".into(),
            layers: [layer("stem".into(), 928, None, true)]
                .into_iter()
                .chain(blocks(BLOCKS + 1))
                .chain(head(1e-3))
                .collect(),
        },
        Stage {
            name: "fine-tuning".into(),
            note:
                "The last three blocks and the head learn together, each block slower than the one after it."
                    .into(),
            layers: [layer("stem".into(), 928, None, true)]
                .into_iter()
                .chain(blocks(14))
                .chain(head(1e-4))
                .collect(),
        },
    ]
}

fn history() -> Vec<HistoryRow> {
    let mut noise = Sequence(1);
    let mut rows = Vec::new();
    for epoch in 1..=30_usize {
        let head = epoch <= 12;
        let (t, decay) = if head { (epoch as f64, 3.5) } else { ((epoch - 12) as f64, 6.0) };
        let (start, end) = if head { (1.5, 0.52) } else { (0.5, 0.12) };
        let train_loss = end + (start - end) * (-(t - 1.0) / decay).exp() + 0.03 * noise.draw();
        let val_end = if head { 0.47 } else { 0.27 };
        let overfit = if head { 0.0 } else { 0.006 * (t - 11.0).max(0.0) };
        let val_loss =
            val_end + (start * 0.8 - val_end).max(0.1) * (-t / decay).exp() + overfit + 0.02 * noise.draw();
        let right = (60.0 * (1.0 - 0.24 * val_loss - 0.02 * noise.draw())).round().min(56.0);
        rows.push(HistoryRow {
            stage: if head { "head" } else { "fine-tuning" }.into(),
            epoch,
            train_loss,
            train_accuracy: 1.0 - 0.31 * train_loss - 0.01 * noise.draw(),
            val_loss: Some(val_loss),
            val_accuracy: Some(if epoch == 23 { 56.0 } else { right.min(55.0) } / 60.0),
            learning_rate: if head {
                1e-3
            } else {
                1e-4 * (0.505 + 0.495 * (std::f64::consts::PI * t / 18.0).cos())
            },
            seconds: if head { 0.28 } else { 1.6 } + 0.05 * noise.draw(),
            images_per_second: if head { 640.0 } else { 112.0 } + 8.0 * noise.draw(),
        });
    }
    rows
}

fn evaluation(pictures: Pictures) -> Evaluation {
    let mut noise = Sequence(7);
    let (mut probabilities, mut labels) = (Vec::new(), Vec::new());
    for i in 0..60 {
        let label = i % 5;
        // Four mistakes: the answer is another class, more or less surely.
        let said = if i % 17 == 8 { (label + 1 + i % 3) % 5 } else { label };
        let mut weights: Vec<f64> = (0..5).map(|_| (2.2 * noise.draw()).exp()).collect();
        weights[said] *= (2.4 + 3.0 * noise.draw()).exp();
        let total: f64 = weights.iter().sum();
        probabilities.extend(weights.iter().map(|w| (w / total) as f32));
        labels.push(label);
    }
    let scores = Scores::new(probabilities, labels, 5).expect("probabilities of five classes");
    let names =
        ["birds/duck.jpg", "fruit/lemon.jpg", "mammals/cow.jpg", "plants/rose.jpg", "vehicles/car.jpg"];
    let mistake = |mistake: binesh::train::Mistake| {
        let path = names[mistake.truth];
        let (picture, heatmap) = pictures(path);
        MistakePicture {
            path: path.into(),
            truth: mistake.truth,
            predicted: mistake.predicted,
            confidence: mistake.confidence,
            truth_probability: mistake.truth_probability,
            picture,
            heatmap,
        }
    };
    let mistakes = scores.mistakes(12).into_iter().map(mistake).collect();
    Evaluation { split: "validation".into(), metrics: scores.metrics(), chose_epoch: true, mistakes }
}

fn probe() -> LinearProbe {
    let accuracy = |i: usize| {
        let depth = i as f64 / BLOCKS as f64;
        0.42 + 0.52 * (1.0 - (-3.2 * depth).exp()) - 0.35 * (depth - 0.8).max(0.0)
    };
    let block = |i| ProbedBlock { block: format!("block{i}"), accuracy: accuracy(i) };
    LinearProbe {
        blocks: (1..=BLOCKS).map(block).collect(),
        unfrozen_from: Some("block14".into()),
        reason: "The features are best after block13 and lose from there on: block14 to block16 learn on."
            .into(),
    }
}

fn moved(name: &str, force: f64, accuracy: f64) -> MovedRun {
    let mut noise = Sequence(3);
    let layer = |i: usize| {
        let depth = i as f64 / (2 * BLOCKS) as f64;
        let learns = force > 1.0 || depth > 0.8;
        let change = if learns { force * (0.02 + 0.05 * depth) * (0.7 + 0.6 * noise.draw()) } else { 0.0 };
        let kept =
            if force > 1.0 { 0.97 - 0.75 * depth.powf(0.6) } else { 1.0 - 0.4 * (depth - 0.8).max(0.0) };
        LayerMoved {
            layer: format!(
                "block{}/{}",
                i.div_ceil(2),
                if i % 2 == 1 { "expand_conv" } else { "project_conv" }
            ),
            weight_change: Some(change),
            cka: Some((kept + 0.03 * (noise.draw() - 0.5) * f64::from(u8::from(learns))).min(1.0)),
        }
    };
    MovedRun { name: name.into(), accuracy: Some(accuracy), layers: (1..=2 * BLOCKS).map(layer).collect() }
}
