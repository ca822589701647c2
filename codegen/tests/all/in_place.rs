//! Which results the plan writes over an operand, and that it refuses where another iteration still reads.

use kiln_codegen::plan::{Options, Planned, plan};
use kiln_codegen::program::{Place, Step};
use kiln_codegen::target::{Arch, Target};
use kiln_ir::loops::{Access, Block, Inst};
use kiln_ir::text;

fn target() -> Target {
    Target {
        arch: Arch::X86_64,
        triple: "x86_64-unknown-linux-gnu".into(),
        cpu: "x86-64-v3".into(),
        features: String::new(),
        vector_bytes: 32,
        full_vectors_only: false,
        vector_registers: 16,
        fma: true,
        l1: 32 << 10,
        l2: 512 << 10,
        tiles: vec![],
    }
}

/// The plan of `body` between a product that makes `%h`, and one that reads `%r`, both f32[8, 8].
fn planned(body: &str) -> Planned {
    let source = format!(
        "func @f(input \"x\" %x: f32[8, 8], input \"w\" %w: f32[8, 8], input \"row\" %row: f32[8]) {{
           %h = contract lhs=\"mk\", rhs=\"kn\", out=\"mn\" %x, %w : f32[8, 8]
           {body}
           %y = contract lhs=\"mk\", rhs=\"kn\", out=\"mn\" %r, %w : f32[8, 8]
           return output \"y\" %y
         }}"
    );
    let mut module = text::parse(&source).expect("the text parses");
    module.entries = vec![0];
    let options = Options { prefix: "t".into(), keep_levels: true, ..Options::default() };
    plan(&module, &module.funcs[0], &target(), &options).expect("a plan")
}

#[test]
fn a_residual_sum_overwrites_the_operand_that_dies() {
    let p = planned(
        "%a = contract lhs=\"mk\", rhs=\"kn\", out=\"mn\" %h, %w : f32[8, 8]
         %b = contract lhs=\"mk\", rhs=\"kn\", out=\"mn\" %a, %w : f32[8, 8]
         %r = binary op=add %b, %h : f32[8, 8]",
    );
    assert_eq!(p.report.in_place, 1);
    // %a beside %h, and the sum in %h's place.
    assert_eq!(p.report.workspace, 512.into());
    let Step::Launch { kernel, buffers, .. } = &p.program.steps[2] else { panic!("a launch") };
    let kernel = &p.program.kernels[*kernel];
    assert_eq!(kernel.params().last().map(|b| b.1.access), Some(Access::ReadWrite));
    assert_eq!(kernel.params().count(), buffers.len());
    let Step::Launch { buffers: first, .. } = &p.program.steps[0] else { panic!("a launch") };
    assert!(matches!(buffers.last(), Some(Place::Workspace(_))));
    assert_eq!(buffers.last(), first.last(), "the sum lies where the first product lay");
}

#[test]
fn a_softmax_overwrites_its_rows() {
    let p = planned(
        "%m = reduce op=max, axes=[1], keep_dims=true %h : f32[8, 1]
         %d = binary op=sub %h, %m : f32[8, 8]
         %e = unary op=exp %d : f32[8, 8]
         %s = reduce op=sum, axes=[1], keep_dims=true %e : f32[8, 1]
         %r = binary op=div %e, %s : f32[8, 8]",
    );
    // The products share a kernel.
    assert_eq!((p.report.in_place, p.program.kernels.len()), (1, 2));
    assert_eq!(p.report.workspace, 256.into());
    // A row's maximum and sum are taken once for the row: loops along it stand beside each other.
    assert_eq!(depth(&p.levels[1].nest.body), 2);
}

/// How deep loops are nested.
fn depth(b: &Block) -> usize {
    let inner = |inst: &Inst| if let Inst::For(l) = inst { 1 + depth(&l.body) } else { 0 };
    b.stmts.iter().map(|s| inner(&s.inst)).max().unwrap_or(0)
}

#[test]
fn elements_that_other_iterations_read_are_kept() {
    for body in [
        "%t = transpose perm=[1, 0] %h : f32[8, 8]\n%r = binary op=add %h, %t : f32[8, 8]",
        "%t = reverse axes=[1] %h : f32[8, 8]\n%r = binary op=add %h, %t : f32[8, 8]",
        "%t = slice start=[0, 0], size=[1, 8], step=[1, 1] %h : f32[1, 8]\n%r = binary op=add %h, %t : f32[8, 8]",
        "%r = contract lhs=\"mk\", rhs=\"kn\", out=\"mn\" %h, %h : f32[8, 8]",
        "%r = contract lhs=\"mk\", rhs=\"kn\", out=\"mn\" %h, %x : f32[8, 8]",
    ] {
        let p = planned(body);
        assert_eq!(p.report.in_place, 0, "{body}");
    }
}

#[test]
fn an_operand_that_is_read_later_is_kept() {
    let p = planned(
        "%a = contract lhs=\"mk\", rhs=\"kn\", out=\"mn\" %h, %w : f32[8, 8]
         %s = binary op=add %a, %h : f32[8, 8]
         %b = contract lhs=\"mk\", rhs=\"kn\", out=\"mn\" %s, %w : f32[8, 8]
         %r = binary op=mul %b, %h : f32[8, 8]",
    );
    // The first sum may not overwrite %h; the product after it may.
    assert_eq!(p.report.in_place, 1);
}

#[test]
fn outputs_and_inputs_are_never_overwritten() {
    let source = "func @f(input \"x\" %x: f32[8], input \"w\" %w: f32[8, 8]) {
        %a = contract lhs=\"k\", rhs=\"kn\", out=\"n\" %x, %w : f32[8]
        %b = contract lhs=\"k\", rhs=\"kn\", out=\"n\" %a, %w : f32[8]
        %c = binary op=add %b, %a : f32[8]
        %d = binary op=add %c, %x : f32[8]
        %e = contract lhs=\"k\", rhs=\"kn\", out=\"n\" %d, %w : f32[8]
        return output \"a\" %a, output \"d\" %d, output \"e\" %e
      }";
    let mut module = text::parse(source).expect("the text parses");
    module.entries = vec![0];
    let options = Options { prefix: "t".into(), ..Options::default() };
    let p = plan(&module, &module.funcs[0], &target(), &options).expect("a plan");
    assert_eq!(p.report.in_place, 0);
}
