//! The laws of the code, read off its files: what a reviewer would otherwise have to remember.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Crates that compute: they see bytes and numbers, never a file, a clock, the environment or a terminal.
const PURE: [&str; 3] = ["binesh-kernels", "binesh-core", "binesh-formats"];

/// Each crate of ours and those of ours that it may depend on. Arrows point one way.
const MAY_DEPEND_ON: [(&str, &[&str]); 5] = [
    ("binesh-kernels", &[]),
    ("binesh-core", &["binesh-kernels"]),
    ("binesh-formats", &["binesh-core"]),
    ("binesh", &["binesh-kernels", "binesh-core", "binesh-formats"]),
    ("binesh-cli", &["binesh"]),
];

/// Operators that compute nothing: a value from outside has no case to check.
const WITHOUT_CASES: [&str; 3] = ["constant", "input", "param"];

const LONGEST_FILE: usize = 800;

#[test]
fn only_the_kernels_are_unsafe() {
    let unsafe_word = |line: &str| words(line).any(|word| word == "unsafe");
    law("only `binesh-kernels` contains `unsafe`", |broken| {
        for file in other_files().iter().filter(|file| !file.is_in("crates/binesh-kernels")) {
            broken.lines(file, unsafe_word);
        }
    });
    law("the root of every other crate forbids unsafe code", |broken| {
        for (name, _) in MAY_DEPEND_ON.iter().filter(|(name, _)| *name != "binesh-kernels") {
            let lib = root().join("crates").join(name).join("src/lib.rs");
            let main = root().join("crates").join(name).join("src/main.rs");
            for file in [lib, main].iter().filter(|path| path.exists()).map(|path| File::read(path)) {
                broken.unless(file.text.contains("#![forbid(unsafe_code)]"), &file.path);
            }
        }
    });
}

#[test]
fn formats_describe_networks_and_do_not_run_them() {
    law("`binesh-formats` names neither `Plan` nor `Session`", |broken| {
        let runs = |word: &str| matches!(word, "Plan" | "PlanSpec" | "Session");
        for file in rust_files(&root().join("crates/binesh-formats/src")) {
            broken.lines(&file, |line| words(line).any(runs));
        }
    });
}

#[test]
fn nothing_below_the_library_touches_the_world() {
    const WORLD: [&str; 5] = ["std::fs", "std::env", "std::time", "std::net", "std::process"];
    const PRINTS: [&str; 5] = ["println!", "print!", "eprintln!", "eprint!", "dbg!"];
    law("kernels, core and formats have no files, clock, environment or output", |broken| {
        for name in PURE {
            for file in rust_files(&root().join("crates").join(name).join("src")) {
                broken.lines(&file, |line| WORLD.iter().chain(&PRINTS).any(|word| line.contains(word)));
            }
        }
    });
}

#[test]
fn training_and_views_do_not_know_each_other() {
    law("`train` does not name `view`, nor `view` `train`", |broken| {
        for (own, other) in [("train", "crate::view"), ("view", "crate::train")] {
            for file in rust_files(&root().join("crates/binesh/src")) {
                if file.is_in(&format!("crates/binesh/src/{own}")) {
                    broken.lines(&file, |line| line.contains(other));
                }
            }
        }
    });
}

#[test]
fn dependencies_point_one_way() {
    law("a crate depends only on those of ours below it", |broken| {
        for (name, allowed) in MAY_DEPEND_ON {
            let manifest = File::read(&root().join("crates").join(name).join("Cargo.toml"));
            let dependencies = manifest.text.split("[dependencies]").nth(1).unwrap_or_default();
            for line in dependencies.lines().take_while(|line| !line.starts_with('[')) {
                let on = line.split(['.', ' ', '=']).next().unwrap_or_default();
                let ours = MAY_DEPEND_ON.iter().any(|(ours, _)| *ours == on);
                broken.unless(!ours || allowed.contains(&on), &format!("{name} -> {on}"));
            }
        }
    });
    law("every crate is in the table of this test", |broken| {
        for name in crates() {
            broken.unless(MAY_DEPEND_ON.iter().any(|(known, _)| *known == name), &name);
        }
    });
}

#[test]
fn crates_share_what_can_be_shared() {
    const SHARED: [&str; 5] = [
        "version.workspace = true",
        "edition.workspace = true",
        "rust-version.workspace = true",
        "license.workspace = true",
        "[lints]\nworkspace = true",
    ];
    law("every crate inherits version, edition, licence and lints from the workspace", |broken| {
        for name in crates() {
            let manifest = File::read(&root().join("crates").join(name).join("Cargo.toml"));
            for line in SHARED {
                broken.unless(manifest.text.contains(line), &format!("{}: {line}", manifest.path));
            }
        }
    });
}

