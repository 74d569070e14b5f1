//! A run: photos, base and settings in; a trained network out. The five steps in their order, resumable between any two
//! epochs.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use binesh_core::{GraphError, NodeId, Params, Shape};
use binesh_formats::{Network, safetensors};
use sha2::{Digest, Sha256};

use crate::data::augment::Augment;
use crate::data::{Dataset, Split, SplitSpec};
use crate::image::Preprocess;
use crate::model::Model;
use crate::train::attach::Attached;
use crate::train::blocks::{Block, blocks};
use crate::train::checkpoint::{Checkpoint, Progress};
use crate::train::config::{Config, FineTuningConfig, StageConfig, Unfreeze, ViewSource};
use crate::train::error::TrainError;
use crate::train::event::{Event, Events};
use crate::train::features::Precision;
use crate::train::files;
use crate::train::finder::{self, RateCurve};
use crate::train::fit::{Examples, Fit, Keeper, tell};
use crate::train::frozen::{Eye, Frozen, Shown, Timing, averaged};
use crate::train::history::{HistoryRow, history_csv};
use crate::train::learner::Learner;
use crate::train::probes::{self, BlockProbe, Probes};
use crate::train::source::{Live, Source, Views};
use crate::train::stage::{Convergence, StageSpec, StageTable, Step};
use crate::train::tensorboard;

/// What a run made, and what is worth telling of it.
pub struct Trained {
    /// The base with its trained head.
    pub network: Network,
    /// The base with its untrained head.
    pub attached: Attached,
    /// The base's blocks.
    pub blocks: Vec<Block>,
    /// The first block that learned; none in a feature extraction.
    pub unfrozen_from: Option<usize>,
    /// What decided that, when it was not the user.
    pub probes: Option<Probes>,
    /// Each stage's table.
    pub stages: Vec<StageTable>,
    /// All epochs.
    pub history: Vec<HistoryRow>,
    /// The split of each photo.
    pub splits: Vec<Split>,
    /// What computing features took.
    pub features: Timing,
    /// Bytes of features held in memory, and in files.
    pub feature_bytes: [u64; 2],
    /// What was risked when blocks were unfrozen by force.
    pub risk: Option<String>,
    /// Epochs that each stage trained, and the one whose weights it kept.
    pub kept: Vec<(usize, usize)>,
}

/// Where a run leaves its files, and whether it goes on from there.
#[derive(Clone, Debug, Default)]
pub struct RunFolder {
    /// The folder; nothing is written without one.
    pub path: Option<PathBuf>,
    /// Go on from the folder's checkpoint, when there is one.
    pub resume: bool,
}

/// The file that a run goes on from.
pub const CHECKPOINT: &str = "checkpoints/last.safetensors";

/// The weights that a run ends with: those of the best epoch of its last stage.
pub const BEST: &str = "checkpoints/best.safetensors";

/// The file that says which photo had which part in a run, as [`Dataset::table`] writes it.
pub const PHOTOS: &str = "photos.csv";

/// Trains.
pub fn train(
    config: &Config,
    data: &Dataset,
    base: &Model,
    folder: &RunFolder,
    events: &mut Events<'_>,
) -> Result<Trained, TrainError> {
    let mut run = Run::new(config, data, base, folder)?;
    let result = run.train(events);
    // Also when it was stopped: what is finished is saved. That it could not be is worse news than that it was stopped.
    match (result, run.keeper.flush()) {
        (Ok(_) | Err(TrainError::Stopped), Err(error)) => Err(error),
        (result, _) => result,
    }
}

