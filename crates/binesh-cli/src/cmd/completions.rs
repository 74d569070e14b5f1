//! `binesh completions`

use anyhow::Result;
use clap::CommandFactory;
use clap_complete::Shell;

use crate::cmd::{Cli, Outcome};
use crate::output;

/// Print a completion script for a shell
///
///   binesh completions bash > ~/.local/share/bash-completion/completions/binesh
#[derive(clap::Args, Debug)]
#[command(verbatim_doc_comment)]
pub(crate) struct Args {
    /// Shell to print it for
    shell: Shell,
}

pub(crate) fn run(args: &Args) -> Result<Outcome> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "binesh", &mut script);
    output::print(&String::from_utf8_lossy(&script))?;
    Ok(Outcome::Done)
}
