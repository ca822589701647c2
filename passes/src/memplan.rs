//! Memory planning: one arena, offsets from lifetimes.
//!
//! Buffers whose sizes are multiples of one product of symbols (1 for static sizes, the batch for most others) share a
//! region in which offsets are packed by number, so a plan for any batch is as tight as one for a fixed batch. Regions lie
//! one behind another.
//!
//! A region is packed in several orders, and in random ones of a fixed seed while the best is above the largest live set;
//! the lowest packing is kept. No packing can be lower than the largest live set ([`Plan::bound`]).

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};

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
    /// The largest sum of buffers that are alive together: no arena is smaller. Of symbolic sums of which none is always
    /// the largest, the larger one.
    pub bound: Dim,
}

/// Alignment of every buffer in bytes: a cache line, and the widest vector.
pub const ALIGN: i64 = 64;

/// Above this many buffers in a region the packings that compare all pairs give way to one that runs in time order.
const PAIRWISE: usize = 2048;

/// Pairs of buffers that the search for a lower packing of a region may compare: a few tens of milliseconds.
const SEARCH: usize = 1 << 25;

/// Sums of different symbols that the bound tells apart; further ones are left out, which only lowers it.
const MAX_SUMS: usize = 8;

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
        let (at, height) = if spans.len() <= PAIRWISE { pack(&spans) } else { pack_by_time(&spans) };
        for (&(i, _), at) in members.iter().zip(at) {
            offsets[i] = total.clone() + unit.clone() * Dim::from(at);
        }
        total = total + unit.clone() * Dim::from(height);
        naive = naive + unit * Dim::from(spans.iter().map(|s| s.size).sum::<i64>());
    }
    Plan { offsets, total, naive, bound: bound(requests) }
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

/// The largest live set of whole cache lines.
fn bound(requests: &[Request]) -> Dim {
    let sizes: Vec<(Dim, i64)> = requests.iter().map(|r| unit_of(&r.size)).collect();
    let mut order: Vec<usize> = (0..requests.len()).collect();
    order.sort_by_key(|&i| requests[i].first);
    // What is alive, as a coefficient of each unit. It grows only where a buffer begins.
    let mut alive: BTreeMap<&Dim, i64> = BTreeMap::new();
    let mut ends: BinaryHeap<Reverse<(usize, usize)>> = BinaryHeap::new();
    // Sums that another one covers in every unit are never the largest.
    let mut sums: Vec<BTreeMap<&Dim, i64>> = vec![];
    let covers = |a: &BTreeMap<&Dim, i64>, b: &BTreeMap<&Dim, i64>| {
        b.iter().all(|(unit, count)| a.get(unit).copied().unwrap_or(0) >= *count)
    };
    for (n, &i) in order.iter().enumerate() {
        let step = requests[i].first;
        while let Some(&Reverse((last, j))) = ends.peek()
            && last < step
        {
            ends.pop();
            *alive.entry(&sizes[j].0).or_default() -= sizes[j].1;
        }
        *alive.entry(&sizes[i].0).or_default() += sizes[i].1;
        ends.push(Reverse((requests[i].last, i)));
        let complete = order.get(n + 1).is_none_or(|&j| requests[j].first > step);
        if complete && !sums.iter().any(|s| covers(s, &alive)) {
            sums.retain(|s| !covers(&alive, s));
            if sums.len() < MAX_SUMS {
                sums.push(alive.clone());
            }
        }
    }
    let dims = sums
        .iter()
        .map(|sum| sum.iter().fold(Dim::from(0), |total, (unit, count)| total + (*unit).clone() * Dim::from(*count)));
    dims.fold(Dim::from(0), |a, b| if a.is(0) { b } else { a.larger(&b) })
}

/// The lowest of several packings.
fn pack(spans: &[Span]) -> (Vec<i64>, i64) {
    let bound = live_bound(spans);
    let n = spans.len();
    let length = |i: usize| (spans[i].last - spans[i].first + 1) as i64;
    // What is alive while a buffer is: the most crowded step of its life.
    let mut steps: BTreeMap<usize, i64> = BTreeMap::new();
    for s in spans {
        steps.insert(s.first, 0);
    }
    for s in spans {
        for live in steps.range_mut(s.first..=s.last) {
            *live.1 += s.size;
        }
    }
    let crowd = |i: usize| steps.range(spans[i].first..=spans[i].last).map(|s| *s.1).max().unwrap_or(0);
    let crowds: Vec<i64> = (0..n).map(crowd).collect();
    let by = |key: &dyn Fn(usize) -> (i64, i64)| {
        let mut order: Vec<usize> = (0..n).collect();
        order.sort_by_key(|&i| (key(i), spans[i].first, i));
        order
    };
    let orders = [
        by(&|i| (-spans[i].size, 0)),
        by(&|i| (-crowds[i], -spans[i].size)),
        by(&|i| (-crowds[i], -length(i))),
        by(&|i| (-spans[i].size.saturating_mul(length(i)), 0)),
        by(&|i| (-length(i), -spans[i].size)),
        by(&|_| (0, 0)),
    ];
    // Height first; then how much sticks out above the bound, which tells better packings of one height apart.
    let cost = |(at, height): &(Vec<i64>, i64)| {
        let over = |(s, a): (&Span, &i64)| (a + s.size - bound).max(0);
        (*height, spans.iter().zip(at).map(over).sum::<i64>())
    };
    let packings = orders.into_iter().map(|order| (pack_in_order(spans, &order), order));
    let Some((mut best, mut order)) = packings.min_by_key(|p| cost(&p.0)) else { return (vec![], 0) };
    let mut random = 0x2545_f491_4f6c_dd1du64;
    let mut below = |n: usize| {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        (random % n.max(1) as u64) as usize
    };
    // A walk: what sticks out is placed earlier. Now and then a worse packing is kept, to leave a dead end.
    let mut current = best.clone();
    for _ in 0..SEARCH / (n * n).max(1 << 12) {
        if best.1 <= bound {
            break;
        }
        let out: Vec<usize> = (0..n).filter(|&p| current.0[order[p]] + spans[order[p]].size > bound).collect();
        let (from, to) = match out.get(below(out.len())) {
            Some(&p) if below(4) > 0 => (p, below(p + 1)),
            _ => (below(n), below(n)),
        };
        let mut next = order.clone();
        let moved = next.remove(from);
        next.insert(to, moved);
        let packed = pack_in_order(spans, &next);
        if cost(&packed) < cost(&best) {
            best = packed.clone();
        }
        if cost(&packed) <= cost(&current) || below(32) == 0 {
            (current, order) = (packed, next);
        }
    }
    best
}

