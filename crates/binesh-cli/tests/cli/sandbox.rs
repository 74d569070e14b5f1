//! A folder to run the program in, with the files that tests need.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use binesh::formats::Limits;
use binesh::formats::npy::{NpyArray, Npz, read_npy, write_npy};
use binesh::image::{DecodeOptions, Picture, open};
use binesh::render::write_png;
use serde_json::Value;
use tempfile::TempDir;

/// A folder of its own for a test; the program runs in it, so that no message holds a path of this machine.
///
/// It holds `seq.h5` (9 x 11 RGB, ends in one sigmoid unit), `fun.h5` (inputs `x` and `v`, outputs `main` and `side`) and
/// `vgg.h5` (a nested base), all written by Keras 2.0.8; `pix.png`, which fits `seq.h5`; and `cat.png`.
pub(crate) struct Sandbox {
    dir: TempDir,
}

/// What a run of the program left.
pub(crate) struct Ran {
    pub(crate) stdout: String,
    pub(crate) stderr: String,
    pub(crate) code: i32,
}

/// The root of the repository.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// A file of `testdata/golden`.
pub(crate) fn golden(name: &str) -> PathBuf {
    root().join("testdata/golden").join(name)
}

/// An array of a golden's `io.npz`.
pub(crate) fn golden_array(folder: &str, key: &str) -> NpyArray {
    npz(&golden(folder).join("io.npz"), key)
}

impl Sandbox {
    pub(crate) fn new() -> Sandbox {
        let sandbox = Sandbox { dir: TempDir::new().unwrap() };
        for (name, folder) in [
            ("seq.h5", "keras208_sequential"),
            ("fun.h5", "keras208_functional"),
            ("vgg.h5", "keras208_nested"),
        ] {
            sandbox.copy(&golden(folder).join("model.h5"), name);
        }
        sandbox.copy(&root().join("examples/data/cat.png"), "cat.png");
        write_png(&sandbox.path("pix.png"), &pix()).unwrap();
        sandbox
    }

    pub(crate) fn path(&self, name: impl AsRef<Path>) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn copy(&self, from: &Path, name: impl AsRef<Path>) {
        self.write(name, &fs::read(from).unwrap());
    }

    pub(crate) fn write(&self, name: impl AsRef<Path>, bytes: &[u8]) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }

    /// Two classes of eight pictures each, which differ in their color and are each different.
    pub(crate) fn class_folders(&self, name: &str) {
        for (class, tint) in [("night", 20), ("noon", 160)] {
            fs::create_dir_all(self.path(name).join(class)).unwrap();
            for number in 0..8usize {
                let value = |at: usize| tint + ((at + 7 * number) * (number + 13) % 61) as u8;
                let picture = Picture::rgb(12, 14, (0..12 * 14 * 3).map(value).collect()).unwrap();
                write_png(&self.path(name).join(class).join(format!("{number}.png")), &picture).unwrap();
            }
        }
    }

    pub(crate) fn write_array(&self, name: &str, array: &NpyArray) {
        let mut bytes = Vec::new();
        write_npy(&mut bytes, &array.shape, &array.data).unwrap();
        self.write(name, &bytes);
    }

    pub(crate) fn bytes(&self, name: impl AsRef<Path>) -> Vec<u8> {
        fs::read(self.path(name)).unwrap()
    }

    pub(crate) fn picture(&self, name: impl AsRef<Path>) -> Picture {
        open(&self.path(name), &DecodeOptions::default()).unwrap()
    }

    pub(crate) fn npy(&self, name: &str) -> NpyArray {
        read_npy(&self.bytes(name), &Limits::default()).unwrap()
    }

    pub(crate) fn npz(&self, name: &str, key: &str) -> NpyArray {
        npz(&self.path(name), key)
    }

    /// Names of the files in a folder, sorted.
    pub(crate) fn files(&self, folder: &str) -> Vec<String> {
        let entries = fs::read_dir(self.path(folder)).unwrap();
        let mut names: Vec<String> =
            entries.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned()).collect();
        names.sort();
        names
    }

    /// The program, ready to run in this folder: no terminal, nothing of our own environment that it looks at.
    pub(crate) fn command(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_binesh"));
        command.current_dir(self.dir.path()).stdin(Stdio::null());
        for variable in ["BINESH_ISA", "BINESH_COSTS", "NO_COLOR", "CLICOLOR", "CLICOLOR_FORCE"] {
            command.env_remove(variable);
        }
        command.env("COLUMNS", "100");
        command
    }

    /// Runs `binesh` with the words of `line`; no word holds a space.
    #[track_caller]
    pub(crate) fn run(&self, line: &str) -> Ran {
        self.run_words(line.split_whitespace())
    }

    #[track_caller]
    pub(crate) fn run_words(&self, words: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Ran {
        Ran::of(self.command().args(words))
    }

    /// Runs a line that must succeed; gives standard output.
    #[track_caller]
    pub(crate) fn ok(&self, line: &str) -> String {
        let ran = self.run(line);
        assert!(ran.code == 0 && !ran.stderr.contains("error"), "binesh {line}\n{ran}");
        ran.stdout
    }

    /// Runs a line with `--json`.
    #[track_caller]
    pub(crate) fn json(&self, line: &str) -> Value {
        serde_json::from_str(&self.ok(&format!("{line} --json"))).unwrap()
    }

    /// Runs a line that must fail, having printed no data.
    #[track_caller]
    pub(crate) fn fails(&self, line: &str) -> Ran {
        let ran = self.run(line);
        assert!(ran.code == 1 && ran.stdout.is_empty(), "binesh {line}\n{ran}");
        ran.assert_one_error();
        ran
    }
}

