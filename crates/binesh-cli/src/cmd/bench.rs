//! `binesh bench`

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use binesh::core::{Grads, NodeId, ReluRule, Session, Tensor, View};
use binesh::report::profile::Times;
use binesh::{Head, Model};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::Serialize;
use serde_json::Value;

use crate::args::{Common, WeightsArgs, count};
use crate::cmd::Outcome;
use crate::inputs;
use crate::memory;
use crate::output;

/// Time a network on random input
///
/// Loads the network, plans, warms up, then runs again and again for a while. Nothing but the network is timed: no
/// pictures are read, and input and output stay in memory.
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Examples:
  binesh bench vgg16.h5 --batch 8 --threads 2
  binesh bench run --gradient --json
  binesh bench model.keras --size 320x320 --seconds 10")]
pub(crate) struct Args {
    /// Model file, or the folder of a run [default: the built-in EfficientNet-Lite0]
    #[arg(value_name = "MODEL")]
    model: Option<PathBuf>,

    #[command(flatten)]
    weights: WeightsArgs,

    /// Pictures in one run
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = count)]
    batch: usize,

    /// How long to go on; at least 5 runs are timed
    #[arg(long, value_name = "S", default_value_t = 3.0, value_parser = seconds)]
    seconds: f64,

    /// Rows and columns of the input, where the network leaves them open [default: as pictures are prepared for it]
    #[arg(long, value_name = "HxW", value_parser = inputs::size)]
    size: Option<[usize; 2]>,

    /// Run forwards and back: the gradient of each picture's largest logit with respect to the input
    #[arg(long)]
    gradient: bool,
}

fn seconds(text: &str) -> Result<f64, &'static str> {
    let seconds = text.parse().ok().filter(|seconds| (0.0..=3600.0).contains(seconds));
    seconds.ok_or("not a number of seconds from 0 to 3600")
}

/// Runs that are timed at least.
const RUNS: usize = 5;
/// Runs that are timed at most: a tiny network makes this many in an hour, and their times take memory.
const MOST_RUNS: usize = 10_000_000;
/// Runs before those that are timed, the first one included: caches fill, the processor leaves its idle clock.
const WARM_UP_RUNS: usize = 3;
const WARM_UP: Duration = Duration::from_millis(200);
const SEED: u64 = 0;

/// The document of `--json`.
#[derive(Serialize)]
struct Report {
    model: String,
    gradient: bool,
    input: Vec<Input>,
    batch: usize,
    threads: usize,
    isa: &'static str,
    median_ms: f64,
    p90_ms: f64,
    mean_ms: f64,
    images_per_second: f64,
    runs: usize,
    macs: u64,
    gflops_per_second: Option<f64>,
    load_ms: f64,
    plan_ms: f64,
    peak_bytes: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    profile: Option<Value>,
}

#[derive(Serialize)]
struct Input {
    name: String,
    shape: Vec<usize>,
}

pub(crate) fn run(args: &Args, common: &Common) -> Result<Outcome> {
    // A shell may have told its background jobs to ignore Ctrl-C.
    ctrlc::set_handler(|| std::process::exit(130)).context("cannot catch Ctrl-C")?;
    let began = Instant::now();
    let (model, _) = args.weights.load(args.model.as_deref(), common)?;
    let load = began.elapsed();
    let mut job = Job::new(&model, args)?;

    let began = Instant::now();
    job.once()?;
    let first = began.elapsed();
    job.repeat(WARM_UP.min(Duration::from_secs_f64(args.seconds)), WARM_UP_RUNS - 1)?;
    if let Some(profile) = common.profile() {
        profile.clear();
    }
    let mut times = job.repeat(Duration::from_secs_f64(args.seconds), RUNS)?;

    times.sort();
    let median = median(&times);
    let macs = job.session.plan().macs();
    let graph = model.graph();
    let input = |(&id, x): (&NodeId, &Tensor)| Input {
        name: graph.node(id).name.clone(),
        shape: x.shape().dims().to_vec(),
    };
    let report = Report {
        model: model.network().name.clone(),
        gradient: args.gradient,
        input: job.session.inputs().iter().zip(&job.inputs).map(input).collect(),
        batch: args.batch,
        threads: model.runtime().threads(),
        isa: model.runtime().isa().name(),
        median_ms: 1e3 * median,
        p90_ms: ms(within(&times, 90)),
        mean_ms: times.iter().copied().map(ms).sum::<f64>() / times.len() as f64,
        images_per_second: args.batch as f64 / median,
        runs: times.len(),
        macs,
        // How many products the way back takes is not counted.
        gflops_per_second: (!args.gradient).then_some(2.0 * macs as f64 / median / 1e9),
        load_ms: ms(load),
        plan_ms: (ms(job.planning + first) - 1e3 * median).max(0.0),
        peak_bytes: memory::peak_bytes(),
        profile: common.profile().map(|profile| Times::of(profile).json()),
    };
    if common.json {
        output::print_json(&report)?;
    } else {
        output::print(&text(&report))?;
    }
    Ok(Outcome::Done)
}

/// What is run again and again.
struct Job<'m> {
    model: &'m Model,
    session: Session,
    inputs: Vec<Tensor>,
    /// The head whose gradient is taken.
    head: Option<Head>,
    /// How long it took to make the session.
    planning: Duration,
}

