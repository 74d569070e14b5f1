//! Functions of the file put in the place of their calls.

use std::collections::HashMap;

use prost::Message;

use super::proto::{AttributeProto, FunctionProto, NodeProto};
use crate::Limits;
use crate::error::FormatError;

/// The nodes with every call of a function replaced by the function's own nodes. Values and nodes inside are named after
/// the call: `call/value`.
pub(super) fn inline(
    nodes: &[NodeProto],
    functions: &[FunctionProto],
    limits: &Limits,
) -> Result<Vec<NodeProto>, FormatError> {
    let by_name =
        functions.iter().map(|f| ((f.domain.as_str(), f.name.as_str(), f.overload.as_str()), f)).collect();
    let mut inliner = Inliner { by_name, limits, nodes: Vec::new(), copied: 0 };
    for (at, node) in nodes.iter().enumerate() {
        inliner.node(node.clone(), at, 0)?;
    }
    Ok(inliner.nodes)
}

struct Inliner<'a> {
    by_name: HashMap<(&'a str, &'a str, &'a str), &'a FunctionProto>,
    limits: &'a Limits,
    nodes: Vec<NodeProto>,
    /// Bytes of nodes that were copied, each time that one was.
    copied: u64,
}

/// Most bytes of copied nodes: what functions compute, not weights.
const COPIED: u64 = 256 << 20;

impl Inliner<'_> {
    fn node(&mut self, node: NodeProto, at: usize, depth: usize) -> Result<(), FormatError> {
        let key = (node.domain.as_str(), node.op_type.as_str(), node.overload.as_str());
        let Some(&function) = self.by_name.get(&key) else {
            Limits::check("the number of nodes", self.nodes.len() as u64 + 1, self.limits.nodes as u64)?;
            self.nodes.push(node);
            return Ok(());
        };
        Limits::check("the nesting of functions", depth as u64 + 1, self.limits.nesting as u64)?;
        let call = if node.name.is_empty() { format!("{}_{at}", node.op_type) } else { node.name.clone() };
        let mut names: HashMap<&str, &str> = HashMap::new();
        let absent = String::new();
        for (i, name) in function.input.iter().enumerate() {
            names.insert(name, node.input.get(i).unwrap_or(&absent));
        }
        // Outputs that the call does not name keep a name of their own.
        names.extend(
            (function.output.iter().zip(&node.output))
                .filter(|(_, outside)| !outside.is_empty())
                .map(|(inside, outside)| (inside.as_str(), outside.as_str())),
        );
        let rename = |name: &String| match names.get(name.as_str()) {
            Some(outside) => (*outside).to_owned(),
            None if name.is_empty() => String::new(),
            None => format!("{call}/{name}"),
        };
        for (at, inner) in function.node.iter().enumerate() {
            let mut copy = inner.clone();
            copy.input = inner.input.iter().map(rename).collect();
            copy.output = inner.output.iter().map(rename).collect();
            if !inner.name.is_empty() {
                copy.name = format!("{call}/{}", inner.name);
            }
            copy.attribute = inner.attribute.iter().filter_map(|a| given(a, &node, function)).collect();
            // Names grow with each level of nesting, and constants may be large.
            self.copied = self.copied.saturating_add(copy.encoded_len() as u64);
            Limits::check("the size in bytes of the nodes of all calls of functions", self.copied, COPIED)?;
            self.node(copy, at, depth + 1)?;
        }
        Ok(())
    }
}

/// The attribute, or what the call or else the function gives for it.
fn given(attribute: &AttributeProto, call: &NodeProto, function: &FunctionProto) -> Option<AttributeProto> {
    let from = &attribute.ref_attr_name;
    if from.is_empty() {
        return Some(attribute.clone());
    }
    let value = call.attribute.iter().chain(&function.attribute_proto).find(|a| a.name == *from)?;
    Some(AttributeProto { name: attribute.name.clone(), ref_attr_name: String::new(), ..value.clone() })
}
