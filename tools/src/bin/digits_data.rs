//! Turns `digits.npz` (`images` u8 [n, 28, 28], `labels` u8 `[n]`) into what the demo programs include: a C header, and raw
//! bytes for Rust. `digits_data DIGITS.npz FOLDER`

use std::fmt::Write;
use std::path::Path;

use anyhow::{Context, Result, bail};

fn main() -> Result<()> {
    let args: Vec<String> = std::env::args().collect();
    let [_, npz, folder] = &args[..] else { bail!("usage: digits_data DIGITS.npz FOLDER") };
    let arrays = kiln::npz::read(Path::new(npz))?;
    let find = |name: &str| {
        arrays.iter().find(|a| a.0 == name).map(|a| &a.1).with_context(|| format!("{npz} has no `{name}`"))
    };
    let (images, labels) = (find("images")?, find("labels")?);
    let images = images.as_slice::<u8>().context("`images` does not hold u8")?;
    let labels = labels.as_slice::<u8>().context("`labels` does not hold u8")?;
    if images.len() != labels.len() * 28 * 28 {
        bail!("{} labels for {} bytes of images", labels.len(), images.len());
    }
    let mut c = format!("/* {} handwritten digits of MNIST. */\n#define DIGITS_COUNT {}\n", labels.len(), labels.len());
    for (name, data) in [("images", images), ("labels", labels)] {
        let _ = writeln!(c, "static const unsigned char digits_{name}[] = {{");
        for line in data.chunks(28) {
            let _ = writeln!(c, "{},", line.iter().map(u8::to_string).collect::<Vec<_>>().join(","));
        }
        c.push_str("};\n");
    }
    let folder = Path::new(folder);
    std::fs::write(folder.join("digits_data.h"), c).context("writing digits_data.h")?;
    std::fs::write(folder.join("digits_images.bin"), images).context("writing digits_images.bin")?;
    std::fs::write(folder.join("digits_labels.bin"), labels).context("writing digits_labels.bin")?;
    Ok(())
}
