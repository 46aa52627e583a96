//! The end of a boot that has no root. Nobody gets a shell: what a TPM has given out for this initramfs would be his, and so
//! would be a terminal inside of what the firmware has authenticated. So the machine is powered off or restarted here,
//! whatever the units and scripts around this program would do next.

use std::fs::File;
use std::io::Write as _;
use std::path::Path;
use std::thread::sleep;
use std::time::Duration;

use ostree_seal_trust::policy::OnRefusal;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{CWD, Mode, OFlags, openat, sync};
use rustix::io::read;
use rustix::system::{RebootCommand, reboot};
use rustix::termios::{OptionalActions, tcgetattr, tcsetattr};

use crate::check::policy;
use crate::read::read_file;

/// How long the message can be read before the machine is powered off, in seconds since the last key.
const HALT_AFTER: i64 = 60;

/// The same before the machine is restarted. No key makes it longer: a restart is the way back, and must come.
const REBOOT_AFTER: u64 = 10;

/// The most bytes of `/proc/self/mountinfo`.
const MOUNTS_MAX: usize = 1 << 20;

/// Ends the boot as the policy says, and halts where there is no policy that could say anything. Returns where it says
/// `emergency`, and where this is no initramfs, so that who types the program's name on a running system loses nothing.
pub fn end(root: &Path) {
    if !is_initramfs(root) {
        return;
    }
    let wish =
        policy::load(&root.join(policy::DIRECTORY)).map_or(OnRefusal::Halt, |policy| policy.on_refusal());
    let console = root.join("dev/console");
    let command = match wish {
        OnRefusal::Emergency => return,
        OnRefusal::Halt => {
            halt_later(&console);
            RebootCommand::PowerOff
        }
        OnRefusal::Reboot => {
            reboot_later(&console);
            RebootCommand::Restart
        }
    };
    sync();
    // Where the kernel can't, the boot ends here all the same: nothing behind this program gets its turn.
    let _ = reboot(command);
    loop {
        sleep(Duration::from_secs(3600));
    }
}

/// Whether the root directory is the file system that the kernel unpacked the initramfs into. No other has this type, and no
/// program can mount one.
fn is_initramfs(root: &Path) -> bool {
    let mounts = read_file(&root.join("proc/self/mountinfo"), MOUNTS_MAX).unwrap_or_default();
    String::from_utf8_lossy(&mounts).lines().any(is_initial_root)
}

/// A line of mountinfo, proc_pid_mountinfo(5): the fifth field is the mount point, the type stands behind ` - `.
fn is_initial_root(line: &str) -> bool {
    line.split(' ').nth(4) == Some("/")
        && line.split_once(" - ").is_some_and(|(_, kind)| kind.starts_with("rootfs "))
}

/// Waits until nobody has pressed a key for a while. Without a console there is nobody to wait for.
fn halt_later(path: &Path) {
    let Some(mut console) = open(path) else { return };
    // Each key counts, not each line; and none is shown.
    if let Ok(mut terminal) = tcgetattr(&console) {
        terminal.make_raw();
        let _ = tcsetattr(&console, OptionalActions::Now, &terminal);
    }
    say(
        &mut console,
        &format!("ostree-seal-root: nothing was started; power off after {HALT_AFTER} s without a key\r\n"),
    );
    let wait = Timespec { tv_sec: HALT_AFTER, tv_nsec: 0 };
    let mut key = [0; 64];
    while poll(&mut [PollFd::new(&console, PollFlags::IN)], Some(&wait)) == Ok(1) {
        if !matches!(read(&console, &mut key), Ok(1..)) {
            break; // it is gone
        }
    }
}

fn reboot_later(path: &Path) {
    if let Some(mut console) = open(path) {
        say(&mut console, &format!("ostree-seal-root: nothing was started; restart in {REBOOT_AFTER} s\r\n"));
    }
    sleep(Duration::from_secs(REBOOT_AFTER));
}

/// The console. A line without a carrier and a terminal that has been stopped (Ctrl-S, flow control) hold nobody up.
fn open(path: &Path) -> Option<File> {
    let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    openat(CWD, path, flags, Mode::empty()).ok().map(File::from)
}

/// Says it to who can read it. The boot ends all the same where nobody can.
fn say(console: &mut File, text: &str) {
    let _ = console.write_all(text.as_bytes());
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::path::Path;

    use rustix::fs::{CWD, FileType, Mode, mknodat};

    use super::{is_initial_root, is_initramfs, open, say};

    #[test]
    fn only_what_the_kernel_unpacked_is_the_initramfs() {
        assert!(is_initial_root("1 1 0:2 / / rw - rootfs rootfs rw,size=1k"));
        assert!(is_initial_root("2 1 0:2 / / rw,relatime shared:1 - rootfs none rw"));
        for line in [
            "29 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw",
            "29 1 0:30 / / rw - tmpfs rootfs rw",
            "29 1 0:2 / /mnt rw - rootfs rootfs rw",
            "29 1 0:30 / / rw - rootfsx none rw",
            "29 1 0:30 / /\\040-\\040rootfs rw - tmpfs none rw",
            "",
        ] {
            assert!(!is_initial_root(line), "{line}");
        }
    }

    // Or else the tests would power this machine off.
    #[test]
    fn a_running_system_is_no_initramfs() {
        assert!(!is_initramfs(Path::new("/")));
        assert!(!is_initramfs(Path::new("/nowhere")));
    }

    // A pipe that nobody empties stands for a terminal that has been stopped.
    #[test]
    fn a_console_that_takes_nothing_holds_nobody_up() {
        let path = std::env::temp_dir().join(format!("ostree-seal-console-{}", std::process::id()));
        mknodat(CWD, &path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
        let mut console = open(&path).unwrap();
        say(&mut console, "first");
        let mut heard = [0; 5];
        console.read_exact(&mut heard).unwrap();
        assert_eq!(&heard, b"first");
        while console.write(&[b'x'; 4096]).is_ok() {}
        say(&mut console, "nobody hears it");
        assert!(open(std::path::Path::new("/nowhere/console")).is_none());
        std::fs::remove_file(&path).unwrap();
    }
}
