//! File objects of the bare modes: what a regular file or symlink is, whichever way the repository keeps it.

use std::collections::HashMap;
use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, AsRawFd};
use std::sync::Arc;

use anyhow::{Context as _, anyhow, bail, ensure};
use ostree_seal_root::digest::Digest;
use ostree_seal_root::verity::{self, MeasureError};
use rustix::fs::{AtFlags, Stat};
use rustix::io::Errno;

use super::archive;
use super::checksum::Checksum;
use super::dirmeta::{Dirmeta, Xattr, parse_xattrs};
use super::store::{ObjectPath, RepoMode, Store, missing};
use crate::merkle::FileHasher;
use crate::tree::TARGET_MAX;
use crate::tree::mode::{S_IFLNK, S_IFMT, S_IFREG};

/// The most that one xattr value or all names together can have in Linux (`XATTR_SIZE_MAX`, `XATTR_LIST_MAX`).
const XATTR_MAX: usize = 65536;

/// All that an image needs to know of a file object. An object never changes, so neither does this.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjectInfo {
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// `st_mode`; its type agrees with `kind`.
    pub mode: u32,
    /// Extended attributes.
    pub xattrs: Xattrs,
    /// What it is.
    pub kind: ObjectKind,
}

/// Regular file or symlink: OSTree knows nothing else.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ObjectKind {
    /// A file of 0 bytes.
    Empty,
    /// A file with content.
    Regular {
        /// Bytes of content, at least 1.
        size: u64,
        /// fs-verity digest of the content.
        digest: Digest,
    },
    /// A symlink with this target.
    Symlink(Box<[u8]>),
}

/// A list of xattrs, in the order in which the repository has them; equal lists often share their memory.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Xattrs(pub Arc<XattrList>);

/// Names and values.
pub type XattrList = Vec<(Box<[u8]>, Box<[u8]>)>;

/// Reads file objects. Each thread has its own, since it holds the buffers.
#[derive(Debug)]
pub(super) struct FileReader<'a> {
    stores: &'a [Store],
    /// Whether a store's file system is known to have no fs-verity, so that nobody has to ask again.
    without_verity: Vec<bool>,
    hasher: FileHasher,
    names: Vec<u8>,
    value: Vec<u8>,
    sets: HashMap<Vec<u8>, Xattrs>,
}

/// What was counted while an object was read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Work {
    /// Objects that were read.
    pub objects: u64,
    /// Bytes of content that were hashed.
    pub hashed: u64,
    /// Objects whose digest the kernel had.
    pub measured: u64,
}

impl Xattrs {
    pub(super) fn new(xattrs: &[Xattr<'_>]) -> Self {
        Self(Arc::new(xattrs.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect()))
    }
}

impl Work {
    pub(super) fn add(&mut self, other: Self) {
        self.objects += other.objects;
        self.hashed += other.hashed;
        self.measured += other.measured;
    }
}

impl<'a> FileReader<'a> {
    pub(super) fn new(stores: &'a [Store]) -> Self {
        Self {
            stores,
            without_verity: vec![false; stores.len()],
            hasher: FileHasher::new(),
            names: vec![0; XATTR_MAX],
            value: vec![0; XATTR_MAX],
            sets: HashMap::new(),
        }
    }

    /// Reads an object from the first store that has it.
    pub(super) fn read(&mut self, object: &Checksum, work: &mut Work) -> anyhow::Result<ObjectInfo> {
        work.objects += 1;
        let stores = self.stores;
        for (index, store) in stores.iter().enumerate() {
            let path = ObjectPath::new(object, store.mode.file_extension());
            let opened = store.open(&path);
            if matches!(opened, Err(Errno::NOENT)) {
                continue;
            }
            return self
                .read_opened(Place { index, store, object, path: &path }, opened, work)
                .with_context(|| format!("reading object {object}.{}", store.mode.file_extension()));
        }
        let extension = stores.first().map_or("file", |store| store.mode.file_extension());
        Err(missing(stores, &format!("{object}.{extension}")))
    }

    fn read_opened(
        &mut self,
        place: Place<'_>,
        opened: Result<File, Errno>,
        work: &mut Work,
    ) -> anyhow::Result<ObjectInfo> {
        let mode = place.store.mode;
        match opened {
            Ok(file) => {
                let stat = rustix::fs::fstat(&file)?;
                ensure!(stat.st_mode & S_IFMT == S_IFREG, "it is not a regular file");
                match mode {
                    RepoMode::Archive => self.read_archived(place, file, work),
                    RepoMode::BareUser => self.read_bare_user(place, file, &stat, work),
                    RepoMode::Bare | RepoMode::BareUserOnly | RepoMode::BareSplitXattrs => {
                        let xattrs = self.bare_xattrs(&place, Some(&file))?;
                        let kind = self.content(&place, file, &stat, work)?;
                        Ok(owned_by(mode, &stat, xattrs, kind))
                    }
                }
            }
            Err(Errno::LOOP) if matches!(mode, RepoMode::Archive | RepoMode::BareUser) => {
                bail!("it is a symlink, but a repository of mode {} has none", mode.name())
            }
            Err(Errno::LOOP) => self.read_symlink(&place),
            Err(errno) => Err(errno.into()),
        }
    }

