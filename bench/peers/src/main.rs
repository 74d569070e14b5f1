//! Times a network with another runtime of Rust, as `binesh bench` does, after its logits have been compared with
//! Keras's. Prints one JSON line; bench/networks/run.py calls it.

mod rten_peer;
mod tract_peer;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use clap::{Parser, ValueEnum};
use ndarray::{Array2, Array4, Slice};

#[derive(Parser)]
struct Args {
    engine: Engine,
    /// What the names of the network's files begin with
    stem: PathBuf,
    #[arg(long, default_value_t = 1)]
    batch: usize,
    #[arg(long, default_value_t = 2)]
    threads: usize,
    /// How long to go on; at least 5 runs are timed
    #[arg(long, default_value_t = 3.0)]
    seconds: f64,
}

#[derive(Clone, Copy, ValueEnum)]
enum Engine {
    Tract,
    Rten,
}

/// A network that is ready to run on the pictures it was made with.
trait Peer {
    const VERSION: &'static str;

    /// # Shapes
    /// `pictures` is `[N, C, H, W]`.
    fn load(network: &Path, pictures: Array4<f32>, threads: usize) -> Result<Self>
    where
        Self: Sized;

    /// The logits `[N, classes]`, row after row.
    fn run(&mut self) -> Result<Vec<f32>>;
}

/// Largest difference from Keras's logits, of the largest of those.
const TOLERANCE: f32 = 1e-4;
const RUNS: usize = 5;
const WARM_UP: Duration = Duration::from_millis(200);

fn main() -> Result<()> {
    let args = Args::parse();
    match args.engine {
        Engine::Tract => time::<tract_peer::Network>(&args),
        Engine::Rten => time::<rten_peer::Network>(&args),
    }
}

fn time<P: Peer>(args: &Args) -> Result<()> {
    let file = |ending: &str| PathBuf::from(format!("{}{ending}", args.stem.display()));
    let first = Slice::from(..args.batch);
    let pictures: Array4<f32> = ndarray_npy::read_npy(file("-x.npy"))?;
    let logits: Array2<f32> = ndarray_npy::read_npy(file("-y.npy"))?;
    let pictures = pictures.slice_axis(ndarray::Axis(0), first).permuted_axes([0, 3, 1, 2]);
    let logits = logits.slice_axis(ndarray::Axis(0), first);

    let began = Instant::now();
    let mut network = P::load(&file(".onnx"), pictures.as_standard_layout().into_owned(), args.threads)?;
    let load = began.elapsed();
    let (first, given) = once(&mut network)?;
    let differ = differ(&given, logits.as_slice().context("rows of logits")?)?;
    ensure!(differ <= TOLERANCE, "the logits differ from Keras's by {differ} of the largest");

    let seconds = Duration::from_secs_f64(args.seconds);
    repeat(&mut network, WARM_UP.min(seconds), 2)?;
    let mut times = repeat(&mut network, seconds, RUNS)?;
    times.sort_by(f64::total_cmp);
    let median = (times[(times.len() - 1) / 2] + times[times.len() / 2]) / 2.0;
    let figures = serde_json::json!({
        "median_ms": 1e3 * median,
        "p90_ms": 1e3 * times[(times.len() * 9).div_ceil(10) - 1],
        "mean_ms": 1e3 * times.iter().sum::<f64>() / times.len() as f64,
        "runs": times.len(),
        "load_ms": 1e3 * load.as_secs_f64(),
        "plan_ms": 1e3 * (first - median).max(0.0),
        "peak_bytes": peak_bytes(),
        "threads": args.threads,
        "batch": args.batch,
        "version": P::VERSION,
        "differ": differ,
    });
    println!("{figures}");
    Ok(())
}

/// Seconds and logits of one run.
fn once(network: &mut impl Peer) -> Result<(f64, Vec<f32>)> {
    let began = Instant::now();
    let logits = network.run()?;
    Ok((began.elapsed().as_secs_f64(), logits))
}

/// Seconds of runs that go on for this long and are at least this many.
fn repeat(network: &mut impl Peer, at_least: Duration, runs: usize) -> Result<Vec<f64>> {
    let began = Instant::now();
    let mut times = Vec::new();
    while times.len() < runs || began.elapsed() < at_least {
        times.push(once(network)?.0);
    }
    Ok(times)
}

fn differ(logits: &[f32], reference: &[f32]) -> Result<f32> {
    ensure!(logits.len() == reference.len(), "{} logits, expected {}", logits.len(), reference.len());
    let largest = |values: &mut dyn Iterator<Item = f32>| values.fold(0.0, f32::max);
    let off = largest(&mut logits.iter().zip(reference).map(|(a, b)| (a - b).abs()));
    ensure!(logits.iter().all(|logit| logit.is_finite()), "a logit is no number");
    Ok(off / largest(&mut reference.iter().map(|logit| logit.abs())))
}

/// The most memory this process has held; `None` where the system does not say.
fn peak_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    Some(1024 * line.split_whitespace().next()?.parse::<u64>().ok()?)
}
