//! Commands with what they print, as text files.
//!
//! A line that begins with `$ ` is a command: words, quoted with `'` where they hold spaces or nothing, after
//! `NAME=value` for its environment. Below it, what it wrote to standard output, then what it wrote to standard error, each
//! line after `! `, then `[exit 1]` unless that was 0. Lines that begin with `#` above the first command are a comment.

use std::fs;
use std::path::Path;

use crate::sandbox::{Ran, Sandbox};

/// Runs the commands of `tests/snapshots/NAME.txt` in order.
#[track_caller]
pub(crate) fn check(sandbox: &Sandbox, name: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/snapshots").join(format!("{name}.txt"));
    let expected = fs::read_to_string(&path).unwrap().replace("\r\n", "\n");
    let comment = expected.lines().take_while(|line| !line.starts_with("$ "));
    let mut got: String = comment.map(|line| format!("{line}\n")).collect();
    for line in expected.lines().filter_map(|line| line.strip_prefix("$ ")) {
        got.push_str(&format!("$ {line}\n{}\n", shown(&run(sandbox, line))));
    }
    let got = format!("{}\n", got.trim_end());
    if std::env::var_os("BINESH_BLESS").is_some() {
        fs::write(&path, &got).unwrap();
        return;
    }
    let same = expected.lines().zip(got.lines()).take_while(|(a, b)| a == b).count();
    let rest =
        |text: &str| text.lines().skip(same).take(12).map(|line| format!("  {line}\n")).collect::<String>();
    assert!(
        got == expected,
        "{name}.txt, line {}, says\n{}but now it is (BINESH_BLESS=1 accepts it)\n{}",
        same + 1,
        rest(&expected),
        rest(&got)
    );
}

fn run(sandbox: &Sandbox, line: &str) -> Ran {
    let words = words(line);
    let program = words.iter().position(|word| word == "binesh").expect("the program is `binesh`");
    let mut command = sandbox.command();
    let variables = words[..program].iter().map(|word| word.split_once('=').unwrap());
    command.envs(variables).args(&words[program + 1..]);
    Ran::of(&mut command)
}

fn shown(ran: &Ran) -> String {
    let mut text = ran.stdout.clone();
    for line in ran.stderr.lines() {
        text.push_str(format!("! {}", portable(line)).trim_end());
        text.push('\n');
    }
    if ran.code != 0 {
        text.push_str(&format!("[exit {}]\n", ran.code));
    }
    text
}

/// What the system says differs from system to system.
fn portable(line: &str) -> String {
    match (line.rsplit_once(": "), line.ends_with(')') && line.contains(" (os error ")) {
        (Some((before, _)), true) => format!("{before}: [the system's answer]"),
        _ => line.to_owned(),
    }
}

fn words(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    for (index, part) in line.split('\'').enumerate() {
        if index % 2 == 1 {
            words.push(part.to_owned());
        } else {
            words.extend(part.split_whitespace().map(str::to_owned));
        }
    }
    words
}