#[test]
fn no_c_is_compiled() {
    const BUILDERS: [&str; 5] = ["bindgen", "cc", "cmake", "pkg-config", "vcpkg"];
    // Declarations of an operating system's or a browser's own interface: nothing is built.
    const DECLARATIONS: [&str; 5] =
        ["core-foundation-sys", "js-sys", "linux-raw-sys", "web-sys", "windows-sys"];
    // Asks the clock of Haiku; only there does it build anything. Comes with `parquet`'s dates.
    const ELSEWHERE: [&str; 1] = ["iana-time-zone-haiku"];
    law("no package of `Cargo.lock` builds C", |broken| {
        let lock = File::read(&root().join("Cargo.lock"));
        for package in lock.text.split("[[package]]") {
            let mut quoted = package.split('"').skip(1).step_by(2);
            let name = quoted.next().unwrap_or_default();
            let binds = name.ends_with("-sys") && !DECLARATIONS.contains(&name);
            let builds = quoted.any(|on| BUILDERS.contains(&on)) && !ELSEWHERE.contains(&name);
            broken.unless(!binds && !builds, name);
        }
    });
}

#[test]
fn files_can_be_read_in_one_sitting() {
    law("no file has more than 800 lines", |broken| {
        for file in rust_files(&root()) {
            let lines = file.text.lines().count();
            broken.unless(lines <= LONGEST_FILE, &format!("{}: {lines} lines", file.path));
        }
    });
}

#[test]
fn nothing_is_left_for_later() {
    const UNFINISHED: [&str; 3] = ["todo!", "unimplemented!", "#[ignore"];
    law("nothing is unfinished and no test is switched off", |broken| {
        for file in other_files() {
            broken.lines(&file, |line| UNFINISHED.iter().any(|word| line.contains(word)));
        }
    });
}

#[test]
fn every_operator_is_listed_stated_and_checked() {
    let core = root().join("crates/binesh-core/src");
    let list = File::read(&core.join("ops.rs")).text;
    let list = list.split("operators! {").nth(1).and_then(|rest| rest.split('}').next()).expect("the list");
    let operators = rust_files(&core.join("ops"));
    assert!(operators.len() >= 30, "only {} operators were found", operators.len());
    law("every file of `ops/` is in the list `operators!`", |broken| {
        for file in &operators {
            let line = format!("{}::", file.stem());
            broken.unless(list.lines().any(|listed| listed.trim().starts_with(&line)), &file.path);
        }
    });
    law("every operator states its shapes", |broken| {
        for file in &operators {
            broken.unless(file.text.contains("/// # Shapes"), &file.path);
        }
    });
    law("every operator has a case that is checked and one that is rejected", |broken| {
        for file in operators.iter().filter(|file| !WITHOUT_CASES.contains(&file.stem())) {
            let tests = file.text.split("#[cfg(test)]\nmod tests {").nth(1).unwrap_or_default();
            broken.unless(tests.contains(".check()") && tests.contains(".rejects("), &file.path);
        }
    });
}

/// A file that its list does not name is a file that help, menus and documentation do not know.
#[test]
fn every_view_and_verb_is_listed() {
    law("every method of `view/` is in `METHODS`", |broken| {
        let (list, files) = listed(&root().join("crates/binesh/src/view"));
        for file in files.iter().filter(|file| file.text.contains("const METHOD: Method")) {
            broken.unless(list.contains(&format!("{}::METHOD", file.stem())), &file.path);
        }
    });
    law("every verb of `cmd/` is in `Verb`", |broken| {
        let (list, files) = listed(&root().join("crates/binesh-cli/src/cmd"));
        // A verb's own parts are in a folder of its name.
        for file in files.iter().filter(|file| file.full.parent().is_some_and(|p| p.ends_with("cmd"))) {
            broken.unless(list.contains(&format!("{}::Args", file.stem())), &file.path);
        }
    });
}

#[test]
fn every_file_is_compiled() {
    law("every source file is declared as a module", |broken| {
        for name in crates() {
            let src = root().join("crates").join(name).join("src");
            let files = rust_files(&src);
            let declared: BTreeSet<(PathBuf, String)> = files.iter().flat_map(File::modules).collect();
            for file in files {
                let own = file.module_path(&src);
                broken.unless(own.is_none_or(|own| declared.contains(&own)), &file.path);
            }
        }
    });
}

