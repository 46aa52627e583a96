//! File objects of the bare modes: what a regular file or symlink is, whichever way the repository keeps it.

use std::fs::File;
use std::io::Read as _;
use std::os::fd::{AsFd, AsRawFd};

use anyhow::{Context as _, anyhow, bail, ensure};
use ostree_seal_root::check::verity::{self, MeasureError};
use ostree_seal_trust::digest::Digest;
use rustix::fs::{AtFlags, Stat};
use rustix::io::Errno;

use super::archive;
use super::checksum::Checksum;
use super::dirmeta::{Dirmeta, Xattr, parse_xattrs};
use super::known::Check;
use super::name::{Inode, NameHasher, serialize_xattrs};
use super::object::{ObjectInfo, ObjectKind, symlink};
use super::store::{ObjectPath, RepoMode, Store, missing};
use super::xattrs::{Target, XATTR_MAX, XattrList, XattrReader, Xattrs};
use crate::merkle::{Batch, FileHasher};
use crate::tree::TARGET_MAX;
use crate::tree::mode::{S_IFLNK, S_IFMT, S_IFREG};

/// Reads file objects. Each thread has its own, since it holds the buffers.
#[derive(Debug)]
pub(super) struct FileReader<'a> {
    stores: &'a [Store],
    /// Whether a store's file system is known to have no fs-verity, so that nobody has to ask again.
    without_verity: Vec<bool>,
    /// Contents whose digests are computed together.
    contents: Batch,
    /// For what comes through a decompressor.
    hasher: FileHasher,
    xattrs: XattrReader,
    check: Check,
    /// Whether contents are left unread.
    describes: bool,
}

/// A file object as far as it is known without its content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileMeta {
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// `st_mode`.
    pub mode: u32,
    /// Extended attributes.
    pub xattrs: Xattrs,
    /// Bytes of content, or of a symlink's target.
    pub size: u64,
    /// A symlink's target.
    pub target: Option<Box<[u8]>>,
}

/// An object whose content may not have been hashed yet.
#[derive(Debug)]
struct Read {
    uid: u32,
    gid: u32,
    mode: u32,
    xattrs: Xattrs,
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    Known(ObjectKind),
    /// A regular file of this size; its digest is the next one of the batch, if contents are read.
    Hashed(u64),
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

impl Work {
    pub(super) fn add(&mut self, other: Self) {
        self.objects += other.objects;
        self.hashed += other.hashed;
        self.measured += other.measured;
    }
}

impl Read {
    fn finish(self, digests: &mut impl Iterator<Item = Digest>) -> anyhow::Result<ObjectInfo> {
        let Self { uid, gid, mode, xattrs, kind } = self;
        let kind = match kind {
            Kind::Known(kind) => kind,
            Kind::Hashed(size) => {
                ObjectKind::Regular { size, digest: digests.next().context("a content has no digest")? }
            }
        };
        Ok(ObjectInfo { uid, gid, mode, xattrs, kind })
    }
}

impl<'a> FileReader<'a> {
    pub(super) fn new(stores: &'a [Store], check: Check) -> Self {
        Self {
            check,
            stores,
            without_verity: vec![false; stores.len()],
            contents: Batch::new(),
            hasher: FileHasher::new(),
            xattrs: XattrReader::new(),
            describes: false,
        }
    }

    /// What an object is, without its content, and so without a comparison with its name.
    pub(super) fn describe(&mut self, object: &Checksum) -> anyhow::Result<FileMeta> {
        (self.describes, self.check) = (true, Check::None);
        let Read { uid, gid, mode, xattrs, kind } = self.read_one(object, &mut Work::default())?;
        let (size, target) = match kind {
            Kind::Hashed(size) | Kind::Known(ObjectKind::Regular { size, .. }) => (size, None),
            Kind::Known(ObjectKind::Empty) => (0, None),
            Kind::Known(ObjectKind::Symlink(target)) => (target.len() as u64, Some(target)),
        };
        Ok(FileMeta { uid, gid, mode, xattrs, size, target })
    }

    /// Reads objects, each from the first store that has it.
    pub(super) fn read<'o>(
        &mut self,
        objects: impl Iterator<Item = &'o Checksum>,
        work: &mut Work,
    ) -> anyhow::Result<Vec<ObjectInfo>> {
        // What an error has left.
        self.contents.clear();
        let read: Vec<_> =
            objects.map(|object| self.read_one(object, work)).collect::<anyhow::Result<_>>()?;
        let mut digests = self.contents.finish().into_iter();
        read.into_iter().map(|read| read.finish(&mut digests)).collect()
    }

