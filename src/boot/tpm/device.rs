//! The TPM's device: one write, one wait, one read.

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::thread::sleep;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{CWD, FileType, Mode, OFlags, fstat, openat};
use rustix::io::{Errno, read, retry_on_intr, write};

use super::codec::ANSWER_MAX;
use super::error::TpmError;

/// Where the kernel shows a TPM: with its resource manager, and without.
const DEVICES: [&str; 2] = ["dev/tpmrm0", "dev/tpm0"];

/// The firmware says here that it has a TPM 2.0.
const ANNOUNCED: &str = "sys/firmware/acpi/tables/TPM2";

/// How often, and how many milliseconds apart, the device is looked for where the firmware says that there is one: its driver may
/// still be at work.
const LOOKS: u32 = 100;
const BETWEEN_LOOKS: u64 = 50;

/// The time that a TPM has for an answer. Slow ones take a second or two.
pub(super) const ANSWER_WITHIN: Timespec = Timespec { tv_sec: 30, tv_nsec: 0 };

/// Opens the TPM below a root directory.
pub(super) fn open(root: &Path) -> Result<OwnedFd, TpmError> {
    let looks = if root.join(ANNOUNCED).exists() { LOOKS } else { 1 };
    for look in 1..=looks {
        for name in DEVICES {
            match open_device(&root.join(name)) {
                Err(Errno::NOENT | Errno::NODEV | Errno::NXIO) => {}
                device => return device.map_err(TpmError::Unusable),
            }
        }
        if look < looks {
            sleep(Duration::from_millis(BETWEEN_LOOKS));
        }
    }
    Err(TpmError::Missing)
}

/// Non-blocking, so that the kernel lets us wait for the answer, and not longer than we want to.
fn open_device(path: &Path) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDWR | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NOCTTY | OFlags::NONBLOCK;
    let device = openat(CWD, path, flags, Mode::empty())?;
    match FileType::from_raw_mode(fstat(&device)?.st_mode) {
        FileType::CharacterDevice => Ok(device),
        _ => Err(Errno::NOTTY),
    }
}

/// Sends a command, and returns the answer.
pub(super) fn exchange(device: impl AsFd, command: &[u8], within: Timespec) -> Result<Vec<u8>, TpmError> {
    let sent = retry_on_intr(|| write(&device, command)).map_err(TpmError::Unusable)?;
    if sent != command.len() {
        return Err(TpmError::Unusable(Errno::IO));
    }
    let mut ready = [PollFd::new(&device, PollFlags::IN)];
    if retry_on_intr(|| poll(&mut ready, Some(&within))).map_err(TpmError::Unusable)? == 0 {
        return Err(TpmError::Late);
    }
    let mut answer = vec![0; ANSWER_MAX];
    match retry_on_intr(|| read(&device, &mut answer)).map_err(TpmError::Unusable)? {
        // So the kernel says that the command did not get through.
        0 => Err(TpmError::Unusable(Errno::IO)),
        len => {
            answer.truncate(len);
            Ok(answer)
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::{Read, Write};
    use std::os::unix::net::UnixStream;
    use std::thread;
    use std::time::Duration;

    use rustix::event::Timespec;
    use rustix::io::Errno;

    use super::{ANSWER_WITHIN, exchange, open};
    use crate::tpm::error::TpmError;

    const SOON: Timespec = Timespec { tv_sec: 0, tv_nsec: 50_000_000 };

    #[test]
    fn a_slow_answer_is_waited_for() {
        let (ours, mut tpms) = UnixStream::pair().unwrap();
        let tpm = thread::spawn(move || {
            let mut command = [0; 3];
            tpms.read_exact(&mut command).unwrap();
            thread::sleep(Duration::from_millis(300));
            tpms.write_all(&command).unwrap();
            tpms
        });
        assert_eq!(exchange(&ours, b"abc", ANSWER_WITHIN), Ok(b"abc".to_vec()));
        drop(tpm.join().unwrap());
    }

    #[test]
    fn a_tpm_that_does_not_answer_or_goes_away_is_told() {
        let (ours, tpms) = UnixStream::pair().unwrap();
        assert_eq!(exchange(&ours, b"abc", SOON), Err(TpmError::Late));
        let mut tpms = tpms;
        tpms.read_exact(&mut [0; 3]).unwrap();
        tpms.shutdown(std::net::Shutdown::Write).unwrap();
        assert_eq!(exchange(&ours, b"abc", SOON), Err(TpmError::Unusable(Errno::IO)));
        drop(tpms);
        let said = exchange(&ours, b"abc", SOON);
        assert!(matches!(said, Err(TpmError::Unusable(_))), "{said:?}");
    }

    #[test]
    fn a_file_in_the_place_of_the_device_is_no_tpm() {
        let root = tempfile_root("file");
        assert_eq!(open(&root).unwrap_err(), TpmError::Missing);
        fs::write(root.join("dev/tpm0"), "").unwrap();
        assert_eq!(open(&root).unwrap_err(), TpmError::Unusable(Errno::NOTTY));
        fs::create_dir(root.join("dev/tpmrm0")).unwrap();
        assert_eq!(open(&root).unwrap_err(), TpmError::Unusable(Errno::ISDIR));
    }

    fn tempfile_root(name: &str) -> std::path::PathBuf {
        let root = std::env::temp_dir().join(format!("ostree-seal-tpm-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&root);
        fs::create_dir_all(root.join("dev")).unwrap();
        root
    }
}
