//! Reads images from a file through the Rust wrapper: use IMAGES PROBS
#![deny(warnings)]

mod model {
    include!("digits.rs");
}

fn main() {
    let mut args = std::env::args().skip(1);
    let bytes = std::fs::read(args.next().unwrap()).unwrap();
    let image: Vec<f32> = bytes.chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect();
    let n = model::probs_elems(200).unwrap();
    let mut probs = vec![0f32; n];
    let mut m = model::Model::new();
    m.run(&mut model::Args { batch: 200, image: &image, probs: &mut probs }).unwrap();
    let bytes: Vec<u8> = probs.iter().flat_map(|p| p.to_le_bytes()).collect();
    std::fs::write(args.next().unwrap(), bytes).unwrap();
    // Lengths and sizes that do not fit are refused.
    let short = m.run(&mut model::Args { batch: 200, image: &image[1..], probs: &mut probs });
    assert_eq!(short, Err(model::Status::BAD_ARGUMENT));
    assert_eq!(short.unwrap_err().to_string(), "an argument is outside its documented range");
    for batch in [0, -1] {
        assert!(m.run(&mut model::Args { batch, image: &[], probs: &mut [] }).is_err());
    }
    assert!(m.run(&mut model::Args { batch: i64::MAX, image: &image, probs: &mut probs }).is_err());
    assert_eq!(model::INPUTS, &[("image", "f32", &[-1i64, 28, 28, 1][..])]);
    assert_eq!(model::image_elems(i64::MAX), None);
}
