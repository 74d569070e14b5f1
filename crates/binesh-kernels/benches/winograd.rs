//! `cargo bench -p binesh-kernels --bench winograd [-- FILTER]`: 3x3 convolutions as the direct sum and by Winograd's
//! algorithm with both tiles, taking turns in one process; the best of each, which of them would be chosen, and the largest
//! difference from the direct sum as a share of the largest value. Kernels of the forward pass come from memory, as in a
//! network that runs once: each run has another copy. Set `BINESH_THREADS` for the number of threads (default 1).

use std::time::{Duration, Instant};

use binesh_kernels::conv2d::{self, Conv2d};
use binesh_kernels::{Activation, Costs, Cx, Epilogue, Isa, Threads, Tile, Winograd, Write};

fn main() {
    let filter = std::env::args().skip(1).find(|arg| !arg.starts_with('-')).unwrap_or_default();
    let count = std::env::var("BINESH_THREADS").ok().and_then(|n| n.parse().ok()).unwrap_or(1);
    let threads = Threads::new(count);
    println!("{} on {count} threads, ms", Isa::detect());
    println!(
        "{:<40} {:>8} {:>8} {:>8}  {:<8} {:>8} {:>8}",
        "", "direct", "F(2x2)", "F(4x4)", "chosen", "off by", ""
    );
    for (n, hw, cin, cout) in [
        (1, 224, 64, 64),
        (1, 112, 64, 128),
        (1, 112, 128, 128),
        (1, 56, 128, 256),
        (1, 56, 256, 256),
        (1, 28, 256, 512),
        (1, 28, 512, 512),
        (1, 14, 512, 512),
        (8, 28, 512, 512),
        (8, 14, 512, 512),
        (1, 56, 64, 64),
        (1, 28, 128, 128),
        (1, 14, 256, 256),
        (1, 7, 512, 512),
        (8, 56, 64, 64),
        (8, 28, 128, 128),
        (8, 14, 256, 256),
        (8, 7, 512, 512),
        (1, 112, 32, 32),
        (1, 32, 32, 64),
        (1, 112, 16, 16),
        (1, 55, 16, 64),
        (1, 27, 32, 128),
        (1, 13, 64, 256),
        (1, 14, 128, 32),
        (1, 35, 96, 96),
        (1, 17, 160, 160),
        (1, 8, 448, 384),
    ] {
        let name = format!("{cin}->{cout} at {hw} px, batch {n}");
        let (stride, dilation, pad) = ([1; 2], [1; 2], [1; 2]);
        let (h, w, ho, wo) = (hw, hw, hw, hw);
        let g = Conv2d { n, h, w, cin, ho, wo, cout, kh: 3, kw: 3, stride, dilation, pad, groups: 1 };
        let cx = |winograd| Cx { isa: Isa::detect(), threads: &threads, winograd, costs: &Costs::DEFAULT };
        if name.contains(&filter) {
            forward(&name, &g, cx);
            d_input(&format!("  d_input {name}"), &g, cx);
            d_kernel(&format!("  d_kernel {name}"), &g, cx);
        }
    }
}

const CHOICES: [Winograd; 3] =
    [Winograd::Never, Winograd::WherePossible(Tile::Two), Winograd::WherePossible(Tile::Four)];
const NAMES: [&str; 3] = ["direct", "F(2x2)", "F(4x4)"];

/// More than the caches hold.
const COLD: usize = 96 << 20;

fn forward<'a>(name: &str, g: &Conv2d, cx: impl Fn(Winograd) -> Cx<'a>) {
    let (x, w, bias) = (values(g.x_len()), values(g.kernel_len()), values(g.cout));
    let epilogue = Epilogue { bias: Some(&bias), residual: None, activation: Some(Activation::RELU) };
    let kernels = CHOICES.map(|choice| {
        let first = conv2d::pack(cx(choice), g, &w, None);
        vec![first.clone(); COLD.div_ceil(first.bytes())]
    });
    let chosen = match conv2d::winograd_tile(cx(Winograd::WhereFaster), g) {
        None => 0,
        Some(Tile::Two) => 1,
        Some(Tile::Four) => 2,
    };
    let mut outputs = CHOICES.map(|_| vec![0.0; g.y_len()]);
    let mut next = [0; 3];
    let times = turns(|i| {
        next[i] = (next[i] + 1) % kernels[i].len();
        conv2d::forward(cx(Winograd::WhereFaster), g, &x, &kernels[i][next[i]], &mut outputs[i], &epilogue);
    });
    report(name, times, NAMES[chosen], &outputs);
}

fn d_input<'a>(name: &str, g: &Conv2d, cx: impl Fn(Winograd) -> Cx<'a>) {
    let (dy, w) = (values(g.y_len()), values(g.kernel_len()));
    gradient(name, g.x_len(), |choice, dx| conv2d::backward_input(cx(choice), g, &dy, &w, dx, Write::Add));
}

fn d_kernel<'a>(name: &str, g: &Conv2d, cx: impl Fn(Winograd) -> Cx<'a>) {
    let (x, dy) = (values(g.x_len()), values(g.y_len()));
    gradient(name, g.kernel_len(), |choice, dw| conv2d::backward_kernel(cx(choice), g, &x, &dy, dw));
}

fn gradient(name: &str, len: usize, run: impl Fn(Winograd, &mut [f32])) {
    let values = |choice| {
        let mut d = vec![0.0; len];
        run(choice, &mut d);
        d
    };
    let (firsts, automatic) = (CHOICES.map(values), values(Winograd::WhereFaster));
    let chosen = firsts.iter().position(|first| *first == automatic).unwrap_or(0);
    let mut outputs = firsts.clone();
    let times = turns(|i| run(CHOICES[i], &mut outputs[i]));
    report(name, times, NAMES[chosen], &firsts);
}

fn turns(mut run: impl FnMut(usize)) -> [Duration; 3] {
    let (mut best, begin) = ([Duration::MAX; 3], Instant::now());
    let mut rounds = 0;
    while begin.elapsed() < Duration::from_millis(800) || rounds < 4 {
        for (i, best) in best.iter_mut().enumerate() {
            let start = Instant::now();
            run(i);
            *best = start.elapsed().min(*best);
        }
        rounds += 1;
    }
    best
}

fn report(name: &str, times: [Duration; 3], chosen: &str, outputs: &[Vec<f32>; 3]) {
    let largest = outputs[0].iter().fold(0.0f32, |m, v| m.max(v.abs()));
    let off = |i: usize| {
        outputs[0].iter().zip(&outputs[i]).fold(0.0f32, |m, (a, b)| m.max((a - b).abs())) / largest
    };
    let [direct, two, four] = times.map(|time| time.as_secs_f64() * 1e3);
    println!(
        "{name:<40} {direct:>8.3} {two:>8.3} {four:>8.3}  {chosen:<8} {:>8.1e} {:>8.1e}",
        off(1),
        off(2)
    );
}

/// Uneven values in -1..1.
fn values(len: usize) -> Vec<f32> {
    let mut state = 0x2545_F491_4F6C_DD1Du64;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((state >> 40) as f32 / (1u64 << 23) as f32) - 1.0
    };
    (0..len).map(|_| next()).collect()
}
