//! The names of a model in the generated files. Every file takes them from one [`Interface`].
//!
//! Names of a graph may hold anything. As identifiers they are letters, digits and `_`; two that become equal are an
//! error, because a silent renaming would move with the next export of the model.

use std::collections::HashMap;

use anyhow::{Context, Result, anyhow, bail, ensure};
use kiln_codegen::plan::Report;
use kiln_codegen::program::{Port, Program};
use kiln_codegen::target::Target;
use kiln_ir::{Symbol, SymbolBounds};

use super::types::{self, Type};
use super::{Options, WeightsMode};
use crate::import::convert::identifier;
use crate::jit::Backend;

/// Words that C99, C++17 or Rust reserve and that a lower-case port name can be; members get `_` behind them.
const RESERVED: &str = " abstract alignas alignof and and_eq as asm async auto await become bitand bitor bool box break case \
    catch char class compl const const_cast constexpr continue crate decltype default delete do double dyn dynamic_cast else \
    enum explicit export extern false final float fn for friend gen goto if impl in inline int let long loop macro match mod \
    move mut mutable namespace new noexcept not not_eq nullptr operator or or_eq override priv private protected pub ref \
    register reinterpret_cast restrict return self short signed sizeof static static_assert static_cast struct super switch \
    template this thread_local throw trait true try type typedef typeid typename typeof union unsafe unsigned unsized use \
    using virtual void volatile wchar_t where while xor xor_eq yield linux unix ";

/// An input or output with its names.
pub struct Named<'a> {
    /// The port.
    pub port: &'a Port,
    /// Member of the argument structure.
    pub ident: String,
    /// The same in macros.
    pub upper: String,
    /// Element type.
    pub ty: &'static Type,
}

/// A symbol with its names.
pub struct NamedSymbol {
    /// The symbol.
    pub symbol: Symbol,
    /// Member of the argument structure.
    pub ident: String,
    /// The same in macros.
    pub upper: String,
    /// Values that `run` accepts.
    pub bounds: SymbolBounds,
}

/// A C++ class: enclosing namespaces and name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Class {
    /// Outermost first; may be empty.
    pub namespaces: Vec<String>,
    /// The class.
    pub name: String,
}

impl Class {
    /// Parses `ns::Name`, as tfcompile's `--cpp_class` takes it.
    ///
    /// # Errors
    /// If a part is no identifier.
    pub fn parse(text: &str) -> Result<Class> {
        let mut parts: Vec<String> = text.trim_start_matches("::").split("::").map(str::to_string).collect();
        for p in &parts {
            let reserved = RESERVED.contains(&format!(" {p} "));
            ensure!(identifier(p) == *p && !reserved, "`{text}` is no C++ class: `{p}` is no identifier");
        }
        let name = parts.pop().context("no class was named")?;
        Ok(Class { namespaces: parts, name })
    }

    /// The class for a prefix: `resnet_50` is `kiln::Resnet50`.
    pub fn of_prefix(prefix: &str) -> Class {
        let mut name = String::new();
        for word in prefix.split('_') {
            let mut letters = word.chars();
            name.extend(letters.next().map(|c| c.to_ascii_uppercase()));
            name.extend(letters);
        }
        if !name.starts_with(|c: char| c.is_ascii_alphabetic()) || name == "Span" {
            name.insert_str(0, "Model");
        }
        Class { namespaces: vec!["kiln".into()], name }
    }
}

/// The symbol prefix for a file name: its letters, digits and `_`.
///
/// # Errors
/// If it would collide with the runtime's own names.
pub fn prefix_of(file: &str) -> Result<String> {
    let prefix = identifier(file);
    if prefix == "kiln" || prefix.starts_with("kiln_") {
        bail!(
            "the prefix `{prefix}` belongs to Kiln's runtime: choose another file name, or a prefix with --entry-point"
        );
    }
    ensure!(
        prefix.chars().any(|c| c.is_ascii_alphanumeric()),
        "`{file}` has no letter that a symbol could be named with"
    );
    Ok(prefix)
}

