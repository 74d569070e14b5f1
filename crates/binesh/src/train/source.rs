//! Where a stage's values come from: features that were kept, or the frozen part itself.

use std::collections::HashMap;
use std::sync::Arc;

use crate::data::Reader;
use crate::image::ImageError;
use crate::train::error::TrainError;
use crate::train::features::Features;
use crate::train::frozen::{Frozen, Shown};

/// Values at a stage's boundary for the photos of a run.
pub(crate) struct Source {
    features: Arc<Features>,
    rows: HashMap<Shown, usize>,
    views: Views,
    /// The epoch under way, counted through all stages.
    epoch: u64,
}

/// What an epoch learns from.
pub(crate) enum Views {
    /// The photos themselves.
    Plain,
    /// One of so many views of each.
    Kept(u32),
    /// New views, from the frozen part.
    Live(Box<Live>),
}

pub(crate) struct Live {
    pub(crate) frozen: Frozen,
    pub(crate) reader: Option<Reader<Result<Vec<f32>, ImageError>>>,
}

impl Source {
    /// `features` has a row for each of `shown`, in their order.
    pub(crate) fn new(features: Arc<Features>, shown: &[Shown], views: Views) -> Source {
        let rows = shown.iter().enumerate().map(|(row, shown)| (*shown, row)).collect();
        Source { features, rows, views, epoch: 0 }
    }

    /// The rows that `views` needs: the photos that train as they are shown, and those that judge as they are.
    pub(crate) fn shown(train: &[usize], judge: &[usize], views: &Views) -> Vec<Shown> {
        let plain =
            |items: &[usize]| items.iter().map(|&item| Shown { item, view: None }).collect::<Vec<_>>();
        let mut shown = match views {
            Views::Plain => plain(train),
            Views::Kept(n) => {
                let each =
                    |&item: &usize| (0..u64::from(*n)).map(move |view| Shown { item, view: Some(view) });
                train.iter().flat_map(each).collect()
            }
            Views::Live(_) => Vec::new(),
        };
        shown.extend(plain(judge));
        shown
    }

    /// An epoch begins, in which photos come in this order.
    pub(crate) fn begin(&mut self, order: &[usize], epoch: u64) -> Result<(), TrainError> {
        self.epoch = epoch;
        if let Views::Live(live) = &mut self.views {
            let photos = order.iter().map(|&item| (item, vec![Some(epoch)])).collect();
            live.reader = Some(live.frozen.eye.read(photos));
        }
        Ok(())
    }

    /// The epoch's next photos, one row each.
    pub(crate) fn next(&mut self, items: &[usize]) -> Result<Vec<f32>, TrainError> {
        let mut out = Vec::new();
        match &mut self.views {
            Views::Plain => return self.plain(items),
            Views::Kept(n) => {
                // Every photo goes through its views in turn, each from another one on.
                let view = |item: usize| (self.epoch + item as u64) % u64::from(*n);
                let rows: Vec<usize> =
                    items.iter().map(|&item| self.rows[&Shown { item, view: Some(view(item)) }]).collect();
                self.features.gather(&rows, &mut out)?;
            }
            Views::Live(live) => {
                let reader = live.reader.as_mut().expect("`begin` comes before `next`");
                let mut x = Vec::new();
                for _ in items {
                    let (_, view) = reader.next().expect("the epoch has these photos");
                    x.extend(view.and_then(|view| view).map_err(crate::Error::from)?);
                }
                live.frozen.run(&x, |_, value| {
                    out.extend_from_slice(value.data());
                    Ok(())
                })?;
            }
        }
        Ok(out)
    }

    /// Photos that judge, as they are.
    pub(crate) fn plain(&self, items: &[usize]) -> Result<Vec<f32>, TrainError> {
        let rows: Vec<usize> = items.iter().map(|&item| self.rows[&Shown { item, view: None }]).collect();
        let mut out = Vec::new();
        self.features.gather(&rows, &mut out)?;
        Ok(out)
    }

    /// Bytes of kept features in memory, and in a file.
    pub(crate) fn bytes(&self) -> [u64; 2] {
        self.features.bytes()
    }
}
