//! The blocks of a network, found from its graph: what is unfrozen together.
//!
//! A block ends where a single value carries everything (no shortcut jumps over it), so a residual block, an Inception
//! module or a dense layer of DenseNet is never cut in half. Stretches between such values are joined where only
//! together they make what the papers call a block: an expansion, its depthwise convolution and its projection; the
//! plain convolutions between two poolings.

use binesh_core::{Graph, LayerId, Layers, NodeId, Op, Shape};

/// A block of the base, in order of depth.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Block {
    /// The common beginning of its layers' names, else the first of them: `block5`, `conv5_block3`.
    pub name: String,
    /// The value that it hands on, and that nothing jumps over.
    pub output: NodeId,
    /// Its weights' layers.
    pub layers: Vec<LayerId>,
    /// Its weights, statistics included.
    pub params: Vec<NodeId>,
}

/// The blocks on the way from the picture to `end`. `shapes` are those of all nodes for one picture size.
pub fn blocks(graph: &Graph, layers: &Layers, shapes: &[Shape], end: NodeId) -> Vec<Block> {
    let stretches = join(stretches(graph, shapes, end), shapes);
    let mut blocks: Vec<Block> = stretches.iter().map(|s| block(graph, layers, s)).collect();
    name_apart(&mut blocks, layers);
    blocks
}

/// Values between two that carry everything.
#[derive(Clone, Debug)]
struct Stretch {
    nodes: Vec<NodeId>,
    /// Weights read here, in node order.
    params: Vec<NodeId>,
    kind: Kind,
    output: NodeId,
    /// Height times width of the first product's output.
    area: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// No product: activation, pooling, normalisation.
    Weightless,
    /// One 1x1 convolution or dense layer.
    Pointwise,
    /// One larger convolution.
    Spatial,
    Depthwise,
    /// Squeeze and excite (a global pool, and a multiplication by what comes of it).
    Attention,
    /// Several products with a shortcut or branches.
    Whole,
}

/// The values on the way to `end` that carry everything: all that comes before one is read by it or before it.
pub(crate) fn carriers(graph: &Graph, end: NodeId) -> Vec<NodeId> {
    let on_the_way = on_the_way(graph, end);
    let mut last_reader = vec![0; graph.nodes().len()];
    for id in graph.ids().filter(|id| on_the_way[id.index()]) {
        graph.node(id).inputs.iter().for_each(|input| last_reader[input.index()] = id.index());
    }
    let mut reach = 0;
    let mut found = Vec::new();
    for id in graph.ids().filter(|id| on_the_way[id.index()]) {
        if reach <= id.index() {
            found.push(id);
        }
        reach = reach.max(last_reader[id.index()]);
    }
    found
}

fn stretches(graph: &Graph, shapes: &[Shape], end: NodeId) -> Vec<Stretch> {
    let on_the_way = on_the_way(graph, end);
    let computed = |id: NodeId| on_the_way[id.index()] && !matches!(graph.node(id).op, Op::Input(_));
    let mut from = 0;
    let mut found = Vec::new();
    for carrier in carriers(graph, end) {
        let nodes: Vec<NodeId> =
            graph.ids().skip(from).take(carrier.index() + 1 - from).filter(|&id| computed(id)).collect();
        from = carrier.index() + 1;
        if !nodes.is_empty() {
            found.push(stretch(graph, shapes, nodes));
        }
    }
    found
}

/// Per node: it depends on an input, and `end` depends on it.
fn on_the_way(graph: &Graph, end: NodeId) -> Vec<bool> {
    let mut from_input = vec![false; graph.nodes().len()];
    for id in graph.ids() {
        let node = graph.node(id);
        from_input[id.index()] =
            matches!(node.op, Op::Input(_)) || node.inputs.iter().any(|i| from_input[i.index()]);
    }
    let mut to_end = vec![false; graph.nodes().len()];
    to_end[end.index()] = true;
    for (index, node) in graph.nodes().iter().enumerate().rev() {
        if to_end[index] {
            node.inputs.iter().for_each(|input| to_end[input.index()] = true);
        }
    }
    from_input.iter().zip(&to_end).map(|(a, b)| *a && *b).collect()
}

