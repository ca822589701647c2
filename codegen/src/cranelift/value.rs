//! Values of the loop IR as Cranelift values, and the register-level vocabulary of the printer.
//!
//! A scalar is one Cranelift value. A vector is a list of full 128-bit registers, lanes in order; the last register of
//! a vector narrower than 128 bits holds its lanes at the bottom and anything above them. So every power-of-two lane
//! count prints, and [`super::legal_lanes`] names the ones that fill a register exactly.
//!
//! Invariants:
//! - a bool scalar is an I8 that is 0 or 1; a bool vector is a mask whose lanes are all ones or all zeros, of the lane
//!   width of the comparison that made it ([`Val::width`]);
//! - f16 and bf16 are held as their bits in 16-bit integers;
//! - lanes above the valid ones never reach memory and never trap.

use anyhow::{Result, bail, ensure};
use cranelift_codegen::ir::condcodes::{FloatCC, IntCC};
use cranelift_codegen::ir::immediates::{Ieee32, Ieee64};
use cranelift_codegen::ir::{
    AbiParam, ConstantData, Endianness, ExtFuncData, ExternalName, FuncRef, InstBuilder, MemFlagsData, Signature, Type,
    UserExternalName, Value, types,
};
use cranelift_codegen::isa::TargetFrontendConfig;
use cranelift_frontend::{FuncInstBuilder, FunctionBuilder};
use kiln_ir::DType;
use kiln_ir::loops::Ty;

/// Bytes of a vector register.
pub(super) const REGISTER: usize = 16;

/// Most registers that one value may take: an i64 index vector for 16 lanes of bytes or floats takes 8.
const MAX_REGISTERS: usize = 16;

/// Namespace of the names of functions that live outside the module; see [`Emit::external`].
pub(super) const EXTERNAL_NAMESPACE: u32 = 2;

/// A function outside the module that printed code calls: a symbol of libm or a micro-kernel.
#[derive(Clone, Debug)]
pub(super) struct External {
    pub name: String,
    pub signature: Signature,
}

/// A value of the loop IR in Cranelift's terms.
#[derive(Clone, Debug)]
pub(super) struct Val {
    /// Element type.
    pub elem: DType,
    /// Lanes; 1 is a scalar.
    pub lanes: usize,
    /// Bytes of a lane in the registers: the element's size, or for a mask the width of its lanes.
    pub width: usize,
    /// The scalar, or the registers.
    pub regs: Vec<Value>,
}

impl Val {
    /// A scalar.
    pub fn scalar(elem: DType, v: Value) -> Val {
        Val { elem, lanes: 1, width: elem.size(), regs: vec![v] }
    }

    /// Whether this is a vector of bool.
    pub fn is_mask(&self) -> bool {
        self.elem == DType::Bool && self.lanes > 1
    }

    /// The same shape with other registers.
    pub fn with_regs(&self, regs: Vec<Value>) -> Val {
        Val { regs, ..*self }
    }

    /// Lanes that a register holds.
    pub fn per_register(&self) -> usize {
        REGISTER / self.width
    }
}

/// The Cranelift type of a scalar of an element type.
pub(super) fn scalar_type(elem: DType) -> Result<Type> {
    Ok(match elem {
        DType::F32 => types::F32,
        DType::F64 => types::F64,
        _ => match (elem.is_plain() && !elem.is_complex(), elem.size()) {
            (true, 1) => types::I8,
            (true, 2) => types::I16,
            (true, 4) => types::I32,
            (true, 8) => types::I64,
            _ => bail!("{elem} is not an element type of the machine level"),
        },
    })
}

/// The integer register whose lanes have this width in bytes.
pub(super) fn int_register(width: usize) -> Type {
    match width {
        1 => types::I8X16,
        2 => types::I16X8,
        4 => types::I32X4,
        _ => types::I64X2,
    }
}

/// The register type of a vector's lanes.
pub(super) fn register_type(elem: DType, width: usize) -> Type {
    match elem {
        DType::F32 => types::F32X4,
        DType::F64 => types::F64X2,
        _ => int_register(width),
    }
}

