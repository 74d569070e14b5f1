//! One stage: epochs of steps, judged on the validation photos after each.

use std::ops::ControlFlow;
use std::time::Instant;

use binesh_core::Tensor;

use crate::train::checkpoint::{Checkpoint, Progress, StageProgress};
use crate::train::config::StageConfig;
use crate::train::early_stopping::Monitor;
use crate::train::ema::Ema;
use crate::train::error::TrainError;
use crate::train::event::{Event, Events, StepReport};
use crate::train::history::HistoryRow;
use crate::train::learner::{Learner, Lesson};
use crate::train::loss::{Batch, Tally};
use crate::train::mixup::MixUp;
use crate::train::optimizer::OptimizerState;
use crate::train::plateau::PlateauState;
use crate::train::random::{Purpose, generator, permutation};
use crate::train::schedule::Span;
use crate::train::source::Source;

/// Photos of a run, by number.
#[derive(Clone, Debug)]
pub(crate) struct Examples {
    /// Those that weights learn from.
    pub(crate) train: Vec<usize>,
    /// Those that judge an epoch.
    pub(crate) validation: Vec<usize>,
    /// The class of every photo.
    pub(crate) labels: Vec<usize>,
    pub(crate) classes: usize,
    /// A weight for each class.
    pub(crate) class_weights: Option<Vec<f32>>,
}

impl Examples {
    pub(crate) fn labels_of(&self, items: &[usize]) -> Vec<usize> {
        items.iter().map(|&item| self.labels[item]).collect()
    }
}

/// A stage under way.
pub(crate) struct Fit<'a> {
    pub(crate) config: &'a StageConfig,
    pub(crate) examples: &'a Examples,
    pub(crate) learner: &'a mut Learner,
    pub(crate) source: &'a mut Source,
    pub(crate) seed: u64,
    /// Whether the best epoch's weights are kept: not when the validation photos are there to judge the result.
    pub(crate) selects: bool,
    optimizer: OptimizerState,
    average: Option<Ema>,
    best: Option<Vec<Tensor>>,
}

/// Where a stage writes.
pub(crate) trait Keeper {
    /// Whether the state after this epoch is asked for, when it has so many bytes.
    fn wants(&self, bytes: usize) -> bool;

    /// Takes note of a finished epoch. `must` when nothing may be lost: the stage has ended.
    fn keep(&mut self, checkpoint: Checkpoint, must: bool) -> Result<(), TrainError>;
}