/// Everything that the generated files say of a model.
pub struct Interface<'a> {
    /// Prefix of symbols.
    pub prefix: &'a str,
    /// Prefix of macros.
    pub upper: String,
    /// File name without extension.
    pub file: &'a str,
    /// C++ class.
    pub class: &'a Class,
    /// Symbols in slot order.
    pub symbols: Vec<NamedSymbol>,
    /// Inputs in slot order.
    pub inputs: Vec<Named<'a>>,
    /// Outputs in slot order.
    pub outputs: Vec<Named<'a>>,
    /// The program.
    pub program: &'a Program,
    /// What was planned.
    pub report: &'a Report,
    /// Where the weights are.
    pub weights: WeightsMode,
    /// Bytes of weights that the caller passes, padding included.
    pub weight_bytes: u64,
    /// See `layout_id` of the module above.
    pub layout_id: u64,
    /// The code generator.
    pub backend: Backend,
    /// The machine.
    pub target: &'a Target,
}

impl<'a> Interface<'a> {
    /// Names everything.
    ///
    /// # Errors
    /// Equal identifiers, and element types that C has not; the message names the ports.
    pub fn new(
        program: &'a Program,
        options: &'a Options,
        report: &'a Report,
        layout_id: u64,
    ) -> Result<Interface<'a>> {
        let mut claims = Claims::default();
        let upper = options.prefix.to_ascii_uppercase();
        for fixed in ["INPUTS", "OUTPUTS", "WORKSPACE_BYTES", "WEIGHTS_BYTES", "WEIGHTS_LAYOUT_ID", "H", "HPP"] {
            claims.r#macro(fixed, "a macro of every header")?;
        }
        if options.weights != WeightsMode::Embed {
            claims.member("weights", "the pointer to the weights")?;
        }
        let mut symbols = vec![];
        for (s, bounds) in &program.symbols {
            let ident = ident(&s.0);
            let (what, upper) = (format!("the size `{s}`"), ident.to_ascii_uppercase());
            claims.member(&ident, &what)?;
            claims.r#macro(&format!("{upper}_MIN"), &what)?;
            claims.r#macro(&format!("{upper}_MAX"), &what)?;
            symbols.push(NamedSymbol { symbol: s.clone(), ident, upper, bounds: *bounds });
        }
        let mut named = |ports: &'a [Port], kind: &str| -> Result<Vec<Named<'a>>> {
            let mut all = vec![];
            for port in ports {
                let ident = ident(&port.name);
                let (what, upper) = (format!("the {kind} `{}`", port.name), ident.to_ascii_uppercase());
                claims.member(&ident, &what)?;
                claims.r#macro(&format!("{upper}_ELEMS"), &what)?;
                claims.r#macro(&format!("{}_{upper}", kind.to_ascii_uppercase()), &what)?;
                let ty = types::of(port.dtype)
                    .ok_or_else(|| anyhow!("{what} holds {}, which C has no type for", port.dtype))?;
                all.push(Named { port, ident, upper, ty });
            }
            Ok(all)
        };
        let inputs = named(&program.inputs, "input")?;
        let outputs = named(&program.outputs, "output")?;
        Ok(Interface {
            prefix: &program.prefix,
            upper,
            file: &options.file,
            class: &options.class,
            symbols,
            inputs,
            outputs,
            program,
            report,
            weights: options.weights,
            weight_bytes: report.weights.next_multiple_of(64),
            layout_id,
            backend: options.backend,
            target: &options.target,
        })
    }

    /// The symbols that the object exports, in a fixed order.
    pub fn exports(&self) -> Vec<String> {
        let functions = ["run", "workspace_size"].map(|f| format!("{}_{f}", self.prefix));
        functions.into_iter().chain(self.program.data.iter().filter(|d| d.exported).map(|d| d.name.clone())).collect()
    }

    /// Whether the caller passes the weights.
    pub fn takes_weights(&self) -> bool {
        self.weights != WeightsMode::Embed
    }

    /// Inputs, then outputs.
    pub fn ports(&self) -> impl Iterator<Item = &Named<'a>> {
        self.inputs.iter().chain(&self.outputs)
    }

    /// Identifier of a symbol. Every symbol of a port's shape is one of the program's; the plan has checked that.
    pub fn symbol(&self, s: &Symbol) -> String {
        self.symbols.iter().find(|n| n.symbol == *s).map_or_else(|| s.to_string(), |n| n.ident.clone())
    }

    /// One line for a port: name, type and shape, safe in a comment.
    pub fn signature(&self, p: &Port) -> String {
        let dims: Vec<String> = p.shape.iter().map(ToString::to_string).collect();
        comment(&format!("{}: {} [{}]", p.name, p.dtype, dims.join(", ")))
    }

    /// One line for a symbol's range.
    pub fn range(&self, s: &NamedSymbol) -> String {
        match s.bounds.max {
            Some(max) => format!("{}: {} to {max}", s.ident, s.bounds.min),
            None => format!("{}: {} or more", s.ident, s.bounds.min),
        }
    }
}