fn stretch(graph: &Graph, shapes: &[Shape], nodes: Vec<NodeId>) -> Stretch {
    let is_param = |id: &NodeId| matches!(graph.node(*id).op, Op::Param(_));
    let mut params: Vec<NodeId> =
        nodes.iter().flat_map(|&id| graph.node(id).inputs.iter().copied().filter(is_param)).collect();
    params.sort();
    params.dedup();
    let product = |id: &&NodeId| {
        let op = &graph.node(**id).op;
        matches!(op, Op::Conv2d(_) | Op::Conv2dTranspose(_) | Op::DepthwiseConv2d(_) | Op::Dense(_))
    };
    let products: Vec<NodeId> = nodes.iter().filter(product).copied().collect();
    let kind = match products[..] {
        [] => Kind::Weightless,
        [one] => match &graph.node(one).op {
            Op::DepthwiseConv2d(_) => Kind::Depthwise,
            Op::Conv2d(conv) if conv.window.size != [1, 1] => Kind::Spatial,
            _ => Kind::Pointwise,
        },
        _ if is_attention(graph, &nodes) => Kind::Attention,
        _ => Kind::Whole,
    };
    let area = products.first().map_or(0, |id| area(&shapes[id.index()]));
    let output = *nodes.last().expect("a stretch has the node that ends it");
    Stretch { nodes, params, kind, output, area }
}

/// All products work on 1x1 maps, and the result scales the input.
fn is_attention(graph: &Graph, nodes: &[NodeId]) -> bool {
    let has = |find: fn(&Op) -> bool| nodes.iter().any(|&id| find(&graph.node(id).op));
    has(|op| matches!(op, Op::GlobalAveragePool2d(_) | Op::ReduceMean(_)))
        && !has(|op| matches!(op, Op::DepthwiseConv2d(_) | Op::BatchNorm(_)))
        && nodes.last().is_some_and(|&id| matches!(graph.node(id).op, Op::Binary(_)))
}

fn area(shape: &Shape) -> usize {
    match shape.dims() {
        [_, h, w, _] => h * w,
        _ => 1,
    }
}

/// Joins stretches to blocks.
fn join(stretches: Vec<Stretch>, shapes: &[Shape]) -> Vec<Stretch> {
    let mut units: Vec<Stretch> = Vec::new();
    // A normalisation after a whole block belongs to the next one (pre-activation: ResNet v2, DenseNet, ConvNeXt).
    let mut prefix: Option<Stretch> = None;
    for stretch in stretches {
        match (prefix.take(), units.last_mut()) {
            (Some(mut pending), _) => {
                let (kind, area) = (stretch.kind, stretch.area);
                pending.absorb(stretch);
                match kind {
                    Kind::Weightless => prefix = Some(pending),
                    _ => units.push(Stretch { kind, area, ..pending }),
                }
            }
            (None, Some(last)) if stretch.kind == Kind::Weightless => {
                if last.kind == Kind::Whole && !stretch.params.is_empty() {
                    prefix = Some(stretch);
                } else {
                    // What follows a product without having one belongs to it.
                    last.absorb(stretch);
                }
            }
            _ => units.push(stretch),
        }
    }
    match (prefix, units.last_mut()) {
        (Some(last), Some(unit)) => unit.absorb(last),
        (Some(only), None) => units.push(only),
        (None, _) => {}
    }
    let mut blocks: Vec<Stretch> = Vec::new();
    let mut rest = units.into_iter().peekable();
    while let Some(mut unit) = rest.next() {
        // An expansion, when a depthwise convolution follows.
        if unit.kind == Kind::Pointwise
            && let Some(depthwise) = rest.next_if(|next| next.kind == Kind::Depthwise)
        {
            unit.absorb(depthwise);
            unit.kind = Kind::Depthwise;
        }
        if unit.kind == Kind::Depthwise {
            if let Some(attention) = rest.next_if(|next| next.kind == Kind::Attention) {
                unit.absorb(attention);
            }
            if let Some(projection) = rest.next_if(|next| next.kind == Kind::Pointwise) {
                unit.absorb(projection);
            }
            unit.kind = Kind::Whole;
        }
        match blocks.last_mut() {
            // Nothing but attention, or what comes before the first product, is no block of its own.
            Some(last) if unit.kind == Kind::Attention => last.absorb(unit),
            Some(first) if first.kind == Kind::Weightless => {
                let kind = unit.kind;
                let area = unit.area;
                first.absorb(unit);
                (first.kind, first.area) = (kind, area);
            }
            Some(last)
                if last.kind == Kind::Spatial
                    && unit.kind == Kind::Spatial
                    && area(&shapes[last.output.index()]) == last.area
                    && unit.area == last.area =>
            {
                last.absorb(unit);
            }
            _ => blocks.push(unit),
        }
    }
    blocks
}

