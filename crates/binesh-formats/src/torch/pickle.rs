//! Reader of Python pickles, protocols 2 to 5, that executes nothing: a program of opcodes is followed, and what it would
//! call is looked up in a short list of names that build tensors and dictionaries. Any other name is an error.
//!
//! By hand, against the rule that a format is left to a well-kept crate: `serde-pickle` has no persistent ids, which is how
//! PyTorch refers to a tensor's numbers, and no calls; `repugnant-pickle` ended with its version 0.0.1.
//!
//! What a pickle makes lies in one list, and values refer to it by index: no recursion, whatever refers to whatever.

use std::collections::HashMap;

use super::dtype::Dtype;
use crate::Limits;
use crate::error::FormatError;

/// A value: small, or the index of an object.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Value<'a> {
    None,
    Bool(bool),
    Int(i64),
    Float(f64),
    Text(&'a str),
    /// Bytes, and integers beyond 64 bits, little-endian.
    Bytes(&'a [u8]),
    Global(Global),
    Object(usize),
}

/// What is made once and may be referred to many times.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Object<'a> {
    Tuple(Vec<Value<'a>>),
    List(Vec<Value<'a>>),
    Dict(Vec<(Value<'a>, Value<'a>)>),
    Storage(Storage<'a>),
    Tensor(TensorRecord<'a>),
    /// Known to be harmless and of no interest: a NumPy scalar, the options of a training script.
    Opaque,
}

/// Numbers that tensors are views of.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Storage<'a> {
    /// Its name in the file.
    pub(super) key: &'a str,
    pub(super) dtype: Dtype,
    /// How many numbers, as the pickle says.
    pub(super) len: u64,
}

/// A view of a storage, in numbers of elements.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct TensorRecord<'a> {
    pub(super) storage: Storage<'a>,
    pub(super) offset: u64,
    pub(super) shape: Vec<u64>,
    pub(super) strides: Vec<u64>,
}

/// The names that a pickle may refer to.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Global {
    /// `collections.OrderedDict`
    OrderedDict,
    /// `torch._utils._rebuild_tensor_v2` and its predecessor: storage, offset, size, stride, ...
    RebuildTensor,
    /// `torch._utils._rebuild_parameter`: the tensor, ...
    RebuildParameter,
    /// `torch.FloatStorage` and the like.
    Storage(Dtype),
    /// Makes something that holds no weights.
    Opaque,
}

impl Global {
    fn find(module: &str, name: &str) -> Option<Global> {
        Some(match (module, name) {
            ("collections", "OrderedDict") => Global::OrderedDict,
            ("torch._utils", "_rebuild_tensor_v2" | "_rebuild_tensor") => Global::RebuildTensor,
            ("torch._utils", "_rebuild_parameter") => Global::RebuildParameter,
            ("torch" | "torch.storage", name) => {
                match name.strip_suffix("Storage").and_then(Dtype::of_storage) {
                    Some(dtype) => Global::Storage(dtype),
                    None => match name {
                        "Size" | "device" | "float32" | "float16" | "bfloat16" | "float64" | "int64" => {
                            Global::Opaque
                        }
                        _ => return None,
                    },
                }
            }
            ("argparse", "Namespace") | ("_codecs", "encode") => Global::Opaque,
            ("numpy", "dtype" | "ndarray" | "float64" | "float32" | "int64") => Global::Opaque,
            ("numpy.core.multiarray" | "numpy._core.multiarray", "scalar") => Global::Opaque,
            _ => return None,
        })
    }
}

/// What a pickle holds.
#[derive(Debug)]
pub(super) struct Pickle<'a> {
    pub(super) objects: Vec<Object<'a>>,
    pub(super) root: Value<'a>,
}

impl<'a> Pickle<'a> {
    /// The object that a value refers to.
    pub(super) fn object(&self, value: Value<'_>) -> Option<&Object<'a>> {
        match value {
            Value::Object(index) => self.objects.get(index),
            _ => None,
        }
    }
}

/// Reads one pickle from the beginning of `bytes`; also returns how many bytes it took.
pub(super) fn read<'a>(bytes: &'a [u8], limits: &Limits) -> Result<(Pickle<'a>, usize), FormatError> {
    let mut machine = Machine {
        bytes,
        at: 0,
        stack: Vec::new(),
        marks: Vec::new(),
        memo: HashMap::new(),
        objects: Vec::new(),
        made: 0,
        limit: limits.pickle_values,
    };
    let root = loop {
        if let Some(root) = machine.step()? {
            break root;
        }
    };
    Ok((Pickle { objects: machine.objects, root }, machine.at))
}

