//! SHA-256 with AVX-512, 16 messages side by side: each register holds the same word of all of them.
#![allow(
    unsafe_code,
    reason = "vectors are loaded and stored through pointers, and not every processor has them"
)]
#![allow(clippy::incompatible_msrv, reason = "build.rs leaves this module out where the compiler is older")]

use std::arch::asm;
use std::arch::is_x86_feature_detected;
use std::arch::x86_64::{
    __m512i, _mm512_add_epi32, _mm512_loadu_si512, _mm512_ror_epi32, _mm512_set1_epi32, _mm512_set4_epi32,
    _mm512_setzero_si512, _mm512_shuffle_epi8, _mm512_shuffle_i32x4, _mm512_srli_epi32, _mm512_storeu_si512,
    _mm512_sub_epi32, _mm512_ternarylogic_epi32, _mm512_unpackhi_epi32, _mm512_unpackhi_epi64,
    _mm512_unpacklo_epi32, _mm512_unpacklo_epi64,
};

use super::sha256::{H0, HASH, K};

/// Messages that are hashed at once.
const LANES: usize = 16;

/// Whether this processor has what [`hash`] needs.
pub(super) fn available() -> bool {
    is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512bw")
}

/// The hashes of one to 16 messages of `LEN` bytes, a multiple of 64, that lie one after the other. Each takes the time
/// of all 16; lanes without a message repeat the last one.
#[target_feature(enable = "avx512f,avx512bw")]
pub(super) fn hash<const LEN: usize>(messages: &[u8], padding: &[u32; 64]) -> [[u8; HASH]; LANES] {
    let count = messages.len() / LEN;
    assert!((1..=LANES).contains(&count) && messages.len() == count * LEN && LEN % 64 == 0);
    let mut state = [_mm512_setzero_si512(); 8];
    for (word, h) in state.iter_mut().zip(H0) {
        *word = broadcast(h);
    }
    for offset in (0..LEN).step_by(64) {
        let mut rows = [_mm512_setzero_si512(); LANES];
        for (n, row) in rows.iter_mut().enumerate() {
            let start = n.min(count - 1) * LEN + offset;
            // SAFETY: message `count - 1` is the last one and `offset` at most `LEN - 64`, so that the assertion keeps
            // the 64 bytes at `start` inside of `messages`.
            *row = unsafe { _mm512_loadu_si512(messages.as_ptr().add(start).cast()) };
        }
        compress(&mut state, transpose(rows));
    }
    compress_scheduled(&mut state, padding);
    to_bytes(state)
}

/// The same sixteen times, with a constant that counts from 0: a loop that the compiler doesn't unroll would keep the
/// schedule in memory.
macro_rules! sixteen_times {
    ($t:ident, $body:block) => {
        sixteen_times!($t, $body, 0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15)
    };
    ($t:ident, $body:block, $($n:literal)*) => {
        $({
            const $t: usize = $n;
            $body
        })*
    };
}

/// Adds 64 bytes to each message's state: `w` has their words.
#[target_feature(enable = "avx512f,avx512bw")]
#[inline]
fn compress(state: &mut [__m512i; 8], mut w: [__m512i; 16]) {
    let before = *state;
    let mut s = before;
    sixteen_times!(T, {
        s = round(s, _mm512_add_epi32(w[T], broadcast(K[T])));
    });
    for k in K[16..].chunks_exact(16) {
        sixteen_times!(T, {
            let recent = _mm512_add_epi32(w[T], w[(T + 9) % 16]);
            let s0 = sigma::<7, 18, 3>(w[(T + 1) % 16]);
            let s1 = sigma::<17, 19, 10>(w[(T + 14) % 16]);
            w[T] = _mm512_add_epi32(_mm512_add_epi32(recent, s0), s1);
            s = round(s, _mm512_add_epi32(w[T], broadcast(k[T])));
        });
    }
    *state = s;
    add(state, &before);
}

/// Adds the 64 bytes to each message's state that have this schedule.
#[target_feature(enable = "avx512f,avx512bw")]
#[inline]
fn compress_scheduled(state: &mut [__m512i; 8], schedule: &[u32; 64]) {
    let before = *state;
    let mut s = before;
    for words in schedule.chunks_exact(8) {
        for word in words {
            s = round(s, broadcast(*word));
        }
    }
    *state = s;
    add(state, &before);
}

/// One round (FIPS 180-4, 6.2.2, step 3) of all messages; `word` is W + K.
///
/// An instruction's result takes two cycles (Zen 5), and a round begins when the last one's E and A are there. So
/// whatever doesn't wait for them is added first; T1 comes from the next E by subtraction, which is off that path.
#[target_feature(enable = "avx512f,avx512bw")]
#[inline]
fn round([a, b, c, d, e, f, g, h]: [__m512i; 8], word: __m512i) -> [__m512i; 8] {
    let ch = _mm512_ternarylogic_epi32::<0xca>(e, f, g);
    let maj = _mm512_ternarylogic_epi32::<0xe8>(a, b, c);
    let s1 = xor(_mm512_ror_epi32::<6>(e), _mm512_ror_epi32::<11>(e), _mm512_ror_epi32::<25>(e));
    let s0 = xor(_mm512_ror_epi32::<2>(a), _mm512_ror_epi32::<13>(a), _mm512_ror_epi32::<22>(a));
    let early = in_order(_mm512_add_epi32(_mm512_add_epi32(h, word), d));
    let next_e = _mm512_add_epi32(in_order(_mm512_add_epi32(early, ch)), s1);
    let t1 = _mm512_sub_epi32(next_e, d);
    let next_a = _mm512_add_epi32(in_order(_mm512_add_epi32(t1, maj)), s0);
    [next_a, a, b, c, next_e, e, f, g]
}