/// Runs the learning-rate finder for the head's stage. Nothing of the run itself is touched or written.
pub fn find_learning_rate(
    config: &Config,
    data: &Dataset,
    base: &Model,
    events: &mut Events<'_>,
) -> Result<RateCurve, TrainError> {
    // The head alone: nothing else needs features.
    let config = Config { fine_tuning: None, ..config.clone() };
    let mut run = Run::new(&config, data, base, &RunFolder::default())?;
    run.progress.step.freeze();
    let spec = StageSpec::head(&run.attached);
    let (sources, _) = run.sources(&spec, None, events)?;
    let [Some(mut source), _] = sources else { unreachable!("the head's stage needs its features") };
    let row = row(&run.attached, &run.preprocess, spec.boundary)?;
    let (graph, runtime) = (&run.attached.network.graph, base.runtime().clone());
    let params = (*run.params).clone();
    let learner = Learner::new(graph, params, runtime, spec, run.attached.logits, row);
    finder::find(learner, &config.head_stage, &run.examples, &mut source, config.seed, events)
}

struct Run<'a> {
    config: &'a Config,
    data: &'a Dataset,
    base: &'a Model,
    attached: Attached,
    /// Values of the base and of the untrained head.
    params: Arc<Params>,
    blocks: Vec<Block>,
    splits: Vec<Split>,
    examples: Examples,
    preprocess: Preprocess,
    keeper: FolderKeeper,
    resumed: Option<Checkpoint>,
    progress: Progress,
}