impl<'m> Job<'m> {
    fn new(model: &'m Model, args: &Args) -> Result<Job<'m>> {
        let shapes = inputs::shapes(model, args.batch, args.size)?;
        let head = args.gradient.then(|| model.head()).transpose()?;
        let graph = model.graph();
        let mut want = graph.outputs().to_vec();
        want.extend(head.map(|head| head.logits));
        let wrt = [picture(model)?];
        let grads = if args.gradient { Grads::Wrt(&wrt) } else { Grads::None };
        let began = Instant::now();
        let session = model.session(&shapes, &want, grads)?;
        let planning = began.elapsed();
        // The shapes hold what the plan has accepted, so the input can be made.
        let mut random = ChaCha8Rng::seed_from_u64(SEED);
        let mut input = |&id: &NodeId| -> Result<Tensor> {
            let shape = session.plan().shape(id).clone();
            let data = (0..shape.len()).map(|_| random.random_range(-1.0..1.0)).collect();
            Ok(Tensor::new(shape, data)?)
        };
        let inputs = session.inputs().iter().map(&mut input).collect::<Result<_>>()?;
        Ok(Job { model, session, inputs, head, planning })
    }

    fn once(&mut self) -> Result<()> {
        let inputs: Vec<View<'_>> = self.inputs.iter().map(Tensor::view).collect();
        let params = self.model.params();
        self.session.run(params, &inputs).map_err(binesh::Error::from)?;
        if let Some(head) = &self.head {
            let seed = largest(self.session.value(head.logits), head.units);
            let seeds = [(head.logits, seed)];
            self.session.backward(params, &seeds, ReluRule::Exact).map_err(binesh::Error::from)?;
        }
        Ok(())
    }

    /// Runs for this long and at least this often; gives the time of each run.
    fn repeat(&mut self, at_least: Duration, runs: usize) -> Result<Vec<Duration>> {
        let began = Instant::now();
        let mut times = Vec::new();
        while times.len() < runs || (began.elapsed() < at_least && times.len() < MOST_RUNS) {
            let began = Instant::now();
            self.once()?;
            times.push(began.elapsed());
        }
        Ok(times)
    }
}

/// The input that is a picture where there are several.
fn picture(model: &Model) -> Result<NodeId> {
    let inputs = model.graph().inputs();
    let picture = inputs.iter().find(|&&id| model.is_map(id));
    picture.or(inputs.first()).copied().context("the network has no input")
}

/// 1 at the largest of each picture's `units` values, 0 elsewhere.
///
/// # Shapes
/// `[N, units]` -> `[N, units]`
fn largest(values: View<'_>, units: usize) -> Tensor {
    let mut seed = Tensor::zeros(values.shape().clone());
    for (seed, values) in seed.data_mut().chunks_exact_mut(units).zip(values.data().chunks_exact(units)) {
        let largest = (0..units).max_by(|&a, &b| values[a].total_cmp(&values[b]));
        largest.into_iter().for_each(|at| seed[at] = 1.0);
    }
    seed
}

fn ms(time: Duration) -> f64 {
    1e3 * time.as_secs_f64()
}

/// The median of sorted times in seconds, the mean of the two in the middle for an even number of them.
fn median(sorted: &[Duration]) -> f64 {
    let (low, high) = (sorted[(sorted.len() - 1) / 2], sorted[sorted.len() / 2]);
    (low + high).as_secs_f64() / 2.0
}

/// The shortest of sorted times that at least this many percent do not exceed.
fn within(sorted: &[Duration], percent: usize) -> Duration {
    sorted[(sorted.len() * percent).div_ceil(100) - 1]
}

fn text(report: &Report) -> String {
    let what = if report.gradient { "forwards and gradient of the input" } else { "forwards" };
    let threads = if report.threads == 1 { "thread" } else { "threads" };
    let mut text = format!("{}: {what}, {} {threads}, {}\n", report.model, report.threads, report.isa);
    for input in &report.input {
        text.push_str(&format!("input `{}` {:?}\n", input.name, input.shape));
    }
    let mut line = |label: &str, value: f64, unit: &str| {
        text.push_str(&format!("{label:<16}{value:>12.3} {unit}\n"));
    };
    line("median", report.median_ms, &format!("ms of {} runs", report.runs));
    line("90 % within", report.p90_ms, "ms");
    line("mean", report.mean_ms, "ms");
    line("throughput", report.images_per_second, "images/s");
    if let Some(rate) = report.gflops_per_second {
        line("rate", rate, &format!("GFLOP/s; {:.3} G multiply-adds a run", report.macs as f64 / 1e9));
    }
    line("load", report.load_ms, "ms");
    line("plan", report.plan_ms, "ms: plan and first run, packing of weights included, less a median run");
    if let Some(bytes) = report.peak_bytes {
        line("peak memory", bytes as f64 / 1e6, "MB, of the whole process");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn middles_of_times() {
        let times = |ms: &[u64]| ms.iter().map(|&ms| Duration::from_millis(ms)).collect::<Vec<_>>();
        for (sorted, middle, most) in [
            (times(&[1, 2, 3, 4, 50]), 0.003, 50),
            (times(&[1, 2, 3, 5, 6, 7]), 0.004, 7),
            (times(&[1, 2, 3, 4, 5, 6, 7, 8, 9, 10]), 0.0055, 9),
            (times(&[1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11]), 0.006, 10),
        ] {
            assert!((median(&sorted) - middle).abs() < 1e-12, "{sorted:?}");
            assert_eq!(within(&sorted, 90), Duration::from_millis(most), "{sorted:?}");
        }
    }

    #[test]
    fn the_largest_of_each_picture() {
        let values = Tensor::new([2, 3], vec![-3.0, -1.0, -2.0, 5.0, 0.0, 4.0]).unwrap();
        assert_eq!(largest(values.view(), 3).data(), [0.0, 1.0, 0.0, 1.0, 0.0, 0.0]);
    }

    #[test]
    fn times_to_go_on() {
        assert_eq!(seconds("0.5"), Ok(0.5));
        for wrong in ["", "-1", "nan", "inf", "3601", "3s"] {
            assert!(seconds(wrong).is_err(), "{wrong}");
        }
    }
}