/// A source file.
struct File {
    /// Where it is.
    full: PathBuf,
    /// The same from the root of the workspace, with `/`.
    path: String,
    text: String,
}

impl File {
    fn read(path: &Path) -> File {
        let text = fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        let short = path.strip_prefix(root()).expect("inside the workspace");
        let path_text = short.components().map(|part| part.as_os_str().to_string_lossy());
        File { full: path.to_owned(), path: path_text.collect::<Vec<_>>().join("/"), text }
    }

    fn stem(&self) -> &str {
        let name = self.path.rsplit('/').next().unwrap_or_default();
        name.strip_suffix(".rs").unwrap_or(name)
    }

    fn is_in(&self, folder: &str) -> bool {
        self.path.strip_prefix(folder).is_some_and(|rest| rest.starts_with(['/', '.']))
    }

    /// The folder that this file's modules are in, and their names.
    fn modules(&self) -> Vec<(PathBuf, String)> {
        let parent = self.full.parent().expect("a file is in a folder");
        let folder = match self.stem() {
            "lib" | "main" | "mod" => parent.to_owned(),
            stem => parent.join(stem),
        };
        let declares = |line: &str| {
            let line = line.trim();
            let bare = ["pub(crate) mod ", "pub(super) mod ", "pub mod ", "mod "]
                .iter()
                .find_map(|start| line.strip_prefix(start)?.strip_suffix(';'));
            // The operators are declared by their list.
            let listed = || line.split_once("::").filter(|_| line.ends_with(',')).map(|(module, _)| module);
            bare.or_else(listed).map(str::to_owned)
        };
        self.text.lines().filter_map(declares).map(|name| (folder.clone(), name)).collect()
    }

    /// The folder and name under which a parent declares this file; `None` for the root of a crate.
    fn module_path(&self, src: &Path) -> Option<(PathBuf, String)> {
        let parent = self.full.parent().expect("a file is in a folder");
        match self.stem() {
            "lib" | "main" if parent == src => None,
            "mod" => {
                let name = parent.file_name().expect("a module has a name").to_string_lossy().into_owned();
                Some((parent.parent()?.to_owned(), name))
            }
            stem => Some((parent.to_owned(), stem.to_owned())),
        }
    }
}

/// What breaks a law.
#[derive(Default)]
struct Broken(Vec<String>);

impl Broken {
    fn unless(&mut self, kept: bool, what: &str) {
        if !kept {
            self.0.push(what.to_owned());
        }
    }

    /// Lines of code, comments left out, that `breaks`.
    fn lines(&mut self, file: &File, breaks: impl Fn(&str) -> bool) {
        for (number, line) in file.text.lines().enumerate() {
            let code = line.split("//").next().unwrap_or_default();
            self.unless(!breaks(code), &format!("{}:{}: {}", file.path, number + 1, line.trim()));
        }
    }
}

fn law(text: &str, find: impl FnOnce(&mut Broken)) {
    let mut broken = Broken::default();
    find(&mut broken);
    assert!(broken.0.is_empty(), "{text}, but:\n{}", broken.0.join("\n"));
}

fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.ancestors().nth(2).expect("a crate is two folders below the workspace").to_owned()
}

fn crates() -> Vec<String> {
    let folders = fs::read_dir(root().join("crates")).expect("the workspace has crates");
    let mut names: Vec<String> = folders
        .map(|entry| entry.expect("a readable folder"))
        .filter(|entry| entry.path().join("Cargo.toml").exists())
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

/// All Rust files below a folder, in order; none when it does not exist.
fn rust_files(folder: &Path) -> Vec<File> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        let Ok(entries) = fs::read_dir(&folder) else { continue };
        for path in entries.map(|entry| entry.expect("a readable folder").path()) {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            if path.is_dir() && name != "target" && !name.starts_with('.') {
                folders.push(path);
            } else if name.ends_with(".rs") {
                found.push(File::read(&path));
            }
        }
    }
    found.sort_by(|a, b| a.path.cmp(&b.path));
    found
}

/// All Rust files but this one, which names what others must not hold.
fn other_files() -> Vec<File> {
    let mut files = rust_files(&root());
    files.retain(|file| file.path != "crates/binesh/tests/tidy.rs");
    files
}

/// The text of a folder's list, which is the module of the same name, and its files.
fn listed(folder: &Path) -> (String, Vec<File>) {
    let files = rust_files(folder);
    let list = if files.is_empty() { String::new() } else { File::read(&folder.with_extension("rs")).text };
    (list, files)
}

fn words(line: &str) -> impl Iterator<Item = &str> {
    line.split(|c: char| !c.is_alphanumeric() && c != '_')
}