/// The same sum, of which the compiler doesn't know that it is one: it would sort all summands of a round its own way,
/// which makes the path from round to round twice as long and a quarter of the speed go.
#[target_feature(enable = "avx512f,avx512bw")]
#[inline]
fn in_order(mut sum: __m512i) -> __m512i {
    // SAFETY: there is no instruction in it.
    unsafe { asm!("/* {0} */", inout(zmm_reg) sum, options(pure, nomem, nostack, preserves_flags)) };
    sum
}

/// What the schedule does with a word: two rotations and a shift.
#[target_feature(enable = "avx512f,avx512bw")]
#[inline]
fn sigma<const R1: i32, const R2: i32, const SHIFT: u32>(word: __m512i) -> __m512i {
    xor(_mm512_ror_epi32::<R1>(word), _mm512_ror_epi32::<R2>(word), _mm512_srli_epi32::<SHIFT>(word))
}

#[target_feature(enable = "avx512f,avx512bw")]
#[inline]
fn xor(a: __m512i, b: __m512i, c: __m512i) -> __m512i {
    _mm512_ternarylogic_epi32::<0x96>(a, b, c)
}

#[target_feature(enable = "avx512f,avx512bw")]
#[inline]
fn add(state: &mut [__m512i; 8], before: &[__m512i; 8]) {
    for (word, before) in state.iter_mut().zip(before) {
        *word = _mm512_add_epi32(*word, *before);
    }
}

#[target_feature(enable = "avx512f,avx512bw")]
#[inline]
fn broadcast(word: u32) -> __m512i {
    _mm512_set1_epi32(word.cast_signed())
}

/// From 64 bytes of each message to each word of all messages.
#[target_feature(enable = "avx512f,avx512bw")]
#[inline]
fn transpose(rows: [__m512i; 16]) -> [__m512i; 16] {
    let swap = _mm512_set4_epi32(0x0c0d_0e0f, 0x0809_0a0b, 0x0405_0607, 0x0001_0203);
    let mut quads = [[_mm512_setzero_si512(); 4]; 4];
    for (quad, words) in quads.iter_mut().enumerate() {
        let [a, b, c, d] = [rows[4 * quad], rows[4 * quad + 1], rows[4 * quad + 2], rows[4 * quad + 3]];
        let low = [_mm512_unpacklo_epi32(a, b), _mm512_unpacklo_epi32(c, d)];
        let high = [_mm512_unpackhi_epi32(a, b), _mm512_unpackhi_epi32(c, d)];
        words[0] = _mm512_unpacklo_epi64(low[0], low[1]);
        words[1] = _mm512_unpackhi_epi64(low[0], low[1]);
        words[2] = _mm512_unpacklo_epi64(high[0], high[1]);
        words[3] = _mm512_unpackhi_epi64(high[0], high[1]);
    }
    let mut columns = [_mm512_setzero_si512(); 16];
    for i in 0..4 {
        let [a, b, c, d] = [quads[0][i], quads[1][i], quads[2][i], quads[3][i]];
        let even = [_mm512_shuffle_i32x4::<0x88>(a, b), _mm512_shuffle_i32x4::<0x88>(c, d)];
        let odd = [_mm512_shuffle_i32x4::<0xdd>(a, b), _mm512_shuffle_i32x4::<0xdd>(c, d)];
        columns[i] = _mm512_shuffle_i32x4::<0x88>(even[0], even[1]);
        columns[4 + i] = _mm512_shuffle_i32x4::<0x88>(odd[0], odd[1]);
        columns[8 + i] = _mm512_shuffle_i32x4::<0xdd>(even[0], even[1]);
        columns[12 + i] = _mm512_shuffle_i32x4::<0xdd>(odd[0], odd[1]);
    }
    for column in &mut columns {
        *column = _mm512_shuffle_epi8(*column, swap);
    }
    columns
}

#[target_feature(enable = "avx512f,avx512bw")]
#[inline]
#[allow(clippy::big_endian_bytes, reason = "SHA-256 is defined in big-endian words")]
fn to_bytes(state: [__m512i; 8]) -> [[u8; HASH]; LANES] {
    let mut hashes = [[0; HASH]; LANES];
    for (t, words) in state.into_iter().enumerate() {
        let mut lanes = [0_u32; LANES];
        // SAFETY: `lanes` has the 64 bytes that are stored.
        unsafe { _mm512_storeu_si512(lanes.as_mut_ptr().cast(), words) };
        for (hash, word) in hashes.iter_mut().zip(lanes) {
            hash[4 * t..4 * t + 4].copy_from_slice(&word.to_be_bytes());
        }
    }
    hashes
}
