//! EROFS from an open image, and above it an overlay that takes the contents of files from the repository's objects.
//! Which of its ways a kernel knows is found out by asking it.

use std::fmt;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use ostree_seal_trust::policy::Unsealed;
use rustix::fs::{AtFlags, CWD, Mode, OFlags, StatxFlags, openat, statx};
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, fsconfig_create, fsconfig_set_fd, fsconfig_set_flag,
    fsconfig_set_string, fsmount, fsopen,
};

use crate::check::image::VerifiedImage;
use crate::error::{BootError, Doing, Missing};
use crate::find::deployment::descriptor_path;
use crate::mount::namespace::attach;
use crate::read::read_file;
use crate::sys;

pub mod namespace; // where the root is put together, unseen until it is whole

/// `struct lcfs_erofs_header_s`: magic and the flag which says that some file has an ACL.
const COMPOSEFS_MAGIC: u32 = 0xd078_629a;
const COMPOSEFS_HAS_ACL: u32 = 1;

/// The most bytes of a list of mounts.
const MOUNTINFO_MAX: usize = 16 << 20;

/// What is mounted, apart from the image.
#[derive(Debug)]
pub struct Layers<'a> {
    /// A directory to mount the image on while the overlay is made.
    pub image_mountpoint: &'a Path,
    /// The repository's objects: an open directory in this mount namespace, and its path for older kernels.
    pub objects: BorrowedFd<'a>,
    /// Path of the same directory.
    pub objects_path: &'a Path,
    /// Where changes go, if there are to be any.
    pub changes: Option<Changes>,
}

/// The writable layer of an overlay.
#[derive(Debug, Clone)]
pub struct Changes {
    /// `upperdir`.
    pub upper: PathBuf,
    /// `workdir`, on the same file system.
    pub work: PathBuf,
    /// Whether the overlay is mounted read-only nevertheless.
    pub read_only: bool,
}

/// How the kernel was told, for the record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Method {
    /// How EROFS reads the image.
    pub image: ImageMethod,
    /// How the overlay was given its layers.
    pub layers: LayersMethod,
}

/// How EROFS reads the image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ImageMethod {
    /// From the file (Linux 6.12).
    File,
    /// Through this loop device.
    Loop(String),
}

/// How the overlay was given its layers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LayersMethod {
    /// As descriptors (Linux 6.13).
    Descriptors,
    /// As paths in `lowerdir+` and `datadir+` (Linux 6.8).
    Paths,
    /// As `lowerdir=IMAGE::OBJECTS`.
    OneString,
}

/// Whether the overlay checks the contents of files. Which of the two it is follows from the type of the image.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Contents {
    Enforced,
    Unchecked,
}

/// An overlay that is not attached anywhere yet.
#[derive(Debug)]
pub struct Overlay {
    /// The mount.
    pub mount: OwnedFd,
    /// How it was made.
    pub method: Method,
}

/// An open image that nobody checked. It is another type than [`VerifiedImage`], and only permission from the policy makes
/// one.
#[derive(Debug)]
pub struct UnverifiedImage(OwnedFd);

impl UnverifiedImage {
    /// Takes an open image as it is.
    pub fn new(image: OwnedFd, _permission: &Unsealed) -> Self {
        Self(image)
    }
}

/// Mounts an image that passed the check. Until [`confirm_enforced`] has looked at the result, it must not be used.
pub fn mount_verified(image: &VerifiedImage, path: &str, layers: &Layers<'_>) -> Result<Overlay, BootError> {
    mount_image(image.as_fd(), path, layers, Contents::Enforced)
}

/// Mounts an image that nobody checked, for a policy that says `mode = unsealed`.
pub fn mount_unverified(
    image: &UnverifiedImage,
    path: &str,
    layers: &Layers<'_>,
) -> Result<Overlay, BootError> {
    mount_image(image.0.as_fd(), path, layers, Contents::Unchecked)
}

