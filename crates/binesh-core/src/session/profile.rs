//! Where the time goes: each step's, summed over runs and sessions. The clock is the caller's.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard};

use crate::graph::NodeId;
use crate::plan::{Plan, StepCost};
use crate::session::Runtime;

/// Times of the steps of every session whose runtime has it, see [`Runtime::profiled`].
pub struct Profile {
    clock: Box<dyn Fn() -> f64 + Send + Sync>,
    tallies: Mutex<Tallies>,
}

/// One step, or the way back through one node, over all its runs.
#[derive(Clone, Debug, PartialEq)]
pub struct Timed {
    /// Whether these are gradients.
    pub backward: bool,
    /// What is done. Sessions that differ in the number of pictures alone share it; the shape is that of the first.
    pub step: StepCost,
    /// How often it was run.
    pub runs: u64,
    /// Seconds of all runs.
    pub seconds: f64,
    /// [`StepCost::expected_seconds`] of all runs.
    pub expected_seconds: f64,
    /// [`StepCost::macs`] of all runs.
    pub macs: u64,
    /// [`StepCost::bytes`] of all runs.
    pub bytes: u64,
}

#[derive(Default)]
struct Tallies {
    index: HashMap<Key, usize>,
    timed: Vec<Timed>,
    packing_seconds: f64,
}

/// Backward, name, operators, algorithm, shape without its first axis.
type Key = (bool, String, String, String, Vec<usize>);

impl Profile {
    /// `clock` gives the seconds since some moment.
    pub fn new(clock: impl Fn() -> f64 + Send + Sync + 'static) -> Profile {
        Profile { clock: Box::new(clock), tallies: Mutex::default() }
    }

    /// All steps that ran, in the order in which their sessions first had them: forwards, then backwards.
    pub fn timed(&self) -> Vec<Timed> {
        self.tallies().timed.iter().filter(|timed| timed.runs > 0).cloned().collect()
    }

    /// Seconds that packing of weights took.
    pub fn packing_seconds(&self) -> f64 {
        self.tallies().packing_seconds
    }

    /// Forgets what was measured so far: runs to warm up.
    pub fn clear(&self) {
        let mut tallies = self.tallies();
        tallies.packing_seconds = 0.0;
        for timed in &mut tallies.timed {
            (timed.runs, timed.macs, timed.bytes) = (0, 0, 0);
            (timed.seconds, timed.expected_seconds) = (0.0, 0.0);
        }
    }

    /// A thread that panicked while it held the lock has left whole numbers.
    fn tallies(&self) -> MutexGuard<'_, Tallies> {
        self.tallies.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

impl fmt::Debug for Profile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Profile").finish_non_exhaustive()
    }
}

impl Tallies {
    fn enter(&mut self, backward: bool, step: StepCost) -> usize {
        let item = step.shape.dims().get(1..).unwrap_or_default().to_vec();
        let (name, operators) = (step.name.clone(), step.operators.clone());
        let key = (backward, name, operators, step.algorithm.to_string(), item);
        *self.index.entry(key).or_insert_with(|| {
            let (seconds, expected_seconds) = (0.0, 0.0);
            self.timed.push(Timed { backward, step, runs: 0, seconds, expected_seconds, macs: 0, bytes: 0 });
            self.timed.len() - 1
        })
    }
}

/// Measures one session; does nothing without a profile.
pub(super) struct Recorder(Option<Recording>);

struct Recording {
    profile: Arc<Profile>,
    /// Per step.
    forward: Vec<Entry>,
    /// Per node that passes a gradient on.
    backward: HashMap<NodeId, Entry>,
}

/// Where a step is counted, and what one run of it adds.
struct Entry {
    at: usize,
    expected_seconds: f64,
    macs: u64,
    bytes: u64,
}

impl Recorder {
    pub(super) fn new(plan: &Plan, runtime: &Runtime) -> Recorder {
        let Some(profile) = &runtime.profile else { return Recorder(None) };
        let mut tallies = profile.tallies();
        let mut entry = |backward: bool, step: StepCost| {
            let StepCost { expected_seconds, macs, bytes, .. } = step;
            Entry { at: tallies.enter(backward, step), expected_seconds, macs, bytes }
        };
        let forward = plan.step_costs(runtime).into_iter().map(|step| entry(false, step)).collect();
        let backward =
            plan.gradient_costs(runtime).into_iter().map(|(id, step)| (id, entry(true, step))).collect();
        drop(tallies);
        Recorder(Some(Recording { profile: Arc::clone(profile), forward, backward }))
    }

    /// The time now.
    pub(super) fn now(&self) -> Option<f64> {
        self.0.as_ref().map(|recording| (recording.profile.clock)())
    }

    /// Weights were packed since `began`.
    pub(super) fn packed(&self, began: Option<f64>) {
        if let (Some(Recording { profile, .. }), Some(began)) = (&self.0, began) {
            let seconds = (profile.clock)() - began;
            profile.tallies().packing_seconds += seconds;
        }
    }

    /// Step `at` of the plan has run since `began`.
    pub(super) fn forward(&self, at: usize, began: Option<f64>) {
        let entry = self.0.as_ref().map(|recording| &recording.forward[at]);
        self.record(entry, began);
    }

    /// The gradient has passed node `id` since `began`.
    pub(super) fn backward(&self, id: NodeId, began: Option<f64>) {
        let entry = self.0.as_ref().and_then(|recording| recording.backward.get(&id));
        self.record(entry, began);
    }

    fn record(&self, entry: Option<&Entry>, began: Option<f64>) {
        let (Some(Recording { profile, .. }), Some(entry), Some(began)) = (&self.0, entry, began) else {
            return;
        };
        let seconds = (profile.clock)() - began;
        let timed = &mut profile.tallies().timed[entry.at];
        timed.runs += 1;
        timed.seconds += seconds;
        timed.expected_seconds += entry.expected_seconds;
        timed.macs += entry.macs;
        timed.bytes += entry.bytes;
    }
}
