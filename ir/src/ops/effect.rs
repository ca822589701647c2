//! Ops that act rather than compute: `assert` and `print`. They are kept, in order, and run on the host.
//!
//! Constraints of `assert`: C1 the first operand is the condition, of bools. `print` takes anything.
//! Evaluation: E1 an element of the condition is false; the error holds the message and the data.

use std::any::Any;
use std::io::Write;
use std::sync::Arc;

use anyhow::Result;

use crate::attr::{Attr, Attrs};
use crate::graph::{TensorType, Value};
use crate::lower::Lower;
use crate::op::{DimTensor, Effect, NoGradient, Op, OpDef, OpError, VjpArgs};
use crate::tensor::Tensor;
use crate::tf::{TfBinding, TfCx};
use crate::{Builder, DType};

/// `assert ok, data..`: the run ends with an error where `ok` has a false element (TF Assert).
#[derive(Debug, Clone, PartialEq)]
pub struct Assert {
    /// How many elements of each datum the error shows; all for a negative number.
    pub summarize: i64,
}

/// `print data..`: writes a message and the data to standard error (TF Print, PrintV2).
#[derive(Debug, Clone, PartialEq)]
pub struct Print {
    /// Written before the data.
    pub message: String,
    /// How many elements of each datum are written; all for a negative number.
    pub summarize: i64,
    /// Written behind the data.
    pub end: String,
}

/// A tensor's first elements, as TensorFlow's messages show them: `[1 2 3...]`, a scalar without brackets.
fn summary(t: &Tensor, limit: i64) -> String {
    let shown = usize::try_from(limit).map_or(t.len(), |n| n.min(t.len()));
    let elements: Vec<String> = if let Some(s) = t.strings() {
        s.iter().take(shown).map(|s| String::from_utf8_lossy(s).into_owned()).collect()
    } else if t.dtype() == DType::Bool {
        t.bytes().iter().take(shown).map(|b| u8::from(*b != 0).to_string()).collect()
    } else if let Some(x) = t.to_i64s() {
        x.iter().take(shown).map(i64::to_string).collect()
    } else if let Some(x) = t.to_f64s() {
        x.iter()
            .take(shown)
            .map(|x| if t.dtype() == DType::F64 { format!("{x}") } else { format!("{}", *x as f32) })
            .collect()
    } else {
        return format!("{} elements of {}", t.len(), t.dtype());
    };
    let rest = if shown < t.len() { "..." } else { "" };
    if t.shape().is_empty() { elements.concat() } else { format!("[{}{rest}]", elements.join(" ")) }
}

macro_rules! host_effect {
    ($name:literal) => {
        fn name(&self) -> &'static str {
            $name
        }
        fn effect(&self) -> Effect {
            Effect::Effect
        }
        fn eval_dims(&self, _: &[(&TensorType, Option<&DimTensor>)]) -> Vec<Option<DimTensor>> {
            vec![]
        }
        fn vjp(&self, _: &mut Builder, args: VjpArgs<'_>) -> Result<Vec<Option<Value>>, NoGradient> {
            Ok(vec![None; args.inputs.len()])
        }
        fn lower(&self, _: &[&TensorType]) -> Lower {
            Lower::Host
        }
        fn as_any(&self) -> &dyn Any {
            self
        }
    };
}

impl Op for Assert {
    host_effect!("assert");
    fn attrs(&self) -> Attrs {
        Attrs::none().with("summarize", Attr::Int(self.summarize))
    }
    fn infer(&self, operands: &[&TensorType]) -> Result<Vec<TensorType>, OpError> {
        match operands.first() {
            Some(ok) if ok.dtype == DType::Bool => Ok(vec![]),
            ok => Err(OpError::new("assert", "C1", format!("the condition is {ok:?}, not bool"))),
        }
    }
    fn eval(&self, operands: &[&Tensor]) -> Result<Vec<Tensor>, OpError> {
        let Some((ok, data)) = operands.split_first() else { return Ok(vec![]) };
        if ok.bytes().iter().all(|&b| b != 0) {
            return Ok(vec![]);
        }
        let data: Vec<String> = data.iter().map(|t| summary(t, self.summarize)).collect();
        Err(OpError::new("assert", "E1", format!("assertion failed: {}", data.join(" "))))
    }
}

impl Op for Print {
    host_effect!("print");
    fn attrs(&self) -> Attrs {
        Attrs::none()
            .with("message", Attr::Str(self.message.clone()))
            .with("summarize", Attr::Int(self.summarize))
            .with("end", Attr::Str(self.end.clone()))
    }
    fn infer(&self, _: &[&TensorType]) -> Result<Vec<TensorType>, OpError> {
        Ok(vec![])
    }
    fn eval(&self, operands: &[&Tensor]) -> Result<Vec<Tensor>, OpError> {
        let data: Vec<String> = operands.iter().map(|t| summary(t, self.summarize)).collect();
        let mut err = std::io::stderr().lock();
        // A closed standard error is no reason to end the run.
        let _ = write!(err, "{}{}{}", self.message, data.concat(), self.end);
        Ok(vec![])
    }
}

/// Operands: condition, data. Left out where the program is compiled without checks.
fn tf_assert(cx: &mut TfCx<'_>) -> Result<Vec<Value>> {
    if cx.b.checks {
        let summarize = cx.int("summarize")?;
        cx.b.push_all(Assert { summarize }, cx.inputs)?;
    }
    Ok(vec![])
}

/// Operands: what is passed on, then the data.
fn tf_print(cx: &mut TfCx<'_>) -> Result<Vec<Value>> {
    let x = cx.input(0)?;
    let limit = cx.int("first_n")?;
    if cx.b.checks && limit != 0 {
        let print = Print { message: cx.str("message")?, summarize: cx.int("summarize")?, end: "\n".into() };
        cx.b.push_all(print, &cx.inputs[1..])?;
    }
    Ok(vec![x])
}

fn tf_print_v2(cx: &mut TfCx<'_>) -> Result<Vec<Value>> {
    if cx.b.checks {
        let print = Print { message: String::new(), summarize: -1, end: cx.str("end")? };
        cx.b.push_all(print, cx.inputs)?;
    }
    Ok(vec![])
}

/// The ops of this file.
pub const OPS: &[OpDef] = &[
    OpDef {
        name: "assert",
        parse: |a| Ok(Arc::new(Assert { summarize: a.int("summarize")? })),
        tf: &[TfBinding { op: "Assert", read: tf_assert }],
    },
    OpDef {
        name: "print",
        parse: |a| {
            let (message, end) = (a.str("message")?, a.str("end")?);
            Ok(Arc::new(Print { message, summarize: a.int("summarize")?, end }))
        },
        tf: &[TfBinding { op: "Print", read: tf_print }, TfBinding { op: "PrintV2", read: tf_print_v2 }],
    },
];
