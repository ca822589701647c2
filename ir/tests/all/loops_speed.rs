//! The interpreter must be fast enough to run every kernel of a small model in the tests.

use std::time::Instant;

use kiln_ir::Tensor;
use kiln_ir::loops::interp::{BufferData, RunOptions, run_kernel};
use kiln_ir::loops::parse;

const MATMUL: &str = "
kernel @matmul nest tasks(1) {
  buffer @a: f32[64, 64] global read
  buffer @b: f32[64, 64] global read
  buffer @c: f32[64, 64] global write
  %zero = const 0 : i64
  %n = const 64 : i64
  %none = const 0.0 : f32
  for parallel %i = %zero to %n step 1 {
    for parallel %j = %zero to %n step 1 {
      %sum = for reduce %k = %zero to %n step 1 carried(%acc: sum = %none) {
        %x = load @a[%i, %k] : f32
        %y = load @b[%k, %j] : f32
        %next = fma %x, %y, %acc : f32
        yield %next
      }
      store @c[%i, %j], %sum
    }
  }
}";

#[test]
fn a_matrix_product_of_64_cubed_takes_a_moment() {
    let k = parse::parse(MATMUL).unwrap();
    let a: Vec<f32> = (0..4096).map(|i| (i % 7) as f32 - 3.0).collect();
    let b: Vec<f32> = (0..4096).map(|i| (i % 5) as f32 - 2.0).collect();
    let memory = |x: &[f32]| BufferData::of(&Tensor::of(&[64, 64], x));
    let mut buffers = [memory(&a), memory(&b), BufferData::uninitialized(kiln_ir::DType::F32, 4096)];
    let start = Instant::now();
    run_kernel(&k, &mut buffers, &[], &RunOptions::default()).unwrap();
    let took = start.elapsed();
    let c = buffers[2].to_tensor(kiln_ir::DType::F32, &[64, 64]).unwrap();
    for (i, &got) in c.as_slice::<f32>().unwrap().iter().enumerate() {
        let want: f32 = (0..64).map(|k| a[i / 64 * 64 + k] * b[k * 64 + i % 64]).sum();
        assert_eq!(got, want, "element {i}");
    }
    println!("64x64x64 product: {took:?}");
    // Generous, for builds with little optimization on loaded machines; optimized, it is a tenth of this.
    assert!(took.as_secs_f64() < 2.0, "took {took:?}");
}
