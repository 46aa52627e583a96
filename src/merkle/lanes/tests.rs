use proptest::prelude::{any, prop, prop_assert_eq, proptest};

use sha2::{Digest as _, Sha256};

use super::{BLOCK, LANES, hash_blocks, hash_in_lanes, hash_messages};

/// Limits that make each path run on a processor that has all of them: `sha2`, SHA instructions, AVX-512.
const PATHS: [usize; 3] = [1, 4, LANES];

/// Says which paths there is nothing to test of: then a narrower one runs in their place.
fn note_missing_kernels() {
    #[cfg(any(target_arch = "aarch64", target_arch = "x86_64"))]
    let four = super::kernel::available();
    #[cfg(not(any(target_arch = "aarch64", target_arch = "x86_64")))]
    let four = false;
    #[cfg(sixteen_lanes)]
    let sixteen = super::avx512::available();
    #[cfg(not(sixteen_lanes))]
    let sixteen = false;
    for (lanes, available) in [("four", four), ("sixteen", sixteen)] {
        if !available {
            eprintln!("SKIP {lanes}_lanes: not on this processor, or not with this compiler");
        }
    }
}

fn one_by_one(messages: &[u8], len: usize) -> Vec<u8> {
    messages.chunks_exact(len).flat_map(|message| <[u8; 32]>::from(Sha256::digest(message))).collect()
}

/// The padding depends on the length, so each length has its own.
fn agrees_with_sha2<const LEN: usize>(data: &[u8]) {
    let expected = one_by_one(data, LEN);
    for most in PATHS {
        for count in 0..=data.len() / LEN {
            let mut found = Vec::new();
            hash_in_lanes::<LEN>(most, &data[..count * LEN], &mut found);
            assert!(found == expected[..count * 32], "{count} messages of {LEN} bytes in {most} lanes");
        }
    }
}

fn noise(len: usize) -> Vec<u8> {
    let mut state = 0x853c_49e6_748f_ea9b_u64;
    (0..len)
        .map(|_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 56).to_le_bytes()[0]
        })
        .collect()
}

#[test]
fn every_number_of_messages_of_every_length_is_hashed_as_sha2_does() {
    note_missing_kernels();
    let data = noise(40 * BLOCK);
    agrees_with_sha2::<64>(&data[..40 * 64]);
    agrees_with_sha2::<128>(&data[..40 * 128]);
    agrees_with_sha2::<256>(&data[..40 * 256]);
    agrees_with_sha2::<1024>(&data[..40 * 1024]);
    agrees_with_sha2::<BLOCK>(&data);
}

#[test]
fn messages_may_start_at_any_address() {
    const COUNT: usize = LANES + 4 + 3;
    let data = noise(COUNT * BLOCK + 64);
    for start in 0..64 {
        let messages = &data[start..][..COUNT * BLOCK];
        let expected = one_by_one(messages, BLOCK);
        for most in PATHS {
            let mut found = Vec::new();
            hash_in_lanes::<BLOCK>(most, messages, &mut found);
            assert!(found == expected, "from {start} in {most} lanes");
        }
    }
}

#[test]
fn lanes_do_not_leak_into_each_other() {
    const COUNT: usize = LANES + 4;
    let mut data = noise(COUNT * BLOCK);
    let mut before = Vec::new();
    hash_blocks(&data, &mut before);
    for lane in 0..COUNT {
        data[lane * BLOCK + 17] ^= 1;
        let mut after = Vec::new();
        hash_blocks(&data, &mut after);
        for (other, (a, b)) in before.chunks_exact(32).zip(after.chunks_exact(32)).enumerate() {
            assert_eq!(a != b, other == lane, "lane {other} after a change in lane {lane}");
        }
        data[lane * BLOCK + 17] ^= 1;
    }
}

#[test]
fn what_was_hashed_before_is_kept() {
    let data = noise(LANES * 64);
    for most in PATHS {
        let mut hashes = vec![7];
        hash_in_lanes::<64>(most, &data, &mut hashes);
        assert!(hashes[0] == 7 && hashes[1..] == one_by_one(&data, 64), "in {most} lanes");
    }
}

#[test]
#[should_panic(expected = "are not whole messages")]
fn a_part_of_a_message_is_a_bug() {
    hash_blocks(&[0; BLOCK + 1], &mut Vec::new());
}

proptest! {
    #[test]
    fn random_messages_are_hashed_as_sha2_does(data in prop::collection::vec(any::<u8>(), 0..40 * 64)) {
        let messages = &data[..data.len() - data.len() % 64];
        let expected = one_by_one(messages, 64);
        let mut found = Vec::new();
        hash_messages::<64>(messages, &mut found);
        prop_assert_eq!(&found, &expected);
        for most in PATHS {
            found.clear();
            hash_in_lanes::<64>(most, messages, &mut found);
            prop_assert_eq!(&found, &expected);
        }
    }
}
