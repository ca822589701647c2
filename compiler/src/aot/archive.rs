//! Static libraries with one member: the `ar` format of ELF systems, with the symbol index that linkers require.
//!
//! Dates, owners and modes are fixed, so that equal objects give equal archives.

use anyhow::{Context, Result};

const MAGIC: &[u8] = b"!<arch>\n";
const HEADER: usize = 60;

/// An archive that holds `object` and says that it defines `symbols`.
///
/// # Errors
/// If the object is larger than the format allows (10 decimal digits).
pub fn single(name: &str, object: &[u8], symbols: &[String]) -> Result<Vec<u8>> {
    let mut index = u32::try_from(symbols.len()).context("number of symbols")?.to_be_bytes().to_vec();
    let names: usize = symbols.iter().map(|s| s.len() + 1).sum();
    let index_len = (4 + 4 * symbols.len() + names).next_multiple_of(2);
    let member_at = u32::try_from(MAGIC.len() + HEADER + index_len).context("size of the symbol index")?;
    for _ in symbols {
        index.extend(member_at.to_be_bytes());
    }
    for s in symbols {
        index.extend(s.bytes());
        index.push(0);
    }
    index.resize(index_len, 0);
    // Names of up to 15 bytes stand in the header, ended by a slash; the member's name matters to nobody.
    let member = if name.len() + 3 <= 16 && !name.contains('/') { format!("{name}.o/") } else { "model.o/".into() };
    let mut out = MAGIC.to_vec();
    header(&mut out, "/", index.len())?;
    out.extend(index);
    header(&mut out, &member, object.len())?;
    out.extend(object);
    if object.len() % 2 == 1 {
        out.push(b'\n');
    }
    Ok(out)
}

fn header(out: &mut Vec<u8>, name: &str, size: usize) -> Result<()> {
    let size = Some(size)
        .filter(|s| *s < 10_000_000_000)
        .context("the object is too large for a static library: emit `obj`")?;
    out.extend(format!("{name:<16}{:<12}{:<6}{:<6}{:<8}{size:<10}`\n", 0, 0, 0, 644).bytes());
    Ok(())
}