    fn read_symlink(&mut self, place: &Place<'_>) -> anyhow::Result<ObjectInfo> {
        let (objects, path) = (&place.store.objects, place.path.as_bytes());
        let stat = rustix::fs::statat(objects, path, AtFlags::SYMLINK_NOFOLLOW)?;
        ensure!(stat.st_mode & S_IFMT == S_IFLNK, "it changed while it was read");
        let target = rustix::fs::readlinkat(objects, path, Vec::new())?;
        let xattrs = self.bare_xattrs(place, None)?;
        let kind = ObjectKind::Symlink(target.into_bytes().into());
        Ok(owned_by(place.store.mode, &stat, xattrs, kind))
    }

    fn read_bare_user(
        &mut self,
        place: Place<'_>,
        mut file: File,
        stat: &Stat,
        work: &mut Work,
    ) -> anyhow::Result<ObjectInfo> {
        let len = match rustix::fs::fgetxattr(&file, c"user.ostreemeta", &mut self.value[..]) {
            Ok(len) => len,
            Err(Errno::NODATA) => bail!("it has no xattr user.ostreemeta"),
            Err(errno) => return Err(anyhow!(errno).context("reading its xattr user.ostreemeta")),
        };
        let meta = Dirmeta::parse(&self.value[..len]).context("reading its xattr user.ostreemeta")?;
        let (uid, gid, mode) = (meta.uid, meta.gid, meta.mode);
        let xattrs = intern(&mut self.sets, &meta.xattrs);
        let kind = match mode & S_IFMT {
            S_IFREG => self.content(&place, file, stat, work)?,
            S_IFLNK => {
                let mut target = Vec::new();
                file.by_ref().take(TARGET_MAX as u64 + 2).read_to_end(&mut target)?;
                // libostree writes the target as a C string, with its NUL.
                if target.last() == Some(&0) {
                    target.pop();
                }
                symlink(target)?
            }
            _ => bail!("its mode {mode:o} in user.ostreemeta is neither a regular file nor a symlink"),
        };
        Ok(ObjectInfo { uid, gid, mode, xattrs, kind })
    }

    fn read_archived(&mut self, place: Place<'_>, file: File, work: &mut Work) -> anyhow::Result<ObjectInfo> {
        let object = archive::read(file, place.object, &mut self.hasher)?;
        if let ObjectKind::Regular { size, .. } = object.kind {
            work.hashed += size;
        }
        Ok(ObjectInfo {
            uid: object.uid,
            gid: object.gid,
            mode: object.mode,
            xattrs: intern(&mut self.sets, &borrowed(&object.xattrs)),
            kind: object.kind,
        })
    }

    /// Size and digest of a regular file: measured where the kernel has the digest, else computed.
    fn content(
        &mut self,
        place: &Place<'_>,
        file: File,
        stat: &Stat,
        work: &mut Work,
    ) -> anyhow::Result<ObjectKind> {
        let size = u64::try_from(stat.st_size)?;
        if size == 0 {
            return Ok(ObjectKind::Empty);
        }
        if !self.without_verity[place.index] {
            match verity::measure(&file) {
                Ok(digest) => {
                    work.measured += 1;
                    return Ok(ObjectKind::Regular { size, digest });
                }
                Err(MeasureError::Unsupported) => self.without_verity[place.index] = true,
                Err(MeasureError::NotEnabled | MeasureError::OtherAlgorithm(_)) => {}
                Err(error @ MeasureError::Os(_)) => return Err(error.into()),
            }
        }
        let (digest, read) = self.hasher.digest_reader(file)?;
        ensure!(read == size, "it has {read} bytes to read, but its size is {size}");
        work.hashed += size;
        Ok(ObjectKind::Regular { size, digest })
    }

    /// The xattrs of an object that isn't bare-user: its own, those of its sidecar object, or none.
    fn bare_xattrs(&mut self, place: &Place<'_>, file: Option<&File>) -> anyhow::Result<Xattrs> {
        match place.store.mode {
            _ if place.store.disable_xattrs => Ok(Xattrs::default()),
            RepoMode::BareUserOnly => Ok(Xattrs::default()),
            RepoMode::BareSplitXattrs => self.sidecar_xattrs(place),
            _ => self.own_xattrs(place, file).context("reading its xattrs"),
        }
    }

