//! SHA-256 with the ARMv8 cryptographic extension (FEAT_SHA256), `N` messages interleaved.
#![allow(
    unsafe_code,
    reason = "the SHA instructions have no safe interface, and not every processor has them"
)]

use std::arch::aarch64::{
    uint32x4_t, vaddq_u32, vdupq_n_u32, vld1q_u8, vld1q_u32, vreinterpretq_u8_u32, vreinterpretq_u32_u8,
    vrev32q_u8, vsha256h2q_u32, vsha256hq_u32, vsha256su0q_u32, vsha256su1q_u32, vst1q_u8,
};
use std::arch::is_aarch64_feature_detected;

use super::sha256::{H0, HASH, K};

/// A message's state: words A, B, C, D and words E, F, G, H, the first one lowest.
#[derive(Clone, Copy)]
struct State {
    abcd: uint32x4_t,
    efgh: uint32x4_t,
}

/// Whether this processor has what [`hash`] needs.
pub(super) fn available() -> bool {
    is_aarch64_feature_detected!("neon") && is_aarch64_feature_detected!("sha2")
}

/// The hashes of `N` messages of `LEN` bytes, a multiple of 64, that lie one after the other.
///
/// # Safety
/// [`available`] has returned true.
#[target_feature(enable = "neon,sha2")]
pub(super) unsafe fn hash<const N: usize, const LEN: usize>(
    messages: &[u8],
    padding: &[u32; 64],
) -> [[u8; HASH]; N] {
    assert!(messages.len() == N * LEN && LEN % 64 == 0);
    // SAFETY: the instructions are there, says the caller. Lane `n` reads 64 bytes at `n * LEN + offset`, which the
    // assertion keeps inside of `messages`.
    unsafe {
        let mut states = [State { abcd: vld1q_u32(H0.as_ptr()), efgh: vld1q_u32(H0.as_ptr().add(4)) }; N];
        for offset in (0..LEN).step_by(64) {
            compress(&mut states, std::array::from_fn(|n| messages.as_ptr().add(n * LEN + offset)));
        }
        compress_scheduled(&mut states, padding);
        states.map(|state| to_bytes(state))
    }
}

/// Adds 64 bytes to each state.
///
/// # Safety
/// [`available`] has returned true, and 64 bytes can be read at each pointer.
#[target_feature(enable = "neon,sha2")]
#[inline]
unsafe fn compress<const N: usize>(states: &mut [State; N], blocks: [*const u8; N]) {
    let before = *states;
    // SAFETY: the instructions are there, and each block has the 4 * 16 bytes that are loaded, says the caller;
    // `load` stays inside of `K`.
    unsafe {
        // The last 16 words of the schedule, four to a register.
        let mut w = [[vdupq_n_u32(0); N]; 4];
        for (group, w) in w.iter_mut().enumerate() {
            let k = load(&K, group);
            for n in 0..N {
                w[n] = vreinterpretq_u32_u8(vrev32q_u8(vld1q_u8(blocks[n].add(16 * group))));
                four_rounds(&mut states[n], vaddq_u32(w[n], k));
            }
        }
        for sixteen in 1..4 {
            for group in 0..4 {
                let k = load(&K, 4 * sixteen + group);
                for n in 0..N {
                    let sum = vsha256su0q_u32(w[group][n], w[(group + 1) % 4][n]);
                    w[group][n] = vsha256su1q_u32(sum, w[(group + 2) % 4][n], w[(group + 3) % 4][n]);
                    four_rounds(&mut states[n], vaddq_u32(w[group][n], k));
                }
            }
        }
        add(states, &before);
    }
}

/// Adds the 64 bytes to each state that have this schedule.
///
/// # Safety
/// [`available`] has returned true.
#[target_feature(enable = "neon,sha2")]
#[inline]
unsafe fn compress_scheduled<const N: usize>(states: &mut [State; N], schedule: &[u32; 64]) {
    let before = *states;
    // SAFETY: the instructions are there, says the caller; `load` stays inside of `schedule`.
    unsafe {
        for group in 0..16 {
            let words = load(schedule, group);
            for state in &mut *states {
                four_rounds(state, words);
            }
        }
        add(states, &before);
    }
}

/// # Safety
/// [`available`] has returned true.
#[target_feature(enable = "neon,sha2")]
#[inline]
unsafe fn four_rounds(state: &mut State, words: uint32x4_t) {
    let abcd = state.abcd;
    state.abcd = vsha256hq_u32(abcd, state.efgh, words);
    state.efgh = vsha256h2q_u32(state.efgh, abcd, words);
}

/// Words `4 * group` to `4 * group + 3`.
///
/// # Safety
/// `group` is below 16, and [`available`] has returned true.
#[target_feature(enable = "neon,sha2")]
#[inline]
unsafe fn load(words: &[u32; 64], group: usize) -> uint32x4_t {
    // SAFETY: `4 * group + 3` is below 64, says the caller.
    unsafe { vld1q_u32(words.as_ptr().add(4 * group)) }
}

/// # Safety
/// [`available`] has returned true.
#[target_feature(enable = "neon,sha2")]
#[inline]
unsafe fn add<const N: usize>(states: &mut [State; N], before: &[State; N]) {
    for (state, before) in states.iter_mut().zip(before) {
        state.abcd = vaddq_u32(state.abcd, before.abcd);
        state.efgh = vaddq_u32(state.efgh, before.efgh);
    }
}

/// # Safety
/// [`available`] has returned true.
#[target_feature(enable = "neon,sha2")]
#[inline]
unsafe fn to_bytes(state: State) -> [u8; HASH] {
    let mut bytes = [0; HASH];
    // SAFETY: `bytes` has the 2 * 16 bytes that are stored.
    unsafe {
        vst1q_u8(bytes.as_mut_ptr(), vrev32q_u8(vreinterpretq_u8_u32(state.abcd)));
        vst1q_u8(bytes.as_mut_ptr().add(16), vrev32q_u8(vreinterpretq_u8_u32(state.efgh)));
    }
    bytes
}
