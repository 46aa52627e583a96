//! Which file systems can hold a sealed deployment, found out before anything is changed on them.

use std::fmt;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use ostree_seal_root::check::verity::{self, EnableError, MeasureError};
use ostree_seal_root::find::deployment::IMAGE_NAME;
use rustix::fs::{self, AtFlags, Mode, OFlags, StatxFlags};
use rustix::io::Errno;

use super::verity::Coverage;

/// The mount that a file lies on, as `/proc/self/mountinfo` names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mount {
    /// Where it is mounted.
    pub target: PathBuf,
    /// `ext4`, `xfs`, …
    pub kind: String,
    /// The device, or whatever the file system calls its source.
    pub source: String,
}

/// Why no deployment on a file system can be sealed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotSealable {
    mount: Option<Mount>,
    cause: Cause,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Cause {
    NoVerity { kernel_knows: Option<bool> },
    BlockSize(u64),
    Errno(Errno),
}

/// Checks that files in `directory` can get fs-verity. First a question that changes nothing ([`ask_verity`]), then an
/// attempt on an unnamed file that is gone afterwards.
pub fn require_verity(directory: impl AsFd, witness: &str) -> Result<(), NotSealable> {
    ask_verity(&directory, witness)?;
    let refuse = |cause| Err(NotSealable { mount: mount_of(&directory), cause });
    match attempt(&directory) {
        Ok(()) => Ok(()),
        Err(EnableError::Unsupported) => refuse(Cause::NoVerity { kernel_knows: kernel_knows_verity() }),
        Err(EnableError::Os(Errno::INVAL)) => {
            refuse(Cause::BlockSize(fs::fstatvfs(&directory).map_or(0, |stat| stat.f_bsize)))
        }
        Err(EnableError::Busy) => refuse(Cause::Errno(Errno::TXTBSY)),
        Err(EnableError::Os(errno)) => refuse(Cause::Errno(errno)),
    }
}

/// Asks whether files in `directory` can get fs-verity, by measuring the directory's file `witness`: nothing is changed.
pub fn ask_verity(directory: impl AsFd, witness: &str) -> Result<(), NotSealable> {
    let refuse = |cause| Err(NotSealable { mount: mount_of(&directory), cause });
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    let file = match fs::openat(&directory, witness, flags, Mode::empty()) {
        Ok(file) => file,
        Err(errno) => return refuse(Cause::Errno(errno)),
    };
    match verity::measure(&file) {
        Ok(_) | Err(MeasureError::NotEnabled | MeasureError::OtherAlgorithm(_)) => Ok(()),
        Err(MeasureError::Unsupported) => refuse(Cause::NoVerity { kernel_knows: kernel_knows_verity() }),
        Err(MeasureError::Os(errno)) => refuse(Cause::Errno(errno)),
    }
}

/// How many bytes sealing the next update may take: an image as large as the one in `deployment`, twice, since the old
/// one stays until the new one has its name, and the Merkle trees of the objects that have none yet.
pub fn room_needed(deployment: &Path, coverage: Option<Coverage>) -> u64 {
    let image = std::fs::metadata(deployment.join(IMAGE_NAME)).map_or(0, |metadata| metadata.len());
    // 32 bytes for each block of 4096, a little more for the upper levels, and a block for the descriptor.
    let trees = coverage.map_or(0, |coverage| {
        let without = u64::try_from(coverage.without).unwrap_or(u64::MAX);
        (coverage.bytes_without / 127).saturating_add(without.saturating_mul(8192))
    });
    image.saturating_mul(2).saturating_add(trees).saturating_add(ROOM_MIN)
}

/// Room for what libostree itself writes beside.
const ROOM_MIN: u64 = 16 << 20;

/// The mount that an open file lies on, if `/proc` is there to ask.
pub fn mount_of(file: impl AsFd) -> Option<Mount> {
    let stat = fs::statx(file, c"", AtFlags::EMPTY_PATH, StatxFlags::MNT_ID).ok()?;
    parse_mountinfo(&std::fs::read_to_string("/proc/self/mountinfo").ok()?, stat.stx_mnt_id)
}

