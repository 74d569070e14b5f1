//! Which part of the network's input one place of a map sees: its receptive field, by the windows on the way (Araujo,
//! Norris and Sim 2019, "Computing Receptive Fields of Convolutional Neural Networks").

use binesh_core::{Graph, NodeId, Op, Shape, Window};

/// Rows and columns of the input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field {
    /// First row.
    pub top: usize,
    /// First column.
    pub left: usize,
    /// Rows, at least one.
    pub height: usize,
    /// Columns, at least one.
    pub width: usize,
}

/// First and last row, first and last column; may reach over the edge.
type Region = [[i64; 2]; 2];

/// What the place `at`, row and column, of a node's map sees of the graph's first input, cut off at the edges; a vector
/// sees all that it is made of. What only weighs whole channels (squeeze and excitation) is not followed: it sees everything.
/// `None` when the node sees nothing of the input.
///
/// # Shapes
/// `shapes` of all nodes, as [`Graph::shapes`] gives them; node and input `[N, H, W, C]`
pub fn receptive_field(graph: &Graph, shapes: &[Shape], node: NodeId, at: [usize; 2]) -> Option<Field> {
    let mut seen: Vec<Option<Region>> = vec![None; shapes.len()];
    seen[node.index()] = Some(at.map(|place| [place as i64; 2]));
    for id in graph.ids().collect::<Vec<_>>().into_iter().rev().filter(|id| id.index() <= node.index()) {
        let Some(region) = seen[id.index()] else { continue };
        let (own, node) = (extents(&shapes[id.index()]), graph.node(id));
        for (position, &input) in node.inputs.iter().enumerate() {
            let Some(extents) = extents(&shapes[input.index()]) else {
                // Vectors see everything; weights are not seen at all.
                if matches!(graph.node(input).op, Op::Param(_) | Op::Constant(_)) || position > 0 {
                    continue;
                }
                seen[input.index()] = Some([[0, 0]; 2]);
                continue;
            };
            if matches!(graph.node(input).op, Op::Param(_) | Op::Constant(_)) {
                continue;
            }
            let gates = extents == [1, 1] && own.is_some_and(|own| own != [1, 1]) && position > 0;
            if gates && matches!(node.op, Op::Binary(_)) {
                continue;
            }
            let whole = [[0, extents[0] as i64 - 1], [0, extents[1] as i64 - 1]];
            let region = through(&node.op, region, extents, own == Some(extents)).unwrap_or(whole);
            let clipped: Region =
                std::array::from_fn(|axis| region[axis].map(|v| v.clamp(whole[axis][0], whole[axis][1])));
            let union = |old: Region| -> Region {
                std::array::from_fn(|axis| {
                    [old[axis][0].min(clipped[axis][0]), old[axis][1].max(clipped[axis][1])]
                })
            };
            seen[input.index()] = Some(seen[input.index()].map_or(clipped, union));
        }
    }
    let [[top, bottom], [left, right]] = seen[graph.inputs().first()?.index()]?;
    let length = |from: i64, to: i64| (to - from + 1) as usize;
    Some(Field {
        top: top as usize,
        left: left as usize,
        height: length(top, bottom),
        width: length(left, right),
    })
}

fn extents(shape: &Shape) -> Option<[usize; 2]> {
    match shape.dims() {
        [_, h, w, _] => Some([*h, *w]),
        _ => None,
    }
}

/// What an operator's region is of its input; `None` for all of it.
fn through(op: &Op, region: Region, input: [usize; 2], same_size: bool) -> Option<Region> {
    let window = |window: &Window| {
        let before = window.place(input).ok()?.before;
        Some(std::array::from_fn(|axis| {
            let [size, stride, dilation] =
                [window.size, window.stride, window.dilation].map(|v| v[axis] as i64);
            let start = |place: i64| place * stride - before[axis] as i64;
            [start(region[axis][0]), start(region[axis][1]) + (size - 1) * dilation]
        }))
    };
    let moved = |by: [i64; 2]| Some(std::array::from_fn(|axis| region[axis].map(|v| v + by[axis])));
    match op {
        Op::Conv2d(op) => window(&op.window),
        Op::DepthwiseConv2d(op) => window(&op.window),
        Op::MaxPool2d(op) => window(&op.window),
        Op::AveragePool2d(op) => window(&op.window),
        Op::ZeroPad2d(op) => moved([-(op.rows[0] as i64), -(op.columns[0] as i64)]),
        Op::Crop2d(op) => moved([op.rows[0] as i64, op.columns[0] as i64]),
        // One more on each side for what lies between two pixels.
        Op::UpSampling2d(op) => Some(std::array::from_fn(|axis| {
            let factor = op.factors[axis] as i64;
            [region[axis][0] / factor - 1, region[axis][1] / factor + 1]
        })),
        Op::Activate(_)
        | Op::BatchNorm(_)
        | Op::Binary(_)
        | Op::Concat(_)
        | Op::Dropout(_)
        | Op::Erf(_)
        | Op::Identity(_)
        | Op::Normalization(_)
        | Op::Prelu(_)
        | Op::Regroup(_)
        | Op::Rescaling(_)
        | Op::Take(_) => same_size.then_some(region),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use binesh_core::Runtime;
    use binesh_formats::LoadCx;

    use super::*;
    use crate::model::Model;

    /// By finite differences: the field is the smallest rectangle around the pixels that can change the value.
    #[test]
    fn fields_are_where_a_change_of_a_pixel_arrives() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata/golden");
        let (model, _) =
            Model::open(&folder.join("filters/model.keras"), None, &LoadCx::default(), Runtime::new(1))
                .unwrap();
        let graph = model.graph();
        let shapes = graph.shapes(&[(graph.inputs()[0], [1, 24, 24, 3].into())]).unwrap();
        let field = |name: &str, at| receptive_field(graph, &shapes, model.find_node(name).unwrap(), at);
        // conv1 3x3 valid, conv2 3x3 same, pool 2x2, conv3 3x3 valid.
        let square = |top, left, height, width| Some(Field { top, left, height, width });
        assert_eq!(field("conv1", [2, 3]), square(2, 3, 3, 3));
        assert_eq!(field("conv2", [5, 5]), square(4, 4, 5, 5));
        assert_eq!(field("conv2", [0, 5]), square(0, 4, 4, 5), "the row of zeros is not of the picture");
        assert_eq!(field("pool", [1, 2]), square(1, 3, 6, 6));
        assert_eq!(field("conv3", [0, 0]), square(0, 0, 9, 9));
        assert_eq!(field("conv3", [4, 4]), square(7, 7, 10, 10));
        assert_eq!(field("classes", [0, 0]), square(0, 0, 24, 24));
        assert_eq!(field("conv1", [0, 0]).unwrap().height, 3);
    }
}
