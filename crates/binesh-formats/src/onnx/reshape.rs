//! Reshaping a value whose axes lie in another order than the file thinks.
//!
//! Axes of the file's value fall into blocks that become blocks of the result: `[N, C, H, W]` to `[N, 2, C/2, H, W]` has
//! the blocks N to N, C to (2, C/2), H to H and W to W. A block that was one axis splits where it lies. A block of several
//! axes must lie together and in order; only where it does not, axes are moved. So channels are shuffled on a channels-last
//! map by one permutation of it.

use binesh_core::NodeId;
use binesh_core::ops::regroup::Extent;
use binesh_core::ops::{Flatten, Regroup, Reshape};

use super::array::check_rank;
use super::mapper::Mapper;
use super::value::{Traced, channels_last, depends_on_size};
use crate::error::FormatError;

/// Axes of the input, in order, and the axes of the result that hold the same values. None has the extent 1.
struct Block {
    from: Vec<usize>,
    to: Vec<usize>,
}

const ONE: [usize; 2] = [1; 2];

impl Mapper<'_> {
    /// The value under a shape of as many values.
    pub(super) fn reshape(&mut self, x: &Traced, target: &[[usize; 2]]) -> Result<Traced, FormatError> {
        check_rank(target.len())?;
        let dims = self.dims(x);
        if dims == target {
            return Ok(x.clone());
        }
        let count = |dims: &[[usize; 2]]| {
            let along = |which: usize| dims.iter().try_fold(1usize, |n, d| n.checked_mul(d[which]));
            Some([along(0)?, along(1)?])
        };
        if count(&dims) != count(target) {
            return Err(FormatError::malformed(format!(
                "{} does not reshape to {}",
                text(&dims),
                text(target)
            )));
        }
        let mut blocks = blocks(&dims, target);
        let held: Vec<usize> = x.order().into_iter().filter(|&axis| dims[axis] != ONE).collect();
        let place = |axis: usize| held.iter().position(|&other| other == axis).expect("it is one of them");
        let together = |block: &Block| block.from.windows(2).all(|pair| place(pair[0]) + 1 == place(pair[1]));
        let mut x = x.clone();
        if blocks.iter().all(together) {
            blocks.sort_by_key(|block| place(block.from[0]));
        } else {
            if let Some(order) = image_order(&blocks, target.len()) {
                blocks.sort_by_key(|block| order[block.to[0]]);
            }
            let ones = (0..dims.len()).filter(|&axis| dims[axis] == ONE);
            let order: Vec<usize> =
                blocks.iter().flat_map(|block| block.from.iter().copied()).chain(ones).collect();
            x = self.arranged(&x, &order)?;
        }
        let order = with_ones(blocks.iter().flat_map(|block| block.to.iter().copied()).collect(), target);
        let target: Vec<[usize; 2]> = order.iter().map(|&axis| target[axis]).collect();
        let node = self.regrouped(x.node, &target)?;
        Ok(Traced { is_int: x.is_int, ..Traced::ordered(node, &order) })
    }

    /// The node's values in the same order under another shape.
    pub(super) fn regrouped(&mut self, node: NodeId, target: &[[usize; 2]]) -> Result<NodeId, FormatError> {
        let [a, b] = self.graph.probes(node);
        let dims: Vec<[usize; 2]> = a.dims().iter().zip(b.dims()).map(|(a, b)| [*a, *b]).collect();
        if dims == target {
            return Ok(node);
        }
        let keeps_batch = !dims.is_empty() && dims.first() == target.first();
        if keeps_batch && target.len() == 2 {
            return self.add(Flatten, &[node]);
        }
        let open = |[a, b]: &[usize; 2]| (a == b).then_some(*a);
        if keeps_batch && target[1..].iter().filter(|d| open(d).is_none()).count() <= 1 {
            return self.add(Reshape { target: target[1..].iter().map(open).collect() }, &[node]);
        }
        let extent = |d: &[usize; 2]| match (open(d), dims.iter().position(|own| own == d)) {
            (Some(known), _) => Extent::Known(known),
            (None, Some(axis)) => Extent::Of(axis),
            (None, None) => Extent::Rest,
        };
        let extents: Vec<Extent> = target.iter().map(extent).collect();
        if extents.iter().filter(|&&extent| extent == Extent::Rest).count() > 1 {
            return Err(depends_on_size());
        }
        self.add(Regroup { target: extents }, &[node])
    }
}