fn mount_image(
    image: BorrowedFd<'_>,
    path: &str,
    layers: &Layers<'_>,
    contents: Contents,
) -> Result<Overlay, BootError> {
    let unreadable = |error| match error {
        BootError::Step { errno: Errno::IO, .. } => BootError::Unreadable(path.to_owned()),
        error => error,
    };
    let flags = header_flags(image, path).map_err(unreadable)?;
    let (erofs, image_method) = mount_erofs(image, flags & COMPOSEFS_HAS_ACL != 0).map_err(unreadable)?;
    attach(&erofs, CWD, layers.image_mountpoint)
        .map_err(Doing::with("mounting the image on", layers.image_mountpoint))?;
    let (mount, layers) = mount_overlay(&erofs, layers, contents)?;
    Ok(Overlay { mount, method: Method { image: image_method, layers } })
}

/// The flags in the composefs header. Of a verified image, the kernel has checked these bytes when it returns them.
fn header_flags(image: BorrowedFd<'_>, path: &str) -> Result<u32, BootError> {
    let mut header = [0; 12];
    let read = rustix::io::pread(image, &mut header, 0)
        .map_err(|errno| Doing::step(&format!("reading /{path}"))(errno))?;
    let [m0, m1, m2, m3, .., f0, f1, f2, f3] = header;
    if read < header.len() || u32::from_le_bytes([m0, m1, m2, m3]) != COMPOSEFS_MAGIC {
        return Err(BootError::NotAnImage(path.to_owned()));
    }
    Ok(u32::from_le_bytes([f0, f1, f2, f3]))
}

fn mount_erofs(image: BorrowedFd<'_>, acl: bool) -> Result<(OwnedFd, ImageMethod), BootError> {
    match erofs_from(&descriptor_path(image), acl) {
        Err(BootError::Step { errno: Errno::NOTBLK, .. }) => {}
        result => return result.map(|mount| (mount, ImageMethod::File)),
    }
    // The device must stay open until EROFS has it, or else it clears itself.
    let (device, name) = loop_device(image)?;
    let mount = erofs_from(&name, acl)?;
    drop(device);
    Ok((mount, ImageMethod::Loop(name)))
}

fn erofs_from(source: &str, acl: bool) -> Result<OwnedFd, BootError> {
    let context = open_context("erofs", Missing::Erofs)?;
    let configure = || {
        fsconfig_set_string(&context, "source", source)?;
        fsconfig_set_flag(&context, "ro")?;
        if !acl {
            fsconfig_set_flag(&context, "noacl")?;
        }
        fsconfig_create(&context)?;
        fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::MOUNT_ATTR_RDONLY)
    };
    configure().map_err(|errno| step_with_log("mounting the image as EROFS", errno, &context))
}

/// A free loop device, bound to the image read-only. The kernel may give out the same free number twice.
fn loop_device(image: BorrowedFd<'_>) -> Result<(OwnedFd, String), BootError> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    let control = match openat(CWD, "/dev/loop-control", flags, Mode::empty()) {
        Ok(control) => control,
        Err(Errno::NOENT | Errno::NODEV | Errno::NXIO) => return Err(BootError::Kernel(Missing::Loop)),
        Err(errno) => return Err(Doing::step("opening /dev/loop-control")(errno)),
    };
    let mut last = Errno::BUSY;
    for _ in 0..16 {
        let number = sys::loop_get_free(&control).map_err(Doing::step("finding a free loop device"))?;
        let name = format!("/dev/loop{number}");
        let device = openat(CWD, &name, flags, Mode::empty()).map_err(Doing::with("opening", &name))?;
        match sys::loop_configure(&device, image) {
            Ok(()) => return Ok((device, name)),
            Err(Errno::BUSY) => last = Errno::BUSY,
            Err(errno) => return Err(Doing::with("binding the image to", &name)(errno)),
        }
    }
    Err(Doing::step("finding a free loop device")(last))
}

