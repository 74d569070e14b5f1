//! How a guest behaves: any file name, closed pipes, no surprises by threads.

use std::io::Read;
use std::process::Stdio;

use crate::sandbox::{Ran, Sandbox};

/// Persian, right to left; spaces; what a shell would take for something else.
#[test]
fn any_name_will_do() {
    let sandbox = Sandbox::new();
    for (picture, folder) in [
        ("عکس گربه.png", "نقشه‌ها"),
        ("two  spaces.png", "my maps"),
        ("🐈 Kätzchen.png", "ö/ü"),
        ("$(rm)'\"*?.png", "a;b"),
        ("no extension", "x=y"),
    ] {
        sandbox.copy(&sandbox.path("pix.png"), picture);
        sandbox.copy(&sandbox.path("seq.h5"), format!("{picture}.h5"));
        let model = format!("{picture}.h5");
        let stem = picture.strip_suffix(".png").unwrap_or(picture);
        let common = ["-m", &model, picture, "--scaling", "unit"];
        let ran =
            sandbox.run_words(["heatmap"].into_iter().chain(common).chain(["--class", "0", "--out", folder]));
        assert_eq!(ran.code, 0, "{ran}");
        let names = [format!("{stem}_grad-cam.png"), format!("{stem}_grad-cam_map.png")];
        assert_eq!(sandbox.files(folder), names);
        assert!(ran.stdout.contains(picture) && ran.stdout.contains(&names[0]), "{ran}");

        let ran = sandbox.run_words(["activations"].into_iter().chain(common).chain(["--out", folder]));
        assert_eq!(ran.code, 0, "{ran}");
        assert!(sandbox.path(folder).join("index.html").exists());
        let ran = sandbox.run_words(["predict"].into_iter().chain(common).chain(["--json"]));
        let report: serde_json::Value = serde_json::from_str(&ran.stdout).unwrap();
        assert_eq!(report["predictions"][0]["image"], picture);
        let ran = sandbox.run_words(["predict", &format!("missing {picture}")]);
        assert!(ran.code == 1 && ran.error().starts_with(&format!("missing {picture}: ")), "{ran}");
    }
}

#[cfg(target_os = "linux")]
#[test]
fn names_that_are_not_unicode() {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;

    let sandbox = Sandbox::new();
    // Two names that look the same once they are made readable.
    let names = [OsStr::from_bytes(b"caf\xe9.png"), OsStr::from_bytes(b"caf\xe8.png")];
    names.iter().for_each(|name| sandbox.copy(&sandbox.path("pix.png"), name));
    let folder = OsStr::from_bytes(b"out\xff");
    let start = ["heatmap", "-m", "seq.h5", "--scaling", "unit", "--class", "0", "--out"].map(OsStr::new);
    let ran = sandbox.run_words(start.into_iter().chain([folder]).chain(names));
    assert_eq!(ran.code, 0, "{ran}");
    assert_eq!(std::fs::read_dir(sandbox.path(folder)).unwrap().count(), 4);
    let ran =
        sandbox.run_words([OsStr::new("predict"), OsStr::new("--json"), OsStr::from_bytes(b"no\xe9.png")]);
    assert!(ran.code == 1 && ran.error().starts_with("no\u{fffd}.png: "), "{ran}");
}

/// Names may hold line breaks and terminal commands; messages stay one line and command nothing.
#[cfg(unix)]
#[test]
fn names_cannot_write_to_the_terminal() {
    let sandbox = Sandbox::new();
    let name = "a\nerror: b\x1b[31m\r.png";
    sandbox.write(name, b"not a picture");
    for words in [
        vec!["predict", name],
        vec!["predict", "-m", name, "cat.png"],
        vec!["heatmap", "-m", "seq.h5", "cat.png", "--scaling", "unit", "--out", "maps", "--layer", name],
        vec!["heatmap", "-m", "seq.h5", "cat.png", "--scaling", "unit", "--out", "maps", "--class", name],
        vec!["predict", "-m", "seq.h5", "cat.png", "--labels", name],
        vec!["run", "-m", "seq.h5", "--input", name, "--output", "y.npz"],
    ] {
        let ran = sandbox.run_words(&words);
        assert_eq!(ran.code, 1, "{words:?}: {ran}");
        assert!(ran.error().contains("a\u{fffd}error: b\u{fffd}[31m\u{fffd}.png"), "{words:?}: {ran}");
    }
}