/// The finest blocks that hold as many values on both sides under both sizes.
fn blocks(dims: &[[usize; 2]], target: &[[usize; 2]]) -> Vec<Block> {
    let longer = |dims: &[[usize; 2]]| (0..dims.len()).filter(|&axis| dims[axis] != ONE).collect::<Vec<_>>();
    let (from, to) = (longer(dims), longer(target));
    let (mut from, mut to) = (from.into_iter().peekable(), to.into_iter().peekable());
    let mut blocks = Vec::new();
    while from.peek().is_some() || to.peek().is_some() {
        let mut block = Block { from: Vec::new(), to: Vec::new() };
        let (mut inside, mut outside) = (ONE, ONE);
        let grow = |n: [usize; 2], d: [usize; 2]| [n[0].saturating_mul(d[0]), n[1].saturating_mul(d[1])];
        loop {
            // The smaller side grows; at the beginning both do.
            let next = match (from.peek(), to.peek()) {
                (Some(&axis), _) if block.from.is_empty() || inside < outside => Ok(axis),
                (_, Some(&axis)) => Err(axis),
                (Some(&axis), None) => Ok(axis),
                (None, None) => break,
            };
            match next {
                Ok(axis) => {
                    from.next();
                    block.from.push(axis);
                    inside = grow(inside, dims[axis]);
                }
                Err(axis) => {
                    to.next();
                    block.to.push(axis);
                    outside = grow(outside, target[axis]);
                }
            }
            if inside == outside {
                break;
            }
        }
        blocks.push(block);
    }
    blocks
}

/// Where each axis of a picture lies with channels last, if the blocks can lie so.
fn image_order(blocks: &[Block], rank: usize) -> Option<Vec<usize>> {
    if rank != 4 {
        return None;
    }
    let place = vec![0, 3, 1, 2];
    let apart = |block: &Block| block.to.windows(2).any(|pair| place[pair[0]] + 1 != place[pair[1]]);
    (!blocks.iter().any(apart)).then_some(place)
}

/// These axes in this order, with axes of extent 1 put where they make it the order of a picture, or the file's.
fn with_ones(held: Vec<usize>, target: &[[usize; 2]]) -> Vec<usize> {
    let rank = target.len();
    let longer =
        |order: &[usize]| order.iter().copied().filter(|&axis| target[axis] != ONE).collect::<Vec<_>>();
    let natural: Vec<usize> = (0..rank).collect();
    let image = if rank == 4 { channels_last(4) } else { natural.clone() };
    for order in [image, natural] {
        if longer(&order) == held {
            return order;
        }
    }
    let mut order = held;
    for axis in (0..rank).filter(|&axis| target[axis] == ONE) {
        let after = axis.checked_sub(1).and_then(|before| order.iter().position(|&other| other == before));
        order.insert(after.map_or(0, |at| at + 1), axis);
    }
    order
}

/// `[?, 3, 4]`.
pub(super) fn text(dims: &[[usize; 2]]) -> String {
    let one = |[a, b]: &[usize; 2]| if a == b { a.to_string() } else { "?".to_owned() };
    format!("[{}]", dims.iter().map(one).collect::<Vec<_>>().join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(dims: &[[usize; 2]], target: &[[usize; 2]], want: &[(&[usize], &[usize])]) {
        let got: Vec<(Vec<usize>, Vec<usize>)> =
            blocks(dims, target).into_iter().map(|b| (b.from, b.to)).collect();
        let want: Vec<(Vec<usize>, Vec<usize>)> =
            want.iter().map(|(a, b)| (a.to_vec(), b.to_vec())).collect();
        assert_eq!(got, want);
    }

    #[test]
    fn finest_blocks() {
        const N: [usize; 2] = [2, 3];
        let d = |n: usize| [n, n];
        check(&[N, d(6), d(5)], &[N, d(2), d(3), d(5)], &[(&[0], &[0]), (&[1], &[1, 2]), (&[2], &[3])]);
        check(&[N, d(2), d(3), d(5)], &[N, d(6), d(5)], &[(&[0], &[0]), (&[1, 2], &[1]), (&[3], &[2])]);
        check(&[N, d(4), d(1), d(1)], &[N, d(4)], &[(&[0], &[0]), (&[1], &[1])]);
        check(&[N, d(4), d(6)], &[N, d(3), d(8)], &[(&[0], &[0]), (&[1, 2], &[1, 2])]);
        // Twice the batch is no 4.
        check(&[N, d(2)], &[[4, 6]], &[(&[0, 1], &[0])]);
        check(&[N, d(4)], &[[4, 6], d(2)], &[(&[0, 1], &[0, 1])]);
        check(&[d(1)], &[], &[]);
    }

    #[test]
    fn ones_are_put_where_a_picture_has_them() {
        let d = |n: usize| [n, n];
        assert_eq!(with_ones(vec![0, 1], &[d(2), d(3), d(1), d(1)]), [0, 2, 3, 1]);
        assert_eq!(with_ones(vec![0, 2, 1], &[d(2), d(3), d(4)]), [0, 2, 1]);
        assert_eq!(with_ones(vec![0, 2, 1], &[d(2), d(3), d(4), d(1)]), [0, 2, 3, 1]);
        assert_eq!(with_ones(vec![0, 1, 2], &[d(2), d(3), d(4), d(1)]), [0, 1, 2, 3]);
        assert_eq!(with_ones(vec![2, 1], &[d(1), d(3), d(4)]), [0, 2, 1]);
    }
}
