//! Weights files: what is written is read back, and no damage goes unnoticed.

use kiln_rt::hash::xxh64;
use kiln_rt::weights::{HEADER_LEN, Problem, Weights, WeightsError, WeightsWriter};
use proptest::prelude::*;
use std::path::Path;

fn write(path: &Path, pieces: &[&[u8]], layout_id: u64) {
    let mut writer = WeightsWriter::create(path, layout_id).unwrap();
    for piece in pieces {
        writer.write_aligned(piece).unwrap();
    }
    writer.finish().unwrap();
}

fn problem(path: &Path) -> Problem {
    match Weights::map(path).and_then(|w| w.verify()) {
        Err(WeightsError::Corrupt { path: named, problem }) => {
            assert_eq!(named, path);
            problem
        }
        other => panic!("expected a corrupt file, got {other:?}"),
    }
}

#[test]
fn pieces_are_aligned_and_read_back() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("model.weights");
    let mut writer = WeightsWriter::create(&path, 42).unwrap();
    assert_eq!(writer.write_aligned(&[1, 2, 3]).unwrap(), 0);
    assert_eq!(writer.write_aligned(&[4; 64]).unwrap(), 64);
    assert_eq!(writer.write_aligned(&[5]).unwrap(), 128);
    assert_eq!(writer.write(&[6]).unwrap(), 129);
    assert!(!path.exists(), "nothing under the name before finish");
    let header = writer.finish().unwrap();

    let weights = Weights::map(&path).unwrap();
    weights.verify().unwrap();
    let mut expected = vec![0; 130];
    expected[..3].copy_from_slice(&[1, 2, 3]);
    expected[64..128].fill(4);
    expected[128..].copy_from_slice(&[5, 6]);
    assert_eq!(weights.payload(), expected);
    assert_eq!(weights.payload().as_ptr().addr() % 64, 0);
    assert_eq!(weights.header(), header);
    assert_eq!((header.payload_len, header.layout_id, header.checksum), (130, 42, xxh64(&expected, 0)));
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1, "nothing else is left");
}

#[test]
fn an_empty_payload_is_a_file() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("empty.weights");
    write(&path, &[], 0);
    let weights = Weights::map(&path).unwrap();
    weights.verify().unwrap();
    assert!(weights.payload().is_empty());
}

#[test]
fn an_abandoned_writer_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("model.weights");
    write(&path, &[b"old"], 0);
    let mut writer = WeightsWriter::create(&path, 0).unwrap();
    writer.write(b"new").unwrap();
    drop(writer);
    assert_eq!(Weights::map(&path).unwrap().payload(), b"old");
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
}

#[test]
fn a_replaced_file_does_not_disturb_a_reader() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("model.weights");
    write(&path, &[b"old"], 0);
    let old = Weights::map(&path).unwrap();
    write(&path, &[b"new"], 0);
    assert_eq!(old.payload(), b"old");
    assert_eq!(Weights::map(&path).unwrap().payload(), b"new");
}

#[test]
fn wrong_files_are_named_as_such() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("w");
    assert!(matches!(Weights::map(&path), Err(WeightsError::Io { action: "open", .. })));
    std::fs::write(&path, b"").unwrap();
    assert_eq!(problem(&path), Problem::NotWeights);
    std::fs::write(&path, [7; 500]).unwrap();
    assert_eq!(problem(&path), Problem::NotWeights);
    assert!(Weights::map(dir.path()).is_err(), "a directory");

    write(&path, &[b"abc"], 0);
    let good = std::fs::read(&path).unwrap();
    let mut newer = good.clone();
    newer[8] = 2;
    std::fs::write(&path, &newer).unwrap();
    assert_eq!(problem(&path), Problem::Version { found: 2 });
    std::fs::write(&path, &good[..good.len() - 1]).unwrap();
    assert_eq!(problem(&path), Problem::Length { expected: 67, found: 66 });
    std::fs::write(&path, [&good[..], b"x"].concat()).unwrap();
    assert_eq!(problem(&path), Problem::Length { expected: 67, found: 68 });
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn any_changed_byte_is_found(payload in proptest::collection::vec(any::<u8>(), 0..200), at: prop::sample::Index, flip in 1u8..) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("w");
        write(&path, &[&payload], 9);
        let mut bytes = std::fs::read(&path).unwrap();
        prop_assert_eq!(bytes.len(), HEADER_LEN + payload.len());
        let at = at.index(bytes.len());
        bytes[at] ^= flip;
        std::fs::write(&path, &bytes).unwrap();
        let found = problem(&path);
        let expected = match at {
            0..8 => matches!(found, Problem::NotWeights),
            8..12 => matches!(found, Problem::Version { .. }),
            12..64 => matches!(found, Problem::Header),
            _ => matches!(found, Problem::Checksum { .. }),
        };
        prop_assert!(expected, "byte {}: {:?}", at, found);
    }
}