impl<'a> Fit<'a> {
    pub(crate) fn new(
        config: &'a StageConfig,
        examples: &'a Examples,
        learner: &'a mut Learner,
        source: &'a mut Source,
        seed: u64,
        selects: bool,
    ) -> Fit<'a> {
        let optimizer = learner.optimizer(config.optimizer);
        let average = config.ema.map(|ema| Ema::new(ema, learner.changing_sizes()));
        Fit { config, examples, learner, source, seed, selects, optimizer, average, best: None }
    }

    /// Goes on from `progress` to the end of the stage. `checkpoint` holds its tensors when it was interrupted.
    pub(crate) fn run(
        mut self,
        progress: &mut Progress,
        checkpoint: Option<Checkpoint>,
        keeper: &mut dyn Keeper,
        events: &mut Events<'_>,
    ) -> Result<(), TrainError> {
        match checkpoint {
            Some(checkpoint) => self.restore(checkpoint)?,
            None => {
                let plateau =
                    self.config.reduce_on_plateau.map(|_| PlateauState::new(self.config.learning_rate));
                progress.stage = StageProgress { plateau, ..StageProgress::default() };
            }
        }
        while progress.stage.epochs < self.config.epochs && !progress.stage.stopped {
            let row = self.epoch(progress, events)?;
            let best = self.judge(progress, &row);
            progress.history.push(row);
            if keeper.wants(self.checkpoint_bytes()) {
                keeper.keep(self.checkpoint(progress), false)?;
            }
            let row = progress.history.last().expect("it was just put there");
            tell(events, Event::Epoch { row, best })?;
        }
        self.finish(progress, events)?;
        Ok(())
    }

    /// Learns from every training photo once.
    fn epoch(&mut self, progress: &mut Progress, events: &mut Events<'_>) -> Result<HistoryRow, TrainError> {
        let start = Instant::now();
        let epoch = progress.stage.epochs;
        // The stages' streams are apart: epochs are counted through both.
        let position = progress.history.len() as u64;
        let mut random = generator(self.seed, Purpose::Step, position);
        let order =
            permutation(self.examples.train.len(), &mut generator(self.seed, Purpose::Order, position));
        let order: Vec<usize> = order.into_iter().map(|at| self.examples.train[at]).collect();
        let steps = order.len().div_ceil(self.config.batch);
        let span = Span { epochs: self.config.epochs, steps_per_epoch: steps };
        self.source.begin(&order, position)?;
        let (mut total, mut rate, mut done) = (Tally::default(), self.config.learning_rate, 0);
        for (step, items) in order.chunks(self.config.batch).enumerate() {
            let base = progress.stage.plateau.map_or(self.config.learning_rate, |plateau| plateau.rate);
            rate = base * f64::from(self.config.schedule.factor(progress.stage.steps, span));
            let mut x = self.source.next(items)?;
            let loss = self.learner.loss();
            let mut targets = loss.targets(&self.examples.labels_of(items), self.examples.classes);
            if self.config.mixup > 0.0 && items.len() > 1 {
                let mix = MixUp { alpha: self.config.mixup }.draw(items.len(), &mut random);
                (x, targets) = (mix.apply(&x), mix.apply(&targets));
            }
            let weights = self.examples.class_weights.as_ref().map(|w| loss.sample_weights(&targets, w));
            let lesson = Lesson {
                x: &x,
                targets: &targets,
                weights: weights.as_deref(),
                label_smoothing: self.config.label_smoothing,
                clip: self.config.clip,
                learning_rate: rate,
            };
            let tally = self.learner.step(&lesson, &mut self.optimizer, &mut random)?;
            if !tally.loss().is_finite() {
                let place = self.learner.diagnose(&x)?;
                let stage = self.learner.spec.name.to_owned();
                return Err(TrainError::NotFinite { stage, epoch: epoch + 1, step: step + 1, place });
            }
            total += tally;
            done += items.len();
            progress.stage.steps += 1;
            self.follow();
            let report = StepReport {
                epoch: epoch + 1,
                epochs: self.config.epochs,
                step: step + 1,
                steps,
                loss: total.loss(),
                accuracy: total.accuracy(),
                images_per_second: done as f64 / start.elapsed().as_secs_f64(),
            };
            tell(events, Event::Step(report))?;
        }
        // The last step's own loss was judged before it.
        if let Some(place) = self.learner.bad_weight() {
            let stage = self.learner.spec.name.to_owned();
            return Err(TrainError::NotFinite { stage, epoch: epoch + 1, step: steps, place });
        }
        progress.stage.epochs += 1;
        let validation = self.validate()?;
        let seconds = start.elapsed().as_secs_f64();
        Ok(HistoryRow {
            stage: self.learner.spec.name.to_owned(),
            epoch: progress.history.len() + 1,
            train_loss: total.loss(),
            train_accuracy: total.accuracy(),
            val_loss: validation.map(|tally| tally.loss()),
            val_accuracy: validation.map(|tally| tally.accuracy()),
            learning_rate: rate,
            seconds,
            images_per_second: order.len() as f64 / seconds,
        })
    }

    /// The moving average follows the weights.
    fn follow(&mut self) {
        let Some(average) = &mut self.average else { return };
        let params = &self.learner.params;
        let weights = |node| params.get(node).expect("it has a value").data();
        average.update(self.learner.changing().into_iter().map(weights));
    }

    /// Changes places with the moving average, if there is one.
    fn swap_average(&mut self) {
        let Some(average) = &mut self.average else { return };
        for (index, node) in self.learner.changing().into_iter().enumerate() {
            average.swap(index, self.learner.params.get_mut(node).expect("it has a value").data_mut());
        }
    }

    /// Loss and accuracy on the validation photos, with the weights that the stage would end with now.
    fn validate(&mut self) -> Result<Option<Tally>, TrainError> {
        if self.examples.validation.is_empty() {
            return Ok(None);
        }
        self.swap_average();
        let mut total = Tally::default();
        for items in self.examples.validation.chunks(self.config.batch.max(16)) {
            let x = self.source.plain(items)?;
            let logits = self.learner.logits(&x)?;
            let loss = self.learner.loss();
            let targets = loss.targets(&self.examples.labels_of(items), self.examples.classes);
            let units = loss.units(self.examples.classes);
            let batch =
                Batch { logits: &logits, targets: &targets, units, label_smoothing: 0.0, weights: None };
            total += loss.tally(&batch);
        }
        self.swap_average();
        Ok(Some(total))
    }

    /// Keeps the best weights, lowers the rate, ends the stage. Whether the epoch is the best so far.
    fn judge(&mut self, progress: &mut Progress, row: &HistoryRow) -> bool {
        let stage = &mut progress.stage;
        let figure = |monitor: Monitor| figure_of(row, monitor);
        let monitor = self.config.early_stopping.map(|stopping| stopping.monitor).unwrap_or_default();
        let value = figure(monitor);
        let best = self.selects
            && value.is_some_and(|value| monitor.is_better(value, stage.best.map(|(_, best)| best), 0.0));
        if let (true, Some(value)) = (best, value) {
            stage.best = Some((stage.epochs, value));
            self.swap_average();
            self.best = Some(self.learner.weights());
            self.swap_average();
        }
        if let (Some(rule), Some(state)) = (&self.config.reduce_on_plateau, &mut stage.plateau)
            && let Some(value) = figure(rule.monitor)
        {
            rule.observe(state, value);
        }
        if let Some(rule) = &self.config.early_stopping
            && let Some(value) = figure(rule.monitor)
        {
            let epoch = (stage.epochs - 1) as u32;
            stage.stopped = rule.observe(&mut stage.stopping, epoch, value).stop;
        }
        best
    }

    /// The stage's result: the best epoch's weights, or the moving average, or the last ones.
    fn finish(&mut self, progress: &Progress, events: &mut Events<'_>) -> Result<(), TrainError> {
        let stage = &progress.stage;
        let before = progress.history.len() - stage.epochs;
        if let (Some(best), Some((epoch, _))) = (&self.best, stage.best) {
            self.learner.set_weights(best);
            if epoch != stage.epochs || stage.stopped {
                let saved = self.config.epochs - stage.epochs;
                tell(events, Event::Restored { epoch: before + epoch, saved })?;
            }
        } else {
            self.swap_average();
        }
        Ok(())
    }

    fn names(&self) -> Vec<String> {
        self.learner.changing_names()
    }

    /// Of the arrays in a checkpoint.
    fn checkpoint_bytes(&self) -> usize {
        let weights = self.learner.changing_sizes().into_iter().map(|(_, len)| len).sum::<usize>();
        let copies = 1 + usize::from(self.best.is_some()) + usize::from(self.average.is_some());
        let slots = self.optimizer.slots().map(|(_, values)| values.len()).sum::<usize>();
        4 * (weights * copies + slots)
    }

    fn checkpoint(&self, progress: &mut Progress) -> Checkpoint {
        progress.stage.iterations = self.optimizer.iterations();
        let mut checkpoint = Checkpoint { progress: progress.clone(), ..Checkpoint::default() };
        let names = self.names();
        let names = || names.iter().map(String::as_str);
        checkpoint.put("weight", names(), self.learner.weights());
        checkpoint.put("best", names(), self.best.iter().flatten().cloned());
        let flat = |values: &[f32]| Tensor::new([values.len()], values.to_vec()).expect("one axis");
        for (name, values) in self.average.iter().flat_map(Ema::averages) {
            checkpoint.tensors.insert(format!("average/{name}"), flat(values));
        }
        for (name, values) in self.optimizer.slots() {
            checkpoint.tensors.insert(format!("optimizer/{name}"), flat(values));
        }
        checkpoint
    }

    fn restore(&mut self, mut checkpoint: Checkpoint) -> Result<(), TrainError> {
        let incomplete =
            || TrainError::Config("the checkpoint belongs to another stage of another run".to_owned());
        let names = self.names();
        let names = || names.iter().map(String::as_str);
        let weights = checkpoint.take("weight", names()).ok_or_else(incomplete)?;
        self.learner.set_weights(&weights);
        self.best = checkpoint.take("best", names());
        let mut values =
            |kind: &str, name: &str| Some(checkpoint.tensors.remove(&format!("{kind}/{name}"))?.into_data());
        let StageProgress { iterations, steps, .. } = checkpoint.progress.stage;
        if let Some(average) = &mut self.average {
            average.restore(steps as u64, |name| values("average", name)).map_err(|_| incomplete())?;
        }
        self.optimizer.restore(iterations, |name| values("optimizer", name)).map_err(|_| incomplete())
    }
}

/// The figure that a rule watches.
fn figure_of(row: &HistoryRow, monitor: Monitor) -> Option<f64> {
    match monitor {
        Monitor::ValLoss => row.val_loss,
        Monitor::ValAccuracy => row.val_accuracy,
        Monitor::Loss => Some(row.train_loss),
        Monitor::Accuracy => Some(row.train_accuracy),
    }
}

pub(crate) fn tell(events: &mut Events<'_>, event: Event<'_>) -> Result<(), TrainError> {
    match events(event) {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(()) => Err(TrainError::Stopped),
    }
}