/// The largest live set of a region.
fn live_bound(spans: &[Span]) -> i64 {
    let alive = |step: usize| spans.iter().filter(|s| s.first <= step && step <= s.last).map(|s| s.size).sum::<i64>();
    spans.iter().map(|s| alive(s.first)).max().unwrap_or(0)
}

/// In a given order, each at the lowest offset where it meets no buffer alive at the same time.
fn pack_in_order(spans: &[Span], order: &[usize]) -> (Vec<i64>, i64) {
    let mut at = vec![0i64; spans.len()];
    let mut placed: Vec<usize> = vec![];
    let mut height = 0;
    for &i in order {
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
    let mut ends: BinaryHeap<Reverse<(usize, usize)>> = BinaryHeap::new();
    let mut free = Free::default();
    let mut at = vec![0i64; spans.len()];
    let mut height = 0;
    for &i in &order {
        while let Some(&Reverse((last, j))) = ends.peek()
            && last < spans[i].first
        {
            ends.pop();
            free.release(at[j], spans[j].size);
        }
        let size = spans[i].size;
        at[i] = free.take(size).unwrap_or_else(|| {
            // Grow the arena, starting in the free block at its end if there is one.
            let offset = free.take_tail(height);
            height = offset + size;
            offset
        });
        ends.push(Reverse((spans[i].last, i)));
    }
    (at, height)
}

/// Free blocks, never adjacent.
#[derive(Default)]
struct Free {
    /// Size by offset.
    blocks: BTreeMap<i64, i64>,
    /// Size and offset.
    by_size: BTreeSet<(i64, i64)>,
}

impl Free {
    fn insert(&mut self, offset: i64, size: i64) {
        self.blocks.insert(offset, size);
        self.by_size.insert((size, offset));
    }

    /// The size of the block that starts at an offset, which is free no more.
    fn remove(&mut self, offset: i64) -> Option<i64> {
        let size = self.blocks.remove(&offset)?;
        self.by_size.remove(&(size, offset));
        Some(size)
    }

    /// The start of the smallest block that holds a size; what is left of it stays free.
    fn take(&mut self, size: i64) -> Option<i64> {
        let &(block, offset) = self.by_size.range((size, 0)..).next()?;
        self.remove(offset);
        if block > size {
            self.insert(offset + size, block - size);
        }
        Some(offset)
    }

    /// Where the block that ends at `height` starts, which is free no more; `height` if there is none.
    fn take_tail(&mut self, height: i64) -> i64 {
        match self.blocks.last_key_value() {
            Some((&offset, &size)) if offset + size == height => {
                self.remove(offset);
                offset
            }
            _ => height,
        }
    }

    fn release(&mut self, mut offset: i64, mut size: i64) {
        if size == 0 {
            return;
        }
        if let Some((&o, &s)) = self.blocks.range(..offset).next_back()
            && o + s == offset
        {
            self.remove(o);
            offset = o;
            size += s;
        }
        if let Some(s) = self.remove(offset + size) {
            size += s;
        }
        self.insert(offset, size);
    }
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
        assert_eq!(p.total, b.clone() * Dim::from(320));
        assert_eq!(p.bound, b * Dim::from(320));
    }

    #[test]
    fn the_bound_is_the_largest_live_set_over_all_units() {
        let b = Dim::sym("b");
        let big = |n: i64| b.clone() * Dim::from(n);
        // Live together: 128 + 64 b, then 64 + 192 b; neither is always the larger.
        let requests = [
            request(Dim::from(128), 0, 1),
            request(big(64), 1, 2),
            request(Dim::from(64), 2, 3),
            request(big(128), 2, 3),
        ];
        let p = plan(&requests);
        for batch in [0, 1, 5] {
            let eval = |d: &Dim| d.eval(&|_| Some(batch)).expect("bound");
            assert_eq!(eval(&p.bound), (128 + 64 * batch).max(64 + 192 * batch));
            assert!(eval(&p.total) >= eval(&p.bound));
            check_disjoint(&requests, &p, batch);
        }
    }

    #[test]
    fn the_search_closes_the_gap_that_orders_by_size_leave() {
        // A residual chain: every other buffer lives longer than its successor.
        let sizes = [5, 3, 7, 2, 6, 4, 8, 1, 5, 9, 2, 6];
        let requests: Vec<_> =
            sizes.iter().enumerate().map(|(i, &n)| request(Dim::from(n * 64), i, i + 1 + i % 3)).collect();
        let p = plan(&requests);
        check_disjoint(&requests, &p, 1);
        assert_eq!(p.total, p.bound);
        assert_eq!(p, plan(&requests), "the same requests have the same plan");
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
        let p = Plan { offsets: at.into_iter().map(Dim::from).collect(), total: Dim::from(height), ..plan(&[]) };
        check_disjoint(&requests, &p, 1);
    }
}
