//! The program `binesh`: load a convolutional network, ask it about pictures, look inside.
#![forbid(unsafe_code)]

mod args;
mod cmd;
mod costs;
mod inputs;
mod memory;
mod output;

use std::process::ExitCode;

use clap::Parser;

use crate::cmd::{Cli, Outcome};

/// 0: done; 1: something failed, and said so; 2: the command line is wrong (clap's own).
fn main() -> ExitCode {
    let cli = Cli::parse();
    match cli.run() {
        Ok(Outcome::Done) => ExitCode::SUCCESS,
        Ok(Outcome::SomeFailed) => ExitCode::FAILURE,
        Err(error) if output::is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            output::error(&error);
            ExitCode::FAILURE
        }
    }
}
