//! Directories and files of a commit, one at a time: for who wants to see a few of them. Dirtrees and dirmetas are compared
//! with their names as everywhere; a file is compared with its name when its content is read to the end.

use std::fs::File;
use std::io::{self, Read};

use anyhow::{Context as _, anyhow};
use fn_error_context::context;
use rustix::io::Errno;

use super::archive;
use super::checksum::Checksum;
use super::dirmeta::Dirmeta;
use super::dirtree::Dirtree;
use super::file::{FileMeta, FileReader};
use super::known::Check;
use super::name::{Inode, NameHasher, serialize_xattrs};
use super::source::Source;
use super::store::{Metadata, ObjectPath, RepoMode, missing, read_metadata};
use super::xattrs::Xattrs;

/// The names in a directory, in no order: files, then directories.
pub type Listing = Vec<(Vec<u8>, Listed)>;

/// What a name in a dirtree stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Listed {
    /// A file object: a regular file or a symlink.
    File(Checksum),
    /// A directory.
    Directory {
        /// Its names.
        dirtree: Checksum,
        /// Its owner, mode and xattrs.
        dirmeta: Checksum,
    },
}

/// Owner, mode and xattrs of a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DirectoryMeta {
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// `st_mode`.
    pub mode: u32,
    /// Extended attributes.
    pub xattrs: Xattrs,
}

impl Source {
    /// The names in a directory.
    pub fn listing(&self, dirtree: &Checksum) -> anyhow::Result<Listing> {
        let mut buffer = Vec::new();
        let bytes = read_metadata(&self.stores, dirtree, Metadata::Dirtree, &mut buffer)?;
        let parsed = Dirtree::parse(bytes).with_context(|| format!("reading object {dirtree}.dirtree"))?;
        let files =
            parsed.files.iter().map(|file| (file.name.as_bytes().to_vec(), Listed::File(file.object)));
        let directories = parsed.directories.iter().map(|directory| {
            let (dirtree, dirmeta) = (directory.dirtree, directory.dirmeta);
            (directory.name.as_bytes().to_vec(), Listed::Directory { dirtree, dirmeta })
        });
        Ok(files.chain(directories).collect())
    }

    /// What a directory is.
    pub fn directory_meta(&self, dirmeta: &Checksum) -> anyhow::Result<DirectoryMeta> {
        let mut buffer = Vec::new();
        let bytes = read_metadata(&self.stores, dirmeta, Metadata::Dirmeta, &mut buffer)?;
        let parsed = Dirmeta::parse(bytes).with_context(|| format!("reading object {dirmeta}.dirmeta"))?;
        let Dirmeta { uid, gid, mode, xattrs } = parsed;
        Ok(DirectoryMeta { uid, gid, mode, xattrs: Xattrs::new(&xattrs) })
    }

    /// What files are, without their contents.
    pub fn file_metas(&self, objects: &[Checksum]) -> anyhow::Result<Vec<FileMeta>> {
        let mut reader = FileReader::new(&self.stores, Check::None);
        objects.iter().map(|object| reader.describe(object)).collect()
    }

    /// The content of a file object, from its beginning.
    #[context("opening the content of object {object}.file")]
    pub fn content(&self, object: &Checksum) -> anyhow::Result<ObjectContent> {
        for store in &self.stores {
            let file = match store.open(&ObjectPath::new(object, store.mode.file_extension())) {
                Ok(file) => file,
                Err(Errno::NOENT) => continue,
                Err(errno) => return Err(anyhow!(errno)),
            };
            anyhow::ensure!(file.metadata()?.is_file(), "it is not a regular file");
            return Ok(match store.mode {
                RepoMode::Archive => ObjectContent::Deflated(Box::new(archive::content(file)?)),
                _ => ObjectContent::Plain(file),
            });
        }
        Err(missing(&self.stores, &format!("{object}.file")))
    }

    /// What has to be hashed with a file's content so that [`NameCheck::require`] can tell whether it's what was committed.
    pub fn name_check(&self, meta: &FileMeta) -> NameCheck {
        let inode = Inode { uid: meta.uid, gid: meta.gid, mode: meta.mode, target: &[] };
        let list = meta.xattrs.0.iter().map(|(name, value)| (&**name, &**value));
        NameCheck(NameHasher::new(inode, &serialize_xattrs(list)))
    }
}

/// Compares a content with the name of its object.
#[derive(Debug, Clone)]
pub struct NameCheck(NameHasher);

impl NameCheck {
    /// The next bytes of the content.
    pub fn update(&mut self, content: &[u8]) {
        self.0.update(content);
    }

    /// Whether this is the object of that name; [`DamagedObject`](super::DamagedObject) if it isn't.
    pub fn require(self, object: &Checksum) -> anyhow::Result<()> {
        Ok(self.0.require(object)?)
    }
}

/// A content, to be read once.
pub enum ObjectContent {
    /// The object's file itself.
    Plain(File),
    /// What is decompressed from it.
    Deflated(Box<dyn Read>),
}

impl Read for ObjectContent {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(file) => file.read(buffer),
            Self::Deflated(reader) => reader.read(buffer),
        }
    }
}

impl std::fmt::Debug for ObjectContent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Content").finish_non_exhaustive()
    }
}
