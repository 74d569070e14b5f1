//! `binesh train`: what survives a kill, Ctrl-C and a full disk, and what it refuses.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::process::{Command, Stdio};

use binesh::image::Picture;
use binesh::render::write_png;

use crate::sandbox::{Ran, Sandbox};

/// Both stages, with everything drawn by chance; seconds.
const TRAIN: &str = "train photos -m seq.h5 --seed 5 --head-epochs 4 --epochs 3 --batch 5 --unfreeze all --force \
                     --views 2 --mixup 0.2 --patience 3 --optimizer sgd";

fn sandbox() -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.class_folders("photos");
    sandbox
}

/// The model of a run that nothing interrupts.
fn whole(sandbox: &Sandbox) -> Vec<u8> {
    sandbox.ok(&format!("{TRAIN} --out whole"));
    sandbox.bytes("whole/model.keras")
}

/// Kills the program when it has said so many lines. False if it ended before.
fn killed(sandbox: &Sandbox, line: &str, lines: usize) -> bool {
    let mut command = sandbox.command();
    command.args(line.split_whitespace()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut said = BufReader::new(child.stderr.take().unwrap()).lines();
    let ended = said.by_ref().take(lines).count() < lines;
    // SIGKILL.
    let _ = child.kill();
    child.wait().unwrap();
    !ended
}

/// Goes on with a run, or begins it anew when it was killed before it had a folder.
#[track_caller]
fn go_on(sandbox: &Sandbox, run: &str) {
    match sandbox.path(run).join("config.toml").exists() {
        true => sandbox.ok(&format!("train --resume {run}")),
        false => sandbox.ok(&format!("{TRAIN} --out {run}")),
    };
}

#[test]
fn killed_at_any_line_it_goes_on_to_the_same_model() {
    let sandbox = sandbox();
    let expected = whole(&sandbox);
    let mut interrupted = 0;
    for lines in 0.. {
        let run = format!("run{lines}");
        if !killed(&sandbox, &format!("{TRAIN} --out {run}"), lines) {
            break;
        }
        interrupted += 1;
        go_on(&sandbox, &run);
        assert!(sandbox.bytes(format!("{run}/model.keras")) == expected, "killed after {lines} lines");
    }
    assert!(interrupted > 8, "{interrupted}");
    // Again and again, a little later each time.
    for lines in 1..8 {
        let line = match sandbox.path("often/config.toml").exists() {
            true => "train --resume often".to_owned(),
            false => format!("{TRAIN} --out often"),
        };
        killed(&sandbox, &line, lines);
    }
    go_on(&sandbox, "often");
    assert!(sandbox.bytes("often/model.keras") == expected, "killed often");
    // What has ended stays as it is; its settings make the same run.
    sandbox.ok("train --resume whole");
    assert!(sandbox.bytes("whole/model.keras") == expected, "ended");
    sandbox.ok("train --config whole/config.toml --out again");
    assert!(sandbox.bytes("again/model.keras") == expected, "of the settings");
    sandbox.ok("train --config whole/config.toml --out other --seed 6");
    assert!(sandbox.bytes("other/model.keras") != expected, "another seed");
    // The report counts every photo and every epoch.
    let figures: serde_json::Value = serde_json::from_slice(&sandbox.bytes("whole/metrics.json")).unwrap();
    let classes = figures["data"]["classes"].as_array().unwrap();
    let photos = |class: &serde_json::Value| {
        ["train", "validation", "test"].iter().map(|part| class[*part].as_u64().unwrap()).sum::<u64>()
    };
    assert_eq!(classes.iter().map(photos).collect::<Vec<_>>(), [8, 8]);
    let history = String::from_utf8(sandbox.bytes("whole/history.csv")).unwrap();
    assert_eq!(history.lines().count() - 1, figures["history"].as_array().unwrap().len());
}

/// Sends SIGINT when the program listens to it and has said so many lines; gives what it left.
#[cfg(target_os = "linux")]
fn interrupted(sandbox: &Sandbox, line: &str, lines: usize) -> Ran {
    let mut command = sandbox.command();
    command.args(line.split_whitespace()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let listens = || {
        let status = fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap();
        let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:")).unwrap().trim().to_owned();
        u64::from_str_radix(&caught, 16).unwrap() & 2 != 0
    };
    while !listens() {
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
    let mut said = BufReader::new(child.stderr.take().unwrap());
    let mut stderr = String::new();
    for _ in 0..lines {
        said.read_line(&mut stderr).unwrap();
    }
    assert!(Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap().success());
    said.read_to_string(&mut stderr).unwrap();
    let mut stdout = String::new();
    child.stdout.take().unwrap().read_to_string(&mut stdout).unwrap();
    let code = child.wait().unwrap().code().expect("it ended by itself");
    Ran { stdout, stderr, code }
}

#[cfg(target_os = "linux")]
#[test]
fn ctrl_c_ends_cleanly() {
    let sandbox = sandbox();
    let expected = whole(&sandbox);
    // While photos are looked at, or features are computed: there is nothing yet but the settings.
    let ran = interrupted(&sandbox, &format!("{TRAIN} --out early"), 0);
    assert!(ran.code == 1 && ran.stdout.is_empty(), "{ran}");
    assert!(ran.stderr.contains("note: stopped; `binesh train --resume early` goes on"), "{ran}");
    sandbox.ok("train --resume early");
    assert!(sandbox.bytes("early/model.keras") == expected);
    // In the middle: all finished epochs are saved, however fast they were.
    let long = "train photos -m seq.h5 --recipe features --head-epochs 1000000 --out long";
    let ran = interrupted(&sandbox, long, 12);
    assert!(ran.code == 1 && ran.stderr.contains("--resume long"), "{ran}");
    let epochs = |text: &str| text.lines().filter(|line| line.starts_with("epoch ")).count();
    let saved = || String::from_utf8(sandbox.bytes("long/history.csv")).unwrap().lines().count() - 1;
    let before = saved();
    assert_eq!(before, epochs(&ran.stderr), "{ran}");
    let ran = interrupted(&sandbox, "train --resume long", 8);
    assert!(ran.code == 1 && saved() == before + epochs(&ran.stderr) && saved() > before, "{ran}");
}

/// A full disk, as a limit on the size of files.
#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_loses_nothing() {
    let sandbox = sandbox();
    // A checkpoint that is larger than the limit.
    let train = format!("{TRAIN} --hidden 2000");
    sandbox.ok(&format!("{train} --out whole"));
    let expected = sandbox.bytes("whole/model.keras");
    assert!(killed(&sandbox, &format!("{train} --out run"), 12));
    let checkpoint = sandbox.bytes("run/checkpoints/last.safetensors");
    let limited = |line: &str| {
        let program = env!("CARGO_BIN_EXE_binesh");
        // 8 or 16 KB, as the shell counts: enough for the settings.
        let script = format!("trap '' XFSZ; ulimit -f 16; exec {program} {line}");
        let mut command = Command::new("sh");
        let ran = Ran::of(command.args(["-c", &script]).current_dir(sandbox.path("")).stdin(Stdio::null()));
        assert_eq!(ran.code, 1, "{ran}");
        let error = ran.stderr.lines().find(|line| line.starts_with("error: ")).unwrap_or_default();
        assert!(error.contains("/checkpoints/last.safetensors: File too large"), "{ran}");
    };
    limited("train --resume run");
    assert!(sandbox.bytes("run/checkpoints/last.safetensors") == checkpoint, "the old one is whole");
    assert_eq!(sandbox.files("run/checkpoints"), ["last.safetensors"], "nothing is left lying about");
    sandbox.ok("train --resume run");
    assert!(sandbox.bytes("run/model.keras") == expected);
    limited(&format!("{train} --out run2"));
    sandbox.ok("train --resume run2");
    assert!(sandbox.bytes("run2/model.keras") == expected);
}

#[test]
fn the_order_of_steps_is_kept() {
    let sandbox = sandbox();
    let line =
        "train photos -m seq.h5 --head-epochs 2 --lr 0.2 --dropout 0 --epochs 1 --unfreeze all --views 0";
    let ran = sandbox.run(&format!("{line} --out refused"));
    assert!(ran.code == 1 && ran.stdout.is_empty(), "{ran}");
    assert!(ran.stderr.contains("error: the head has not converged: its loss still fell by "), "{ran}");
    assert!(ran.stderr.contains("hint: ") && ran.stderr.contains("--force"), "{ran}");
    let ran = sandbox.run(&format!("{line} --out forced --force"));
    assert_eq!(ran.code, 0, "{ran}");
    let place = |text: &str| ran.stderr.find(text).unwrap_or_else(|| panic!("no `{text}`: {ran}"));
    assert!(place("warning: the head has not converged") < place("stage `fine-tuning`"), "{ran}");
    // The refused run was not in vain.
    sandbox.fails("train --resume refused");
    let ran = sandbox.run("train --resume refused --force");
    assert_eq!(ran.code, 0, "{ran}");
    for file in ["model.keras", "config.toml"] {
        let of = |run: &str| sandbox.bytes(format!("{run}/{file}"));
        assert!(of("refused") == of("forced"), "{file}");
    }
}

#[test]
fn a_run_is_judged_by_the_photos_it_was_not_trained_on_whatever_the_folder_holds_now() {
    let sandbox = sandbox();
    // Names that a table of photos would not bring back as they are.
    fs::rename(sandbox.path("photos/night"), sandbox.path("photos/ night ")).unwrap();
    whole(&sandbox);
    let judged = |ran: Ran| {
        assert_eq!(ran.code, 0, "{ran}");
        let report: serde_json::Value = serde_json::from_str(&ran.stdout).unwrap();
        let figures = ["samples", "loss", "confusion"].map(|key| report[key].to_string());
        (figures, ran.stderr)
    };
    let metrics: serde_json::Value = serde_json::from_slice(&sandbox.bytes("whole/metrics.json")).unwrap();
    let (before, said) = judged(sandbox.run("evaluate whole --json"));
    assert_eq!(before[0], metrics["evaluation"]["samples"].to_string());
    assert_eq!(said, "");

    // One is called otherwise, two of each class are new, another one is a copy.
    fs::rename(sandbox.path("photos/noon/7.png"), sandbox.path("photos/noon/8.png")).unwrap();
    sandbox.class_folders("others");
    for (class, named) in [(" night ", "night"), ("noon", "noon")] {
        for number in 0..2 {
            let from = sandbox.path(format!("others/{named}/{number}.png"));
            let old = sandbox.picture(&from);
            let (height, width) = (old.height(), old.width());
            let pixels = old.pixels().iter().map(|value| value ^ 1).collect();
            let picture = Picture::rgb(height, width, pixels).unwrap();
            write_png(&sandbox.path(format!("photos/{class}/a{number}.png")), &picture).unwrap();
        }
    }
    fs::copy(sandbox.path("photos/noon/3.png"), sandbox.path("photos/noon/b.png")).unwrap();
    let (after, said) = judged(sandbox.run("evaluate whole --json"));
    assert_eq!(after, before);
    assert_eq!(said, "note: 5 photos are new or changed since the run was trained; they are not looked at\n");
}

#[test]
fn photos_that_are_not_as_they_seem_are_told() {
    let sandbox = sandbox();
    let ran = sandbox.fails("train photos -m seq.h5 --out photos/run");
    assert!(ran.error().contains("in the folder of the photos"), "{ran}");
    for part in ["train", "val", "extra"] {
        sandbox.class_folders(&format!("parts/{part}"));
    }
    let ran = sandbox.fails("train parts -m seq.h5 --out run");
    assert!(ran.error().contains("`extra`, beside `train`, is no part of the photos"), "{ran}");
    fs::remove_dir_all(sandbox.path("parts/extra")).unwrap();
    let ran = sandbox.run("train parts -m seq.h5 --out run --head-epochs 2 --unfreeze none --validation 0.3");
    assert_eq!(ran.code, 0, "{ran}");
    assert!(ran.stderr.contains("warning: the same picture, or nearly, is in two parts"), "{ran}");
    assert!(ran.stderr.contains("`--split` and `--validation` change nothing"), "{ran}");
    let metrics: serde_json::Value = serde_json::from_slice(&sandbox.bytes("run/metrics.json")).unwrap();
    assert_eq!(metrics["data"]["split"], "as the folders or the table of the photos say");
}

#[test]
fn settings_that_no_run_can_have_are_refused_before_it_begins() {
    let sandbox = sandbox();
    whole(&sandbox);
    let config = String::from_utf8(sandbox.bytes("whole/config.toml")).unwrap();
    for (line, slip, said) in [
        ("batch = 5", "batch = 0", "`head_stage.batch` is 0: it must be at least 1"),
        ("dropout = 0.2", "dropout = 1.5", "`head.dropout` is 1.5: it must be from 0 to 0.999"),
        ("hidden = 0", "hiden = 0", "unknown field `hiden`"),
    ] {
        assert!(config.contains(line), "{config}");
        sandbox.write("slip.toml", config.replacen(line, slip, 1).as_bytes());
        let ran = sandbox.fails("train --config slip.toml --out slip");
        assert!(ran.error().contains(said), "{ran}");
        assert!(!sandbox.path("slip").exists());
    }
}

#[test]
fn what_does_not_go_together_is_refused() {
    let sandbox = sandbox();
    whole(&sandbox);
    for option in ["--seed 6", "--head-epochs 9", "--out other", "--config whole/config.toml"] {
        let ran = sandbox.run(&format!("train --resume whole {option}"));
        assert!(ran.code == 2 && ran.stderr.contains("cannot be used with"), "{option}: {ran}");
    }
    let ran = sandbox.fails(&format!("{TRAIN} --out whole"));
    assert!(ran.error().contains("holds a run already"), "{ran}");
    let config = String::from_utf8(sandbox.bytes("whole/config.toml")).unwrap();
    sandbox.write("whole/config.toml", config.replace("seed = 5", "seed = 6").as_bytes());
    let ran = sandbox.run("train --resume whole");
    assert!(ran.code == 1 && ran.stderr.contains("other photos, another base or other settings"), "{ran}");
    sandbox.write("whole/config.toml", config.as_bytes());
    let whole = sandbox.bytes("whole/checkpoints/last.safetensors");
    sandbox.write("whole/checkpoints/last.safetensors", &whole[..whole.len() / 2]);
    let ran = sandbox.run("train --resume whole");
    assert!(ran.code == 1 && ran.stderr.contains("error: whole/checkpoints/last.safetensors: "), "{ran}");
    let ran = sandbox.run("train photos -m seq.h5 --lr 1e38 --out nan");
    assert!(ran.code == 1 && ran.stderr.contains("error: stage `head`, epoch "), "{ran}");
}
