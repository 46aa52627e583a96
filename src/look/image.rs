//! An image, of which only those blocks are read that are needed; and the directories with the contents of its files.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use anyhow::{Context as _, Result, anyhow, bail, ensure};
use fn_error_context::context;
use rustix::fs::{Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

use super::item::{Body, Id, Item};
use super::view::{Expected, View};
use crate::erofs::{Bytes, FoundContent, FoundInode, Lookup};
use crate::tree::mode;

/// An image.
#[derive(Debug)]
pub struct ImageView {
    lookup: Lookup<ImageFile>,
    /// Object directories, in the order in which to look.
    objects: Vec<(PathBuf, OwnedFd)>,
}

/// An image on the disk.
#[derive(Debug)]
struct ImageFile {
    file: File,
    len: u64,
}

impl Bytes for ImageFile {
    fn len(&self) -> u64 {
        self.len
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.file.read_exact_at(buffer, offset)
    }
}

impl ImageView {
    /// Opens an image; the contents of its files are in these directories.
    #[context("opening the image {}", path.display())]
    pub fn open(path: &Path, objects: &[PathBuf]) -> Result<Self> {
        // Without NONBLOCK, a FIFO in place of the image would be waited for.
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = File::from(rustix::fs::open(path, flags, Mode::empty())?);
        let metadata = file.metadata()?;
        ensure!(metadata.is_file(), "it is not a regular file");
        let lookup = Lookup::new(ImageFile { file, len: metadata.len() })?;
        let objects = objects.iter().map(|path| Ok((path.clone(), open_directory(path)?)));
        Ok(Self { lookup, objects: objects.collect::<Result<_>>()? })
    }
}

#[context("opening the object directory {}", path.display())]
fn open_directory(path: &Path) -> Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    Ok(rustix::fs::open(path, flags, Mode::empty())?)
}

impl View for ImageView {
    fn root(&mut self) -> Result<Item> {
        Ok(item(self.lookup.root()?))
    }

    fn entries(&mut self, directory: &Item) -> Result<Vec<(Vec<u8>, Item)>> {
        let entries = self.lookup.entries(slot(directory)?)?;
        Ok(entries.into_iter().map(|(name, found)| (name, item(found))).collect())
    }

    fn entry(&mut self, directory: &Item, name: &[u8]) -> Result<Option<Item>> {
        Ok(self.lookup.entry(slot(directory)?, name)?.map(item))
    }

    fn content(&self, file: &Item) -> Result<Box<dyn Read>> {
        match &*file.body {
            Body::Inline(content) => Ok(Box::new(io::Cursor::new(content.clone()))),
            Body::Object { payload, .. } => Ok(Box::new(self.object(payload)?)),
            _ => bail!("it has no content"),
        }
    }

    fn expected(&self, file: &Item) -> Result<Expected> {
        Ok(match &*file.body {
            Body::Inline(_) => Expected::Image,
            Body::Object { payload, digest: Some(digest) } => Expected::Digest(*digest, payload.clone()),
            _ => Expected::Unknown,
        })
    }
}

impl ImageView {
    /// Opens an object. The image names it, and must not lead out of the directory.
    fn object(&self, payload: &[u8]) -> Result<File> {
        let shown = String::from_utf8_lossy(payload);
        ensure!(!payload.is_empty(), "the image doesn't name the object with its content");
        ensure!(
            !self.objects.is_empty(),
            "its content is the object {shown}; say where the objects are with --objects=DIR, which is `objects` of \
             the repository"
        );
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
        for (path, directory) in &self.objects {
            match rustix::fs::openat2(directory, payload, flags, Mode::empty(), resolve) {
                Ok(file) => {
                    let file = File::from(file);
                    ensure!(file.metadata()?.is_file(), "the object {shown} is not a regular file");
                    return Ok(file);
                }
                Err(Errno::NOENT) => {}
                Err(errno) => {
                    return Err(anyhow!(errno).context(format!("opening {}/{shown}", path.display())));
                }
            }
        }
        let places: Vec<_> = self.objects.iter().map(|(path, _)| path.display().to_string()).collect();
        Err(anyhow!("the object {shown} is missing from {}", places.join(" and ")))
            .context("opening its content")
    }
}

/// The lookup reads nothing of a directory but its place.
fn slot(directory: &Item) -> Result<usize> {
    match directory.id {
        Id::Slot(slot) => Ok(slot),
        _ => bail!("a directory of something else was asked for"),
    }
}

fn item(found: FoundInode) -> Item {
    let FoundInode { meta, content, xattrs, slot } = found;
    let body = match &*content {
        FoundContent::Directory => Body::Directory,
        FoundContent::Inline(content) => Body::Inline(content.clone()),
        FoundContent::External { payload, digest } => {
            Body::Object { payload: payload.clone(), digest: *digest }
        }
        FoundContent::Symlink(target) => Body::Symlink(target.clone()),
        FoundContent::Special => Body::Special,
    };
    let has_size = matches!(meta.mode & mode::S_IFMT, mode::S_IFREG | mode::S_IFLNK);
    Item {
        mode: meta.mode,
        nlink: Some(meta.nlink),
        uid: meta.uid,
        gid: meta.gid,
        rdev: meta.rdev,
        size: if has_size { meta.size } else { 0 },
        mtime: meta.mtime,
        xattrs,
        body: Rc::new(body),
        id: Id::Slot(slot),
    }
}