/// `binesh ... | head -1`
#[test]
fn a_reader_that_leaves_is_no_error() {
    let sandbox = Sandbox::new();
    for line in [
        "summary",
        "summary seq.h5 --json",
        "predict -m seq.h5 --scaling unit pix.png",
        "predict -m seq.h5 --scaling unit --json pix.png",
        "heatmap -m vgg.h5 --scaling unit pix.png --out maps",
        "activations -m seq.h5 --scaling unit pix.png --out layers",
        "bench seq.h5 --seconds 0",
        "completions zsh",
        "--help",
    ] {
        let mut command = sandbox.command();
        command.args(line.split_whitespace()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        drop(child.stdout.take());
        let mut stderr = String::new();
        child.stderr.take().unwrap().read_to_string(&mut stderr).unwrap();
        let status = child.wait().unwrap();
        assert!(status.code() == Some(0) && stderr.is_empty(), "{line}: {status}\n{stderr}");
    }
    // Files are written whether somebody reads of them or not.
    assert_eq!(sandbox.files("maps").len(), 4);
    assert!(sandbox.path("layers/index.html").exists());
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_is_an_error() {
    let sandbox = Sandbox::new();
    let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
    let child = sandbox.command().arg("summary").stdout(full).stderr(Stdio::piped()).spawn().unwrap();
    let output = child.wait_with_output().unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(
        output.status.code() == Some(1) && stderr.starts_with("error: cannot write to standard output: "),
        "{stderr}"
    );
}

#[test]
fn the_number_of_threads_changes_nothing() {
    let sandbox = Sandbox::new();
    let run = |threads: usize| {
        let out = format!("maps{threads}");
        let options = format!("--threads {threads} --npy --json");
        let text = sandbox.ok(&format!("heatmap cat.png pix.png --out {out} {options}"));
        let files = sandbox.files(&out).into_iter().map(|name| {
            let bytes = sandbox.bytes(format!("{out}/{name}"));
            (name, bytes)
        });
        (text.replace(&out, "maps"), files.collect::<Vec<_>>())
    };
    let (one, two) = (run(1), run(2));
    assert_eq!(one.0, two.0);
    assert!(one.1 == two.1 && one.1.len() == 6, "files differ");
}

/// Layers are drawn in parallel, which must not show.
#[test]
fn the_number_of_drawing_threads_changes_nothing() {
    let sandbox = Sandbox::new();
    let run = |threads: &str| {
        let line =
            format!("activations -m seq.h5 --scaling unit pix.png --json --npz v.npz --out layers{threads}");
        let ran = Ran::of(sandbox.command().args(line.split_whitespace()).env("RAYON_NUM_THREADS", threads));
        assert_eq!(ran.code, 0, "{ran}");
        let folder = format!("layers{threads}");
        let files = sandbox.files(&folder).into_iter().map(|name| sandbox.bytes(format!("{folder}/{name}")));
        (ran.stdout, sandbox.bytes("v.npz"), files.collect::<Vec<_>>())
    };
    assert!(run("1") == run("3"), "files or reports differ");
}

/// The scalar kernels are the definition of the others.
#[test]
fn instruction_sets_agree() {
    let sandbox = Sandbox::new();
    let probability = |isa: Option<&str>| {
        let mut command = sandbox.command();
        isa.map(|isa| command.env("BINESH_ISA", isa));
        let ran = Ran::of(command.args(["predict", "cat.png", "--json"]));
        assert_eq!(ran.code, 0, "{ran}");
        let report: serde_json::Value = serde_json::from_str(&ran.stdout).unwrap();
        report["predictions"][0]["top"][0]["probability"].as_f64().unwrap()
    };
    let [best, scalar] = [None, Some("scalar")].map(probability);
    assert!((best - scalar).abs() < 1e-4, "{best} and {scalar}");
    for wrong in ["sse", "", "AVX2 "] {
        let ran = Ran::of(sandbox.command().args(["predict", "cat.png"]).env("BINESH_ISA", wrong));
        assert!(ran.code == 1 && ran.error().contains(&format!("`{wrong}`")), "{ran}");
    }
}
