//! Reads handwritten digits with a model that Kiln compiled, in safe Rust.
//!
//! `rustc digits.rs -C link-arg=digits.o`, with `digits_model.rs` and the data beside it.

#[path = "digits_model.rs"]
mod model;

/// 28 x 28 bytes an image, 0 black to 255 white.
const IMAGES: &[u8] = include_bytes!("digits_images.bin");
const LABELS: &[u8] = include_bytes!("digits_labels.bin");
const CLASSES: usize = 10;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let batch = i64::try_from(LABELS.len())?;
    let image: Vec<f32> = IMAGES.iter().map(|&p| f32::from(p) / 255.0).collect();
    let mut probs = vec![0f32; LABELS.len() * CLASSES];
    model::Model::new().run(&mut model::Args { batch, image: &image, probs: &mut probs })?;

    let largest = |p: &[f32]| p.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1)).map(|m| m.0);
    let read = probs.chunks(CLASSES).map(largest);
    let right = read.zip(LABELS).filter(|(read, label)| *read == Some(usize::from(**label))).count();
    let percent = 100.0 * right as f64 / LABELS.len() as f64;
    println!("{right} of {} digits read correctly: {percent:.1} %", LABELS.len());
    if percent < 97.0 {
        return Err("too few".into());
    }
    Ok(())
}
