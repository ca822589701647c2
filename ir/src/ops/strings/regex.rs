//! Regular expressions in RE2's syntax, which is translated to that of the regex crate. Both take linear time and prefer
//! the leftmost, then the first alternative.

use regex::bytes::Regex;

use crate::DType;
use crate::graph::TensorType;
use crate::op::OpError;
use crate::ops::host::{STRING, host_op, require, string_tensor, strings, typed};
use crate::tensor::Tensor;

/// The scalar string operands after the first.
fn scalars(op: &'static str, given: &[&TensorType]) -> Result<(), OpError> {
    require(op, "C3", given.iter().all(|t| t.rank() == 0), || "patterns are scalars".into())
}

host_op! {
    /// `regex_replace x, pattern, rewrite`: matches replaced; `\1` in the rewrite stands for the first group.
    /// E1 for a pattern or rewrite that is wrong.
    RegexReplace = "regex_replace" {
        /// Every match, or only the first.
        global: bool,
    }
    infer |_, given| {
        let [x, ..] = typed("regex_replace", given, [STRING, STRING, STRING])?;
        scalars("regex_replace", &given[1..])?;
        Ok(vec![x.clone()])
    },
    eval |op, x| {
        let pattern = compile("regex_replace", &strings(x[1])[0], false)?;
        let rewrite = parts(&strings(x[2])[0])?;
        // RE2 replaces nothing where the rewrite names a group that the pattern lacks.
        if rewrite.iter().any(|p| matches!(p, Part::Group(g) if *g >= pattern.captures_len())) {
            return Ok(vec![x[0].clone()]);
        }
        let replace = |s: &Vec<u8>| {
            let (mut out, mut end) = (vec![], 0);
            // RE2 finds no empty match inside of a character.
            let inside = |found: &regex::bytes::Captures<'_>| {
                found.get(0).is_some_and(|m| m.is_empty() && s.get(m.start()).is_some_and(|b| b & 0xC0 == 0x80))
            };
            let all = pattern.captures_iter(s).filter(|found| !inside(found));
            for found in all.take(if op.global { usize::MAX } else { 1 }) {
                let Some(whole) = found.get(0) else { continue };
                out.extend_from_slice(&s[end..whole.start()]);
                for part in &rewrite {
                    match part {
                        Part::Text(t) => out.extend_from_slice(t),
                        Part::Group(g) => out.extend_from_slice(found.get(*g).map_or(&[], |m| m.as_bytes())),
                    }
                }
                end = whole.end();
            }
            out.extend_from_slice(&s[end..]);
            out
        };
        Ok(vec![string_tensor("regex_replace", x[0].shape(), strings(x[0]).iter().map(replace).collect())?])
    },
}

host_op! {
    /// `regex_full_match x, pattern`: whether the whole string matches.
    RegexFullMatch = "regex_full_match" {}
    infer |_, given| {
        let [x, _] = typed("regex_full_match", given, [STRING, STRING])?;
        scalars("regex_full_match", &given[1..])?;
        Ok(vec![TensorType::new(DType::Bool, x.shape.clone())])
    },
    eval |_, x| {
        let pattern = compile("regex_full_match", &strings(x[1])[0], true)?;
        let matches: Vec<bool> = strings(x[0]).iter().map(|s| pattern.is_match(s)).collect();
        Ok(vec![Tensor::of_bools(x[0].shape(), &matches)])
    },
}

enum Part {
    Text(Vec<u8>),
    Group(usize),
}

/// A rewrite: `\0` to `\9` are groups, `\\` is a backslash.
fn parts(rewrite: &[u8]) -> Result<Vec<Part>, OpError> {
    let (mut out, mut i) = (vec![], 0);
    while i < rewrite.len() {
        match (rewrite[i], rewrite.get(i + 1)) {
            (b'\\', Some(&d)) if d.is_ascii_digit() => {
                out.push(Part::Group(usize::from(d - b'0')));
                i += 2;
            }
            (b'\\', Some(b'\\')) => {
                out.push(Part::Text(b"\\".to_vec()));
                i += 2;
            }
            (b'\\', _) => {
                return Err(OpError::new("regex_replace", "E1", "a backslash in the rewrite is followed by no digit"));
            }
            (byte, _) => {
                out.push(Part::Text(vec![byte]));
                i += 1;
            }
        }
    }
    Ok(out)
}

fn compile(op: &'static str, pattern: &[u8], whole: bool) -> Result<Regex, OpError> {
    let text = std::str::from_utf8(pattern).map_err(|_| OpError::new(op, "E1", "the pattern is not UTF-8"))?;
    let mut translated = translate(text);
    if whole {
        translated = format!(r"\A(?:{translated})\z");
    }
    Regex::new(&translated).map_err(|e| OpError::new(op, "E1", format!("the pattern `{text}`: {e}")))
}

/// The pattern in the regex crate's syntax: classes such as `\w` are those of ASCII, `[`, `&`, `~` and `-` have no
/// meaning inside brackets but RE2's, `\Q..\E` quotes, `\C` is any byte.
fn translate(pattern: &str) -> String {
    let (mut out, mut chars) = (String::new(), pattern.chars().peekable());
    // Inside brackets: how many characters of the class are behind us.
    let mut class: Option<usize> = None;
    while let Some(c) = chars.next() {
        let inside = class.is_some();
        if let Some(n) = &mut class {
            *n += 1;
        }
        match c {
            '\\' => match chars.next() {
                Some(e @ ('d' | 'w' | 's')) => {
                    let set = ascii(e);
                    out.push_str(&if inside { set.to_string() } else { format!("[{set}]") });
                }
                Some(e @ ('D' | 'W' | 'S')) => out.push_str(&format!("[^{}]", ascii(e.to_ascii_lowercase()))),
                Some(e @ ('b' | 'B')) if !inside => out.push_str(&format!(r"(?-u:\{e})")),
                Some('C') if !inside => out.push_str("(?s-u:.)"),
                Some('Q') => {
                    let mut quoted = String::new();
                    while let Some(q) = chars.next() {
                        if q == '\\' && chars.peek() == Some(&'E') {
                            chars.next();
                            break;
                        }
                        quoted.push(q);
                    }
                    out.push_str(&regex::escape(&quoted));
                }
                Some(e) => out.extend(['\\', e]),
                None => out.push('\\'),
            },
            '[' if !inside => {
                out.push('[');
                if chars.peek() == Some(&'^') {
                    chars.next();
                    out.push('^');
                }
                // A bracket that closes right away is itself.
                if chars.peek() == Some(&']') {
                    chars.next();
                    out.push_str(r"\]");
                }
                class = Some(0);
            }
            '[' if chars.peek() == Some(&':') => {
                out.push('[');
                // A POSIX class up to its end.
                for p in chars.by_ref() {
                    out.push(p);
                    if p == ']' {
                        break;
                    }
                }
            }
            '[' => out.push_str(r"\["),
            ']' if inside => {
                out.push(']');
                class = None;
            }
            '&' | '~' if inside => out.extend(['\\', c]),
            _ => out.push(c),
        }
    }
    out
}

fn ascii(class: char) -> &'static str {
    match class {
        'd' => "0-9",
        'w' => "0-9A-Za-z_",
        _ => r"\t\n\x0C\r ",
    }
}