/// A port's or size's name as a member: without `:0`, not a reserved word.
fn ident(name: &str) -> String {
    let mut ident = identifier(name.strip_suffix(":0").unwrap_or(name));
    if RESERVED.contains(&format!(" {ident} ")) {
        ident.push('_');
    }
    ident
}

/// Text of a model inside a comment of C or Rust: nothing in it ends the comment.
pub fn comment(text: &str) -> String {
    let text: String = text.chars().map(|c| if c.is_control() { '?' } else { c }).collect();
    text.replace("*/", "* /").replace("/*", "/ *").replace('\\', "/")
}

/// Text of a model inside a string literal of C; octal escapes, because hexadecimal ones have no fixed length.
pub fn c_string(text: &str) -> String {
    let mut out = String::new();
    for b in text.bytes() {
        match b {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b' ' | b'_' | b'-' | b'.' | b'/' | b':' | b'(' | b')' => {
                out.push(b.into())
            }
            _ => out.push_str(&format!("\\{b:03o}")),
        }
    }
    out
}

/// Names that are taken, with what took them. Case does not tell members apart, because their macros would be equal.
#[derive(Default)]
struct Claims {
    members: HashMap<String, String>,
    macros: HashMap<String, String>,
}

impl Claims {
    fn member(&mut self, ident: &str, what: &str) -> Result<()> {
        claim(&mut self.members, ident.to_ascii_lowercase(), what)
    }

    fn r#macro(&mut self, name: &str, what: &str) -> Result<()> {
        claim(&mut self.macros, name.to_string(), what)
    }
}

fn claim(taken: &mut HashMap<String, String>, name: String, what: &str) -> Result<()> {
    match taken.insert(name.clone(), what.to_string()) {
        None => Ok(()),
        Some(other) => {
            bail!(
                "{other} and {what} would both be called `{name}` in C: name the feeds and fetches apart in a --config file"
            )
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_become_identifiers() -> Result<()> {
        assert_eq!(ident("prob:0"), "prob");
        assert_eq!(ident("class"), "class_");
        assert_eq!(ident("a/b:1"), "a_b_1");
        assert_eq!(prefix_of("resnet-50")?, "resnet_50");
        assert!(prefix_of("kiln").is_err() && prefix_of("kiln_status").is_err() && prefix_of("-").is_err());
        assert_eq!(Class::of_prefix("resnet_50").name, "Resnet50");
        assert_eq!(Class::of_prefix("_5").name, "Model5");
        assert_eq!(Class::parse("a::b::C")?, Class { namespaces: vec!["a".into(), "b".into()], name: "C".into() });
        assert!(Class::parse("a::").is_err() && Class::parse("a::class").is_err() && Class::parse("a b").is_err());
        Ok(())
    }

    #[test]
    fn model_text_cannot_leave_comments_or_strings() {
        assert_eq!(comment("a*/b/*c\n"), "a* /b/ *c?");
        assert_eq!(c_string("a\"?é"), "a\\042\\077\\303\\251");
    }

    #[test]
    fn equal_identifiers_are_refused_with_both_names() {
        let mut c = Claims::default();
        assert!(c.member("x", "the input `x`").is_ok());
        let e = c.member("X", "the output `X`").map_err(|e| e.to_string());
        assert!(e.is_err_and(|e| e.contains("input `x`") && e.contains("output `X`")));
    }
}
