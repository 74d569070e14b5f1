//! `cargo bench -p binesh-kernels --bench winograd [-- FILTER]`: 3x3 convolutions by Winograd's algorithm and as the direct
//! sum, taking turns in one process; the best of each, their ratio, which of them would be chosen, and the largest
//! difference as a share of the largest value. Set `BINESH_THREADS` for the number of threads (default 1).

use std::time::{Duration, Instant};

use binesh_kernels::conv2d::{self, Conv2d};
use binesh_kernels::{Activation, Costs, Cx, Epilogue, Isa, Threads, Winograd, Write};

fn main() {
    let filter = std::env::args().skip(1).find(|arg| !arg.starts_with('-')).unwrap_or_default();
    let count = std::env::var("BINESH_THREADS").ok().and_then(|n| n.parse().ok()).unwrap_or(1);
    let threads = Threads::new(count);
    println!("{} on {count} threads, ms", Isa::detect());
    println!("{:<40} {:>8} {:>8} {:>6}  {:<8} {:>8}", "", "direct", "winograd", "ratio", "chosen", "off by");
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

fn forward<'a>(name: &str, g: &Conv2d, cx: impl Fn(Winograd) -> Cx<'a>) {
    let (x, w, bias) = (values(g.x_len()), values(g.kernel_len()), values(g.cout));
    let epilogue = Epilogue { bias: Some(&bias), residual: None, activation: Some(Activation::RELU) };
    let pack = |choice| conv2d::pack(cx(choice), g, &w, None);
    let kernels = [pack(Winograd::Never), pack(Winograd::WherePossible)];
    let chosen = pack(Winograd::WhereFaster).bytes() == kernels[1].bytes();
    let mut outputs = [vec![0.0; g.y_len()], vec![0.0; g.y_len()]];
    let times = turns(|i| {
        conv2d::forward(cx(Winograd::WhereFaster), g, &x, &kernels[i], &mut outputs[i], &epilogue);
    });
    report(name, times, if chosen { "winograd" } else { "direct" }, &outputs);
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
    let choices = [Winograd::Never, Winograd::WherePossible, Winograd::WhereFaster];
    let firsts = choices.map(|choice| {
        let mut d = vec![0.0; len];
        run(choice, &mut d);
        d
    });
    let chosen = if firsts[2] == firsts[1] { "winograd" } else { "direct" };
    let mut outputs = firsts.clone();
    let times = turns(|i| run(choices[i], &mut outputs[i]));
    report(name, times, chosen, &firsts);
}

fn turns(mut run: impl FnMut(usize)) -> [Duration; 2] {
    let (mut best, begin) = ([Duration::MAX; 2], Instant::now());
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

fn report(name: &str, [direct, winograd]: [Duration; 2], chosen: &str, outputs: &[Vec<f32>]) {
    let largest = outputs[0].iter().fold(0.0f32, |m, v| m.max(v.abs()));
    let off = outputs[0].iter().zip(&outputs[1]).fold(0.0f32, |m, (a, b)| m.max((a - b).abs()));
    let [direct, winograd] = [direct, winograd].map(|time| time.as_secs_f64() * 1e3);
    let (ratio, off) = (direct / winograd, off / largest);
    println!("{name:<40} {direct:>8.3} {winograd:>8.3} {ratio:>6.2}  {chosen:<8} {off:>8.1e}");
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