impl Ran {
    /// Runs, and checks what holds of every run.
    #[track_caller]
    pub(crate) fn of(command: &mut Command) -> Ran {
        let output = command.output().unwrap();
        let text = |bytes| String::from_utf8(bytes).expect("the program prints UTF-8");
        let code = output.status.code().expect("the program was not killed by a signal");
        let ran = Ran { stdout: text(output.stdout), stderr: text(output.stderr), code };
        assert!(!ran.stderr.contains("panicked"), "{ran}");
        assert!(matches!(ran.code, 0..=2), "{ran}");
        for stream in [&ran.stdout, &ran.stderr] {
            assert!(!stream.contains('\x1b'), "escape codes without a terminal: {ran}");
        }
        ran
    }

    /// One `error:` line, warnings before it and a hint after it.
    #[track_caller]
    pub(crate) fn assert_one_error(&self) {
        let lines = || self.stderr.lines();
        let errors = lines().filter(|line| line.starts_with("error: ")).count();
        let known =
            |line: &str| ["error: ", "warning: ", "note: ", "hint: "].iter().any(|k| line.starts_with(k));
        assert!(errors == 1 && lines().all(|line| line.is_empty() || known(line)), "{self}");
    }

    /// The text after `error: `.
    #[track_caller]
    pub(crate) fn error(&self) -> &str {
        self.assert_one_error();
        self.stderr.lines().find_map(|line| line.strip_prefix("error: ")).unwrap()
    }
}

impl std::fmt::Display for Ran {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "[exit {}]\n[stdout]\n{}\n[stderr]\n{}", self.code, self.stdout, self.stderr)
    }
}

/// 9 rows of 11 pixels without any pattern (Knuth's multiplicative hash of the position).
fn pix() -> Picture {
    let byte = |i: u32| (i.wrapping_mul(2_654_435_761) >> 24) as u8;
    Picture::rgb(9, 11, (0..9 * 11 * 3).map(byte).collect()).unwrap()
}

fn npz(path: &Path, key: &str) -> NpyArray {
    let bytes = fs::read(path).unwrap();
    Npz::open(&bytes, &Limits::default()).unwrap().read(key).unwrap()
}

/// Fails unless shapes are equal and no value differs by more than `tolerance` of the largest magnitude expected.
#[track_caller]
pub(crate) fn assert_close(what: &str, got: &NpyArray, expected: &NpyArray, tolerance: f32) {
    assert_eq!(got.shape, expected.shape, "{what}");
    let peak = expected.data.iter().fold(f32::MIN_POSITIVE, |m, v| m.max(v.abs()));
    for (i, (a, b)) in got.data.iter().zip(&expected.data).enumerate() {
        assert!((a - b).abs() <= tolerance * peak, "{what}: value {i} is {a}, expected {b}; largest {peak}");
    }
}