impl<'a> Run<'a> {
    fn new(
        config: &'a Config,
        data: &'a Dataset,
        base: &'a Model,
        folder: &RunFolder,
    ) -> Result<Run<'a>, TrainError> {
        config.check()?;
        let splits = data.split(&config.data.split)?;
        let attached = Attached::new(base, &config.head, &data.classes, config.seed)?;
        let preprocess = attached.network.meta.preprocess.clone().expect("`Attached::new` puts it there");
        let shapes = shapes(&attached, &preprocess)?;
        let graph = &attached.network.graph;
        let blocks = blocks(graph, &attached.network.layers, &shapes, attached.features);
        let train = data.indices(&splits, Split::Train);
        let labels: Vec<usize> = data.labels().collect();
        let examples = Examples {
            class_weights: config.data.balanced.then(|| data.class_weights(&splits)),
            validation: data.indices(&splits, Split::Validation),
            classes: data.classes.len(),
            train,
            labels,
        };
        let untaught = (0..data.classes.len()).find(|&class| train_has_none(&examples, class));
        if let Some(class) = untaught {
            let class = &data.classes[class];
            return Err(TrainError::Config(format!("no photo of `{class}` is left to train on")));
        }
        let params = Arc::new(attached.network.params.clone());
        let keeper = FolderKeeper::new(folder.path.clone(), folder.resume)?;
        let identity = identity(config, data, &splits, &attached);
        let mut resumed = None;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64());
        let mut progress = Progress { run: identity.clone(), started: now, ..Progress::default() };
        if let (Some(path), true) = (&folder.path, folder.resume)
            && path.join(CHECKPOINT).exists()
        {
            let path = path.join(CHECKPOINT);
            let checkpoint = Checkpoint::read(&path)?;
            if checkpoint.progress.run != identity {
                let reason = "belongs to a run with other photos, another base or other settings".to_owned();
                return Err(TrainError::Damaged { path, reason });
            }
            progress = checkpoint.progress.clone();
            // A run may have been killed between its checkpoint and these.
            keeper.write_history(&progress)?;
            resumed = Some(checkpoint);
        } else if let Some(path) = &folder.path {
            files::write(&path.join(PHOTOS), data.table(&splits)?.as_bytes())?;
        }
        Ok(Run {
            config,
            data,
            base,
            attached,
            params,
            blocks,
            splits,
            examples,
            preprocess,
            keeper,
            resumed,
            progress,
        })
    }

    fn train(&mut self, events: &mut Events<'_>) -> Result<Trained, TrainError> {
        if self.progress.step == Step::HeadAdded {
            self.progress.step.freeze();
        }
        self.decide(events)?;
        let head = StageSpec::head(&self.attached);
        let fine = match (&self.config.fine_tuning, self.progress.unfrozen_from) {
            (Some(config), Some(first)) => {
                Some((config, StageSpec::fine_tuning(&self.attached, &self.blocks, first, config)))
            }
            _ => None,
        };
        let (mut sources, timing) = self.sources(&head, fine.as_ref().map(|(_, spec)| spec), events)?;
        let feature_bytes =
            sources.iter().flatten().map(Source::bytes).fold([0, 0], |[a, b], [c, d]| [a + c, b + d]);

        let mut stages = vec![self.table(&head, &self.config.head_stage)];
        let mut params = (*self.params).clone();
        if let Some(mut source) = sources[0].take() {
            tell(events, Event::Stage(&stages[0]))?;
            params = self.stage(head, &self.config.head_stage, params, &mut source, events)?;
            self.progress.kept.push(self.kept());
            let rows = &self.progress.history;
            let convergence = Convergence::of(rows, self.progress.stage.stopped);
            self.progress.step.head_trained(convergence);
            self.milestone(&params)?;
        }
        if let Some((config, spec)) = fine {
            stages.push(self.table(&spec, &config.stage));
            if matches!(self.progress.step, Step::HeadTrained(_)) {
                if let Some(checkpoint) = self.resumed.take() {
                    params = self.with(params, checkpoint);
                }
                self.progress.risk = self.progress.step.unfreeze(config.force)?;
                self.progress.stage = Default::default();
                if let Some(risk) = &self.progress.risk {
                    tell(events, Event::Risk(risk))?;
                }
            }
            if let Some(mut source) = sources[1].take() {
                tell(events, Event::Stage(&stages[1]))?;
                params = self.stage(spec, &config.stage, params, &mut source, events)?;
                self.progress.kept.push(self.kept());
                self.progress.step.trained();
                self.milestone(&params)?;
            }
        }
        if let Some(checkpoint) = self.resumed.take() {
            // The run had ended.
            params = self.with(params, checkpoint);
        }
        self.keeper.write_best(&self.attached, &params)?;
        let network = Network { params, ..self.attached.network.clone() };
        Ok(Trained {
            network,
            attached: self.attached.clone(),
            blocks: self.blocks.clone(),
            unfrozen_from: self.progress.unfrozen_from,
            probes: self.progress.probes.clone(),
            stages,
            history: self.progress.history.clone(),
            splits: self.splits.clone(),
            features: timing,
            feature_bytes,
            risk: self.progress.risk.clone(),
            kept: self.progress.kept.clone(),
        })
    }

    /// Trains one stage, from its start or from where it was interrupted.
    fn stage(
        &mut self,
        spec: StageSpec,
        config: &StageConfig,
        params: Params,
        source: &mut Source,
        events: &mut Events<'_>,
    ) -> Result<Params, TrainError> {
        let (graph, runtime) = (&self.attached.network.graph, self.base.runtime().clone());
        let row = row(&self.attached, &self.preprocess, spec.boundary)?;
        let mut learner = Learner::new(graph, params, runtime, spec, self.attached.logits, row);
        // Validation photos of a cross-validation judge the result: they must not choose it.
        let selects = !matches!(self.config.data.split, SplitSpec::Fold { .. });
        let fit = Fit::new(config, &self.examples, &mut learner, source, self.config.seed, selects);
        fit.run(&mut self.progress, self.resumed.take(), &mut self.keeper, events)?;
        Ok(learner.params)
    }

    /// Epochs of the stage just ended, and the one whose weights it kept.
    fn kept(&self) -> (usize, usize) {
        let stage = &self.progress.stage;
        (stage.epochs, stage.best.map_or(stage.epochs, |(epoch, _)| epoch))
    }

    /// A checkpoint between stages.
    fn milestone(&mut self, params: &Params) -> Result<(), TrainError> {
        let mut checkpoint = Checkpoint { progress: self.progress.clone(), ..Checkpoint::default() };
        for (node, value) in params.iter() {
            let initial = self.params.get(node);
            let in_head = node.index() > self.attached.features.index();
            if in_head || initial.is_none_or(|initial| initial.data() != value.data()) {
                let name = self.attached.network.graph.node(node).name.clone();
                checkpoint.tensors.insert(format!("weight/{name}"), value.clone());
            }
        }
        self.keeper.keep(checkpoint, true)
    }

    /// Weights of a checkpoint over those at hand.
    fn with(&self, mut params: Params, checkpoint: Checkpoint) -> Params {
        for (name, value) in checkpoint.tensors {
            if let Some(node) =
                name.strip_prefix("weight/").and_then(|name| self.attached.network.graph.find(name))
            {
                params.set(node, value);
            }
        }
        params
    }

    fn table(&self, spec: &StageSpec, config: &StageConfig) -> StageTable {
        StageTable::of(&self.attached, &self.blocks, spec, config.learning_rate)
    }

    /// Chooses the first block to be unfrozen, unless that was done before.
    fn decide(&mut self, events: &mut Events<'_>) -> Result<(), TrainError> {
        let Some(config) = &self.config.fine_tuning else { return Ok(()) };
        if self.progress.unfrozen_from.is_some() {
            return Ok(());
        }
        let first = match &config.unfreeze {
            Unfreeze::Auto => {
                let probes = self.probe(events)?;
                tell(events, Event::Probes(&probes))?;
                self.progress.probes.insert(probes).unfreeze_from
            }
            _ => self.first(config)?,
        };
        self.progress.unfrozen_from = Some(first);
        Ok(())
    }

    /// The first block of what the user says.
    fn first(&self, config: &FineTuningConfig) -> Result<usize, TrainError> {
        let names = || self.blocks.iter().map(|block| block.name.clone()).collect();
        let unfreeze = |reason: String| TrainError::Unfreeze { reason, blocks: names() };
        match &config.unfreeze {
            Unfreeze::All | Unfreeze::Auto => Ok(0),
            Unfreeze::From(name) => {
                let layers = &self.attached.network.layers;
                let layer = layers.find(name);
                let of_layer = |block: &Block| layer.is_some_and(|layer| block.layers.contains(&layer));
                let found = self.blocks.iter().position(|block| block.name == *name || of_layer(block));
                found
                    .ok_or_else(|| unfreeze(format!("no block and no layer with weights is called `{name}`")))
            }
            Unfreeze::Percent(percent) => {
                let layers = |blocks: &[Block]| blocks.iter().map(|b| b.layers.len()).sum::<usize>() as f64;
                let enough = percent / 100.0 * layers(&self.blocks);
                let first = (0..self.blocks.len()).rev().find(|&at| layers(&self.blocks[at..]) >= enough);
                first.ok_or_else(|| unfreeze(format!("{percent} % is not a share from 0 to 100")))
            }
        }
    }

    /// Linear probes of all blocks on the training photos as they are.
    fn probe(&mut self, events: &mut Events<'_>) -> Result<Probes, TrainError> {
        let train = &self.examples.train;
        let step = train.len().div_ceil(probes::MOST_PHOTOS).max(1);
        let items: Vec<usize> = train.iter().copied().step_by(step).collect();
        let labels = self.examples.labels_of(&items);
        let outputs: Vec<NodeId> = self.blocks.iter().map(|block| block.output).collect();
        let mut frozen = self.frozen(Augment::none(), outputs.clone());
        let mut pooled: Vec<Vec<f32>> = vec![Vec::new(); outputs.len()];
        let photos = items.iter().map(|&item| (item, vec![None])).collect();
        frozen.each(photos, &mut |progress| events(Event::Features(progress)), |at, value| {
            pooled[at].extend(averaged(value));
            Ok(())
        })?;
        let probe = |(block, x): (&Block, &Vec<f32>)| BlockProbe {
            block: block.name.clone(),
            accuracy: probes::accuracy(x, &labels, self.examples.classes, self.config.seed),
        };
        Ok(Probes::choose(self.blocks.iter().zip(&pooled).map(probe).collect(), items.len()))
    }

    fn frozen(&self, augment: Augment, want: Vec<NodeId>) -> Frozen {
        let eye = Eye::new(self.data, self.preprocess.clone(), augment, self.config.seed);
        Frozen::new(&self.attached.network.graph, &self.params, self.base.runtime(), eye, want)
    }

    /// The values that the stages still to come begin with: for the head's, for the fine-tuning's. One pass over the
    /// photos gives both, so that nothing of the frozen part is computed twice.
    fn sources(
        &self,
        head: &StageSpec,
        fine: Option<&StageSpec>,
        events: &mut Events<'_>,
    ) -> Result<([Option<Source>; 2], Timing), TrainError> {
        let views = &self.config.views;
        let augment = if views.source == ViewSource::Plain { Augment::none() } else { views.augment.clone() };
        let needed = match self.progress.step {
            Step::HeadAdded | Step::BaseFrozen => [true, fine.is_some()],
            Step::HeadTrained(_) | Step::Unfrozen => [false, fine.is_some()],
            Step::Trained => [false, false],
        };
        let boundaries = [Some(head.boundary), fine.map(|spec| spec.boundary)];
        let wanted = |needed: [bool; 2]| {
            let nodes =
                boundaries.iter().zip(needed).filter(|(_, needed)| *needed).filter_map(|(node, _)| *node);
            let mut nodes: Vec<NodeId> = nodes.collect();
            nodes.dedup();
            nodes
        };
        let want = wanted(needed);
        if want.is_empty() {
            return Ok(([None, None], Timing::default()));
        }
        let live = |node: NodeId| {
            let frozen = self.frozen(augment.clone(), vec![node]);
            Views::Live(Box::new(Live { frozen, reader: None }))
        };
        let of = |node: NodeId| match views.source {
            ViewSource::Plain => Views::Plain,
            ViewSource::Kept(n) => Views::Kept(n.max(1)),
            ViewSource::Live => live(node),
        };
        let shown: Vec<Shown> = Source::shown(&self.examples.train, &self.examples.validation, &of(want[0]));
        let mut frozen = self.frozen(augment.clone(), want.clone());
        // Both tables count, also where only one is needed yet: a resumed run must keep its own as the first did.
        let both = wanted([true, true]);
        let sizes = both
            .iter()
            .map(|&node| Ok(frozen.row(node)?.iter().product::<usize>() as u64 * shown.len() as u64));
        let sizes = sizes.collect::<Result<Vec<u64>, TrainError>>()?;
        let cache = &self.config.cache;
        let precisions = Precision::within(cache.memory_mb.saturating_mul(1 << 20), &sizes);
        let precisions =
            both.iter().zip(precisions).filter(|(node, _)| want.contains(node)).map(|(_, p)| p).collect();
        let (features, timing) = frozen.features(&shown, precisions, cache.folder.as_deref(), events)?;
        let features: Vec<_> = features.into_iter().map(Arc::new).collect();
        let mut sources = [None, None];
        for (stage, (boundary, needed)) in boundaries.iter().zip(needed).enumerate() {
            let (Some(node), true) = (boundary, needed) else { continue };
            let at = want.iter().position(|wanted| wanted == node).expect("every boundary is wanted");
            sources[stage] = Some(Source::new(Arc::clone(&features[at]), &shown, of(*node)));
        }
        Ok((sources, timing))
    }
}

