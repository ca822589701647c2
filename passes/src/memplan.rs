//! Memory planning: one arena, offsets from lifetimes.
//!
//! Buffers whose sizes are multiples of one product of symbols (1 for static sizes, the batch for most others) share a
//! region in which offsets are packed by number, so a plan for any batch is as tight as one for a fixed batch. Regions lie
//! one behind another.

use std::collections::BTreeMap;

use kiln_ir::{Atom, Dim};

/// A buffer to place. Steps are numbered in the order in which they run.
#[derive(Clone, Debug)]
pub struct Request {
    /// Size in bytes.
    pub size: Dim,
    /// The step that writes it first.
    pub first: usize,
    /// The last step that reads it.
    pub last: usize,
}

/// Offsets in the arena.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// The offset of each request in bytes, a multiple of [`ALIGN`].
    pub offsets: Vec<Dim>,
    /// Bytes of the arena.
    pub total: Dim,
    /// Bytes if nothing shared memory.
    pub naive: Dim,
}

/// Alignment of every buffer in bytes: a cache line, and the widest vector.
pub const ALIGN: i64 = 64;

/// Above this many buffers in a region the packing that compares all pairs gives way to one that runs in time order.
const PAIRWISE: usize = 2048;

/// Places every request.
pub fn plan(requests: &[Request]) -> Plan {
    // The unit of a region and, for each of its requests, how many units it takes.
    let mut regions: BTreeMap<Dim, Vec<(usize, i64)>> = BTreeMap::new();
    for (i, r) in requests.iter().enumerate() {
        let (unit, count) = unit_of(&r.size);
        regions.entry(unit).or_default().push((i, count));
    }
    let mut offsets = vec![Dim::from(0); requests.len()];
    let (mut total, mut naive) = (Dim::from(0), Dim::from(0));
    for (unit, members) in regions {
        let spans: Vec<Span> =
            members.iter().map(|&(i, size)| Span { size, first: requests[i].first, last: requests[i].last }).collect();
        let (at, height) = if spans.len() <= PAIRWISE { pack_by_size(&spans) } else { pack_by_time(&spans) };
        for (&(i, _), at) in members.iter().zip(at) {
            offsets[i] = total.clone() + unit.clone() * Dim::from(at);
        }
        total = total + unit.clone() * Dim::from(height);
        naive = naive + unit * Dim::from(spans.iter().map(|s| s.size).sum::<i64>());
    }
    Plan { offsets, total, naive }
}

/// A size as a number of units, rounded up to whole cache lines.
fn unit_of(size: &Dim) -> (Dim, i64) {
    let align = |n: i64| (n + ALIGN - 1) / ALIGN * ALIGN;
    if let Some(n) = size.as_const() {
        return (Dim::from(1), align(n.max(0)));
    }
    match &size.terms()[..] {
        [(atoms, c)] if atoms.iter().all(|a| matches!(a, Atom::Sym(_))) => {
            let unit = atoms.iter().fold(Dim::from(1), |p, a| match a {
                Atom::Sym(s) => p * Dim::sym(&s.0),
                _ => p,
            });
            (unit, align(*c))
        }
        _ => (size.ceil_div(ALIGN), ALIGN),
    }
}

#[derive(Clone, Copy)]
struct Span {
    size: i64,
    first: usize,
    last: usize,
}

/// Largest first, each at the lowest offset where it meets no buffer alive at the same time.
fn pack_by_size(spans: &[Span]) -> (Vec<i64>, i64) {
    let mut order: Vec<usize> = (0..spans.len()).collect();
    order.sort_by_key(|&i| (std::cmp::Reverse(spans[i].size), spans[i].first));
    let mut at = vec![0i64; spans.len()];
    let mut placed: Vec<usize> = vec![];
    let mut height = 0;
    for &i in &order {
        let s = spans[i];
        let mut busy: Vec<(i64, i64)> = placed
            .iter()
            .filter(|&&j| spans[j].first <= s.last && s.first <= spans[j].last)
            .map(|&j| (at[j], at[j] + spans[j].size))
            .collect();
        busy.sort_unstable();
        let mut offset = 0;
        for (lo, hi) in busy {
            if offset + s.size <= lo {
                break;
            }
            offset = offset.max(hi);
        }
        at[i] = offset;
        height = height.max(offset + s.size);
        placed.push(i);
    }
    (at, height)
}

