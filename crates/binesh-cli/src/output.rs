//! Data to standard output, talk to standard error.

use std::io::{self, IsTerminal, Write};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde::Serialize;

/// Writes data, as it is.
pub(crate) fn print(text: &str) -> Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).context("cannot write to standard output")
}

/// Tells of files being written. These are the result, and are written even when nobody reads on.
pub(crate) fn tell(text: &str) -> Result<()> {
    print(text).or_else(|error| if is_broken_pipe(&error) { Ok(()) } else { Err(error) })
}

/// Writes data as one JSON document.
pub(crate) fn print_json(value: &impl Serialize) -> Result<()> {
    let text = serde_json::to_string_pretty(value).context("cannot write JSON")?;
    print(&format!("{text}\n"))
}

/// True when whoever read our output has stopped reading, which is no mistake of ours: `binesh ... | head`.
pub(crate) fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error
        .chain()
        .any(|e| e.downcast_ref::<io::Error>().is_some_and(|e| e.kind() == io::ErrorKind::BrokenPipe))
}

/// What went wrong, then why, on one line. Many messages already end with their cause, which is not said twice.
pub(crate) fn message(error: &anyhow::Error) -> String {
    error.chain().map(ToString::to_string).fold(String::new(), |said, cause| match said {
        said if said.is_empty() => cause,
        said if said.ends_with(&cause) => said,
        said => format!("{said}: {cause}"),
    })
}

/// `error: ...`, and how to get out of it where that is known.
pub(crate) fn error(error: &anyhow::Error) {
    complain(&format!("error: {}", line(&message(error))));
    let details = error.chain().find_map(|cause| cause.downcast_ref::<binesh::Error>()?.details());
    if let Some(details) = details {
        complain("");
        details.lines().for_each(|text| complain(&line(text)));
    }
    let hint = error.chain().find_map(hint);
    if let Some(hint) = hint {
        complain(&format!("\nhint: {}", line(&hint)));
    }
}

/// `error: ...`, of something that others can do without.
pub(crate) fn complain_of(text: &str) {
    complain(&format!("error: {}", line(text)));
}

fn hint(error: &(dyn std::error::Error + 'static)) -> Option<String> {
    let of_model = || error.downcast_ref::<binesh::Error>()?.hint();
    let of_data = || error.downcast_ref::<binesh::data::DataError>()?.hint();
    let of_training = || error.downcast_ref::<binesh::train::TrainError>()?.hint();
    let own = || error.downcast_ref::<Hinted>().map(|error| error.hint.clone());
    of_model().or_else(of_data).or_else(of_training).or_else(own)
}

/// An error of the program's own whose way out is known.
#[derive(Debug)]
pub(crate) struct Hinted {
    pub(crate) message: String,
    pub(crate) hint: String,
}

impl std::fmt::Display for Hinted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Hinted {}

/// `warning: ...`
pub(crate) fn warn(text: &str) {
    complain(&format!("warning: {}", line(text)));
}

/// `note: ...`
pub(crate) fn note(text: &str) {
    complain(&format!("note: {}", line(text)));
}

/// Talk, on standard error.
pub(crate) fn say(text: &str) {
    complain(&line(text));
}

/// Lines of talk that hold no text from outside but what is printable.
pub(crate) fn say_lines(text: &str) {
    complain(text.trim_end());
}

/// The width of the terminal that standard error is.
pub(crate) fn stderr_columns() -> usize {
    terminal_size::terminal_size_of(io::stderr()).map_or(NO_TERMINAL, |(width, _)| usize::from(width.0))
}

/// Columns of a table for a pipe.
const NO_TERMINAL: usize = 100;

/// Nowhere is left to say that standard error does not work.
fn complain(text: &str) {
    let _ = writeln!(io::stderr().lock(), "{text}");
}

/// Names from files may hold line breaks and terminal commands.
fn line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c }).collect()
}

/// A progress bar on standard error that shows itself only when the work takes more than a second.
pub(crate) struct Progress {
    bar: ProgressBar,
    started: Instant,
}

impl Progress {
    /// `len` steps of work, named for the user: `pictures`.
    pub(crate) fn new(len: usize, what: &str) -> Progress {
        let bar = ProgressBar::with_draw_target(Some(len as u64), ProgressDrawTarget::hidden());
        let template = format!("{{wide_bar}} {{pos}}/{{len}} {what}, {{eta}} left");
        let style =
            ProgressStyle::with_template(&template).expect("the template is a constant with one plain word");
        Progress { bar: bar.with_style(style), started: Instant::now() }
    }

    /// One step is done.
    pub(crate) fn step(&self) {
        let slow = self.started.elapsed() > Duration::from_secs(1);
        if slow && self.bar.is_hidden() && io::stderr().is_terminal() {
            self.bar.set_draw_target(ProgressDrawTarget::stderr());
        }
        self.bar.inc(1);
    }

    /// Says something without tearing the bar.
    pub(crate) fn suspend(&self, say: impl FnOnce()) {
        self.bar.suspend(say);
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

/// Does work whose length is not known; a spinner with this text shows on a terminal once it takes more than a second.
pub(crate) fn waiting<R>(text: &str, work: impl FnOnce() -> R) -> R {
    if !io::stderr().is_terminal() {
        return work();
    }
    thread::scope(|scope| {
        let (done, wait) = mpsc::channel::<()>();
        let text = line(text);
        scope.spawn(move || {
            if wait.recv_timeout(Duration::from_secs(1)) != Err(RecvTimeoutError::Timeout) {
                return;
            }
            let spinner = ProgressBar::new_spinner().with_message(text);
            while wait.recv_timeout(Duration::from_millis(100)) == Err(RecvTimeoutError::Timeout) {
                spinner.tick();
            }
            spinner.finish_and_clear();
        });
        let result = work();
        drop(done);
        result
    })
}