    fn sidecar_xattrs(&mut self, place: &Place<'_>) -> anyhow::Result<Xattrs> {
        const EXTENSION: &str = "file-xattrs-link";
        let path = ObjectPath::new(place.object, EXTENSION);
        let file = match place.store.open(&path) {
            Ok(file) => file,
            Err(Errno::NOENT) => {
                bail!("object {}.{EXTENSION} is missing from {}", place.object, place.store.path.display())
            }
            Err(errno) => return Err(anyhow!(errno).context(format!("opening its {EXTENSION}"))),
        };
        self.value.clear();
        let len = file.take(XATTR_MAX as u64 * 2).read_to_end(&mut self.value)?;
        let set = parse_xattrs(&self.value[..len]).with_context(|| format!("reading its {EXTENSION}"));
        let xattrs = set.map(|set| intern(&mut self.sets, &set));
        self.value.resize(XATTR_MAX.max(len), 0);
        xattrs
    }

    /// All xattrs on the file itself. They are sorted, since file systems list them in any order.
    fn own_xattrs(&mut self, place: &Place<'_>, file: Option<&File>) -> anyhow::Result<Xattrs> {
        let target = match file {
            Some(file) => XattrTarget::File(file),
            // A symlink can't be opened, and there is no llistxattrat.
            None => XattrTarget::Path(symlink_path(place)),
        };
        let len = match target.list(&mut self.names) {
            Ok(len) => len,
            Err(Errno::OPNOTSUPP) => 0,
            Err(errno) => return Err(errno.into()),
        };
        let mut owned: XattrList = Vec::new();
        for name in self.names[..len].split(|byte| *byte == 0).filter(|name| !name.is_empty()) {
            match target.get(name, &mut self.value) {
                Ok(len) => owned.push((name.into(), self.value[..len].into())),
                Err(Errno::NODATA) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
        owned.sort();
        Ok(intern(&mut self.sets, &borrowed(&owned)))
    }
}

/// An object in a store.
#[derive(Debug, Clone, Copy)]
struct Place<'a> {
    index: usize,
    store: &'a Store,
    object: &'a Checksum,
    path: &'a ObjectPath,
}

/// What has xattrs: an open file, or a symlink by path.
enum XattrTarget<'a> {
    File(&'a File),
    Path(Vec<u8>),
}

impl XattrTarget<'_> {
    fn list(&self, buffer: &mut [u8]) -> Result<usize, Errno> {
        match self {
            Self::File(file) => rustix::fs::flistxattr(file, buffer),
            Self::Path(path) => rustix::fs::llistxattr(path.as_slice(), buffer),
        }
    }

    fn get(&self, name: &[u8], buffer: &mut [u8]) -> Result<usize, Errno> {
        match self {
            Self::File(file) => rustix::fs::fgetxattr(file, name, buffer),
            Self::Path(path) => rustix::fs::lgetxattr(path.as_slice(), name, buffer),
        }
    }
}

fn symlink_path(place: &Place<'_>) -> Vec<u8> {
    let mut path = format!("/proc/self/fd/{}/", place.store.objects.as_fd().as_raw_fd()).into_bytes();
    path.extend_from_slice(place.path.as_bytes());
    path
}

/// An object whose owner and mode are those of its file.
fn owned_by(mode: RepoMode, stat: &Stat, xattrs: Xattrs, kind: ObjectKind) -> ObjectInfo {
    let (uid, gid) = if mode == RepoMode::BareUserOnly { (0, 0) } else { (stat.st_uid, stat.st_gid) };
    ObjectInfo { uid, gid, mode: stat.st_mode, xattrs, kind }
}

/// A symlink whose target comes from an object's bytes instead of the kernel.
pub(super) fn symlink(target: Vec<u8>) -> anyhow::Result<ObjectKind> {
    ensure!(!target.is_empty(), "the symlink has no target");
    ensure!(target.len() <= TARGET_MAX, "the symlink's target has more than {TARGET_MAX} bytes");
    ensure!(!target.contains(&0), "the symlink's target holds a NUL");
    Ok(ObjectKind::Symlink(target.into()))
}

#[allow(clippy::ptr_arg, reason = "the slice type is too long to read")]
fn borrowed(xattrs: &XattrList) -> Vec<Xattr<'_>> {
    xattrs.iter().map(|(name, value)| (&**name, &**value)).collect()
}

/// The list as shared memory: an OS has a handful of different labels on all its files.
fn intern(sets: &mut HashMap<Vec<u8>, Xattrs>, xattrs: &[Xattr<'_>]) -> Xattrs {
    if xattrs.is_empty() {
        return Xattrs::default();
    }
    let mut key = Vec::with_capacity(xattrs.iter().map(|(name, value)| 16 + name.len() + value.len()).sum());
    for part in xattrs.iter().flat_map(|(name, value)| [name, value]) {
        key.extend_from_slice(&(part.len() as u64).to_le_bytes());
        key.extend_from_slice(part);
    }
    if let Some(known) = sets.get(&key) {
        return known.clone();
    }
    let set = Xattrs::new(xattrs);
    sets.insert(key, set.clone());
    set
}
