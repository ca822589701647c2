//! The tables of names, types and dimensions inside the object: arrays of C's `kiln_tensor`.
//!
//! Layout of an entry: name (8 bytes), dtype (4), rank (4), dims (8), element size (8); 32 bytes on every 64-bit target.

use anyhow::{Context, Result};
use kiln_codegen::program::{DataSymbol, Port, Program};

const ENTRY: usize = 32;

/// The tables `PREFIX_inputs` and `PREFIX_outputs`, and what they point to.
///
/// # Errors
/// If a rank does not fit 32 bits.
pub fn tables(program: &Program) -> Result<Vec<DataSymbol>> {
    let prefix = &program.prefix;
    let symbol = |name: &str, align, exported| DataSymbol {
        name: format!("{prefix}_{name}"),
        bytes: vec![],
        align,
        pointers: vec![],
        exported,
    };
    let (mut names, mut dims) = (symbol("names", 1, false), symbol("dims", 8, false));
    let mut tables = vec![];
    for (kind, ports) in [("inputs", &program.inputs), ("outputs", &program.outputs)] {
        let mut table = symbol(kind, 8, true);
        for p in ports {
            entry(p, &mut table, &mut names, &mut dims)?;
        }
        // An empty table still has an address.
        table.bytes.resize(table.bytes.len().max(ENTRY), 0);
        tables.push(table);
    }
    for data in [&mut names, &mut dims] {
        data.bytes.resize(data.bytes.len().max(8), 0);
    }
    tables.extend([names, dims]);
    Ok(tables)
}

fn entry(p: &Port, table: &mut DataSymbol, names: &mut DataSymbol, dims: &mut DataSymbol) -> Result<()> {
    let at = table.bytes.len() as u64;
    let rank = i32::try_from(p.shape.len()).context("rank")?;
    table.pointers.push((at, names.name.clone(), names.bytes.len() as i64));
    table.pointers.push((at + 16, dims.name.clone(), dims.bytes.len() as i64));
    table.bytes.extend([0; 8]);
    table.bytes.extend(p.dtype.tf_number().to_le_bytes());
    table.bytes.extend(rank.to_le_bytes());
    table.bytes.extend([0; 8]);
    table.bytes.extend((p.dtype.size() as i64).to_le_bytes());
    names.bytes.extend(p.name.bytes().filter(|b| *b != 0));
    names.bytes.push(0);
    for d in &p.shape {
        dims.bytes.extend(d.as_const().unwrap_or(-1).to_le_bytes());
    }
    Ok(())
}

/// `PREFIX_weights_layout_id`, for programs that compare it with a file's.
pub fn layout_id(prefix: &str, id: u64) -> DataSymbol {
    DataSymbol {
        name: format!("{prefix}_weights_layout_id"),
        bytes: id.to_le_bytes().to_vec(),
        align: 8,
        pointers: vec![],
        exported: true,
    }
}
