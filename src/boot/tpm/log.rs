//! `/run/log/systemd/tpm2-measure.log`, which systemd-pcrlock and others read: a JSON text sequence (RFC 7464), one record for
//! each measurement. systemd-pcrextend(8) has its rules: who measures holds the file's lock, and its sticky bit is set while the
//! TPM may know more than the file.

use std::fs::File;
use std::io::Write as _;
use std::path::Path;

use rustix::fs::{CWD, FlockOperation, Mode, OFlags, fchmod, flock, mkdirat, openat};
use rustix::io::Errno;

use super::codec::BankDigest;

/// The file, and the directories that may have to be made.
const DIRECTORIES: [&str; 2] = ["run/log", "run/log/systemd"];
const FILE: &str = "run/log/systemd/tpm2-measure.log";

/// The log, locked, and marked as incomplete.
pub(super) struct Log(File);

impl Log {
    /// Opens the log below a root directory for one record.
    pub(super) fn begin(root: &Path) -> Result<Self, Errno> {
        for name in DIRECTORIES {
            match mkdirat(CWD, root.join(name), Mode::from_raw_mode(0o755)) {
                Ok(()) | Err(Errno::EXIST) => {}
                Err(errno) => return Err(errno),
            }
        }
        let flags = OFlags::WRONLY
            | OFlags::APPEND
            | OFlags::CREATE
            | OFlags::CLOEXEC
            | OFlags::NOFOLLOW
            | OFlags::NONBLOCK;
        let file = openat(CWD, root.join(FILE), flags, Mode::RUSR | Mode::WUSR)?;
        flock(&file, FlockOperation::LockExclusive)?;
        fchmod(&file, Mode::RUSR | Mode::WUSR | Mode::SVTX)?;
        Ok(Self(File::from(file)))
    }

    /// Writes the record, and marks the log as complete again.
    pub(super) fn end(mut self, pcr: u8, text: &str, digests: &[BankDigest]) -> std::io::Result<()> {
        self.0.write_all(record(pcr, text, digests).as_bytes())?;
        Ok(fchmod(&self.0, Mode::RUSR | Mode::WUSR)?)
    }
}

/// A record. The text has no character that JSON would escape. With the type `systemd`, readers compare the digests with the
/// text's.
fn record(pcr: u8, text: &str, digests: &[BankDigest]) -> String {
    let digests: Vec<String> = digests
        .iter()
        .map(|bank| format!(r#"{{"hashAlg":"{}","digest":"{}"}}"#, bank.algorithm, bank.hex()))
        .collect();
    let digests = digests.join(",");
    format!(
        "\x1e{{\"pcr\":{pcr},\"digests\":[{digests}],\"content_type\":\"systemd\",\"content\":{{\"string\":\"{text}\"}}}}\n"
    )
}

#[cfg(test)]
mod tests {
    use super::record;
    use crate::tpm::codec::BankDigest;

    #[test]
    fn a_record_is_one_of_systemds() {
        let digests = [
            BankDigest { algorithm: "sha1", digest: vec![1; 20] },
            BankDigest { algorithm: "sha256", digest: vec![0xab; 32] },
        ];
        let expected = format!(
            "\x1e{{\"pcr\":15,\"digests\":[{{\"hashAlg\":\"sha1\",\"digest\":\"{}\"}},{{\"hashAlg\":\"sha256\",\"digest\":\"{}\"}}],\
             \"content_type\":\"systemd\",\"content\":{{\"string\":\"ostree-seal:refused\"}}}}\n",
            "01".repeat(20),
            "ab".repeat(32)
        );
        assert_eq!(record(15, "ostree-seal:refused", &digests), expected);
    }
}