/// Whether the running kernel was built with fs-verity, as far as it says so.
pub fn kernel_knows_verity() -> Option<bool> {
    let knows = ["ext4", "f2fs", "btrfs"].iter().any(|kind| {
        let features = std::path::Path::new("/sys/fs").join(kind).join("features");
        features.join("verity").exists()
    });
    match std::fs::exists("/sys/fs/ext4/features") {
        _ if knows => Some(true),
        Ok(true) => Some(false),
        _ => None,
    }
}

/// Switches fs-verity on for a file without a name, which is gone when this returns.
fn attempt(directory: impl AsFd) -> Result<(), EnableError> {
    let file = unnamed_file(directory).map_err(EnableError::Os)?;
    verity::enable(&file).map(|_| ())
}

/// A file of one byte, open for reading only and without a name.
fn unnamed_file(directory: impl AsFd) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDWR | OFlags::TMPFILE | OFlags::CLOEXEC;
    let writable = fs::openat(directory, c".", flags, Mode::RUSR | Mode::WUSR)?;
    rustix::io::write(&writable, b"x")?;
    let path = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&writable));
    fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
}

/// The mount with this id. Fields: id, parent, device, root, target, options, optional ones, `-`, kind, source, options.
fn parse_mountinfo(text: &str, id: u64) -> Option<Mount> {
    let line = text.lines().find(|line| line.split(' ').next() == Some(id.to_string().as_str()))?;
    let (front, back) = line.split_once(" - ")?;
    let mut back = back.split(' ');
    Some(Mount {
        target: PathBuf::from(unescape(front.split(' ').nth(4)?)),
        kind: back.next()?.to_owned(),
        source: unescape(back.next()?),
    })
}

/// The kernel writes blanks and backslashes as three octal digits.
fn unescape(field: &str) -> String {
    [(r"\040", " "), (r"\011", "\t"), (r"\012", "\n"), (r"\134", r"\")]
        .iter()
        .fold(field.to_owned(), |text, (escaped, plain)| text.replace(escaped, plain))
}

impl NotSealable {
    /// Whether the running kernel is the cause, whatever the file system is.
    pub fn is_of_kernel(&self) -> bool {
        self.cause == Cause::NoVerity { kernel_knows: Some(false) } && takes_verity(self.mount().0)
    }

    /// Whether nothing is known, since the user may not ask.
    pub fn is_no_permission(&self) -> bool {
        matches!(self.cause, Cause::Errno(Errno::ACCESS | Errno::PERM))
    }

    /// Kind, source and target of the mount.
    fn mount(&self) -> (&str, &str, String) {
        match &self.mount {
            Some(mount) => (&mount.kind, &mount.source, mount.target.display().to_string()),
            None => ("unknown", "unknown device", "unknown mount point".to_owned()),
        }
    }

    /// What is wrong, one sentence.
    pub fn problem(&self) -> String {
        let (kind, source, target) = self.mount();
        let what = match self.cause {
            Cause::NoVerity { kernel_knows: Some(false) } if takes_verity(kind) => {
                "can't have fs-verity because the running kernel was built without CONFIG_FS_VERITY"
                    .to_owned()
            }
            Cause::NoVerity { .. } if matches!(kind, "ext4" | "f2fs") => {
                "lacks the feature `verity`".to_owned()
            }
            Cause::NoVerity { .. } => "has no fs-verity".to_owned(),
            Cause::BlockSize(size) => format!("has blocks of {size} bytes, and fs-verity needs 4096 here"),
            Cause::Errno(Errno::ROFS) => "is read-only".to_owned(),
            Cause::Errno(Errno::NOSPC) => "is full".to_owned(),
            Cause::Errno(errno) => format!("did not take a first file with fs-verity: {errno}"),
        };
        format!("the file system at {target} ({kind} on {source}) {what}")
    }

    /// What to do about it.
    pub fn remedy(&self) -> String {
        let (kind, source, target) = self.mount();
        match self.cause {
            Cause::NoVerity { kernel_knows: Some(false) } if takes_verity(kind) => {
                "boot another kernel; on a build host, use `deploy --defer-verity`, then `ostree-seal verity` on the disk image".to_owned()
            }
            Cause::NoVerity { .. } if kind == "ext4" => {
                format!("switch it on with `tune2fs -O verity {source}`")
            }
            Cause::NoVerity { .. } if kind == "f2fs" => {
                format!("switch it on with `fsck.f2fs -O verity {source}`, unmounted")
            }
            Cause::NoVerity { .. } => {
                "move the system to ext4 (`mkfs.ext4 -b 4096 -O verity`), btrfs or f2fs, or keep \
                                       the policy `mode = unsealed`"
                    .to_owned()
            }
            Cause::BlockSize(_) => format!("make the file system anew with `mkfs.{kind} -b 4096 -O verity`"),
            Cause::Errno(Errno::ROFS) => format!("remount it with `mount -o remount,rw {target}`"),
            Cause::Errno(Errno::NOSPC) => "free some space and run the command again".to_owned(),
            Cause::Errno(_) => "look into the kernel's log (`dmesg`)".to_owned(),
        }
    }
}

impl fmt::Display for NotSealable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}; {}", self.problem(), self.remedy())
    }
}

