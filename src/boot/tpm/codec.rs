//! The one command that is sent to the TPM, and its answer, as bytes: TPM 2.0 Library, part 3, `TPM2_PCR_Event`. Nothing is
//! read or written here.
//!
//! `TPM2_PCR_Event` and not `TPM2_PCR_Extend`: the TPM hashes the text itself, for each bank of PCRs that it has. What was
//! sealed to the SHA-1 or SHA-384 bank is closed as well as what was sealed to the SHA-256 one.

#![allow(clippy::big_endian_bytes, reason = "a TPM's numbers are")]

use std::fmt::Write as _;

use super::error::TpmError;

/// `TPM_ST_NO_SESSIONS` and `TPM_ST_SESSIONS`.
const NO_SESSIONS: u16 = 0x8001;
const SESSIONS: u16 = 0x8002;

/// `TPM_CC_PCR_Event`.
const PCR_EVENT: u32 = 0x13c;

/// The session of an empty password: its size, `TPM_RS_PW`, no nonce, no attributes, no password.
const EMPTY_PASSWORD: [u8; 13] = [0, 0, 0, 9, 0x40, 0, 0, 9, 0, 0, 0, 0, 0];

/// The most bytes of an answer, and of what is measured.
pub(super) const ANSWER_MAX: usize = 4096;
const EVENT_MAX: usize = 1024;

/// The digest that one bank of PCRs was extended with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BankDigest {
    /// The hash algorithm, as systemd spells it.
    pub algorithm: &'static str,
    /// The digest.
    pub digest: Vec<u8>,
}

impl BankDigest {
    /// The digest in hex.
    pub fn hex(&self) -> String {
        self.digest.iter().fold(String::new(), |mut text, byte| {
            // Writing to a String can't fail.
            let _ = write!(text, "{byte:02x}");
            text
        })
    }
}

/// The command that measures a text, of which 1024 bytes count, into a PCR.
pub fn pcr_event(pcr: u8, text: &str) -> Vec<u8> {
    let text = &text.as_bytes()[..text.len().min(EVENT_MAX)];
    let mut body = u32::from(pcr).to_be_bytes().to_vec();
    body.extend(EMPTY_PASSWORD);
    body.extend(u16::try_from(text.len()).unwrap_or(0).to_be_bytes());
    body.extend(text);
    let size = u32::try_from(10 + body.len()).unwrap_or(0);
    let mut command = SESSIONS.to_be_bytes().to_vec();
    command.extend(size.to_be_bytes());
    command.extend(PCR_EVENT.to_be_bytes());
    command.extend(body);
    command
}

/// What the TPM extended the PCR with. Bytes that are not exactly such an answer are an error, and so is an answer without a
/// digest: then there is no bank, and nothing was measured.
pub fn pcr_event_answer(bytes: &[u8]) -> Result<Vec<BankDigest>, TpmError> {
    let mut answer = Answer(bytes);
    let (tag, size, code) = (answer.u16()?, answer.u32()?, answer.u32()?);
    if usize::try_from(size) != Ok(bytes.len()) {
        return Err(TpmError::NotUnderstood);
    }
    match (tag, code) {
        (NO_SESSIONS, 1..) if answer.0.is_empty() => return Err(TpmError::SaidNo(code)),
        (SESSIONS, 0) => {}
        _ => return Err(TpmError::NotUnderstood),
    }
    let parameters = answer.u32()?;
    let rest = answer.0.len();
    let digests = answer.digests()?;
    if usize::try_from(parameters) != Ok(rest - answer.0.len()) {
        return Err(TpmError::NotUnderstood);
    }
    answer.session()?;
    if digests.is_empty() { Err(TpmError::NoBank) } else { Ok(digests) }
}

/// What is left of an answer.
struct Answer<'a>(&'a [u8]);

impl<'a> Answer<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8], TpmError> {
        let (taken, rest) = self.0.split_at_checked(count).ok_or(TpmError::NotUnderstood)?;
        self.0 = rest;
        Ok(taken)
    }

    fn u16(&mut self) -> Result<u16, TpmError> {
        Ok(self.take(2)?.iter().fold(0, |number, byte| number << 8 | u16::from(*byte)))
    }

    fn u32(&mut self) -> Result<u32, TpmError> {
        Ok(self.take(4)?.iter().fold(0, |number, byte| number << 8 | u32::from(*byte)))
    }

    /// `TPML_DIGEST_VALUES`, with each algorithm once.
    fn digests(&mut self) -> Result<Vec<BankDigest>, TpmError> {
        let mut digests: Vec<BankDigest> = Vec::new();
        for _ in 0..self.u32()? {
            let (algorithm, size) = algorithm(self.u16()?).ok_or(TpmError::NotUnderstood)?;
            if digests.iter().any(|other| other.algorithm == algorithm) {
                return Err(TpmError::NotUnderstood);
            }
            digests.push(BankDigest { algorithm, digest: self.take(size)?.to_vec() });
        }
        Ok(digests)
    }

    /// The session of an empty password in an answer: no nonce, some attributes, no authentication; then nothing more.
    fn session(mut self) -> Result<(), TpmError> {
        let (nonce, _attributes, authentication) = (self.u16()?, self.take(1)?, self.u16()?);
        if nonce == 0 && authentication == 0 && self.0.is_empty() {
            Ok(())
        } else {
            Err(TpmError::NotUnderstood)
        }
    }
}