/// The mask width for a lane count at places where masks of several origins meet (loops, conditionals).
pub(super) fn canonical_mask_width(lanes: usize) -> usize {
    (REGISTER / lanes.max(1)).clamp(1, 8)
}

/// Registers of a vector.
pub(super) fn register_count(lanes: usize, width: usize) -> usize {
    (lanes * width).div_ceil(REGISTER)
}

/// Checks that a loop-IR type can be printed: no rows, a plain real element type, a power-of-two lane count.
pub(super) fn check_type(ty: Ty) -> Result<()> {
    scalar_type(ty.elem)?;
    let (lanes, width) = (ty.lanes as usize, ty.elem.size());
    ensure!(ty.rows == 1, "a value of type {ty} has rows: lower it to the machine level first");
    ensure!(
        lanes.is_power_of_two() && register_count(lanes, width) <= MAX_REGISTERS,
        "a value of type {ty}: lanes must be a power of two in at most {MAX_REGISTERS} registers of {REGISTER} bytes"
    );
    Ok(())
}

/// The Cranelift types of the block parameters that carry a value of this type.
pub(super) fn carried_types(ty: Ty) -> Result<Vec<Type>> {
    check_type(ty)?;
    if ty.lanes == 1 {
        return Ok(vec![scalar_type(ty.elem)?]);
    }
    let lanes = ty.lanes as usize;
    let width = if ty.elem == DType::Bool { canonical_mask_width(lanes) } else { ty.elem.size() };
    Ok(vec![register_type(ty.elem, width); register_count(lanes, width)])
}

/// The signed form of an unsigned order.
fn signed_order(cc: IntCC) -> Option<IntCC> {
    Some(match cc {
        IntCC::UnsignedLessThan => IntCC::SignedLessThan,
        IntCC::UnsignedLessThanOrEqual => IntCC::SignedLessThanOrEqual,
        IntCC::UnsignedGreaterThan => IntCC::SignedGreaterThan,
        IntCC::UnsignedGreaterThanOrEqual => IntCC::SignedGreaterThanOrEqual,
        _ => return None,
    })
}

/// What the printer must know of the instruction set.
#[derive(Clone, Copy)]
pub(super) struct Facts {
    /// Fused multiply-add on scalars and vectors.
    pub fma: bool,
    /// C's calling convention, the pointer's width.
    pub frontend: TargetFrontendConfig,
}

/// Appends Cranelift instructions; knows nothing of kernels.
pub(super) struct Emit<'f> {
    pub b: FunctionBuilder<'f>,
    pub facts: Facts,
    /// Functions called so far; position is the index of the name.
    pub externals: Vec<(External, FuncRef)>,
}