    fn read_one(&mut self, object: &Checksum, work: &mut Work) -> anyhow::Result<Read> {
        work.objects += 1;
        let stores = self.stores;
        for (index, store) in stores.iter().enumerate() {
            let path = ObjectPath::new(object, store.mode.file_extension());
            let opened = store.open(&path);
            if matches!(opened, Err(Errno::NOENT)) {
                continue;
            }
            return self
                .read_opened(InStore { index, store, object, path: &path }, opened, work)
                .with_context(|| format!("reading object {object}.{}", store.mode.file_extension()));
        }
        let extension = stores.first().map_or("file", |store| store.mode.file_extension());
        Err(missing(stores, &format!("{object}.{extension}")))
    }

    fn read_opened(
        &mut self,
        place: InStore<'_>,
        opened: Result<File, Errno>,
        work: &mut Work,
    ) -> anyhow::Result<Read> {
        let mode = place.store.mode;
        match opened {
            Ok(file) => {
                let stat = rustix::fs::fstat(&file)?;
                ensure!(stat.st_mode & S_IFMT == S_IFREG, "it is not a regular file");
                match mode {
                    RepoMode::Archive => self.read_archived(place, file, work),
                    RepoMode::BareUser => self.read_bare_user(place, &file, &stat, work),
                    RepoMode::Bare | RepoMode::BareUserOnly | RepoMode::BareSplitXattrs => {
                        let xattrs = self.bare_xattrs(&place, Some(&file))?;
                        let (uid, gid) = owner(mode, &stat);
                        let name = self.name(Inode { uid, gid, mode: stat.st_mode, target: &[] }, &xattrs);
                        let kind = self.content(&place, &file, &stat, (name, work))?;
                        Ok(Read { uid, gid, mode: stat.st_mode, xattrs, kind })
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

    fn read_symlink(&mut self, place: &InStore<'_>) -> anyhow::Result<Read> {
        let (objects, path) = (&place.store.objects, place.path.as_bytes());
        let stat = rustix::fs::statat(objects, path, AtFlags::SYMLINK_NOFOLLOW)?;
        ensure!(stat.st_mode & S_IFMT == S_IFLNK, "it changed while it was read");
        let target = rustix::fs::readlinkat(objects, path, Vec::new())?;
        let xattrs = self.bare_xattrs(place, None)?;
        let target = target.into_bytes();
        let ((uid, gid), mode) = (owner(place.store.mode, &stat), stat.st_mode);
        if let Some(name) = self.name(Inode { uid, gid, mode, target: &target }, &xattrs) {
            name.require(place.object)?;
        }
        let kind = Kind::Known(ObjectKind::Symlink(target.into()));
        Ok(Read { uid, gid, mode, xattrs, kind })
    }

    fn read_bare_user(
        &mut self,
        place: InStore<'_>,
        mut file: &File,
        stat: &Stat,
        work: &mut Work,
    ) -> anyhow::Result<Read> {
        let meta = match self.xattrs.value(file, b"user.ostreemeta") {
            // What it borrows is needed for what it's parsed into.
            Ok(value) => value.to_vec(),
            Err(Errno::NODATA) => bail!("it has no xattr user.ostreemeta"),
            Err(errno) => return Err(anyhow!(errno).context("reading its xattr user.ostreemeta")),
        };
        let meta = Dirmeta::parse(&meta).context("reading its xattr user.ostreemeta")?;
        let (uid, gid, mode) = (meta.uid, meta.gid, meta.mode);
        let xattrs = self.xattrs.list(&meta.xattrs);
        let kind = match mode & S_IFMT {
            S_IFREG => {
                let name = self.name(Inode { uid, gid, mode, target: &[] }, &xattrs);
                self.content(&place, file, stat, (name, work))?
            }
            S_IFLNK => {
                let mut target = Vec::new();
                file.by_ref().take(TARGET_MAX as u64 + 2).read_to_end(&mut target)?;
                // libostree writes the target as a C string, with its NUL.
                if target.last() == Some(&0) {
                    target.pop();
                }
                if let Some(name) = self.name(Inode { uid, gid, mode, target: &target }, &xattrs) {
                    name.require(place.object)?;
                }
                Kind::Known(symlink(target)?)
            }
            _ => bail!("its mode {mode:o} in user.ostreemeta is neither a regular file nor a symlink"),
        };
        Ok(Read { uid, gid, mode, xattrs, kind })
    }

    fn read_archived(&mut self, place: InStore<'_>, file: File, work: &mut Work) -> anyhow::Result<Read> {
        if self.describes {
            let (object, size) = archive::describe(file)?;
            let kind = match object.kind {
                ObjectKind::Empty => Kind::Hashed(size),
                known => Kind::Known(known),
            };
            let xattrs = self.xattrs.list(&borrowed(&object.xattrs));
            return Ok(Read { uid: object.uid, gid: object.gid, mode: object.mode, xattrs, kind });
        }
        let object = archive::read(file, place.object, &mut self.hasher)?;
        if let ObjectKind::Regular { size, .. } = object.kind {
            work.hashed += size;
        }
        Ok(Read {
            uid: object.uid,
            gid: object.gid,
            mode: object.mode,
            xattrs: self.xattrs.list(&borrowed(&object.xattrs)),
            kind: Kind::Known(object.kind),
        })
    }

    /// Size and digest of a regular file: measured where the kernel has the digest, else computed with its batch.
    fn content(
        &mut self,
        place: &InStore<'_>,
        file: &File,
        stat: &Stat,
        (mut name, work): (Option<NameHasher>, &mut Work),
    ) -> anyhow::Result<Kind> {
        let size = u64::try_from(stat.st_size)?;
        if self.describes {
            return Ok(Kind::Hashed(size));
        }
        if size == 0 {
            name.map_or(Ok(()), |name| name.require(place.object))?;
            return Ok(Kind::Known(ObjectKind::Empty));
        }
        if self.check != Check::All && !self.without_verity[place.index] {
            match verity::measure(file) {
                Ok(digest) => {
                    work.measured += 1;
                    return Ok(Kind::Known(ObjectKind::Regular { size, digest }));
                }
                Err(MeasureError::Unsupported) => self.without_verity[place.index] = true,
                Err(MeasureError::NotEnabled | MeasureError::OtherAlgorithm(_)) => {}
                Err(error @ MeasureError::Os(_)) => return Err(error.into()),
            }
        }
        match &mut name {
            Some(name) => self.contents.add_observed(file, size, &mut |content| name.update(content))?,
            None => self.contents.add(file, size)?,
        }
        name.map_or(Ok(()), |name| name.require(place.object))?;
        work.hashed += size;
        Ok(Kind::Hashed(size))
    }

    /// What the object's name is compared with, if that is asked for.
    fn name(&self, inode: Inode<'_>, xattrs: &Xattrs) -> Option<NameHasher> {
        let list = xattrs.0.iter().map(|(name, value)| (&**name, &**value));
        (self.check != Check::None).then(|| NameHasher::new(inode, &serialize_xattrs(list)))
    }

    /// The xattrs of an object that isn't bare-user: its own, those of its sidecar object, or none.
    fn bare_xattrs(&mut self, place: &InStore<'_>, file: Option<&File>) -> anyhow::Result<Xattrs> {
        match place.store.mode {
            _ if place.store.disable_xattrs => Ok(Xattrs::default()),
            RepoMode::BareUserOnly => Ok(Xattrs::default()),
            RepoMode::BareSplitXattrs => self.sidecar_xattrs(place),
            _ => self.own_xattrs(place, file).context("reading its xattrs"),
        }
    }

    fn sidecar_xattrs(&mut self, place: &InStore<'_>) -> anyhow::Result<Xattrs> {
        const EXTENSION: &str = "file-xattrs-link";
        let path = ObjectPath::new(place.object, EXTENSION);
        let file = match place.store.open(&path) {
            Ok(file) => file,
            Err(Errno::NOENT) => {
                bail!("object {}.{EXTENSION} is missing from {}", place.object, place.store.path.display())
            }
            Err(errno) => return Err(anyhow!(errno).context(format!("opening its {EXTENSION}"))),
        };
        let mut bytes = Vec::new();
        file.take(XATTR_MAX as u64 * 2).read_to_end(&mut bytes)?;
        let set = parse_xattrs(&bytes).with_context(|| format!("reading its {EXTENSION}"))?;
        Ok(self.xattrs.list(&set))
    }

    fn own_xattrs(&mut self, place: &InStore<'_>, file: Option<&File>) -> anyhow::Result<Xattrs> {
        Ok(match file {
            Some(file) => self.xattrs.all(Target::File(file))?,
            None => self.xattrs.all(Target::Path(&symlink_path(place)))?,
        })
    }
}

/// An object in a store.
#[derive(Debug, Clone, Copy)]
struct InStore<'a> {
    index: usize,
    store: &'a Store,
    object: &'a Checksum,
    path: &'a ObjectPath,
}

fn symlink_path(place: &InStore<'_>) -> Vec<u8> {
    let mut path = format!("/proc/self/fd/{}/", place.store.objects.as_fd().as_raw_fd()).into_bytes();
    path.extend_from_slice(place.path.as_bytes());
    path
}

/// The owner that an object of a bare mode has.
fn owner(mode: RepoMode, stat: &Stat) -> (u32, u32) {
    if mode == RepoMode::BareUserOnly { (0, 0) } else { (stat.st_uid, stat.st_gid) }
}

#[allow(clippy::ptr_arg, reason = "the slice type is too long to read")]
fn borrowed(xattrs: &XattrList) -> Vec<Xattr<'_>> {
    xattrs.iter().map(|(name, value)| (&**name, &**value)).collect()
}
