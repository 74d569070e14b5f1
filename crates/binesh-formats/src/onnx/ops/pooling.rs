//! Windows over maps, and whole maps.

use binesh_core::ops::{
    AveragePool2d, GlobalAveragePool2d, GlobalMaxPool2d, MaxPool2d, ReduceMax, ReduceMean, ZeroPad2d,
};
use binesh_core::{Padding, Window};

use super::convolution::{Image, padding};
use super::{NodeCx, Operator, Value, one, operator};
use crate::error::FormatError;

pub(super) const OPERATORS: &[Operator] = &[
    operator("MaxPool", "MaxPooling2D", max_pool),
    operator("AveragePool", "AveragePooling2D", average_pool),
    operator("GlobalAveragePool", "GlobalAveragePooling2D", |cx| global(cx, false)),
    operator("GlobalMaxPool", "GlobalMaxPooling2D", |cx| global(cx, true)),
];

/// A window, and how many more rows and columns `ceil_mode` makes it reach beyond the padding.
struct Pool {
    image: Image,
    window: Window,
    beyond: [usize; 2],
}

impl Pool {
    fn of(cx: &mut NodeCx<'_, '_>) -> Result<Pool, FormatError> {
        let image = Image::of(cx, 0)?;
        if !cx.attrs.has("kernel_shape") {
            return Err(FormatError::malformed("attribute `kernel_shape` is missing"));
        }
        let size = image.pair(cx, "kernel_shape", 1)?;
        let (stride, dilation) = (image.pair(cx, "strides", 1)?, image.pair(cx, "dilations", 1)?);
        let padding = padding(cx, &image, [size, stride, dilation])?;
        let mut pool = Pool { image, window: Window { size, stride, dilation, padding }, beyond: [0; 2] };
        if cx.attrs.flag("ceil_mode")? && padding != Padding::Same {
            pool.beyond = pool.ceil(cx)?;
        }
        Ok(pool)
    }

    fn pads(&self) -> [[usize; 2]; 2] {
        match self.window.padding {
            Padding::Explicit(pads) => pads,
            Padding::Valid | Padding::Same => [[0; 2]; 2],
        }
    }

    /// What is missing for a last, incomplete window. It must begin inside the map or the padding before it.
    fn ceil(&self, cx: &NodeCx<'_, '_>) -> Result<[usize; 2], FormatError> {
        let mut beyond = [0; 2];
        for (axis, n) in self.image.size(cx).into_iter().enumerate() {
            let (k, s, d) = (self.window.size[axis], self.window.stride[axis], self.window.dilation[axis]);
            if s == 1 {
                continue;
            }
            let n = n.ok_or_else(super::depends_on_size)?;
            let [before, after] = self.pads()[axis];
            let extent = k.saturating_sub(1).saturating_mul(d).saturating_add(1);
            let Some(room) = n.saturating_add(before).saturating_add(after).checked_sub(extent) else {
                continue;
            };
            if s == 0 || room.is_multiple_of(s) {
                continue;
            }
            let last = (room / s + 1).saturating_mul(s);
            if last < n.saturating_add(before) {
                beyond[axis] = last - room;
            }
        }
        Ok(beyond)
    }

    /// The window with the padding that it reaches in all.
    fn reaching(&self) -> Window {
        match self.beyond {
            [0, 0] => self.window,
            beyond => {
                let pads = self.pads();
                let pads = [0, 1].map(|axis| [pads[axis][0], pads[axis][1].saturating_add(beyond[axis])]);
                Window { padding: Padding::Explicit(pads), ..self.window }
            }
        }
    }
}

fn max_pool<'a>(cx: &mut NodeCx<'_, 'a>) -> Result<Vec<Value<'a>>, FormatError> {
    cx.has_no_output(1, "indices")?;
    cx.attrs.ignore(&["storage_order"]);
    let pool = Pool::of(cx)?;
    let node = cx.add(MaxPool2d { window: pool.reaching() }, &[pool.image.x.node])?;
    pool.image.result(cx, node).map(one)
}

/// What `ceil_mode` adds is never counted; what `pads` add is, with `count_include_pad`.
fn average_pool<'a>(cx: &mut NodeCx<'_, 'a>) -> Result<Vec<Value<'a>>, FormatError> {
    let pool = Pool::of(cx)?;
    let count_include_pad = cx.attrs.flag("count_include_pad")?;
    let x = pool.image.x.node;
    let node = if count_include_pad && pool.beyond != [0; 2] {
        let [rows, columns] = pool.pads();
        let padded = cx.add(ZeroPad2d { rows, columns }, &[x])?;
        let window =
            Window { padding: Padding::Explicit(pool.beyond.map(|beyond| [0, beyond])), ..pool.window };
        cx.add(AveragePool2d { window, count_include_pad: false }, &[padded])?
    } else {
        cx.add(AveragePool2d { window: pool.reaching(), count_include_pad }, &[x])?
    };
    pool.image.result(cx, node).map(one)
}

fn global<'a>(cx: &mut NodeCx<'_, 'a>, is_max: bool) -> Result<Vec<Value<'a>>, FormatError> {
    let x = cx.input(0)?;
    if x.rank() == 4 {
        let x = cx.mapper.image(&x)?;
        let node = match is_max {
            true => cx.add(GlobalMaxPool2d { keepdims: true }, &[x.node])?,
            false => cx.add(GlobalAveragePool2d { keepdims: true }, &[x.node])?,
        };
        return Ok(one(x.like(node)));
    }
    if x.rank() < 3 {
        return Err(FormatError::malformed(format!("a map of {} axes", x.rank())));
    }
    let axes = x.at[2..].iter().map(|&axis| axis as i64).collect();
    let node = match is_max {
        true => cx.add(ReduceMax { axes, keepdims: true }, &[x.node])?,
        false => cx.add(ReduceMean { axes, keepdims: true }, &[x.node])?,
    };
    Ok(one(x.like(node)))
}
