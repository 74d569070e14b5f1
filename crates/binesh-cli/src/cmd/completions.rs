//! `binesh completions`

use anyhow::Result;
use clap::CommandFactory;
use clap_complete::Shell;
use serde::Serialize;

use crate::args::Common;
use crate::cmd::{Cli, Outcome};
use crate::output;

/// Print a completion script for a shell
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Examples:
  binesh completions bash > ~/.local/share/bash-completion/completions/binesh
  binesh completions zsh > ~/.zfunc/_binesh
  binesh completions fish > ~/.config/fish/completions/binesh.fish")]
pub(crate) struct Args {
    /// Shell to print it for
    shell: Shell,
}

/// The document of `--json`.
#[derive(Serialize)]
struct Report {
    shell: String,
    script: String,
}

pub(crate) fn run(args: &Args, common: &Common) -> Result<Outcome> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "binesh", &mut script);
    let script = String::from_utf8_lossy(&script).into_owned();
    if common.json {
        output::print_json(&Report { shell: args.shell.to_string(), script })?;
    } else {
        output::print(&script)?;
    }
    Ok(Outcome::Done)
}
