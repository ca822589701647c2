//! Numbers from strings and strings from numbers.
//!
//! `as_string` formats as C's printf does, exactly rounded.

use crate::DType;
use crate::graph::TensorType;
use crate::op::OpError;
use crate::ops::host::{ANY, STRING, complexes, host_op, ints, require, string_tensor, strings, typed};
use crate::tensor::Tensor;

host_op! {
    /// `string_to_number x`: white space around a number is ignored. E1 for what is no number.
    StringToNumber = "string_to_number" {
        /// The result's type.
        dtype: DType,
    }
    infer |op, given| {
        let [x] = typed("string_to_number", given, [STRING])?;
        let known = matches!(op.dtype, DType::F32 | DType::F64 | DType::I32 | DType::I64 | DType::U32 | DType::U64);
        require("string_to_number", "C4", known, || format!("numbers of type {}", op.dtype))?;
        Ok(vec![TensorType::new(op.dtype, x.shape.clone())])
    },
    eval |op, x| {
        let all = strings(x[0]).iter();
        let fail = |s: &[u8]| {
            let s = String::from_utf8_lossy(s);
            OpError::new("string_to_number", "E1", format!("`{s}` is no number of type {}", op.dtype))
        };
        let text = |s: &'_ Vec<u8>| Some(std::str::from_utf8(super::strip(s)).ok()?.to_string());
        macro_rules! parse {
            ($t:ty) => {{
                let v = all.map(|s| text(s).and_then(|t| t.parse::<$t>().ok()).ok_or_else(|| fail(s)));
                Tensor::of(x[0].shape(), &v.collect::<Result<Vec<$t>, _>>()?)
            }};
        }
        Ok(vec![match op.dtype {
            DType::F32 => parse!(f32),
            DType::F64 => parse!(f64),
            DType::I32 => parse!(i32),
            DType::I64 => parse!(i64),
            DType::U32 => parse!(u32),
            _ => parse!(u64),
        }])
    },
}

host_op! {
    /// `as_string x`: each number in decimal.
    AsString = "as_string" {
        /// Digits after the point, or significant ones for `shortest`; -1 for C's 6.
        precision: i64,
        /// With an exponent.
        scientific: bool,
        /// With an exponent where that is shorter, without trailing zeros.
        shortest: bool,
        /// At least so wide; -1 for any.
        width: i64,
        /// One of C's flags (`0`, ` `, `-`, `+`) or empty.
        fill: String,
    }
    infer |op, given| {
        let [x] = typed("as_string", given, [ANY])?;
        require("as_string", "C4", !(op.scientific && op.shortest), || "scientific and shortest exclude each other".into())?;
        let flag = matches!(op.fill.as_str(), "" | "0" | " " | "-" | "+");
        require("as_string", "C4", flag, || format!("the fill `{}` is no flag", op.fill))?;
        let plain = !(x.dtype.is_int() || x.dtype == DType::Bool || x.dtype == DType::String);
        require("as_string", "C4", plain || op.precision < 0, || format!("{x} has no digits after a point"))?;
        Ok(vec![TensorType::new(DType::String, x.shape.clone())])
    },
    eval |op, x| {
        let t = x[0];
        let out: Vec<String> = match t.dtype() {
            DType::String => {
                let pad = |s: &Vec<u8>| op.padded_bytes(s);
                return Ok(vec![string_tensor("as_string", t.shape(), strings(t).iter().map(pad).collect())?]);
            }
            DType::Bool => ints(t).iter().map(|&b| if b != 0 { "true" } else { "false" }.to_string()).collect(),
            DType::U64 => ints(t).iter().map(|&v| op.padded((v as u64).to_string(), false, true)).collect(),
            d if d.is_int() => {
                ints(t).iter().map(|&v| op.padded(v.unsigned_abs().to_string(), v < 0, true)).collect()
            }
            d if d.is_complex() => {
                complexes(t).iter().map(|z| format!("({},{})", op.float(z.re), op.float(z.im))).collect()
            }
            _ => t.to_f64s().unwrap_or_default().into_iter().map(|v| op.float(v)).collect(),
        };
        let out = out.into_iter().map(String::into_bytes).collect();
        Ok(vec![string_tensor("as_string", t.shape(), out)?])
    },
}

impl AsString {
    fn float(&self, x: f64) -> String {
        let precision = if self.precision < 0 { 6 } else { self.precision as usize };
        let a = x.abs();
        let digits = if !x.is_finite() {
            if x.is_nan() { "nan".into() } else { "inf".into() }
        } else if self.shortest {
            general(a, precision)
        } else if self.scientific {
            exponential(a, precision)
        } else {
            format!("{a:.precision$}")
        };
        self.padded(digits, x.is_sign_negative(), x.is_finite())
    }

    /// Sign, flags and width as C's printf applies them.
    fn padded(&self, digits: String, negative: bool, zeros: bool) -> String {
        let sign = match (negative, self.fill.as_str()) {
            (true, _) => "-",
            (_, "+") => "+",
            (_, " ") => " ",
            _ => "",
        };
        let gap = usize::try_from(self.width).unwrap_or(0).saturating_sub(sign.len() + digits.len());
        match self.fill.as_str() {
            "0" if zeros => format!("{sign}{}{digits}", "0".repeat(gap)),
            "-" => format!("{sign}{digits}{}", " ".repeat(gap)),
            _ => format!("{}{sign}{digits}", " ".repeat(gap)),
        }
    }

    fn padded_bytes(&self, s: &[u8]) -> Vec<u8> {
        let gap = vec![b' '; usize::try_from(self.width).unwrap_or(0).saturating_sub(s.len())];
        if self.fill == "-" { [s, &gap].concat() } else { [&gap, s].concat() }
    }
}

/// C's `%.*e` of a number that is not negative.
fn exponential(x: f64, precision: usize) -> String {
    let text = format!("{x:.precision$e}");
    let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    format!("{mantissa}e{}{:02}", if exponent < 0 { '-' } else { '+' }, exponent.abs())
}

/// C's `%.*g`.
pub(crate) fn general(x: f64, precision: usize) -> String {
    if !x.is_finite() {
        return if x.is_nan() {
            "nan".into()
        } else if x > 0.0 {
            "inf".into()
        } else {
            "-inf".into()
        };
    }
    if x.is_sign_negative() {
        return format!("-{}", general(-x, precision));
    }
    let precision = precision.max(1);
    let text = exponential(x, precision - 1);
    let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let power: i64 = exponent.parse().unwrap_or(0);
    let trimmed = |s: &str| match s.contains('.') {
        true => s.trim_end_matches('0').trim_end_matches('.').to_string(),
        false => s.to_string(),
    };
    if (-4..precision as i64).contains(&power) {
        let after = (precision as i64 - 1 - power) as usize;
        trimmed(&format!("{x:.after$}"))
    } else {
        format!("{}e{exponent}", trimmed(mantissa))
    }
}
