//! The kernel of the next boot: what it has, by its own files in the tree, and by asking it where it is the running one.

use std::path::Path;

use super::finding::Finding;
use super::subject::Subject;
use crate::beneath::Below;
use crate::deploy::filesystem::kernel_knows_verity;
use crate::initrd::policy::Bootable;

/// The kernel in a deployment's tree.
pub(super) struct Kernel {
    /// As `uname -r` prints it.
    pub(super) release: String,
    /// Its build configuration, if it is there.
    config: Option<String>,
    /// The names of its modules, and of those that are built in: `None` if there is no such list.
    modules: Option<String>,
    builtin: Option<String>,
    /// Whether it is the running one.
    running: bool,
}

/// Where a kernel has a driver.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Driver {
    BuiltIn,
    Module,
    Missing,
    Unknown,
}

const VERITY: &str = "kernel-fs-verity";

/// The most bytes of a list of modules; the largest have 1 MiB.
const LIST_MAX: usize = 16 << 20;

/// Everything about the kernel.
pub(super) fn check(kernel: Option<&Kernel>, subject: &Subject<'_>) -> Vec<Finding> {
    let Some(kernel) = kernel else {
        let sentence = "the next deployment has no kernel in usr/lib/modules";
        return vec![Finding::problem("kernel", sentence, "commit the tree again, with a kernel")];
    };
    let mut findings = vec![kernel.version_finding(), kernel.verity_finding()];
    findings.extend(kernel.known_trouble());
    let mut drivers = vec![("erofs", "CONFIG_EROFS_FS"), ("overlay", "CONFIG_OVERLAY_FS")];
    if kernel.needs_loop() {
        drivers.push(("loop", "CONFIG_BLK_DEV_LOOP"));
    }
    findings.extend(drivers.into_iter().map(|(name, option)| kernel.driver_finding(subject, name, option)));
    findings
}

impl Kernel {
    /// The kernel of a deployment; where there are several, the first by name, and `initramfs` says that there are.
    pub(super) fn of(directory: &Path, booted: bool) -> Option<Self> {
        let tree = Below::new(directory, "");
        let with_kernel = |modules: &Below| {
            let is_efi = |file: &Below| file.file_name().as_encoded_bytes().ends_with(b".efi");
            let beside = || modules.list().unwrap_or_default();
            modules.join("vmlinuz").exists().is_ok_and(|there| there) || beside().iter().any(is_efi)
        };
        let modules = tree.join("usr/lib/modules").list().ok()?.into_iter().find(with_kernel)?;
        let release = modules.file_name().to_str()?.to_owned();
        // Without one of these files, what it would say counts as unknown.
        let read = |file: Below| String::from_utf8(file.read(LIST_MAX).ok()?).ok();
        let configs = [
            modules.join("config"),
            tree.join(format!("usr/lib/ostree-boot/config-{release}")),
            tree.join(format!("boot/config-{release}")),
        ];
        let uname = rustix::system::uname();
        Some(Self {
            config: configs.into_iter().find_map(read),
            modules: read(modules.join("modules.dep")),
            builtin: read(modules.join("modules.builtin")),
            running: booted && uname.release().to_bytes() == release.as_bytes(),
            release,
        })
    }

    /// Major and minor version; nothing if the release doesn't begin like that.
    fn version(&self) -> Option<(u32, u32)> {
        let mut numbers = self.release.split(|c: char| !c.is_ascii_digit());
        Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
    }

    /// EROFS mounts files by itself since 6.12, unless that was left out.
    fn needs_loop(&self) -> bool {
        let left_out = || self.option("CONFIG_EROFS_FS_BACKED_BY_FILE") == Some("n");
        self.version().is_none_or(|version| version < (6, 12)) || left_out()
    }