/// Python's unpickler without the calls.
struct Machine<'a> {
    bytes: &'a [u8],
    at: usize,
    stack: Vec<Value<'a>>,
    /// Heights of the stack.
    marks: Vec<usize>,
    memo: HashMap<u64, Value<'a>>,
    objects: Vec<Object<'a>>,
    /// Values pushed so far: bounds time and memory.
    made: usize,
    limit: usize,
}

impl<'a> Machine<'a> {
    /// Follows one opcode (names of CPython's `pickletools`); the result after the last.
    fn step(&mut self) -> Result<Option<Value<'a>>, FormatError> {
        let [opcode] = self.array()?;
        match opcode {
            // PROTO; what a later protocol adds is opcodes, and those are known or not.
            0x80 => drop(self.array::<1>()?),
            // FRAME
            0x95 => drop(self.array::<8>()?),
            // STOP
            b'.' => return self.pop().map(Some),
            // MARK, POP, POP_MARK, DUP
            b'(' => self.mark()?,
            b'0' => drop(self.pop()?),
            b'1' => drop(self.pop_mark()?),
            b'2' => {
                let top = self.top()?;
                self.push(top)?;
            }
            // NONE, NEWTRUE, NEWFALSE
            b'N' => self.push(Value::None)?,
            0x88 => self.push(Value::Bool(true))?,
            0x89 => self.push(Value::Bool(false))?,
            // BININT, BININT1, BININT2
            b'J' => {
                let value = i32::from_le_bytes(self.array()?);
                self.push(Value::Int(value.into()))?;
            }
            b'K' => self.length::<1>().and_then(|n| self.push(Value::Int(n as i64)))?,
            b'M' => self.length::<2>().and_then(|n| self.push(Value::Int(n as i64)))?,
            // LONG1, LONG4
            0x8a => self.length::<1>().and_then(|n| self.long(n))?,
            0x8b => self.length::<4>().and_then(|n| self.long(n))?,
            // BINFLOAT
            b'G' => {
                let value = f64::from_be_bytes(self.array()?);
                self.push(Value::Float(value))?;
            }
            // SHORT_BINUNICODE, BINUNICODE, BINUNICODE8
            0x8c => self.length::<1>().and_then(|n| self.text(n))?,
            b'X' => self.length::<4>().and_then(|n| self.text(n))?,
            0x8d => self.length::<8>().and_then(|n| self.text(n))?,
            // SHORT_BINSTRING, BINSTRING: Python 2's strings, names mostly
            b'U' => self.length::<1>().and_then(|n| self.text(n))?,
            b'T' => self.length::<4>().and_then(|n| self.text(n))?,
            // SHORT_BINBYTES, BINBYTES, BINBYTES8
            b'C' => self.length::<1>().and_then(|n| self.binary(n))?,
            b'B' => self.length::<4>().and_then(|n| self.binary(n))?,
            0x8e => self.length::<8>().and_then(|n| self.binary(n))?,
            // EMPTY_TUPLE, TUPLE, TUPLE1, TUPLE2, TUPLE3
            b')' => self.make(Object::Tuple(Vec::new()))?,
            b't' => {
                let items = self.pop_mark()?;
                self.make(Object::Tuple(items))?;
            }
            0x85..=0x87 => {
                let items = self.pop_many(usize::from(opcode - 0x84))?;
                self.make(Object::Tuple(items))?;
            }
            // EMPTY_LIST, LIST, EMPTY_SET; FROZENSET
            b']' | 0x8f => self.make(Object::List(Vec::new()))?,
            b'l' | 0x91 => {
                let items = self.pop_mark()?;
                self.make(Object::List(items))?;
            }
            // APPEND, APPENDS, ADDITEMS
            b'a' => {
                let items = vec![self.pop()?];
                self.append(items)?;
            }
            b'e' | 0x90 => {
                let items = self.pop_mark()?;
                self.append(items)?;
            }
            // EMPTY_DICT, DICT, SETITEM, SETITEMS
            b'}' => self.make(Object::Dict(Vec::new()))?,
            b'd' => {
                let items = self.pop_mark()?;
                self.make(Object::Dict(Vec::new()))?;
                self.set_items(&items)?;
            }
            b's' => {
                let items = self.pop_many(2)?;
                self.set_items(&items)?;
            }
            b'u' => {
                let items = self.pop_mark()?;
                self.set_items(&items)?;
            }
            // GLOBAL, STACK_GLOBAL
            b'c' => {
                let (module, name) = (self.line()?, self.line()?);
                self.global(module, name)?;
            }
            0x93 => match self.pop_many(2)?[..] {
                [Value::Text(module), Value::Text(name)] => self.global(module, name)?,
                _ => return Err(broken("a global's name is not text")),
            },
            // REDUCE, NEWOBJ
            b'R' | 0x81 => {
                let pair = self.pop_many(2)?;
                self.call(pair[0], pair[1])?;
            }
            // BUILD: attributes. Those of a state dict are its modules' versions.
            b'b' => drop(self.pop()?),
            // BINPUT, LONG_BINPUT, MEMOIZE
            b'q' => self.length::<1>().and_then(|n| self.remember(n as u64))?,
            b'r' => self.length::<4>().and_then(|n| self.remember(n as u64))?,
            0x94 => self.remember(self.memo.len() as u64)?,
            // BINGET, LONG_BINGET
            b'h' => self.length::<1>().and_then(|n| self.recall(n as u64))?,
            b'j' => self.length::<4>().and_then(|n| self.recall(n as u64))?,
            // BINPERSID
            b'Q' => {
                let id = self.pop()?;
                self.persistent(id)?;
            }
            other => {
                let what = format!("the pickle has opcode 0x{other:02x}, which no file of weights needs");
                return Err(FormatError::unsupported(what));
            }
        }
        Ok(None)
    }

    fn take(&mut self, n: usize) -> Result<&'a [u8], FormatError> {
        let end = self.at.checked_add(n).filter(|&end| end <= self.bytes.len());
        let end = end.ok_or_else(|| broken("the pickle is cut short"))?;
        let taken = &self.bytes[self.at..end];
        self.at = end;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], FormatError> {
        Ok(self.take(N)?.try_into().expect("`take` returns as many bytes as asked for"))
    }

    /// An unsigned number of N bytes, little-endian.
    fn length<const N: usize>(&mut self) -> Result<usize, FormatError> {
        let mut wide = [0; 8];
        wide[..N].copy_from_slice(&self.array::<N>()?);
        usize::try_from(u64::from_le_bytes(wide)).map_err(|_| broken("a length in the pickle is too large"))
    }

    fn line(&mut self) -> Result<&'a str, FormatError> {
        let rest = &self.bytes[self.at..];
        let end = rest.iter().position(|&b| b == b'\n').ok_or_else(|| broken("the pickle is cut short"))?;
        let line = utf8(self.take(end)?)?;
        self.take(1)?;
        Ok(line)
    }

    fn push(&mut self, value: Value<'a>) -> Result<(), FormatError> {
        self.made += 1;
        Limits::check("the number of values in a pickle", self.made as u64, self.limit as u64)?;
        self.stack.push(value);
        Ok(())
    }

    fn make(&mut self, object: Object<'a>) -> Result<(), FormatError> {
        self.objects.push(object);
        self.push(Value::Object(self.objects.len() - 1))
    }

    fn text(&mut self, n: usize) -> Result<(), FormatError> {
        let text = utf8(self.take(n)?)?;
        self.push(Value::Text(text))
    }

    fn binary(&mut self, n: usize) -> Result<(), FormatError> {
        let bytes = self.take(n)?;
        self.push(Value::Bytes(bytes))
    }

    /// An integer in two's complement.
    fn long(&mut self, n: usize) -> Result<(), FormatError> {
        let bytes = self.take(n)?;
        if n > 8 {
            return self.push(Value::Bytes(bytes));
        }
        let negative = bytes.last().is_some_and(|&b| b & 0x80 != 0);
        let mut wide = [if negative { 0xff } else { 0 }; 8];
        wide[..n].copy_from_slice(bytes);
        self.push(Value::Int(i64::from_le_bytes(wide)))
    }

    /// Where the innermost mark is: nothing below it can be popped.
    fn floor(&self) -> usize {
        self.marks.last().copied().unwrap_or(0)
    }

    fn mark(&mut self) -> Result<(), FormatError> {
        self.made += 1;
        Limits::check("the number of values in a pickle", self.made as u64, self.limit as u64)?;
        self.marks.push(self.stack.len());
        Ok(())
    }

    fn top(&self) -> Result<Value<'a>, FormatError> {
        let above = self.stack.get(self.floor()..).and_then(|above| above.last());
        above.copied().ok_or_else(|| broken("the pickle takes a value that is not there"))
    }

    fn pop(&mut self) -> Result<Value<'a>, FormatError> {
        let top = self.top()?;
        self.stack.pop();
        Ok(top)
    }

    fn pop_many(&mut self, n: usize) -> Result<Vec<Value<'a>>, FormatError> {
        let from = self.stack.len().checked_sub(n).filter(|&from| from >= self.floor());
        let from = from.ok_or_else(|| broken("the pickle takes a value that is not there"))?;
        Ok(self.stack.split_off(from))
    }

    fn pop_mark(&mut self) -> Result<Vec<Value<'a>>, FormatError> {
        let mark = self.marks.pop().ok_or_else(|| broken("the pickle has no mark where it needs one"))?;
        Ok(self.stack.split_off(mark.min(self.stack.len())))
    }

    fn append(&mut self, items: Vec<Value<'a>>) -> Result<(), FormatError> {
        match self.top_object()? {
            Object::List(list) => list.extend(items),
            Object::Opaque => {}
            _ => return Err(broken("the pickle appends to what is not a list")),
        }
        Ok(())
    }

    fn set_items(&mut self, items: &[Value<'a>]) -> Result<(), FormatError> {
        let (pairs, []) = items.as_chunks::<2>() else {
            return Err(broken("a dictionary in the pickle has a key without a value"));
        };
        match self.top_object()? {
            Object::Dict(dict) => dict.extend(pairs.iter().map(|&[key, value]| (key, value))),
            Object::Opaque => {}
            _ => return Err(broken("the pickle sets items of what is not a dictionary")),
        }
        Ok(())
    }

    fn top_object(&mut self) -> Result<&mut Object<'a>, FormatError> {
        match self.top()? {
            Value::Object(index) => Ok(&mut self.objects[index]),
            _ => Err(broken("the pickle changes what cannot be changed")),
        }
    }

    fn remember(&mut self, index: u64) -> Result<(), FormatError> {
        let top = self.top()?;
        self.memo.insert(index, top);
        Ok(())
    }

    fn recall(&mut self, index: u64) -> Result<(), FormatError> {
        let value = self.memo.get(&index).copied();
        self.push(value.ok_or_else(|| broken("the pickle refers to a value that it has not made"))?)
    }

    fn global(&mut self, module: &str, name: &str) -> Result<(), FormatError> {
        let global = Global::find(module, name).ok_or_else(|| {
            FormatError::unsupported(format!(
                "the pickle refers to `{module}.{name}`, which is not a tensor's part"
            ))
            .with_hint("files of weights alone are read: save `model.state_dict()`")
        })?;
        self.push(Value::Global(global))
    }

    /// What calling a global with these arguments would make.
    fn call(&mut self, callee: Value<'a>, args: Value<'a>) -> Result<(), FormatError> {
        let (Value::Global(global), Value::Object(args)) = (callee, args) else {
            return Err(broken("the pickle calls what is not a function"));
        };
        let Object::Tuple(args) = &self.objects[args] else {
            return Err(broken("the pickle calls a function without a tuple of arguments"));
        };
        match global {
            Global::OrderedDict => {
                let dict = self.dict_of(args)?;
                self.make(Object::Dict(dict))
            }
            Global::RebuildTensor => {
                let tensor = self.tensor_of(args)?;
                self.make(Object::Tensor(tensor))
            }
            Global::RebuildParameter => {
                let tensor = args.first().copied();
                self.push(tensor.ok_or_else(|| broken("a parameter in the pickle has no tensor"))?)
            }
            Global::Storage(_) => Err(broken("the pickle makes a storage that is not in the file")),
            Global::Opaque => self.make(Object::Opaque),
        }
    }

    /// `OrderedDict()`, or Python 2's `OrderedDict([[key, value], ...])`.
    fn dict_of(&self, args: &[Value<'a>]) -> Result<Vec<(Value<'a>, Value<'a>)>, FormatError> {
        let Some(first) = args.first() else { return Ok(Vec::new()) };
        let pairs = self.sequence(*first).unwrap_or_default();
        let pair = |pair: &Value<'a>| match self.sequence(*pair) {
            Some([key, value]) => Ok((*key, *value)),
            _ => Err(broken("a dictionary in the pickle is not made of pairs")),
        };
        pairs.iter().map(pair).collect()
    }

    fn tensor_of(&self, args: &[Value<'a>]) -> Result<TensorRecord<'a>, FormatError> {
        let [Value::Object(storage), Value::Int(offset), shape, strides, ..] = args else {
            return Err(broken(
                "a tensor in the pickle does not have a storage, an offset, a size and a stride",
            ));
        };
        // Hooks are the sixth; behind them, in a few files, that the numbers are to be negated or conjugated.
        if args.get(6).is_some_and(|flags| *flags != Value::None) {
            return Err(FormatError::unsupported("a tensor in the pickle is a negated or conjugated view"));
        }
        let Object::Storage(storage) = self.objects[*storage] else {
            return Err(broken("a tensor in the pickle has no storage"));
        };
        let numbers = |value: &Value<'a>| {
            let items = self.sequence(*value)?.iter();
            items.map(|item| if let Value::Int(n) = item { u64::try_from(*n).ok() } else { None }).collect()
        };
        let (shape, strides): (Option<Vec<u64>>, Option<Vec<u64>>) = (numbers(shape), numbers(strides));
        let (Some(shape), Some(strides), Ok(offset)) = (shape, strides, u64::try_from(*offset)) else {
            return Err(broken(
                "a tensor in the pickle has a size, stride or offset that is not a whole number",
            ));
        };
        if shape.len() != strides.len() {
            return Err(broken("a tensor in the pickle has not as many strides as axes"));
        }
        Ok(TensorRecord { storage, offset, shape, strides })
    }

    fn sequence(&self, value: Value<'a>) -> Option<&[Value<'a>]> {
        match value {
            Value::Object(index) => match &self.objects[index] {
                Object::Tuple(items) | Object::List(items) => Some(items),
                _ => None,
            },
            _ => None,
        }
    }

    /// `("storage", type, key, location, number of elements)`, and in old files what it is a view of.
    fn persistent(&mut self, id: Value<'a>) -> Result<(), FormatError> {
        let storage = match self.sequence(id) {
            Some(
                [
                    Value::Text("storage"),
                    Value::Global(Global::Storage(dtype)),
                    Value::Text(key),
                    _,
                    Value::Int(len),
                ]
                | [
                    Value::Text("storage"),
                    Value::Global(Global::Storage(dtype)),
                    Value::Text(key),
                    _,
                    Value::Int(len),
                    Value::None,
                ],
            ) => u64::try_from(*len).ok().map(|len| Storage { key, dtype: *dtype, len }),
            _ => None,
        };
        let storage = storage.ok_or_else(|| {
            FormatError::unsupported("the pickle refers to something outside it that is not a whole storage")
        })?;
        self.make(Object::Storage(storage))
    }
}