fn mount_overlay(
    erofs: &OwnedFd,
    layers: &Layers<'_>,
    contents: Contents,
) -> Result<(OwnedFd, LayersMethod), BootError> {
    for method in [LayersMethod::Descriptors, LayersMethod::Paths, LayersMethod::OneString] {
        // An option that was refused may have left something behind, so each try gets a context of its own.
        let context = overlay_context(layers, contents)?;
        let given = match method {
            LayersMethod::Descriptors => fsconfig_set_fd(&context, "lowerdir+", erofs)
                .and_then(|()| fsconfig_set_fd(&context, "datadir+", layers.objects)),
            LayersMethod::Paths => fsconfig_set_string(&context, "lowerdir+", layers.image_mountpoint)
                .and_then(|()| fsconfig_set_string(&context, "datadir+", layers.objects_path)),
            LayersMethod::OneString => fsconfig_set_string(&context, "lowerdir", one_string(layers)),
        };
        match given {
            // Not a way that this kernel knows; one without layers by descriptor takes no `O_PATH` here either.
            Err(Errno::INVAL | Errno::BADF) if method != LayersMethod::OneString => continue,
            given => {
                given.map_err(|errno| step_with_log("giving the overlay its layers", errno, &context))?
            }
        }
        return create_overlay(&context, layers.changes.as_ref()).map(|mount| (mount, method));
    }
    Err(BootError::Kernel(Missing::OverlayVerity))
}

fn overlay_context(layers: &Layers<'_>, contents: Contents) -> Result<OwnedFd, BootError> {
    let context = open_context("overlay", Missing::Overlay)?;
    let set = |key, value: &str| {
        fsconfig_set_string(&context, key, value)
            .map_err(|errno| step_with_log(&format!("setting the overlay's {key}"), errno, &context))
    };
    set("source", "composefs")?;
    set("metacopy", "on")?;
    set("redirect_dir", "on")?;
    if contents == Contents::Enforced && fsconfig_set_string(&context, "verity", "require").is_err() {
        return Err(BootError::Kernel(Missing::OverlayVerity));
    }
    if let Some(changes) = &layers.changes {
        let set = |key, path: &Path| fsconfig_set_string(&context, key, path).map_err(Doing::with(key, path));
        set("upperdir", &changes.upper)?;
        set("workdir", &changes.work)?;
    }
    Ok(context)
}

fn create_overlay(context: &OwnedFd, changes: Option<&Changes>) -> Result<OwnedFd, BootError> {
    let attributes = match changes {
        Some(changes) if !changes.read_only => MountAttrFlags::empty(),
        _ => MountAttrFlags::MOUNT_ATTR_RDONLY,
    };
    fsconfig_create(context)
        .and_then(|()| fsmount(context, FsMountFlags::FSMOUNT_CLOEXEC, attributes))
        .map_err(|errno| step_with_log("mounting the overlay", errno, context))
}

/// `lowerdir=` with the objects as a layer of data only, as Linux 6.6 takes it. A colon in a path has a backslash.
fn one_string(layers: &Layers<'_>) -> String {
    let escape = |path: &Path| path.display().to_string().replace('\\', "\\\\").replace(':', "\\:");
    format!("{}::{}", escape(layers.image_mountpoint), escape(layers.objects_path))
}

/// A new overlay of two directories, for `/etc`: what is in `lower`, and changes.
pub fn mount_changeable(lower: &Path, changes: &Changes) -> Result<OwnedFd, BootError> {
    let context = open_context("overlay", Missing::Overlay)?;
    let options: [(&str, &Path); 4] = [
        ("source", Path::new("overlay")),
        ("lowerdir", lower),
        ("upperdir", &changes.upper),
        ("workdir", &changes.work),
    ];
    for (key, value) in options {
        fsconfig_set_string(&context, key, value).map_err(Doing::with(key, value))?;
    }
    create_overlay(&context, Some(changes))
}

