//! What a name of the file stands for, and moving its axes to where an operator needs them.

use binesh_core::NodeId;
use binesh_core::ops::Permute;

use super::array::Array;
use super::mapper::Mapper;
use super::proto::TensorProto;
use crate::error::FormatError;

/// A named value of the file.
#[derive(Clone, Debug)]
pub(super) enum Value<'a> {
    /// A tensor of the file, decoded when it is used.
    Stored(&'a TensorProto),
    /// Known when loading.
    Known(Known),
    /// Computed from the network's inputs.
    Computed(Traced),
    /// Not computed: why, in [`Mapper::left_out`].
    LeftOut,
}

/// A value that does not depend on pictures, under the two sizes of everything free.
#[derive(Clone, Debug)]
pub(super) struct Known {
    first: Array,
    /// Where it is another.
    second: Option<Array>,
}

impl Known {
    pub(super) fn constant(value: Array) -> Known {
        Known { first: value, second: None }
    }

    pub(super) fn new([first, second]: [Array; 2]) -> Known {
        let second = (first != second).then_some(second);
        Known { first, second }
    }

    pub(super) fn probe(&self, which: usize) -> &Array {
        match (&self.second, which) {
            (Some(second), 1) => second,
            _ => &self.first,
        }
    }

    /// The value, if it is the same for all sizes.
    pub(super) fn fixed(&self) -> Option<&Array> {
        self.second.is_none().then_some(&self.first)
    }

    pub(super) fn into_fixed(self) -> Result<Array, FormatError> {
        match self.second {
            None => Ok(self.first),
            Some(_) => Err(depends_on_size()),
        }
    }
}

pub(super) fn depends_on_size() -> FormatError {
    FormatError::unsupported("a constant of it depends on the size of the network's input")
        .with_hint("give the input's shape, or export the model for one size")
}

/// A node's value as the file means it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Traced {
    pub(super) node: NodeId,
    /// For each axis of the file's value, which axis of the node's it is.
    pub(super) at: Vec<usize>,
    /// Whole numbers: only what moves them can be computed.
    pub(super) is_int: bool,
}

impl Traced {
    /// The node's value just as it is.
    pub(super) fn plain(node: NodeId, rank: usize) -> Traced {
        Traced { node, at: (0..rank).collect(), is_int: false }
    }

    /// The node's value, whose axis `p` is axis `order[p]` of the file's.
    pub(super) fn ordered(node: NodeId, order: &[usize]) -> Traced {
        Traced { node, at: inverse(order), is_int: false }
    }

    pub(super) fn rank(&self) -> usize {
        self.at.len()
    }

    /// For each axis of the node's value, which axis of the file's it is.
    pub(super) fn order(&self) -> Vec<usize> {
        inverse(&self.at)
    }

    /// Another node whose axes are this one's.
    pub(super) fn like(&self, node: NodeId) -> Traced {
        Traced { node, ..self.clone() }
    }

    pub(super) fn transposed(&self, axes: &[usize]) -> Traced {
        Traced { at: axes.iter().map(|&axis| self.at[axis]).collect(), ..self.clone() }
    }
}

fn inverse(axes: &[usize]) -> Vec<usize> {
    let mut inverse = vec![0; axes.len()];
    axes.iter().enumerate().for_each(|(to, &from)| inverse[from] = to);
    inverse
}

/// The order of axes that operators on pictures need: the channels, axis 1, last.
pub(super) fn channels_last(rank: usize) -> Vec<usize> {
    let mut order: Vec<usize> = (0..rank).filter(|&axis| axis != 1).collect();
    order.extend((rank > 1).then_some(1));
    order
}

impl Mapper<'_> {
    /// The extents of the file's value, each under both sizes of what is free.
    pub(super) fn dims(&self, x: &Traced) -> Vec<[usize; 2]> {
        let [a, b] = self.graph.probes(x.node);
        x.at.iter().map(|&axis| [a.dims()[axis], b.dims()[axis]]).collect()
    }

    /// The extents of the file's value; `None` where they are free.
    pub(super) fn extents(&self, x: &Traced) -> Vec<Option<usize>> {
        self.dims(x).iter().map(|[a, b]| (a == b).then_some(*a)).collect()
    }

    /// The same value held in this order of axes.
    pub(super) fn arranged(&mut self, x: &Traced, order: &[usize]) -> Result<Traced, FormatError> {
        let current = x.order();
        if current == order {
            return Ok(x.clone());
        }
        let dims = self.dims(x);
        let longer =
            |order: &[usize]| order.iter().copied().filter(|&axis| dims[axis] != [1; 2]).collect::<Vec<_>>();
        let node = if longer(&current) == longer(order) {
            // Only axes of extent 1 move: the values stay where they are.
            let target: Vec<[usize; 2]> = order.iter().map(|&axis| dims[axis]).collect();
            self.regrouped(x.node, &target)?
        } else {
            let axes: Vec<usize> = order.iter().map(|&axis| x.at[axis]).collect();
            self.permuted(x.node, axes)?
        };
        Ok(Traced { is_int: x.is_int, ..Traced::ordered(node, order) })
    }

    /// The same value in the file's own order of axes.
    pub(super) fn plain(&mut self, x: &Traced) -> Result<Traced, FormatError> {
        self.arranged(x, &(0..x.rank()).collect::<Vec<_>>())
    }

    /// The same value with the channels, axis 1, last.
    pub(super) fn image(&mut self, x: &Traced) -> Result<Traced, FormatError> {
        self.arranged(x, &channels_last(x.rank()))
    }

    /// The same value with this axis last and the others as they are.
    pub(super) fn with_last(&mut self, x: &Traced, axis: usize) -> Result<Traced, FormatError> {
        let mut order: Vec<usize> = x.order().into_iter().filter(|&other| other != axis).collect();
        order.push(axis);
        self.arranged(x, &order)
    }

    /// Axis `i` of the result is axis `axes[i]` of the node's value. Made once for all who need it.
    pub(super) fn permuted(&mut self, node: NodeId, axes: Vec<usize>) -> Result<NodeId, FormatError> {
        if let Some(&known) = self.permutations.get(&(node, axes.clone())) {
            return Ok(known);
        }
        let permuted = self.add(Permute { axes: axes.clone() }, &[node])?;
        self.permutations.insert((node, axes), permuted);
        Ok(permuted)
    }
}
