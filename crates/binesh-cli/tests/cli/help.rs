//! Help texts, the command line's own errors, completions.

use std::process::Command;

use crate::sandbox::{Ran, Sandbox};
use crate::transcript;

#[test]
fn help_texts() {
    transcript::check(&Sandbox::new(), "help");
}

#[test]
fn wrong_command_lines_exit_with_2() {
    transcript::check(&Sandbox::new(), "usage");
}

#[test]
fn version() {
    let sandbox = Sandbox::new();
    for flag in ["-V", "--version"] {
        assert_eq!(sandbox.ok(flag), format!("binesh {}\n", env!("CARGO_PKG_VERSION")));
    }
}

/// The verbs that `binesh -h` lists.
pub(crate) fn verbs(sandbox: &Sandbox) -> Vec<String> {
    let help = sandbox.ok("-h");
    let listed =
        help.lines().skip_while(|line| *line != "Commands:").skip(1).take_while(|line| !line.is_empty());
    let verbs = listed.map(|line| line.split_whitespace().next().unwrap().to_owned());
    verbs.filter(|verb| verb != "help").collect()
}

/// Nobody forgives an example that does not run.
#[test]
fn every_help_has_examples_that_are_valid_commands() {
    let sandbox = Sandbox::new();
    let verbs = verbs(&sandbox);
    assert!(verbs.len() >= 6, "{verbs:?}");
    for page in verbs.iter().map(|verb| format!("{verb} --help")).chain(["--help".to_owned()]) {
        let help = sandbox.ok(&page);
        let examples = help.split("\nExamples:\n").nth(1).unwrap_or_else(|| panic!("{page} has no examples"));
        let examples = examples.split("\n\n").next().unwrap().replace("\\\n", " ");
        for line in examples.lines().map(str::trim) {
            let command = line.split("   ").next().unwrap();
            let command = command.split(" > ").next().unwrap();
            let words = command.strip_prefix("binesh ").unwrap_or_else(|| panic!("{page}: {line}"));
            let ran = sandbox.run(words);
            assert_ne!(ran.code, 2, "{page}: {line}\n{ran}");
        }
    }
}

#[test]
fn completions_know_every_verb() {
    let sandbox = Sandbox::new();
    for (shell, marks) in [
        ("bash", ["complete -F _binesh", "--show-trainable"]),
        ("zsh", ["#compdef binesh", "--show-trainable"]),
        ("fish", ["complete -c binesh", "-l show-trainable"]),
    ] {
        let script = sandbox.ok(&format!("completions {shell}"));
        for verb in verbs(&sandbox).iter().map(String::as_str).chain(marks) {
            assert!(script.contains(verb), "{shell}: no `{verb}`");
        }
        assert_eq!(sandbox.json(&format!("completions {shell}"))["script"], script);
        sandbox.write("script", script.as_bytes());
        // A shell that is not installed cannot judge.
        let judged = Command::new(shell).arg("-n").arg(sandbox.path("script")).output();
        if let Ok(judged) = judged {
            assert!(judged.status.success(), "{shell}: {}", String::from_utf8_lossy(&judged.stderr));
        }
    }
}

#[test]
fn colors_only_where_asked_for() {
    let sandbox = Sandbox::new();
    // `Ran::of` refuses escape codes.
    Ran::of(sandbox.command().arg("frobnicate"));
    Ran::of(sandbox.command().arg("frobnicate").env("NO_COLOR", "1").env("CLICOLOR_FORCE", "1"));
}
