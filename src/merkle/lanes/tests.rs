use proptest::prelude::{any, prop, prop_assert_eq, proptest};

use super::{BLOCK, hash_blocks, hash_messages, hash_one_by_one};

/// Says when there is nothing to compare: then the tests below hold sha2 against itself.
fn note_missing_kernel() {
    #[cfg(any(target_arch = "aarch64", target_arch = "x86_64"))]
    if super::kernel::available() {
        return;
    }
    eprintln!("SKIP four_lanes: no SHA instructions on this processor");
}

/// The padding depends on the length, so each length has its own.
fn agrees_with_sha2<const LEN: usize>(data: &[u8]) {
    for count in 0..=data.len() / LEN {
        let messages = &data[..count * LEN];
        let (mut found, mut expected) = (Vec::new(), Vec::new());
        hash_messages::<LEN>(messages, &mut found);
        hash_one_by_one::<LEN>(messages, &mut expected);
        assert!(found == expected, "{count} messages of {LEN} bytes");
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
    note_missing_kernel();
    let data = noise(37 * BLOCK);
    agrees_with_sha2::<64>(&data[..37 * 64]);
    agrees_with_sha2::<128>(&data[..37 * 128]);
    agrees_with_sha2::<256>(&data[..37 * 256]);
    agrees_with_sha2::<1024>(&data[..37 * 1024]);
    agrees_with_sha2::<BLOCK>(&data);
}

#[test]
fn messages_may_start_at_any_address() {
    let data = noise(5 * BLOCK + 64);
    for start in 0..64 {
        agrees_with_sha2::<BLOCK>(&data[start..][..5 * BLOCK]);
    }
}

#[test]
fn lanes_do_not_leak_into_each_other() {
    let mut data = noise(8 * BLOCK);
    let mut before = Vec::new();
    hash_blocks(&data, &mut before);
    for lane in 0..8 {
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
#[should_panic(expected = "are not whole messages")]
fn a_part_of_a_message_is_a_bug() {
    hash_blocks(&[0; BLOCK + 1], &mut Vec::new());
}

proptest! {
    #[test]
    fn random_messages_are_hashed_as_sha2_does(data in prop::collection::vec(any::<u8>(), 0..40 * 64)) {
        let messages = &data[..data.len() - data.len() % 64];
        let (mut found, mut expected) = (Vec::new(), Vec::new());
        hash_messages::<64>(messages, &mut found);
        hash_one_by_one::<64>(messages, &mut expected);
        prop_assert_eq!(found, expected);
    }
}
