//! One side of a comparison with another engine: reads a case per line from standard input, runs it, and prints the best
//! time in microseconds, so that the caller can let the engines take turns. See `bench/conv_vs_torch.py`.
//!
//! A line is `DIRECTION N HW CIN COUT K STRIDE REPEATS`, where DIRECTION is `forward`, `d_input` or `d_kernel`.

use std::io::BufRead;
use std::time::{Duration, Instant};

use binesh_kernels::conv2d::{self, Conv2d};
use binesh_kernels::{Activation, Costs, Cx, Epilogue, Isa, Threads, Winograd, Write};

fn main() {
    let count = std::env::var("BINESH_THREADS").ok().and_then(|n| n.parse().ok()).unwrap_or(2);
    let threads = Threads::new(count);
    let cx =
        Cx { isa: Isa::detect(), threads: &threads, winograd: Winograd::WhereFaster, costs: &Costs::DEFAULT };
    for line in std::io::stdin().lock().lines() {
        let line = line.expect("standard input");
        let words: Vec<_> = line.split_whitespace().collect();
        let [direction, numbers @ ..] = words.as_slice() else { continue };
        let numbers: Vec<usize> = numbers.iter().map(|word| word.parse().expect("a number")).collect();
        let &[n, hw, cin, cout, k, stride, repeats] = numbers.as_slice() else { panic!("seven numbers") };
        println!("{:.1}", run(cx, direction, same(n, hw, cin, cout, k, stride), repeats).as_secs_f64() * 1e6);
    }
}

fn run(cx: Cx<'_>, direction: &str, g: Conv2d, repeats: usize) -> Duration {
    let (x, w, dy) = (values(g.x_len()), values(g.kernel_len()), values(g.y_len()));
    let (mut y, mut dx, mut dw) = (vec![0.0; g.y_len()], vec![0.0; g.x_len()], vec![0.0; g.kernel_len()]);
    let (packed, bias) = (conv2d::pack(cx, &g, &w, None), values(g.cout));
    let epilogue = Epilogue { bias: Some(&bias), residual: None, activation: Some(Activation::RELU) };
    let mut once = || match direction {
        "forward" => conv2d::forward(cx, &g, &x, &packed, &mut y, &epilogue),
        "d_input" => conv2d::backward_input(cx, &g, &dy, &w, &mut dx, Write::Add),
        "d_kernel" => conv2d::backward_kernel(cx, &g, &x, &dy, &mut dw),
        _ => panic!("unknown direction `{direction}`"),
    };
    once();
    (0..repeats)
        .map(|_| {
            let start = Instant::now();
            once();
            start.elapsed()
        })
        .min()
        .unwrap_or_default()
}

fn same(n: usize, hw: usize, cin: usize, cout: usize, k: usize, stride: usize) -> Conv2d {
    let out = hw.div_ceil(stride);
    let (stride, dilation, pad) = ([stride; 2], [1; 2], [k / 2; 2]);
    Conv2d { n, h: hw, w: hw, cin, ho: out, wo: out, cout, kh: k, kw: k, stride, dilation, pad, groups: 1 }
}

fn values(len: usize) -> Vec<f32> {
    (0..len).map(|i| (i * 7919 % 1000) as f32 / 500.0 - 1.0).collect()
}
