//! `cargo bench -p binesh-kernels [-- FILTER]`: the rate of each kernel at the sizes of real networks, as the best of
//! several runs. Set `BINESH_THREADS` for the number of threads (default 2).

use std::time::{Duration, Instant};

use binesh_kernels::conv2d::{self, Conv2d};
use binesh_kernels::depthwise::{self, Depthwise};
use binesh_kernels::pool::{self, Pool};
use binesh_kernels::{Activation, Costs, Cx, Epilogue, Isa, Threads, Winograd, Write, activation, matmul};

fn main() {
    let filter = std::env::args().skip(1).find(|arg| !arg.starts_with('-')).unwrap_or_default();
    let count = std::env::var("BINESH_THREADS").ok().and_then(|n| n.parse().ok()).unwrap_or(2);
    let threads = Threads::new(count);
    let bench = Bench {
        filter,
        cx: Cx {
            isa: Isa::detect(),
            threads: &threads,
            winograd: Winograd::WhereFaster,
            costs: &Costs::DEFAULT,
        },
    };
    println!("{} on {count} threads", bench.cx.isa);
    for (n, hw, cin, cout) in
        [(1, 56, 64, 64), (1, 28, 128, 128), (1, 14, 256, 256), (1, 7, 512, 512), (8, 14, 256, 256)]
    {
        bench.conv(n, hw, cin, cout, 3, 1);
    }
    bench.conv(1, 28, 128, 128, 3, 2);
    bench.conv(1, 224, 3, 32, 3, 2);
    bench.conv(1, 224, 3, 64, 3, 1);
    bench.conv(1, 224, 3, 64, 7, 2);
    for (n, hw, cin, cout) in
        [(1, 56, 64, 256), (1, 14, 1024, 256), (1, 7, 512, 2048), (1, 56, 24, 144), (1, 14, 96, 576)]
    {
        bench.conv(n, hw, cin, cout, 1, 1);
    }
    for (hw, c, k, stride) in
        [(112, 32, 3, 1), (56, 144, 3, 1), (56, 144, 3, 2), (14, 576, 3, 1), (14, 480, 5, 1)]
    {
        bench.depthwise(hw, c, k, stride);
    }
    for (m, k, n) in [(1, 25088, 4096), (1, 4096, 4096), (1, 2048, 1000), (1, 1280, 1000), (16, 8192, 256)] {
        bench.dense(m, k, n);
    }
    bench.memory_bound();
}

struct Bench<'a> {
    filter: String,
    cx: Cx<'a>,
}

