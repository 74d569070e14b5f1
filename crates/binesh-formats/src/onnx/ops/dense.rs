//! Products of matrices.

use binesh_core::BinaryOp;
use binesh_core::ops::{BatchMatmul, Binary, Dense};

use super::super::proto::NodeProto;
use super::{Form, NodeCx, Operator, Traced, Value, arithmetic, one, operator};
use crate::error::FormatError;

pub(super) const OPERATORS: &[Operator] =
    &[operator("Gemm", "Dense", gemm), operator("MatMul", "Dense", matmul)];

/// `alpha * A B + beta * C`, A and B as they are or transposed.
fn gemm<'a>(cx: &mut NodeCx<'_, 'a>) -> Result<Vec<Value<'a>>, FormatError> {
    let (alpha, beta) = (cx.attrs.float("alpha", 1.0)?, cx.attrs.float("beta", 1.0)?);
    let (a_turned, b_turned) = (cx.attrs.flag("transA")?, cx.attrs.flag("transB")?);
    if cx.opset() < 7 {
        // The rules of broadcasting are those of later versions, where it is allowed.
        cx.attrs.ignore(&["broadcast"]);
    }
    let mut a = cx.input(0)?;
    let b = cx.shape(1)?;
    if a.rank() != 2 || b.len() != 2 {
        return Err(FormatError::malformed(format!(
            "its operands have {} and {} axes, not 2",
            a.rank(),
            b.len()
        )));
    }
    if a_turned {
        a = a.transposed(&[1, 0]);
    }
    cx.keeps_pictures_apart(&a, 1)?;
    let a = cx.mapper.plain(&a)?;
    let units = if b_turned { b[0] } else { b[1] };
    let scale = (alpha != 1.0).then_some(alpha);
    let kernel =
        cx.weight(1, "kernel", &Form { axes: b_turned.then(|| vec![1, 0]), scale, ..Form::default() })?;
    if !cx.has(2) {
        return Ok(one(a.like(cx.add(Dense, &[a.node, kernel])?)));
    }
    let c = cx.shape(2)?;
    let scale = (beta != 1.0).then_some(beta);
    let is_bias = c.iter().product::<usize>() == units && c.last() == Some(&units);
    if is_bias {
        let bias = cx.weight(2, "bias", &Form { shape: Some(vec![units]), scale, ..Form::default() })?;
        return Ok(one(a.like(cx.add(Dense, &[a.node, kernel, bias])?)));
    }
    let y = cx.add(Dense, &[a.node, kernel])?;
    let c = cx.weight(2, "bias", &Form { scale, ..Form::default() })?;
    Ok(one(a.like(cx.add(Binary { op: BinaryOp::Add }, &[y, c])?)))
}

/// NumPy's `matmul`.
fn matmul<'a>(cx: &mut NodeCx<'_, 'a>) -> Result<Vec<Value<'a>>, FormatError> {
    let a = cx.input(0)?;
    let b_rank = match cx.is_computed(1) {
        true => cx.input(1)?.rank(),
        false => cx.shape(1)?.len(),
    };
    if a.rank() >= 2 && b_rank == 2 {
        return dense(cx, &a).map(one);
    }
    cx.class = "Dot";
    let b = cx.input(1)?;
    if a.rank() == 0 || b.rank() == 0 {
        return Err(FormatError::malformed("a product of a number that is no matrix"));
    }
    // A vector is a row on the left and a column on the right.
    let (a_dims, b_dims) = (cx.dims(&a), cx.dims(&b));
    let (is_row, is_column) = (a_dims.len() == 1, b_dims.len() == 1);
    let a_dims = if is_row { vec![[1; 2], a_dims[0]] } else { a_dims };
    let b_dims = if is_column { vec![b_dims[0], [1; 2]] } else { b_dims };
    let rank = a_dims.len().max(b_dims.len());
    let full = |dims: &[[usize; 2]]| [vec![[1; 2]; rank - dims.len()], dims.to_vec()].concat();
    let (a_dims, b_dims) = (full(&a_dims), full(&b_dims));
    let mut a = cx.mapper.reshape(&a, &a_dims)?;
    let mut b = cx.mapper.reshape(&b, &b_dims)?;
    cx.keeps_pictures_apart(&a, rank - 1)?;
    for axis in 0..rank - 2 {
        match (a_dims[axis], b_dims[axis]) {
            (x, y) if x == y => {}
            ([1, 1], [n, m]) if n == m => a = arithmetic::repeated(cx, &a, axis, 1, n)?,
            ([n, m], [1, 1]) if n == m => b = arithmetic::repeated(cx, &b, axis, 1, n)?,
            _ => return Err(super::depends_on_size()),
        }
    }
    let (a, b) = (cx.mapper.plain(&a)?, cx.mapper.plain(&b)?);
    let y = a.like(cx.add(BatchMatmul, &[a.node, b.node])?);
    let mut dims = cx.dims(&y);
    if is_column {
        dims.pop();
    }
    if is_row {
        dims.remove(rank - 2);
    }
    cx.mapper.reshape(&y, &dims).map(one)
}

/// One matrix for all rows, and the bias that the next node adds.
fn dense<'a>(cx: &mut NodeCx<'_, 'a>, a: &Traced) -> Result<Traced, FormatError> {
    let last = a.rank() - 1;
    cx.keeps_pictures_apart(a, last)?;
    let a = cx.mapper.with_last(a, last)?;
    let kernel = cx.weight(1, "kernel", &Form::default())?;
    let units = cx.mapper.graph.dims(kernel).last().copied().flatten();
    let mut inputs = vec![a.node, kernel];
    let mut sum = None;
    if let Some((add, i)) = bias_of(cx, units) {
        // As an operand of this node.
        let bias = NodeCx { node: add, mapper: cx.mapper, params: Vec::new(), ..*cx }.weight(
            i,
            "bias",
            &Form { shape: units.map(|units| vec![units]), ..Form::default() },
        )?;
        cx.params.push(bias);
        inputs.push(bias);
        sum = add.output.first();
    }
    let y = a.like(cx.add(Dense, &inputs)?);
    if let Some(name) = sum {
        cx.mapper.absorbed.insert(name);
        cx.mapper.values.insert(name, Value::Computed(y.clone()));
    }
    Ok(y)
}

/// The only reader of this product, if it adds one constant for each unit; and which of its operands that is.
fn bias_of<'a>(cx: &NodeCx<'_, 'a>, units: Option<usize>) -> Option<(&'a NodeProto, usize)> {
    let product = cx.node.output.first()?;
    if cx.mapper.uses.get(product.as_str()) != Some(&1) {
        return None;
    }
    let add = *cx.mapper.readers.get(product.as_str())?;
    let [a, b] = &add.input[..] else { return None };
    if add.op_type != "Add" || !super::super::is_standard(&add.domain) || add.output.len() != 1 {
        return None;
    }
    let i = usize::from(a == product);
    let dims = match cx.mapper.values.get(if i == 1 { b.as_str() } else { a.as_str() })? {
        Value::Stored(tensor) => {
            tensor.dims.iter().map(|&d| usize::try_from(d).ok()).collect::<Option<Vec<_>>>()?
        }
        Value::Known(known) => known.fixed()?.shape.clone(),
        _ => return None,
    };
    (dims.len() == 1 && dims.first().copied() == units).then_some((add, i))
}
