//! What `binesh train` shows while it works.

use std::io::{self, IsTerminal};
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result};
use binesh::data::ScanEvent;
use binesh::train::{Event, HistoryRow, Probes, Progress, StageTable};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::output;

/// A bar for what is under way, and lines for what is done; and Ctrl-C.
pub(crate) struct Screen {
    bar: ProgressBar,
    /// What the bar is for.
    task: &'static str,
    stop: Arc<AtomicBool>,
}

impl Screen {
    /// Catches Ctrl-C: the first one ends cleanly, the second at once.
    pub(crate) fn new() -> Result<Screen> {
        let stop = Arc::new(AtomicBool::new(false));
        let flag = Arc::clone(&stop);
        ctrlc::set_handler(move || {
            if flag.swap(true, Ordering::Relaxed) {
                std::process::exit(130);
            }
        })
        .context("cannot catch Ctrl-C")?;
        Ok(Screen { bar: ProgressBar::hidden(), task: "", stop })
    }

    /// Whether Ctrl-C was not pressed.
    pub(crate) fn go_on(&self) -> ControlFlow<()> {
        if self.stop.load(Ordering::Relaxed) { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }

    /// The bar, of so many steps, for a task.
    fn bar(&mut self, task: &'static str, total: usize) -> &ProgressBar {
        if self.task != task {
            self.bar.finish_and_clear();
            let target = match io::stderr().is_terminal() {
                true => ProgressDrawTarget::stderr_with_hz(10),
                false => ProgressDrawTarget::hidden(),
            };
            let style = ProgressStyle::with_template("{prefix} {wide_bar} {pos}/{len} {msg} {eta} left")
                .expect("the template is a constant");
            self.bar =
                ProgressBar::with_draw_target(Some(total as u64), target).with_style(style).with_prefix(task);
            self.task = task;
        }
        self.bar.set_length(total as u64);
        &self.bar
    }

    /// Nothing is under way.
    pub(crate) fn clear(&mut self) {
        self.bar.finish_and_clear();
        self.task = "";
    }

    fn say(&self, text: &str) {
        self.bar.suspend(|| output::say(text));
    }

    pub(crate) fn scanning(&mut self, event: ScanEvent<'_>) -> ControlFlow<()> {
        if let ScanEvent::Checked { done, files, .. } = event {
            self.bar("looking at photos", files).set_position(done as u64);
        }
        self.go_on()
    }

    pub(crate) fn show(&mut self, event: Event<'_>) -> ControlFlow<()> {
        match event {
            Event::Features(progress) => {
                let waiting = format!("waiting for data {:.0} %,", 100.0 * progress.waiting);
                let bar = self.bar("features", progress.total);
                bar.set_message(waiting);
                bar.set_position(progress.done as u64);
            }
            Event::FeaturesFound(views) => {
                self.say(&format!("features of {views} views were kept by an earlier run"))
            }
            Event::Probes(probes) => self.probes(probes),
            Event::Risk(risk) => {
                self.clear();
                output::warn(&format!("{risk}; its large errors may destroy what the base has learned"));
            }
            Event::Stage(table) => self.table(table),
            Event::Step(step) => {
                let message = format!(
                    "loss {:.3}, accuracy {:.3}, {:.0} photos/s,",
                    step.loss, step.accuracy, step.images_per_second
                );
                let bar = self.bar("training", step.epochs * step.steps);
                bar.set_message(message);
                bar.set_position(((step.epoch - 1) * step.steps + step.step) as u64);
            }
            Event::Epoch { row, best } => self.epoch(row, best),
            Event::Restored { epoch, saved } => {
                self.clear();
                let early = if saved > 0 { format!(", {saved} epochs early") } else { String::new() };
                self.say(&format!("ended{early}; the weights of epoch {epoch} are kept"));
            }
        }
        self.go_on()
    }

    /// Features are written.
    pub(crate) fn extracting(&mut self, progress: Progress) -> ControlFlow<()> {
        self.bar("features", progress.total).set_position(progress.done as u64);
        self.go_on()
    }

    /// The result is judged.
    pub(crate) fn judging(&mut self, progress: Progress) -> ControlFlow<()> {
        self.bar("judging", progress.total).set_position(progress.done as u64);
        self.go_on()
    }

    fn probes(&mut self, probes: &Probes) {
        self.clear();
        self.say(&format!("linear probes on {} photos: accuracy of each block's features", probes.photos));
        for (at, block) in probes.blocks.iter().enumerate() {
            let mark = if at == probes.unfreeze_from { "  <- unfrozen from here" } else { "" };
            self.say(&format!("  {:<24} {:.3}{mark}", block.block, block.accuracy));
        }
    }

    fn table(&mut self, table: &StageTable) {
        self.clear();
        let [learn, all] = table.weights();
        self.say(&format!("stage `{}`: {learn} of {all} weights learn", table.stage));
        let width = table.rows.iter().map(|row| row.layer.len()).max().unwrap_or(0).max(5);
        self.say(&format!("  {:<width$}  trainable  learning rate  batch norm", "layer"));
        let mut rows = table.rows.iter().peekable();
        while let Some(row) = rows.next() {
            if row.trainable || row.batch_norm.as_deref() == Some("train") {
                let rate = row.learning_rate.map_or("-".to_owned(), |rate| format!("{rate:.1e}"));
                let norm = row.batch_norm.as_deref().unwrap_or("-");
                self.say(&format!("  {:<width$}  yes        {rate:<13}  {norm}", row.layer));
                continue;
            }
            let (mut count, mut last) = (1, row);
            while let Some(next) = rows.next_if(|next| !next.trainable) {
                (count, last) = (count + 1, next);
            }
            let name = match count {
                1 => row.layer.clone(),
                count => format!("{} ... {} ({count} layers)", row.layer, last.layer),
            };
            let norm = row.batch_norm.as_deref().unwrap_or("-");
            self.say(&format!("  {name:<width$}  no         -              {norm}"));
        }
    }

    fn epoch(&mut self, row: &HistoryRow, best: bool) {
        let validation = match (row.val_loss, row.val_accuracy) {
            (Some(loss), Some(accuracy)) => format!("  val_loss {loss:.4}  val_accuracy {accuracy:.4}"),
            _ => String::new(),
        };
        let mark = if best { "  *" } else { "" };
        self.say(&format!(
            "epoch {:>3}  loss {:.4}  accuracy {:.4}{validation}  {:.2} s{mark}",
            row.epoch, row.train_loss, row.train_accuracy, row.seconds
        ));
    }
}