impl Stretch {
    fn absorb(&mut self, next: Stretch) {
        self.nodes.extend(next.nodes);
        self.params.extend(next.params);
        self.params.sort();
        self.params.dedup();
        self.output = next.output;
    }
}

fn block(graph: &Graph, layers: &Layers, stretch: &Stretch) -> Block {
    let mut rows: Vec<LayerId> = layers
        .iter()
        .filter(|(_, layer)| layer.params.iter().any(|param| stretch.params.contains(param)))
        .map(|(id, _)| id)
        .collect();
    rows.dedup();
    let names: Vec<&str> = rows.iter().map(|&id| layers.get(id).path.as_str()).collect();
    let own = || graph.node(stretch.output).name.clone();
    let name = common(&names).or_else(|| names.first().map(|name| (*name).to_owned())).unwrap_or_else(own);
    Block { name, output: stretch.output, layers: rows, params: stretch.params.clone() }
}

/// The common beginning of several names, up to a separator: `block5` of `block5_conv1` and `block5_conv2`.
fn common(names: &[&str]) -> Option<String> {
    let (first, others) = names.split_first()?;
    if others.is_empty() {
        return Some((*first).to_owned());
    }
    let shared = others.iter().fold(*first, |shared, name| {
        let end = shared.char_indices().zip(name.chars()).find(|((_, a), b)| a != b);
        let end = end.map_or(shared.len().min(name.len()), |((at, _), _)| at);
        &shared[..end]
    });
    let whole = |end: usize| {
        names.iter().all(|name| name[end..].starts_with(['_', '.', '/', '-']) || name.len() == end)
    };
    let end = (1..=shared.len()).rev().find(|&end| shared.is_char_boundary(end) && whole(end))?;
    let name = shared[..end].trim_end_matches(['_', '.', '/', '-']);
    (!name.is_empty()).then(|| name.to_owned())
}

/// A name that another block has too, or that is only the model's, gives way to that of the block's first layer.
fn name_apart(blocks: &mut [Block], layers: &Layers) {
    let names: Vec<String> = blocks.iter().map(|b| b.name.clone()).collect();
    let begins =
        |name: &str, with: &str| name.strip_prefix(with).is_some_and(|rest| rest.starts_with(['_', '/']));
    for (at, block) in blocks.iter_mut().enumerate() {
        let (one, others) = (&names[at], names.iter().enumerate().filter(|(other, _)| *other != at));
        if others.clone().any(|(_, name)| name == one || (begins(name, one) && name.contains('/')))
            && let Some(&first) = block.layers.first()
        {
            block.name = layers.get(first).path.clone();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::train::attach::{Attached, HeadConfig};
    use binesh_core::Runtime;

    fn of(model: &crate::Model) -> Vec<Block> {
        let classes = ["a", "b", "c"].map(str::to_owned);
        let attached = Attached::new(model, &HeadConfig::default(), &classes, 0).unwrap();
        let graph = &attached.network.graph;
        let [h, w] = model.preprocessing().unwrap().preprocess.size;
        let shapes = graph.shapes(&[(graph.inputs()[0], [1, h, w, 3].into())]).unwrap();
        blocks(graph, &attached.network.layers, &shapes, attached.features)
    }

    fn names(blocks: &[Block]) -> Vec<&str> {
        blocks.iter().map(|b| b.name.as_str()).collect()
    }

    #[test]
    fn inverted_residual_blocks_are_whole() {
        let found = of(&crate::Model::embedded(Runtime::new(1)));
        assert_eq!(
            names(&found),
            [
                "stem", "block1a", "block2a", "block2b", "block3a", "block3b", "block4a", "block4b",
                "block4c", "block5a", "block5b", "block5c", "block6a", "block6b", "block6c", "block6d",
                "block7a", "top"
            ]
        );
        let layers: Vec<usize> = found.iter().map(|b| b.layers.len()).collect();
        assert_eq!(
            layers,
            [2, 4, 6, 6, 6, 6, 6, 6, 6, 6, 6, 6, 6, 6, 6, 6, 6, 2],
            "each with its batch norms"
        );
    }
    #[test]
    fn a_common_beginning_ends_at_a_separator() {
        assert_eq!(common(&["block5_conv1", "block5_conv2"]).as_deref(), Some("block5"));
        assert_eq!(common(&["block_1/expand", "block_1/project"]).as_deref(), Some("block_1"));
        assert_eq!(common(&["conv1", "conv2"]), None);
        assert_eq!(common(&["only"]).as_deref(), Some("only"));
    }
}
