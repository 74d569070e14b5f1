//! Attributes of a node. One that nobody asks for is an error: its meaning is not implemented.

use std::cell::RefCell;
use std::collections::HashSet;

use super::array::Array;
use super::proto::{AttributeProto, NodeProto, attribute_type as kind};
use super::tensor;
use crate::error::FormatError;
use crate::network::LoadCx;

pub(super) struct Attrs<'a> {
    node: &'a NodeProto,
    cx: &'a LoadCx,
    read: RefCell<HashSet<&'a str>>,
}

impl<'a> Attrs<'a> {
    pub(super) fn new(node: &'a NodeProto, cx: &'a LoadCx) -> Attrs<'a> {
        Attrs { node, cx, read: RefCell::default() }
    }

    fn find(&self, name: &str, expected: i32) -> Result<Option<&'a AttributeProto>, FormatError> {
        let Some(found) = self.node.attribute.iter().find(|attribute| attribute.name == name) else {
            return Ok(None);
        };
        self.read.borrow_mut().insert(&found.name);
        if found.kind == expected {
            return Ok(Some(found));
        }
        Err(FormatError::malformed(format!("attribute `{name}` has another type than its operator says")))
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.node.attribute.iter().any(|attribute| attribute.name == name)
    }

    pub(super) fn int(&self, name: &str, default: i64) -> Result<i64, FormatError> {
        Ok(self.find(name, kind::INT)?.map_or(default, |a| a.i))
    }

    pub(super) fn flag(&self, name: &str) -> Result<bool, FormatError> {
        Ok(self.int(name, 0)? != 0)
    }

    pub(super) fn float(&self, name: &str, default: f32) -> Result<f32, FormatError> {
        Ok(self.find(name, kind::FLOAT)?.map_or(default, |a| a.f))
    }

    pub(super) fn ints(&self, name: &str) -> Result<Option<Vec<i64>>, FormatError> {
        Ok(self.find(name, kind::INTS)?.map(|a| a.ints.clone()))
    }

    pub(super) fn floats(&self, name: &str) -> Result<Option<Vec<f32>>, FormatError> {
        Ok(self.find(name, kind::FLOATS)?.map(|a| a.floats.clone()))
    }

    pub(super) fn str(&self, name: &str, default: &'a str) -> Result<&'a str, FormatError> {
        let Some(found) = self.find(name, kind::STRING)? else { return Ok(default) };
        std::str::from_utf8(&found.s)
            .map_err(|_| FormatError::malformed(format!("attribute `{name}` is not text")))
    }

    pub(super) fn tensor(&self, name: &str) -> Result<Option<Array>, FormatError> {
        let Some(found) = self.find(name, kind::TENSOR)? else { return Ok(None) };
        let missing = || FormatError::malformed(format!("attribute `{name}` holds no tensor"));
        tensor::read(found.t.as_ref().ok_or_else(missing)?, self.cx).map(Some)
    }

    /// Attributes that change nothing here.
    pub(super) fn ignore(&self, names: &[&str]) {
        let ignored = self.node.attribute.iter().filter(|a| names.contains(&a.name.as_str()));
        self.read.borrow_mut().extend(ignored.map(|a| a.name.as_str()));
    }

    /// The attribute has a value that is not implemented.
    pub(super) fn refuse(&self, name: &str) -> FormatError {
        let value =
            self.node.attribute.iter().find(|a| a.name == name).map_or("the default".to_owned(), |a| match a
                .kind
            {
                kind::INT => a.i.to_string(),
                kind::FLOAT => a.f.to_string(),
                kind::STRING => String::from_utf8_lossy(&a.s).chars().take(40).collect(),
                kind::INTS => format!("{:?}", &a.ints[..a.ints.len().min(8)]),
                _ => "its value".to_owned(),
            });
        FormatError::unsupported(format!("attribute `{name}` = `{value}` is not supported"))
    }

    /// Checks that every attribute was asked for.
    pub(super) fn finish(&self) -> Result<(), FormatError> {
        let read = self.read.borrow();
        match self.node.attribute.iter().find(|a| !read.contains(a.name.as_str())) {
            Some(left) => Err(self.refuse(&left.name)),
            None => Ok(()),
        }
    }
}