/// The name and the size of a hash algorithm, `TPM_ALG_ID`.
fn algorithm(id: u16) -> Option<(&'static str, usize)> {
    Some(match id {
        0x04 => ("sha1", 20),
        0x0b => ("sha256", 32),
        0x0c => ("sha384", 48),
        0x0d => ("sha512", 64),
        0x12 => ("sm3_256", 32),
        0x27 => ("sha3_256", 32),
        0x28 => ("sha3_384", 48),
        0x29 => ("sha3_512", 64),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::{any, proptest};

    use super::{BankDigest, TpmError, pcr_event, pcr_event_answer};

    /// An answer with these digests, as libtpms writes it.
    fn answer(banks: &[(u16, usize)]) -> Vec<u8> {
        let mut digests = u32::try_from(banks.len()).unwrap().to_be_bytes().to_vec();
        for (id, size) in banks {
            digests.extend(id.to_be_bytes());
            digests.extend(vec![7; *size]);
        }
        let mut bytes = vec![0x80, 2];
        bytes.extend(u32::try_from(10 + 4 + digests.len() + 5).unwrap().to_be_bytes());
        bytes.extend([0; 4]);
        bytes.extend(u32::try_from(digests.len()).unwrap().to_be_bytes());
        bytes.extend(digests);
        bytes.extend([0, 0, 1, 0, 0]);
        bytes
    }

    #[test]
    fn the_command_is_the_specifications() {
        let expected = b"\x80\x02\0\0\0\x20\0\0\x01\x3c\0\0\0\x0f\0\0\0\x09\x40\0\0\x09\0\0\0\0\0\0\x03abc";
        assert_eq!(pcr_event(15, "abc"), expected);
    }

    #[test]
    fn an_answer_has_a_digest_for_each_bank() {
        let digests = pcr_event_answer(&answer(&[(4, 20), (11, 32)])).unwrap();
        let expected = [("sha1", 20), ("sha256", 32)]
            .map(|(algorithm, size)| BankDigest { algorithm, digest: vec![7; size] });
        assert_eq!(digests, expected);
        assert_eq!(digests[0].hex(), "07".repeat(20));
    }

    #[test]
    fn what_the_tpm_says_instead_is_told() {
        let no = b"\x80\x01\0\0\0\x0a\0\0\x01\x01";
        assert_eq!(pcr_event_answer(no), Err(TpmError::SaidNo(0x101)));
        assert_eq!(pcr_event_answer(&answer(&[])), Err(TpmError::NoBank));
        for twice_or_unknown in [&[(11, 32), (11, 32)][..], &[(1, 32)]] {
            assert_eq!(pcr_event_answer(&answer(twice_or_unknown)), Err(TpmError::NotUnderstood));
        }
        assert_eq!(pcr_event_answer(b"\x80\x01\0\0\0\x0a\0\0\0\0"), Err(TpmError::NotUnderstood));
    }

    #[test]
    fn an_answer_that_is_cut_or_longer_is_none() {
        let good = answer(&[(11, 32), (12, 48)]);
        for len in 0..good.len() {
            assert_eq!(pcr_event_answer(&good[..len]), Err(TpmError::NotUnderstood), "{len}");
        }
        let longer = [&good[..], &[0]].concat();
        assert_eq!(pcr_event_answer(&longer), Err(TpmError::NotUnderstood));
    }

    proptest! {
        #[test]
        fn garbage_is_no_answer(bytes in vec(any::<u8>(), 0..300)) {
            assert!(pcr_event_answer(&bytes).is_err());
        }

        // Sizes, counts and algorithms that lie; digests and session attributes may be anything.
        #[test]
        fn a_changed_byte_of_the_frame_is_no_answer(at in 0..20_usize, by in 1..=255_u8) {
            let mut bytes = answer(&[(11, 32)]);
            bytes[at] ^= by;
            assert!(pcr_event_answer(&bytes).is_err() || (bytes[18], bytes[19]) == (0, 0x12)
                || (bytes[18], bytes[19]) == (0, 0x27));
        }
    }
}