fn broken(what: &str) -> FormatError {
    FormatError::malformed(what)
}

fn utf8(bytes: &[u8]) -> Result<&str, FormatError> {
    std::str::from_utf8(bytes).map_err(|_| broken("a text in the pickle is not UTF-8"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(bytes: &[u8]) -> Result<(Value<'_>, Vec<Object<'_>>), String> {
        read(bytes, &Limits::default()).map(|(p, _)| (p.root, p.objects)).map_err(|e| e.to_string())
    }

    /// As `pickle.dumps(x, 2)` and `pickle.dumps(x, 4)` of CPython 3.11 write them.
    #[test]
    fn small_values() {
        let cases: [(&[u8], Value<'_>); 8] = [
            (b"\x80\x02N.", Value::None),
            (b"\x80\x02\x88.", Value::Bool(true)),
            (b"\x80\x02K\x07.", Value::Int(7)),
            (b"\x80\x02M\x2c\x01.", Value::Int(300)),
            (b"\x80\x02J\xff\xff\xff\xff.", Value::Int(-1)),
            (b"\x80\x02\x8a\x06\x00\x00\x00\x00\x00\xff.", Value::Int(-(1 << 40))),
            (b"\x80\x02G?\xf8\x00\x00\x00\x00\x00\x00.", Value::Float(1.5)),
            (b"\x80\x04\x95\x06\x00\x00\x00\x00\x00\x00\x00\x8c\x02ab\x94.", Value::Text("ab")),
        ];
        for (bytes, want) in cases {
            assert_eq!(value(bytes).unwrap().0, want, "{bytes:?}");
        }
    }

    /// `pickle.dumps({"a": [1, (2, 3)]}, 2)`.
    #[test]
    fn containers() {
        let (_, objects) =
            value(b"\x80\x02}q\x00X\x01\x00\x00\x00aq\x01]q\x02(K\x01K\x02K\x03\x86q\x03es.").unwrap();
        assert_eq!(objects[0], Object::Dict(vec![(Value::Text("a"), Value::Object(1))]));
        assert_eq!(objects[1], Object::List(vec![Value::Int(1), Value::Object(2)]));
        assert_eq!(objects[2], Object::Tuple(vec![Value::Int(2), Value::Int(3)]));
    }

    #[test]
    fn nothing_is_called() {
        // pickle.dumps of an object whose `__reduce__` is `(os.system, ("true",))`.
        let e =
            value(b"\x80\x02cposix\nsystem\nq\x00X\x04\x00\x00\x00trueq\x01\x85q\x02Rq\x03.").unwrap_err();
        assert_eq!(e, "the pickle refers to `posix.system`, which is not a tensor's part");
        let e = value(b"\x80\x04\x8c\x08builtins\x8c\x04eval\x93\x8c\x011\x85R.").unwrap_err();
        assert_eq!(e, "the pickle refers to `builtins.eval`, which is not a tensor's part");
        let e = value(b"\x80\x02ctorch\nFloatStorage\n)R.").unwrap_err();
        assert_eq!(e, "the pickle makes a storage that is not in the file");
        let e = value(b"\x80\x02X\x01\x00\x00\x00a)R.").unwrap_err();
        assert_eq!(e, "the pickle calls what is not a function");
        let e = value(b"\x80\x02i.").unwrap_err();
        assert_eq!(e, "the pickle has opcode 0x69, which no file of weights needs");
    }

    #[test]
    fn broken_programs() {
        let cases: [(&[u8], &str); 8] = [
            (b"", "the pickle is cut short"),
            (b"\x80\x02", "the pickle is cut short"),
            (b".", "the pickle takes a value that is not there"),
            (b"N(0.", "the pickle takes a value that is not there"),
            (b"Nt.", "the pickle has no mark where it needs one"),
            (b"h\x05.", "the pickle refers to a value that it has not made"),
            (b"}(K\x01u.", "a dictionary in the pickle has a key without a value"),
            (b"K\x01K\x02a.", "the pickle changes what cannot be changed"),
        ];
        for (bytes, want) in cases {
            assert_eq!(value(bytes).unwrap_err(), want, "{bytes:?}");
        }
        assert_eq!(value(b"X\xff\xff\xff\xff.").unwrap_err(), "the pickle is cut short", "not allocated");
    }

    #[test]
    fn a_pickle_of_a_million_values_is_enough() {
        let limits = Limits { pickle_values: 1000, ..Limits::default() };
        let mut bytes = vec![b'N'; 1001];
        bytes.push(b'.');
        let e = read(&bytes, &limits).unwrap_err().to_string();
        assert_eq!(e, "the number of values in a pickle is 1001, more than the limit of 1000");
        assert!(read(&[b'('; 1001], &limits).is_err());
    }
}
