//! Many photos run through a network, a few at a time; what is wanted of them is taken while it is there.

use std::ops::ControlFlow;
use std::path::PathBuf;

use binesh_core::{Grads, NodeId, Session, Shape, View};

use crate::data::{Reader, ReaderOptions};
use crate::error::Error;
use crate::image::{Picture, to_tensor};
use crate::model::Model;

/// Photos run together: enough to keep threads busy, few enough to keep the maps of a large network small.
const BATCH: usize = 8;

/// How far it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PhotosDone {
    /// Photos done.
    pub done: usize,
    /// Photos to do.
    pub total: usize,
}

/// A photo of a batch.
pub(crate) struct Shown<'a> {
    /// Number of the first photo.
    pub(crate) first: usize,
    /// Photos in the batch.
    pub(crate) count: usize,
    /// What the network was shown, `[count, H, W, C]`.
    pub(crate) x: &'a [f32],
    /// After its run.
    pub(crate) session: &'a Session,
}

/// Runs photos in order, read ahead on other threads; `take` sees the values of `nodes` for each batch. False when `events`
/// stopped it.
pub(crate) fn each(
    model: &Model,
    nodes: &[NodeId],
    photos: &[PathBuf],
    events: &mut dyn FnMut(PhotosDone) -> ControlFlow<()>,
    mut take: impl FnMut(Shown<'_>) -> Result<(), Error>,
) -> Result<bool, Error> {
    let preprocess = model.preprocessing().ok_or(Error::NotAPictureModel)?.preprocess.clone();
    let [h, w] = preprocess.size;
    let (one, channels) = (h * w * preprocess.channels(), preprocess.channels());
    let order: Vec<usize> = (0..photos.len()).collect();
    let options = ReaderOptions { prefetch: 2 * BATCH, ..ReaderOptions::default() };
    let prepare =
        move |_, picture: Picture| to_tensor(std::slice::from_ref(&picture), &preprocess).map(|(x, _)| x);
    let mut reader = Reader::new(photos.to_vec(), order, options, prepare);
    let (mut first, mut kept): (usize, Option<(usize, Session)>) = (0, None);
    while first < photos.len() {
        let mut x = Vec::with_capacity(BATCH * one);
        for (_, photo) in reader.by_ref().take(BATCH) {
            x.extend(photo.and_then(|x| x)?);
        }
        let count = x.len() / one;
        let shape = Shape::from([count, h, w, channels]);
        let mut session = match kept.take().filter(|(size, _)| *size == count) {
            Some((_, session)) => session,
            None => model.session(std::slice::from_ref(&shape), nodes, Grads::None)?,
        };
        session.run(model.params(), &[View::new(&shape, &x)])?;
        take(Shown { first, count, x: &x, session: &session })?;
        first += count;
        kept = Some((count, session));
        if events(PhotosDone { done: first, total: photos.len() }).is_break() {
            return Ok(false);
        }
    }
    Ok(true)
}
