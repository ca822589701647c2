//! Emits the calls of micro-kernels that a schedule asks for ([`TileCall`]).
//!
//! Rows are walked in steps of the kernel's tile: the offsets of its rows are computed into a private table, the kernel
//! sums a tile into private memory, and the rest of the nest's body, the epilogue, runs over that tile row by row. Only
//! valid rows are computed and read, so the last tile takes the same path. Private memory is reused by every tile: the
//! loops over tiles are serial.

use anyhow::{Result, bail};
use kiln_ir::loops::inst::CallTile;
use kiln_ir::loops::{Access, BufId, Buffer, For, Inst, Layout, LoopKind, Space, Ty, V};
use kiln_ir::scalar::BinaryOp;
use kiln_ir::{DType, Dim};

use super::super::call::{Panel, TileCall};
use super::{LANES, ROWS, Range, Tiler};
use crate::machine::affine::{Affine, Atom};

/// The private memory of a kernel that calls micro-kernels.
#[derive(Clone, Copy)]
pub(super) struct Scratch {
    rows: BufId,
    taps: BufId,
    tile: BufId,
    panel: Option<BufId>,
}

/// Alignment of private memory: a cache line.
const ALIGN: u32 = 64;

impl Tiler<'_> {
    fn private(&mut self, name: &str, dtype: DType, shape: &[i64]) -> BufId {
        let shape: Vec<Dim> = shape.iter().map(|&n| Dim::from(n)).collect();
        let layout = Layout::row_major(&shape);
        let access = Access::ReadWrite;
        self.b.buffer(Buffer { name: name.into(), dtype, shape, layout, space: Space::Private, access, align: ALIGN })
    }

    /// Makes the private buffers and fills the table of taps.
    pub(super) fn prepare_call(&mut self, c: &TileCall) {
        let (rows, lanes) = (i64::from(c.tile.0), i64::from(c.tile.1));
        let scratch = Scratch {
            rows: self.private("rows", DType::I64, &[rows]),
            taps: self.private("taps", DType::I64, &[c.taps.len() as i64]),
            tile: self.private("tile", DType::F32, &[rows, lanes]),
            panel: match &c.panel {
                Panel::Packed(_) => None,
                Panel::Private { .. } => Some(self.private("panel", DType::F32, &[c.steps(), lanes])),
            },
        };
        for (i, tap) in c.taps.iter().enumerate() {
            let (at, v) = (self.b.index(i as i64), self.b.dim(tap));
            self.b.store(scratch.taps, vec![at], v);
        }
        self.scratch = Some(scratch);
    }

    fn scratch(&self) -> Result<Scratch> {
        match self.scratch {
            Some(s) => Ok(s),
            None => bail!("a call has no private memory"),
        }
    }

    /// The loop over rows: tiles of the kernel, each with its epilogue.
    pub(super) fn call_rows(&mut self, l: &For, range: &Range, c: &TileCall) -> Result<()> {
        self.pack_panel(c)?;
        let step = i64::from(c.tile.0);
        let tiles = self.b.open_loop(LoopKind::Serial, range.lo, range.hi, step, 1, &[]);
        let valid = if range.trip.is_some_and(|n| n % step == 0) {
            self.b.index(step)
        } else {
            let (left, most) = (self.b.sub(range.hi, tiles.iv), self.b.index(step));
            self.b.binary(BinaryOp::Min, left, most)
        };
        let rows = self.tile_index(tiles.iv, c.tile.0, ROWS);
        self.set(l.iv, rows);
        self.call(c, valid)?;
        let zero = self.b.index(0);
        let row = self.b.open_loop(LoopKind::Parallel, zero, valid, 1, 1, &[]);
        let at = self.b.add(tiles.iv, row.iv);
        self.set(l.iv, at);
        self.tile_row = Some(row.iv);
        self.block(&l.body)?;
        self.b.close_loop(row);
        self.b.close_loop(tiles);
        Ok(())
    }

    /// The place of the reduction: its result is a row of the tile, which is computed here if no loop over rows did.
    pub(super) fn call_result(&mut self, c: &TileCall) -> Result<V> {
        let row = match self.tile_row {
            Some(row) => row,
            None => {
                let one = self.b.index(1);
                self.call(c, one)?;
                self.b.index(0)
            }
        };
        let tile = self.scratch()?.tile;
        let zero = self.b.index(0);
        let lanes = self.tile_index(zero, self.lanes, LANES);
        Ok(self.b.load(tile, vec![row, lanes]))
    }

    /// One call for the rows that the row loop's variable stands for.
    fn call(&mut self, c: &TileCall, valid: V) -> Result<()> {
        let s = self.scratch()?;
        let offsets = self.form(&c.a_offset, c)?;
        let zero = self.b.index(0);
        let rows = self.b.ty(offsets).rows;
        let at = self.tile_index(zero, rows, ROWS);
        self.b.store(s.rows, vec![at], offsets);
        let (b, b_offset) = match (&c.panel, s.panel) {
            (Panel::Packed(form), _) => (c.b, self.form(form, c)?),
            (Panel::Private { .. }, Some(panel)) => (panel, zero),
            (Panel::Private { .. }, None) => bail!("a panel has no private memory"),
        };
        let (taps, depth) = (self.b.index(c.taps.len() as i64), self.b.index(c.depth));
        self.b.push_effect(Inst::CallTile(Box::new(CallTile {
            rows: c.tile.0,
            lanes: c.tile.1,
            a: c.a,
            a_offsets: s.rows,
            tap_offsets: s.taps,
            taps,
            depth,
            b,
            b_offset,
            out: s.tile,
            accumulate: false,
            valid_rows: valid,
        })));
        Ok(())
    }

    /// Packs the lanes' factor for the tiles of one panel. Lanes beyond the extent are zero.
    fn pack_panel(&mut self, c: &TileCall) -> Result<()> {
        let (Panel::Private { loops, index }, Some(panel)) = (&c.panel, self.scratch()?.panel) else { return Ok(()) };
        let zero = self.b.index(0);
        let mut open = vec![];
        let mut row = zero;
        for &(iv, n) in loops {
            let hi = self.b.index(n);
            let l = self.b.open_loop(LoopKind::Serial, zero, hi, 1, 1, &[]);
            self.set(iv, l.iv);
            row = self.b.mul(row, hi);
            row = self.b.add(row, l.iv);
            open.push(l);
        }
        let index: Vec<V> = index.iter().map(|f| self.form(f, c)).collect::<Result<_>>()?;
        let element = self.b.load(c.b, index);
        let lanes = self.tile_index(zero, self.lanes, LANES);
        self.b.store(panel, vec![row, lanes], element);
        if self.lanes < c.tile.1 {
            let first = self.b.index(i64::from(self.lanes));
            let beyond = self.tile_index(first, c.tile.1 - self.lanes, LANES);
            let nothing = self.b.float(DType::F32, 0.0);
            let nothing = self.b.push(Ty::vector(DType::F32, c.tile.1 - self.lanes), Inst::Splat(nothing));
            self.b.store(panel, vec![row, beyond], nothing);
        }
        while let Some(l) = open.pop() {
            self.b.close_loop(l);
        }
        Ok(())
    }

    /// The instructions of a form over the nest's induction variables; the lanes' variable is the tile's first lane.
    fn form(&mut self, form: &Affine, c: &TileCall) -> Result<V> {
        let mut sum: Option<V> = (!form.constant.is(0)).then(|| self.b.dim(&form.constant));
        for (atom, coefficient) in &form.terms {
            let mut v = match atom {
                Atom::V(iv) if *iv == c.lanes => match self.first_lane {
                    Some(v) => v,
                    None => bail!("a call stands outside the loop of its lanes"),
                },
                Atom::V(iv) => self.get(*iv)?,
                Atom::Lane => {
                    let zero = self.b.index(0);
                    self.tile_index(zero, self.lanes, LANES)
                }
                Atom::Digit(inner, div, modulo) => {
                    let mut v = self.form(inner, c)?;
                    if !div.is(1) {
                        let by = self.b.dim(div);
                        v = self.b.binary(BinaryOp::Div, v, by);
                    }
                    if let Some(m) = modulo {
                        let by = self.b.dim(m);
                        v = self.b.binary(BinaryOp::TruncMod, v, by);
                    }
                    v
                }
                Atom::Row | Atom::Tile(_) => bail!("an offset of a call holds {atom:?}"),
            };
            if !coefficient.is(1) {
                let by = self.b.dim(coefficient);
                v = self.b.mul(v, by);
            }
            sum = Some(match sum {
                Some(s) => self.b.add(s, v),
                None => v,
            });
        }
        Ok(match sum {
            Some(s) => s,
            None => self.b.index(0),
        })
    }
}