fn shapes(attached: &Attached, preprocess: &Preprocess) -> Result<Vec<Shape>, GraphError> {
    let [h, w] = preprocess.size;
    let graph = &attached.network.graph;
    graph.shapes(&[(graph.inputs()[0], [1, h, w, preprocess.channels()].into())])
}

/// Shape of a node's value for one photo, without the batch.
fn row(attached: &Attached, preprocess: &Preprocess, node: NodeId) -> Result<Vec<usize>, GraphError> {
    Ok(shapes(attached, preprocess)?[node.index()].dims()[1..].to_vec())
}

fn train_has_none(examples: &Examples, class: usize) -> bool {
    !examples.train.iter().any(|&item| examples.labels[item] == class)
}

/// Of everything that decides a run's weights: settings, photos and how they are divided, and the base.
fn identity(config: &Config, data: &Dataset, splits: &[Split], attached: &Attached) -> String {
    let mut hash = Sha256::new();
    // Where the photos, the base and the kept features are changes nothing.
    let mut settings = config.clone();
    settings.data.path = PathBuf::new();
    settings.base = Default::default();
    settings.cache.folder = None;
    // Nor does permission to take the next step.
    if let Some(fine) = &mut settings.fine_tuning {
        fine.force = false;
    }
    hash.update(serde_json::to_vec(&settings).expect("settings are JSON"));
    for (item, split) in data.items.iter().zip(splits) {
        hash.update(item.content);
        hash.update(format!("{} {}\n", item.label, split.name()));
    }
    hash.update(format!("{:?}{:?}", data.classes, attached.network.meta.preprocess));
    for (_, value) in attached.network.params.iter() {
        let bytes: Vec<u8> = value.data().iter().flat_map(|v| v.to_le_bytes()).collect();
        hash.update(bytes);
    }
    hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Keeps checkpoints and the history in a folder. Epochs that are over in no time are not each written.
struct FolderKeeper {
    folder: Option<PathBuf>,
    pending: Option<Checkpoint>,
    /// When, and how long it took.
    written: Option<(Instant, Duration)>,
}

impl FolderKeeper {
    /// Checkpoints follow one another no faster.
    const EVERY: Duration = Duration::from_secs(2);
    /// Larger ones are not held until they are due: a run that is stopped then repeats the epochs since the last one,
    /// to the same bits.
    const HELD: usize = 64 << 20;

    fn new(folder: Option<PathBuf>, resume: bool) -> Result<FolderKeeper, TrainError> {
        if let Some(folder) = &folder {
            let checkpoints = folder.join("checkpoints");
            files::make_folder(&checkpoints)?;
            if resume {
                for folder in [folder, &checkpoints] {
                    files::remove_temporary(folder);
                }
            }
        }
        Ok(FolderKeeper { folder, pending: None, written: None })
    }

    /// Nor so fast that a slow disk holds up the training.
    fn due(&self) -> bool {
        self.written.is_none_or(|(when, took)| when.elapsed() >= Self::EVERY.max(10 * took))
    }

    fn flush(&mut self) -> Result<(), TrainError> {
        let (Some(folder), Some(checkpoint)) = (&self.folder, self.pending.take()) else { return Ok(()) };
        let start = Instant::now();
        checkpoint.write(&folder.join(CHECKPOINT))?;
        self.write_history(&checkpoint.progress)?;
        self.written = Some((Instant::now(), start.elapsed()));
        Ok(())
    }

    /// The weights that the run ends with, all of them, by name.
    fn write_best(&self, attached: &Attached, params: &Params) -> Result<(), TrainError> {
        let Some(folder) = &self.folder else { return Ok(()) };
        let name = |node| attached.network.graph.node(node).name.clone();
        let weights = params.iter().map(|(node, value)| (name(node), value.clone())).collect();
        files::write_with(&folder.join(BEST), |file| safetensors::write_file(&weights, [], file.path()))
    }

    /// The files that are made from the history.
    fn write_history(&self, progress: &Progress) -> Result<(), TrainError> {
        let Some(folder) = &self.folder else { return Ok(()) };
        let Progress { history, started, .. } = progress;
        files::write(&folder.join("history.csv"), history_csv(history).as_bytes())?;
        for (kind, events) in tensorboard::history_events(history, *started) {
            let folder = folder.join("tensorboard").join(kind);
            files::make_folder(&folder)?;
            let path = folder.join(tensorboard::FILE_NAME);
            tensorboard::write_events(&path, &tensorboard::event_file(*started, &events))
                .map_err(|e| TrainError::File { path, source: e.source })?;
        }
        Ok(())
    }
}

impl Keeper for FolderKeeper {
    fn wants(&self, bytes: usize) -> bool {
        bytes <= Self::HELD || self.due()
    }

    fn keep(&mut self, checkpoint: Checkpoint, must: bool) -> Result<(), TrainError> {
        if self.folder.is_none() {
            return Ok(());
        }
        self.pending = Some(checkpoint);
        if must || self.due() { self.flush() } else { Ok(()) }
    }
}