impl std::error::Error for NotSealable {}

fn takes_verity(kind: &str) -> bool {
    matches!(kind, "ext4" | "f2fs" | "btrfs")
}

#[cfg(test)]
mod tests {
    use super::{Cause, Mount, NotSealable, parse_mountinfo, require_verity};
    use std::path::PathBuf;

    const MOUNTINFO: &str = "\
22 1 254:0 / / rw,relatime - ext4 /dev/vda rw
31 22 0:26 /a /mnt/with\\040blank ro,noatime shared:5 master:1 - btrfs /dev/vdb1 rw,subvol=/a
";

    fn sentence(kind: &str, cause: Cause) -> String {
        let mount = Mount {
            target: PathBuf::from("/sysroot"),
            kind: kind.to_owned(),
            source: "/dev/vda3".to_owned(),
        };
        NotSealable { mount: Some(mount), cause }.to_string()
    }

    #[test]
    fn mountinfo_gives_kind_source_and_target() {
        let mount = parse_mountinfo(MOUNTINFO, 31).unwrap();
        assert_eq!(mount.target, PathBuf::from("/mnt/with blank"));
        assert_eq!((mount.kind.as_str(), mount.source.as_str()), ("btrfs", "/dev/vdb1"));
        assert_eq!(parse_mountinfo(MOUNTINFO, 3), None);
        assert_eq!(parse_mountinfo("22 1\n", 22), None);
    }

    #[test]
    fn ext4_without_the_feature_is_told_the_command() {
        let text = sentence("ext4", Cause::NoVerity { kernel_knows: Some(true) });
        assert!(text.contains("`tune2fs -O verity /dev/vda3`"), "{text}");
    }

    #[test]
    fn a_kernel_without_verity_is_not_blamed_on_the_disk() {
        let text = sentence("ext4", Cause::NoVerity { kernel_knows: Some(false) });
        assert!(text.contains("CONFIG_FS_VERITY") && !text.contains("tune2fs"), "{text}");
    }

    #[test]
    fn xfs_is_told_to_move() {
        let text = sentence("xfs", Cause::NoVerity { kernel_knows: Some(true) });
        assert!(text.contains("xfs on /dev/vda3") && text.contains("mkfs.ext4"), "{text}");
    }

    #[test]
    fn tmpfs_is_recognised_and_left_untouched() {
        let directory = tempfile::tempdir_in("/dev/shm").unwrap();
        std::fs::write(directory.path().join("config"), "x").unwrap();
        let opened = std::fs::File::open(directory.path()).unwrap();
        let error = require_verity(&opened, "config").unwrap_err().to_string();
        assert!(error.contains("tmpfs") && error.contains("no fs-verity"), "{error}");
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 1);
    }
}