/// In time order, each in the smallest free block that holds it.
fn pack_by_time(spans: &[Span]) -> (Vec<i64>, i64) {
    let mut order: Vec<usize> = (0..spans.len()).collect();
    order.sort_by_key(|&i| spans[i].first);
    let mut ends: std::collections::BinaryHeap<std::cmp::Reverse<(usize, usize)>> = Default::default();
    // Free blocks by offset, never adjacent.
    let mut free: BTreeMap<i64, i64> = BTreeMap::new();
    let mut at = vec![0i64; spans.len()];
    let mut height = 0;
    for &i in &order {
        while let Some(&std::cmp::Reverse((last, j))) = ends.peek() {
            if last >= spans[i].first {
                break;
            }
            ends.pop();
            release(&mut free, at[j], spans[j].size);
        }
        let size = spans[i].size;
        let fit = free.iter().filter(|b| *b.1 >= size).min_by_key(|b| *b.1).map(|b| (*b.0, *b.1));
        at[i] = match fit {
            Some((offset, block)) => {
                free.remove(&offset);
                if block > size {
                    free.insert(offset + size, block - size);
                }
                offset
            }
            None => {
                // Grow the arena, starting in the free block at its end if there is one.
                let tail = free.iter().next_back().map(|b| (*b.0, *b.1)).filter(|b| b.0 + b.1 == height);
                let offset = tail.map_or(height, |b| b.0);
                free.remove(&offset);
                height = offset + size;
                offset
            }
        };
        ends.push(std::cmp::Reverse((spans[i].last, i)));
    }
    (at, height)
}

fn release(free: &mut BTreeMap<i64, i64>, mut offset: i64, mut size: i64) {
    if size == 0 {
        return;
    }
    if let Some((&o, &s)) = free.range(..offset).next_back()
        && o + s == offset
    {
        free.remove(&o);
        offset = o;
        size += s;
    }
    if let Some(s) = free.remove(&(offset + size)) {
        size += s;
    }
    free.insert(offset, size);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(size: Dim, first: usize, last: usize) -> Request {
        Request { size, first, last }
    }

    fn check_disjoint(requests: &[Request], plan: &Plan, batch: i64) {
        let eval = |d: &Dim| d.eval(&|_| Some(batch)).expect("bound");
        for (i, a) in requests.iter().enumerate() {
            let (ao, asz) = (eval(&plan.offsets[i]), eval(&a.size));
            assert_eq!(ao % ALIGN, 0);
            assert!(ao + asz <= eval(&plan.total));
            for (j, b) in requests.iter().enumerate().take(i) {
                let (bo, bsz) = (eval(&plan.offsets[j]), eval(&b.size));
                let together = a.first <= b.last && b.first <= a.last;
                assert!(!together || ao + asz <= bo || bo + bsz <= ao, "{i} and {j} overlap");
            }
        }
    }

    #[test]
    fn a_chain_needs_two_buffers() {
        let requests: Vec<_> = (0..10).map(|i| request(Dim::from(1000), i, i + 1)).collect();
        let p = plan(&requests);
        check_disjoint(&requests, &p, 1);
        assert_eq!(p.total, Dim::from(2 * 1024));
        assert_eq!(p.naive, Dim::from(10 * 1024));
    }

    #[test]
    fn symbolic_sizes_share_as_static_ones_do() {
        let b = Dim::sym("b");
        let requests: Vec<_> =
            (0..10).map(|i| request(b.clone() * Dim::from(64 * (i % 3 + 1) as i64), i, i + 1)).collect();
        let p = plan(&requests);
        for batch in [1, 2, 7, 64] {
            check_disjoint(&requests, &p, batch);
        }
        // The largest live set is 320 b; packing by size loses one buffer of 64 b to fragmentation here.
        assert_eq!(p.total, b * Dim::from(384));
    }

    #[test]
    fn both_packings_are_valid_on_random_lifetimes() {
        let mut x = 12345u64;
        let mut next = |n: u64| {
            x = x.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            (x >> 33) % n
        };
        let requests: Vec<_> =
            (0..300).map(|i| request(Dim::from(1 + next(5000) as i64), i, i + next(20) as usize)).collect();
        check_disjoint(&requests, &plan(&requests), 1);
        let spans: Vec<Span> =
            requests.iter().map(|r| Span { size: unit_of(&r.size).1, first: r.first, last: r.last }).collect();
        let (at, height) = pack_by_time(&spans);
        let p =
            Plan { offsets: at.into_iter().map(Dim::from).collect(), total: Dim::from(height), naive: Dim::from(0) };
        check_disjoint(&requests, &p, 1);
    }
}
