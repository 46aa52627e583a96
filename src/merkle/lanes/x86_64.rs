//! SHA-256 with SHA-NI ("Intel SHA Extensions", 2013), `N` messages interleaved.
#![allow(
    unsafe_code,
    reason = "the SHA instructions have no safe interface, and not every processor has them"
)]
#![allow(
    unsafe_op_in_unsafe_fn,
    reason = "Rust before 1.87 calls even those intrinsics unsafe that take no pointer"
)]

use std::arch::is_x86_feature_detected;
use std::arch::x86_64::{
    __m128i, _mm_add_epi32, _mm_alignr_epi8, _mm_loadu_si128, _mm_set_epi8, _mm_setzero_si128,
    _mm_sha256msg1_epu32, _mm_sha256msg2_epu32, _mm_sha256rnds2_epu32, _mm_shuffle_epi8, _mm_shuffle_epi32,
    _mm_storeu_si128,
};

use super::sha256::{H0, HASH, K};

/// A message's state as the instructions want it: words A, B, E, F and words C, D, G, H, the first one highest.
#[derive(Clone, Copy)]
struct State {
    abef: __m128i,
    cdgh: __m128i,
}

/// Whether this processor has what [`hash`] needs.
pub(super) fn available() -> bool {
    is_x86_feature_detected!("sha") && is_x86_feature_detected!("sse4.1") && is_x86_feature_detected!("ssse3")
}

/// The hashes of `N` messages of `LEN` bytes, a multiple of 64, that lie one after the other.
///
/// # Safety
/// [`available`] has returned true.
#[target_feature(enable = "sha,sse4.1,ssse3")]
pub(super) unsafe fn hash<const N: usize, const LEN: usize>(
    messages: &[u8],
    padding: &[u32; 64],
) -> [[u8; HASH]; N] {
    assert!(messages.len() == N * LEN && LEN % 64 == 0);
    // SAFETY: the instructions are there, says the caller. Lane `n` reads 64 bytes at `n * LEN + offset`, which the
    // assertion keeps inside of `messages`.
    unsafe {
        let [a, b, c, d, e, f, g, h] = H0;
        let mut states = [State {
            abef: _mm_loadu_si128([f, e, b, a].as_ptr().cast()),
            cdgh: _mm_loadu_si128([h, g, d, c].as_ptr().cast()),
        }; N];
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
#[target_feature(enable = "sha,sse4.1,ssse3")]
#[inline]
unsafe fn compress<const N: usize>(states: &mut [State; N], blocks: [*const u8; N]) {
    let before = *states;
    // SAFETY: the instructions are there, and each block has the 4 * 16 bytes that are loaded, says the caller;
    // `load` stays inside of `K`.
    unsafe {
        let swap = _mm_set_epi8(12, 13, 14, 15, 8, 9, 10, 11, 4, 5, 6, 7, 0, 1, 2, 3);
        // The last 16 words of the schedule, four to a register.
        let mut w = [[_mm_setzero_si128(); N]; 4];
        for (group, w) in w.iter_mut().enumerate() {
            let k = load(&K, group);
            for n in 0..N {
                w[n] = _mm_shuffle_epi8(_mm_loadu_si128(blocks[n].add(16 * group).cast()), swap);
                four_rounds(&mut states[n], _mm_add_epi32(w[n], k));
            }
        }
        for sixteen in 1..4 {
            for group in 0..4 {
                let k = load(&K, 4 * sixteen + group);
                #[allow(
                    clippy::needless_range_loop,
                    reason = "Rust 1.85's clippy sees one of the indices only"
                )]
                for n in 0..N {
                    let last = w[(group + 3) % 4][n];
                    let minus_seven = _mm_alignr_epi8::<4>(last, w[(group + 2) % 4][n]);
                    let sum = _mm_sha256msg1_epu32(w[group][n], w[(group + 1) % 4][n]);
                    w[group][n] = _mm_sha256msg2_epu32(_mm_add_epi32(sum, minus_seven), last);
                    four_rounds(&mut states[n], _mm_add_epi32(w[group][n], k));
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
#[target_feature(enable = "sha,sse4.1,ssse3")]
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
#[target_feature(enable = "sha,sse4.1,ssse3")]
#[inline]
unsafe fn four_rounds(state: &mut State, words: __m128i) {
    state.cdgh = _mm_sha256rnds2_epu32(state.cdgh, state.abef, words);
    state.abef = _mm_sha256rnds2_epu32(state.abef, state.cdgh, _mm_shuffle_epi32::<0b1110>(words));
}

/// Words `4 * group` to `4 * group + 3`.
///
/// # Safety
/// `group` is below 16.
#[target_feature(enable = "sha,sse4.1,ssse3")]
#[inline]
unsafe fn load(words: &[u32; 64], group: usize) -> __m128i {
    // SAFETY: `4 * group + 3` is below 64, says the caller.
    unsafe { _mm_loadu_si128(words.as_ptr().add(4 * group).cast()) }
}

/// # Safety
/// [`available`] has returned true.
#[target_feature(enable = "sha,sse4.1,ssse3")]
#[inline]
unsafe fn add<const N: usize>(states: &mut [State; N], before: &[State; N]) {
    for (state, before) in states.iter_mut().zip(before) {
        state.abef = _mm_add_epi32(state.abef, before.abef);
        state.cdgh = _mm_add_epi32(state.cdgh, before.cdgh);
    }
}

/// # Safety
/// [`available`] has returned true.
#[target_feature(enable = "sha,sse4.1,ssse3")]
#[inline]
#[allow(clippy::big_endian_bytes, reason = "SHA-256 is defined in big-endian words")]
unsafe fn to_bytes(state: State) -> [u8; HASH] {
    let mut words = [[0_u32; 4]; 2];
    // SAFETY: each half of `words` has the 16 bytes that are stored into it.
    unsafe {
        _mm_storeu_si128(words[0].as_mut_ptr().cast(), state.abef);
        _mm_storeu_si128(words[1].as_mut_ptr().cast(), state.cdgh);
    }
    let [[f, e, b, a], [h, g, d, c]] = words;
    let mut bytes = [0; HASH];
    for (place, word) in bytes.chunks_exact_mut(4).zip([a, b, c, d, e, f, g, h]) {
        place.copy_from_slice(&word.to_be_bytes());
    }
    bytes
}