/// Reads back from the kernel that an attached overlay has `verity=require`.
pub fn confirm_enforced(overlay: &Overlay) -> Result<(), BootError> {
    let doing = Doing::step("reading the overlay's options back");
    let id = statx(&overlay.mount, "", AtFlags::EMPTY_PATH, StatxFlags::MNT_ID).map_err(&doing)?.stx_mnt_id;
    let table = read_file(Path::new("/proc/thread-self/mountinfo"), MOUNTINFO_MAX)
        .map_err(|error| doing(error.errno()))
        .and_then(|bytes| String::from_utf8(bytes).map_err(|_| doing(Errno::ILSEQ)))?;
    let options = overlay_options(&table, id).unwrap_or_default();
    if options.split(',').any(|option| option == "verity=require") {
        Ok(())
    } else {
        Err(BootError::NotEnforced(options.to_owned()))
    }
}

/// The file system's own options of the overlay with this mount id, in the text of `/proc/PID/mountinfo`. Commas within
/// a value are escaped there.
fn overlay_options(table: &str, id: u64) -> Option<&str> {
    let mut fields = table
        .lines()
        .map(|line| line.split(' '))
        .find_map(|mut fields| (fields.next()?.parse() == Ok(id)).then_some(fields))?;
    fields.find(|field| *field == "-")?;
    let (kind, _source, options) = (fields.next()?, fields.next()?, fields.next()?);
    (kind == "overlay").then_some(options)
}

fn open_context(name: &str, missing: Missing) -> Result<OwnedFd, BootError> {
    match fsopen(name, FsOpenFlags::FSOPEN_CLOEXEC) {
        Err(Errno::NODEV) => Err(BootError::Kernel(missing)),
        Err(Errno::NOSYS) => Err(BootError::Kernel(Missing::MountCalls)),
        result => result.map_err(Doing::with("asking the kernel for", name)),
    }
}

/// The failure of a step, with what the file system had to say about it.
fn step_with_log(doing: &str, errno: Errno, context: &OwnedFd) -> BootError {
    let mut log = Vec::new();
    let mut message = [0; 512];
    while let Ok(len) = rustix::io::read(context, &mut message) {
        if !log.is_empty() {
            log.extend(b"; ");
        }
        // A message starts with its level: `e `, `w ` or `i `.
        log.extend(message[..len].get(2..).unwrap_or_default().trim_ascii());
        if len == 0 {
            break;
        }
    }
    BootError::Step { doing: doing.to_owned(), errno, log: String::from_utf8_lossy(&log).into_owned() }
}

impl fmt::Display for ImageMethod {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File => f.write_str("file"),
            Self::Loop(device) => f.write_str(device),
        }
    }
}

impl fmt::Display for LayersMethod {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Descriptors => "descriptors",
            Self::Paths => "paths",
            Self::OneString => "one-string",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::overlay_options;

    const TABLE: &str = "\
28 1 254:0 / / rw,relatime - ext4 /dev/vda rw
71 28 0:43 / /a\\040-\\040overlay ro - overlay composefs ro,lowerdir+=/x\\054verity=require,verity=on
72 28 0:44 / /b ro,relatime shared:1 master:2 - overlay composefs ro,metacopy=on,verity=require
73 28 0:45 / /c ro - erofs none ro,verity=require
";

    fn enforced(id: u64) -> bool {
        overlay_options(TABLE, id).unwrap_or_default().split(',').any(|option| option == "verity=require")
    }

    #[test]
    fn the_option_counts_on_the_mount_itself_only() {
        assert!(enforced(72));
        assert!(!enforced(28));
        assert!(!enforced(7));
    }

    #[test]
    fn the_option_in_a_layers_name_does_not_count() {
        assert!(!enforced(71));
    }

    #[test]
    fn the_option_of_another_file_system_does_not_count() {
        assert!(!enforced(73));
    }
}
