//! The binary form: a check of a whole message before anything is decoded, then the decoding.
//!
//! The check walks the bytes once with the schema's tables and an explicit stack. It refuses lengths that
//! run past their message, wrong kinds of field, nesting and counts beyond the limits: what the decoder is
//! given cannot make it allocate more than a fixed multiple of the file. Errors name the path of the field.

use super::error::{ImportError, Result};
use super::limits::{MAX_DEPTH, MAX_MESSAGES, MAX_NODES};
use super::proto::schema::{Field, Kind, Message, NODE_DEF};
use prost::bytes::Bytes;

/// Checks `data` against the message type and decodes it; byte fields share `data`.
///
/// Errors: malformed or too large data, with the field's path.
pub fn decode<M: prost::Message + Default>(schema: &'static Message, data: Bytes) -> Result<M> {
    check(schema, &data)?;
    M::decode(data).map_err(|e| ImportError::malformed(schema.name, e.to_string()))
}

/// A message that the walk is inside of.
struct Frame {
    message: &'static Message,
    end: usize,
    /// The field last seen, and how many times in a row before: the path of an error.
    field: Option<&'static Field>,
    run: usize,
}

/// Reads a varint of at most 10 bytes at `*at`, not past `end`.
pub(crate) fn varint(data: &[u8], at: &mut usize, end: usize) -> Option<u64> {
    let mut value = 0u64;
    for shift in (0..64).step_by(7) {
        if *at >= end {
            return None;
        }
        let byte = *data.get(*at)?;
        *at += 1;
        let bits = u64::from(byte & 0x7f);
        if shift == 63 && bits > 1 {
            return None;
        }
        value |= bits << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

/// Appends a varint.
pub(crate) fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push((value as u8) | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Binary wire types.
pub(crate) mod wire_type {
    pub const VARINT: u64 = 0;
    pub const FIXED64: u64 = 1;
    pub const LENGTH: u64 = 2;
    pub const FIXED32: u64 = 5;
}

/// The wire type of one value of a kind; `None` for a field that may be anything.
pub(crate) fn wire_type_of(kind: Kind) -> Option<u64> {
    Some(match kind {
        Kind::Int { .. } | Kind::Uint { .. } | Kind::Bool | Kind::Enum(_) => wire_type::VARINT,
        Kind::Float | Kind::Fixed32 => wire_type::FIXED32,
        Kind::Double => wire_type::FIXED64,
        Kind::String | Kind::Bytes | Kind::Message(_) => wire_type::LENGTH,
        Kind::Ignored => return None,
    })
}

fn path(stack: &[Frame]) -> String {
    let mut out = stack.first().map_or("", |f| f.message.name).to_string();
    for frame in stack {
        if let Some(field) = frame.field {
            out.push('.');
            out.push_str(field.name);
            if field.repeated {
                out.push_str(&format!("[{}]", frame.run));
            }
        }
    }
    out
}

fn limit(stack: &[Frame], what: &str, limit: u64) -> ImportError {
    ImportError::Limit { place: path(stack), what: what.into(), limit }
}

/// Walks `data` as a message of type `schema`.
fn check(schema: &'static Message, data: &[u8]) -> Result<()> {
    let mut stack = vec![Frame { message: schema, end: data.len(), field: None, run: 0 }];
    let (mut at, mut messages, mut nodes) = (0usize, 0u64, 0u64);
    while let Some(top) = stack.last_mut() {
        let end = top.end;
        if at == end {
            stack.pop();
            continue;
        }
        let bad = |stack: &[Frame], what: &str| Err(ImportError::malformed(path(stack), format!("{what} (byte {at})")));
        let mut next = at;
        let Some(key) = varint(data, &mut next, end) else {
            return bad(&stack, "a field's key is cut off");
        };
        let (number, wire) = (key >> 3, key & 7);
        let found = u32::try_from(number).ok().and_then(|n| top.message.field(n)).map(|(_, f)| f);
        top.run = match (top.field, found) {
            (Some(a), Some(b)) if std::ptr::eq(a, b) => top.run + 1,
            _ => 0,
        };
        top.field = found;
        let length = match wire {
            wire_type::VARINT => match varint(data, &mut next, end) {
                Some(_) => 0,
                None => return bad(&stack, "an integer is cut off or too long"),
            },
            wire_type::FIXED64 => 8,
            wire_type::FIXED32 => 4,
            wire_type::LENGTH => match varint(data, &mut next, end) {
                Some(n) => usize::try_from(n).unwrap_or(usize::MAX),
                None => return bad(&stack, "a length is cut off"),
            },
            _ => {
                return bad(&stack, "not a protocol buffer field of any kind that TensorFlow writes");
            }
        };
        let Some(stop) = next.checked_add(length).filter(|&stop| stop <= end) else {
            return bad(&stack, "the data run past the end of their message; is the file cut off?");
        };
        let Some(field) = found else {
            at = stop;
            continue;
        };
        if let Some(expected) = wire_type_of(field.kind) {
            // A repeated number may be packed into one field.
            let packed = field.repeated && wire == wire_type::LENGTH && expected != wire_type::LENGTH;
            if wire != expected && !packed {
                return bad(&stack, "the field's kind is not the one of this message type");
            }
        }
        at = stop;
        if field.repeated && wire == wire_type::LENGTH || matches!(field.kind, Kind::Message(_)) {
            messages += 1;
            if messages > MAX_MESSAGES {
                return Err(limit(&stack, "too many messages in one file", MAX_MESSAGES));
            }
        }
        if let Kind::Message(message) = field.kind {
            if std::ptr::eq(message, &NODE_DEF) {
                nodes += 1;
                if nodes > MAX_NODES {
                    return Err(limit(&stack, "too many nodes", MAX_NODES));
                }
            }
            if stack.len() >= MAX_DEPTH {
                return Err(limit(&stack, "messages are nested too deeply", MAX_DEPTH as u64));
            }
            at = next;
            stack.push(Frame { message, end: stop, field: None, run: 0 });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::import::proto::{GraphDef, NodeDef, schema};
    use prost::Message as _;

    #[test]
    fn a_length_past_the_end_names_the_field() {
        let graph = GraphDef {
            node: vec![NodeDef { name: "a".into(), op: "NoOp".into(), ..Default::default() }; 3],
            ..Default::default()
        };
        let bytes = graph.encode_to_vec();
        assert_eq!(decode::<GraphDef>(&schema::GRAPH_DEF, bytes.clone().into()).unwrap(), graph);
        let cut = Bytes::from(bytes[..bytes.len() - 1].to_vec());
        let error = decode::<GraphDef>(&schema::GRAPH_DEF, cut).unwrap_err().to_string();
        assert!(error.starts_with("GraphDef.node[2]: the data run past"), "{error}");
    }

    #[test]
    fn depth_is_limited() {
        // A list of functions with an attribute that is a list of functions, and so on.
        let mut bytes = Vec::new();
        for (number, _) in [(9u64, 0), (1, 0), (2, 0), (2, 0)].iter().cycle().take(400) {
            let mut outer = Vec::new();
            put_varint(&mut outer, number << 3 | wire_type::LENGTH);
            put_varint(&mut outer, bytes.len() as u64);
            outer.extend(&bytes);
            bytes = outer;
        }
        assert!(matches!(check(&schema::NAME_ATTR_LIST, &bytes), Err(ImportError::Limit { .. })));
    }
}