    /// A build option: `y`, `m` or `n`; nothing without the configuration.
    fn option(&self, name: &str) -> Option<&str> {
        let value = |line: &'_ str| match line.strip_prefix(name)?.strip_prefix('=')? {
            "m" => Some("m"),
            _ => Some("y"),
        };
        Some(self.config.as_deref()?.lines().find_map(value).unwrap_or("n"))
    }

    fn version_finding(&self) -> Finding {
        const CHECK: &str = "kernel-version";
        let release = &self.release;
        match self.version() {
            None => {
                Finding::not_checked(CHECK, format!("kernel {release}: its version is unknown"), "uname -r")
            }
            Some(version) if version < (6, 6) => Finding::problem(
                CHECK,
                format!("kernel {release}: overlayfs can't demand fs-verity before Linux 6.6"),
                "in the OS build: install a kernel of version 6.6 or newer",
            ),
            Some(version) if version < (6, 12) => {
                Finding::fine(CHECK, format!("kernel {release}: new enough (image through a loop device)"))
            }
            Some(_) => Finding::fine(CHECK, format!("kernel {release}: new enough")),
        }
    }

    /// Versions in which something that a sealed boot needs was broken for a time.
    fn known_trouble(&self) -> Option<Finding> {
        let trouble = match self.version()? {
            (6, 18) => "some 6.18 kernels can't stack overlayfs on EROFS from a file; fixed in 6.19",
            (7, 0) => "some 7.0 kernels find no fs-verity digest under overlayfs; fixed in 7.1 and later 7.0",
            _ => return None,
        };
        let fix = "try it in a virtual machine first, or install 6.12, 6.19 or 7.1";
        Some(Finding::warning("kernel-regression", format!("kernel {}: {trouble}", self.release), fix))
    }

    fn verity_finding(&self) -> Finding {
        let release = &self.release;
        let has = if self.running { kernel_knows_verity() } else { None };
        match has.or_else(|| Some(self.option("CONFIG_FS_VERITY")? == "y")) {
            Some(true) => Finding::fine(VERITY, format!("kernel {release}: has fs-verity")),
            Some(false) => Finding::problem(
                VERITY,
                format!("kernel {release}: was built without fs-verity"),
                "in the OS build: install a kernel with CONFIG_FS_VERITY=y",
            ),
            None => Finding::not_checked(
                VERITY,
                format!(
                    "kernel {release}: whether it has fs-verity, since its configuration isn't in the tree"
                ),
                "run `ostree-seal doctor` on the running device",
            ),
        }
    }

    fn driver(&self, name: &str, option: &str) -> Driver {
        let listed =
            |list: &Option<String>| list.as_ref().map(|list| list.lines().any(|line| is_module(line, name)));
        match (listed(&self.builtin), listed(&self.modules), self.option(option)) {
            (Some(true), _, _) | (_, _, Some("y")) => Driver::BuiltIn,
            (_, Some(true), _) => Driver::Module,
            (_, _, Some("n")) | (Some(false), Some(false), _) => Driver::Missing,
            _ => Driver::Unknown,
        }
    }

    fn driver_finding(&self, subject: &Subject<'_>, name: &str, option: &str) -> Finding {
        let check = match name {
            "erofs" => "kernel-erofs",
            "overlay" => "kernel-overlay",
            _ => "kernel-loop",
        };
        let release = &self.release;
        match self.driver(name, option) {
            Driver::BuiltIn => Finding::fine(check, format!("kernel {release}: has {name}")),
            Driver::Missing => Finding::problem(
                check,
                format!("kernel {release}: has no {name}"),
                format!("in the OS build: install a kernel with {option}"),
            ),
            Driver::Unknown => Finding::not_checked(
                check,
                format!("kernel {release}: whether it has {name}, since the tree has no list of its modules"),
                format!("in the OS build: depmod {release}"),
            ),
            Driver::Module => match subject.bootable {
                Bootable::Read(_, initramfs) if initramfs.modules.iter().any(|module| module == name) => {
                    Finding::fine(check, format!("kernel {release}: has {name}, in the initramfs"))
                }
                Bootable::Read(..) => Finding::problem(
                    check,
                    format!("kernel {release}: has {name} as a module, but not in the initramfs"),
                    subject.make_initramfs(),
                ),
                _ => Finding::not_checked(
                    check,
                    format!(
                        "kernel {release}: whether its module {name} is in the initramfs, which can't be read"
                    ),
                    "run `ostree-seal doctor` as root",
                ),
            },
        }
    }
}

/// Whether a line of `modules.dep` or `modules.builtin` names this module.
fn is_module(line: &str, name: &str) -> bool {
    let path = line.split(':').next().unwrap_or(line);
    path.rsplit('/').next().and_then(|base| base.split_once(".ko")).is_some_and(|(base, _)| base == name)
}