impl<'f> Emit<'f> {
    pub fn new(b: FunctionBuilder<'f>, facts: Facts) -> Emit<'f> {
        Emit { b, facts, externals: Vec::new() }
    }

    /// The instruction builder at the end of the current block.
    pub fn ins(&mut self) -> FuncInstBuilder<'_, 'f> {
        self.b.ins()
    }

    /// The type of a Cranelift value.
    pub fn ty(&self, v: Value) -> Type {
        self.b.func.dfg.value_type(v)
    }

    // ---- constants ----

    /// An integer constant of a scalar type, or splat over an integer register.
    pub fn int(&mut self, ty: Type, n: i64) -> Value {
        let bytes = ty.lane_type().bytes() as usize;
        if ty.is_vector() {
            let lane = &n.to_le_bytes()[..bytes];
            return self.constant(ty, lane);
        }
        let masked = if bytes == 8 { n } else { n & ((1i64 << (8 * bytes)) - 1) };
        self.ins().iconst(ty, masked)
    }

    /// A float constant of F32 or F64, or splat over a register of them.
    pub fn float(&mut self, ty: Type, x: f64) -> Value {
        match (ty.lane_type() == types::F32, ty.is_vector()) {
            (true, false) => self.ins().f32const(Ieee32::with_float(x as f32)),
            (false, false) => self.ins().f64const(Ieee64::with_float(x)),
            (true, true) => self.constant(ty, &(x as f32).to_le_bytes()),
            (false, true) => self.constant(ty, &x.to_le_bytes()),
        }
    }

    /// A register whose bytes repeat `pattern`.
    pub fn constant(&mut self, ty: Type, pattern: &[u8]) -> Value {
        let bytes: Vec<u8> = pattern.iter().copied().cycle().take(REGISTER).collect();
        let data = self.b.func.dfg.constants.insert(ConstantData::from(bytes));
        self.ins().vconst(ty, data)
    }

    // ---- registers ----

    /// The same bits as another type of the same size.
    pub fn bits(&mut self, ty: Type, v: Value) -> Value {
        if self.ty(v) == ty {
            return v;
        }
        let flags = MemFlagsData::new().with_endianness(Endianness::Little);
        self.ins().bitcast(ty, flags, v)
    }

    /// Bytes chosen from two registers: index 0..16 from the first, 16..32 from the second.
    pub fn shuffle(&mut self, ty: Type, a: Value, b: Value, bytes: [u8; REGISTER]) -> Value {
        let (a, b) = (self.bits(types::I8X16, a), self.bits(types::I8X16, b));
        let mask = self.b.func.dfg.immediates.push(ConstantData::from(&bytes[..]));
        let r = self.ins().shuffle(a, b, mask);
        self.bits(ty, r)
    }

    /// Comparison of integers of a class; the result is 0/1 for scalars, a mask for registers.
    pub fn icmp(&mut self, cc: IntCC, x: Value, y: Value) -> Value {
        let ty = self.ty(x);
        if let Some(signed) = signed_order(cc).filter(|_| ty == types::I64X2) {
            // No unsigned order on 64-bit lanes: with the sign bits flipped it is the signed one.
            let flip = self.int(ty, i64::MIN);
            let (x, y) = (self.ins().bxor(x, flip), self.ins().bxor(y, flip));
            return self.ins().icmp(signed, x, y);
        }
        self.ins().icmp(cc, x, y)
    }

    /// Comparison of floats.
    pub fn fcmp(&mut self, cc: FloatCC, x: Value, y: Value) -> Value {
        self.ins().fcmp(cc, x, y)
    }

    /// `c ? t : f`: by a 0/1 scalar, or lane by lane by a mask of the values' lane width.
    pub fn pick(&mut self, c: Value, t: Value, f: Value) -> Value {
        let ty = self.ty(t);
        if ty.is_vector() && self.ty(c).is_vector() {
            let mask = self.bits(ty, c);
            return self.ins().bitselect(mask, t, f);
        }
        self.ins().select(c, t, f)
    }

    // ---- lanes ----

    /// A lane as a scalar.
    pub fn extract(&mut self, x: &Val, lane: usize) -> Result<Value> {
        if x.lanes == 1 {
            return Ok(x.regs[0]);
        }
        ensure!(lane < x.lanes, "lane {lane} of a vector of {}", x.lanes);
        let per = x.per_register();
        let v = self.ins().extractlane(x.regs[lane / per], (lane % per) as u8);
        if x.elem != DType::Bool {
            return Ok(v);
        }
        let v = if x.width > 1 { self.ins().ireduce(types::I8, v) } else { v };
        let one = self.int(types::I8, 1);
        Ok(self.ins().band(v, one))
    }

    /// A vector from its lanes as scalars; a scalar from one.
    pub fn join_lanes(&mut self, elem: DType, lanes: &[Value]) -> Result<Val> {
        if let [v] = lanes {
            return Ok(Val::scalar(elem, *v));
        }
        if elem == DType::Bool {
            let bytes = self.join_lanes(DType::U8, lanes)?;
            return self.bytes_to_mask(&bytes);
        }
        let (width, ty) = (elem.size(), register_type(elem, elem.size()));
        let mut regs = Vec::with_capacity(register_count(lanes.len(), width));
        for chunk in lanes.chunks(REGISTER / width) {
            let mut reg = if width >= 4 { self.ins().scalar_to_vector(ty, chunk[0]) } else { self.int(ty, 0) };
            for (i, &v) in chunk.iter().enumerate().skip(usize::from(width >= 4)) {
                reg = self.ins().insertlane(reg, v, i as u8);
            }
            regs.push(reg);
        }
        Ok(Val { elem, lanes: lanes.len(), width, regs })
    }

    /// The scalar in every lane.
    pub fn splat(&mut self, x: &Val, lanes: usize) -> Result<Val> {
        if lanes == 1 {
            return Ok(x.clone());
        }
        let elem = x.elem;
        let (width, v) = if elem == DType::Bool {
            let width = canonical_mask_width(lanes);
            let wide =
                if width > 1 { self.ins().uextend(int_register(width).lane_type(), x.regs[0]) } else { x.regs[0] };
            (width, self.ins().ineg(wide))
        } else {
            (elem.size(), x.regs[0])
        };
        let reg = self.ins().splat(register_type(elem, width), v);
        Ok(Val { elem, lanes, width, regs: vec![reg; register_count(lanes, width)] })
    }

    /// The vector with one lane replaced by a scalar.
    pub fn insert(&mut self, x: &Val, v: Value, lane: usize) -> Result<Val> {
        ensure!(lane < x.lanes, "lane {lane} of a vector of {}", x.lanes);
        if x.lanes == 1 {
            return Ok(x.with_regs(vec![v]));
        }
        let v = if x.elem == DType::Bool {
            let wide = if x.width > 1 { self.ins().uextend(int_register(x.width).lane_type(), v) } else { v };
            self.ins().ineg(wide)
        } else {
            v
        };
        let (mut regs, per) = (x.regs.clone(), x.per_register());
        regs[lane / per] = self.ins().insertlane(regs[lane / per], v, (lane % per) as u8);
        Ok(x.with_regs(regs))
    }

    /// Lanes `[at, at + lanes)`.
    pub fn slice(&mut self, x: &Val, at: usize, lanes: usize) -> Result<Val> {
        ensure!(at + lanes <= x.lanes, "lanes {at}..{} of a vector of {}", at + lanes, x.lanes);
        if lanes == 1 {
            let v = self.extract(x, at)?;
            return Ok(Val::scalar(x.elem, v));
        }
        let (first, shift) = (at * x.width / REGISTER, at * x.width % REGISTER);
        let mut regs = Vec::new();
        for i in 0..register_count(lanes, x.width) {
            let low = x.regs[first + i];
            if shift == 0 {
                regs.push(low);
                continue;
            }
            // The register's upper bytes, followed by the next one's lower bytes where there is a next one.
            let high = x.regs.get(first + i + 1).copied().unwrap_or(low);
            let bytes = std::array::from_fn(|b| (b + shift) as u8);
            let ty = self.ty(low);
            regs.push(self.shuffle(ty, low, high, bytes));
        }
        Ok(Val { lanes, regs, ..*x })
    }

    // ---- lane widths ----

    /// Integer lanes (or a mask's) of twice the width.
    pub fn widen(&mut self, x: &Val, signed: bool) -> Val {
        let width = 2 * x.width;
        let regs = (0..register_count(x.lanes, width))
            .map(|i| {
                let from = x.regs[i / 2];
                match (signed, i % 2 == 0) {
                    (true, true) => self.ins().swiden_low(from),
                    (true, false) => self.ins().swiden_high(from),
                    (false, true) => self.ins().uwiden_low(from),
                    (false, false) => self.ins().uwiden_high(from),
                }
            })
            .collect();
        Val { width, regs, ..*x }
    }

    /// The low halves of integer lanes (or a mask's).
    pub fn truncate(&mut self, x: &Val) -> Val {
        let width = x.width / 2;
        let regs = (0..register_count(x.lanes, width))
            .map(|i| {
                let a = x.regs[2 * i];
                let b = x.regs.get(2 * i + 1).copied().unwrap_or(a);
                // Lane `n` of the result is the low half of lane `n` of the pair.
                let bytes = std::array::from_fn(|byte| ((byte / width) * x.width + byte % width) as u8);
                self.shuffle(int_register(width), a, b, bytes)
            })
            .collect();
        Val { width, regs, ..*x }
    }

    /// A mask with lanes of another width.
    pub fn mask_width(&mut self, x: &Val, width: usize) -> Val {
        let mut x = x.clone();
        while x.width < width {
            x = self.widen(&x, true);
        }
        while x.width > width {
            x = self.truncate(&x);
        }
        x
    }

    /// Bytes that are zero for false and anything else for true, as a mask.
    pub fn bytes_to_mask(&mut self, bytes: &Val) -> Result<Val> {
        let zero = self.int(types::I8X16, 0);
        let regs = bytes.regs.iter().map(|&r| self.icmp(IntCC::NotEqual, r, zero)).collect();
        Ok(Val { elem: DType::Bool, lanes: bytes.lanes, width: 1, regs })
    }

    /// A mask as bytes 0 and 1.
    pub fn mask_to_bytes(&mut self, x: &Val) -> Val {
        let x = self.mask_width(x, 1);
        let one = self.int(types::I8X16, 1);
        let regs = x.regs.iter().map(|&r| self.ins().band(r, one)).collect();
        Val { elem: DType::U8, lanes: x.lanes, width: 1, regs }
    }

    /// The value as block parameters carry it; see [`carried_types`].
    pub fn carry(&mut self, x: &Val) -> Vec<Value> {
        if x.is_mask() { self.mask_width(x, canonical_mask_width(x.lanes)).regs } else { x.regs.clone() }
    }

    /// The value that block parameters carry.
    pub fn carried(&mut self, ty: Ty, params: &[Value]) -> Val {
        let lanes = ty.lanes as usize;
        let mask = ty.elem == DType::Bool && lanes > 1;
        let width = if mask { canonical_mask_width(lanes) } else { ty.elem.size() };
        Val { elem: ty.elem, lanes, width, regs: params.to_vec() }
    }

    // ---- operations on each register or lane ----

    /// One operation on each register.
    pub fn map(&mut self, x: &Val, mut f: impl FnMut(&mut Self, Value) -> Result<Value>) -> Result<Val> {
        let regs = x.regs.iter().map(|&r| f(self, r)).collect::<Result<_>>()?;
        Ok(x.with_regs(regs))
    }

    /// One operation on each pair of registers.
    pub fn zip(
        &mut self,
        x: &Val,
        y: &Val,
        mut f: impl FnMut(&mut Self, Value, Value) -> Result<Value>,
    ) -> Result<Val> {
        let regs = x.regs.iter().zip(&y.regs).map(|(&a, &b)| f(self, a, b)).collect::<Result<_>>()?;
        Ok(x.with_regs(regs))
    }

    /// A scalar operation on each lane, where no vector form exists.
    pub fn lanewise(
        &mut self,
        xs: &[&Val],
        elem: DType,
        mut f: impl FnMut(&mut Self, &[Value]) -> Result<Value>,
    ) -> Result<Val> {
        let lanes = xs.first().map_or(0, |x| x.lanes);
        let mut out = Vec::with_capacity(lanes);
        for lane in 0..lanes {
            let args = xs.iter().map(|x| self.extract(x, lane)).collect::<Result<Vec<_>>>()?;
            out.push(f(self, &args)?);
        }
        self.join_lanes(elem, &out)
    }

    // ---- calls ----

    /// A reference to a function outside the module; repeated names share one.
    pub fn external(&mut self, name: &str, params: &[Type], result: Option<Type>) -> FuncRef {
        if let Some((_, f)) = self.externals.iter().find(|e| e.0.name == name) {
            return *f;
        }
        let mut signature = Signature::new(self.facts.frontend.default_call_conv);
        signature.params = params.iter().map(|&t| AbiParam::new(t)).collect();
        signature.returns = result.map(AbiParam::new).into_iter().collect();
        let index = self.externals.len() as u32;
        let name_ref = self.b.func.declare_imported_user_function(UserExternalName::new(EXTERNAL_NAMESPACE, index));
        let sig = self.b.import_signature(signature.clone());
        let f = self.b.import_function(ExtFuncData {
            name: ExternalName::user(name_ref),
            signature: sig,
            colocated: false,
            patchable: false,
        });
        self.externals.push((External { name: name.to_owned(), signature }, f));
        f
    }
}