impl Bench<'_> {
    /// Prints the rate of `run`; `amount` of `unit` are done by one call.
    fn time(&self, name: &str, amount: f64, unit: &str, mut run: impl FnMut()) {
        if !name.contains(&self.filter) {
            return;
        }
        run();
        let (mut best, begin) = (Duration::MAX, Instant::now());
        while begin.elapsed() < Duration::from_millis(400) {
            let start = Instant::now();
            run();
            best = best.min(start.elapsed());
        }
        let micros = best.as_secs_f64() * 1e6;
        println!("{name:<46} {micros:>9.1} us {:>8.1} {unit}", amount / best.as_secs_f64() / 1e9);
    }

    fn conv(&self, n: usize, hw: usize, cin: usize, cout: usize, k: usize, stride: usize) {
        let (out, pad) = (hw.div_ceil(stride), k / 2);
        let g = Conv2d {
            n,
            h: hw,
            w: hw,
            cin,
            ho: out,
            wo: out,
            cout,
            kh: k,
            kw: k,
            stride: [stride; 2],
            dilation: [1; 2],
            pad: [pad; 2],
            groups: 1,
        };
        let flops = 2.0 * g.macs() as f64;
        let (x, w, dy) = (values(g.x_len()), values(g.kernel_len()), values(g.y_len()));
        let (mut y, mut dx, mut dw) = (vec![0.0; g.y_len()], vec![0.0; g.x_len()], vec![0.0; g.kernel_len()]);
        let (packed, bias) = (conv2d::pack(self.cx, &g, &w, None), values(cout));
        let epilogue = Epilogue { bias: Some(&bias), residual: None, activation: Some(Activation::RELU) };
        let name = format!("{k}x{k}/{stride} {cin}->{cout} at {hw} px, batch {n}");
        self.time(&format!("conv {name}"), flops, "GFLOP/s", || {
            conv2d::forward(self.cx, &g, &x, &packed, &mut y, &epilogue);
        });
        self.time(&format!("  d_input {name}"), flops, "GFLOP/s", || {
            conv2d::backward_input(self.cx, &g, &dy, &w, &mut dx, Write::Add);
        });
        self.time(&format!("  d_kernel {name}"), flops, "GFLOP/s", || {
            conv2d::backward_kernel(self.cx, &g, &x, &dy, &mut dw);
        });
    }

    fn depthwise(&self, hw: usize, c: usize, k: usize, stride: usize) {
        let out = hw.div_ceil(stride);
        let g = Depthwise {
            n: 1,
            h: hw,
            w: hw,
            c,
            multiplier: 1,
            ho: out,
            wo: out,
            kh: k,
            kw: k,
            stride: [stride; 2],
            dilation: [1; 2],
            pad: [k / 2; 2],
        };
        let flops = 2.0 * (g.y_len() * k * k) as f64;
        let (x, w, dy) = (values(g.x_len()), values(g.kernel_len()), values(g.y_len()));
        let (mut y, mut dx, mut dw) = (vec![0.0; g.y_len()], vec![0.0; g.x_len()], vec![0.0; g.kernel_len()]);
        let bias = values(c);
        let epilogue = Epilogue { bias: Some(&bias), residual: None, activation: Some(Activation::RELU6) };
        let name = format!("{k}x{k}/{stride} {c} at {hw} px");
        self.time(&format!("depthwise {name}"), flops, "GFLOP/s", || {
            depthwise::forward(self.cx, &g, &x, &w, &mut y, &epilogue);
        });
        self.time(&format!("  d_input {name}"), flops, "GFLOP/s", || {
            depthwise::backward_input(self.cx, &g, &dy, &w, &mut dx, Write::Add);
        });
        self.time(&format!("  d_kernel {name}"), flops, "GFLOP/s", || {
            depthwise::backward_kernel(self.cx, &g, &x, &dy, &mut dw);
        });
    }

    fn dense(&self, m: usize, k: usize, n: usize) {
        let bytes = 4.0 * (k * n) as f64;
        let (a, b, dc) = (values(m * k), values(k * n), values(m * n));
        let (mut c, mut da, mut db) = (vec![0.0; m * n], vec![0.0; m * k], vec![0.0; k * n]);
        let packed = matmul::pack(self.cx, k, n, &b, None);
        let name = format!("{k}->{n}, batch {m}");
        self.time(&format!("dense {name}"), bytes, "GB/s of weights", || {
            matmul::forward(self.cx, m, k, n, &a, &packed, &mut c, &Epilogue::default());
        });
        if m == 1 {
            self.time(&format!("  as it lies {name}"), bytes, "GB/s of weights", || {
                matmul::forward_row(self.cx, k, n, &a, &b, &mut c, &Epilogue::default());
            });
        }
        self.time(&format!("  d_input {name}"), bytes, "GB/s of weights", || {
            matmul::backward_input(self.cx, m, k, n, &dc, &b, &mut da, Write::Add);
        });
        self.time(&format!("  d_kernel {name}"), bytes, "GB/s of weights", || {
            matmul::backward_kernel(self.cx, m, k, n, &a, &dc, &mut db);
        });
    }

    fn memory_bound(&self) {
        let (stride, dilation, pad) = ([2; 2], [1; 2], [1; 2]);
        let g = Pool {
            n: 1,
            h: 112,
            w: 112,
            c: 64,
            ho: 56,
            wo: 56,
            kh: 3,
            kw: 3,
            stride,
            dilation,
            pad,
            count_include_pad: false,
        };
        let (x, dy) = (values(g.x_len()), values(g.y_len()));
        let (mut y, mut dx) = (vec![0.0; g.y_len()], vec![0.0; g.x_len()]);
        let bytes = 4.0 * (g.x_len() + g.y_len()) as f64;
        self.time("max pool 3x3/2 64 at 112 px", bytes, "GB/s", || {
            pool::max_forward(self.cx, &g, &x, &mut y)
        });
        self.time("  backward", bytes, "GB/s", || {
            pool::max_backward(self.cx, &g, &x, &y, &dy, &mut dx, Write::Add)
        });
        self.time("average pool 3x3/2 64 at 112 px", bytes, "GB/s", || {
            pool::average_forward(self.cx, &g, &x, &mut y)
        });
        self.time("  backward", bytes, "GB/s", || {
            pool::average_backward(self.cx, &g, &dy, &mut dx, Write::Add)
        });
        let mut y = vec![0.0; x.len()];
        for f in [Activation::RELU, Activation::Silu, Activation::Gelu { approximate: false }] {
            self.time(&format!("{} of {}", f.name(), x.len()), 8.0 * x.len() as f64, "GB/s", || {
                activation::forward(self.cx, f, &x, &mut y);
            });
        }
    }
}

fn values(len: usize) -> Vec<f32> {
    (0..len).map(|i| (i * 7919 % 1000) as f32 / 500.0 - 1.0).collect()
}
