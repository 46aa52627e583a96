//! What can be compared: an image, a commit, a dump or a directory, each as a tree.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufReader, Read as _};
use std::num::NonZeroUsize;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use fn_error_context::context;
use ostree_seal_trust::digest::Digest;
use rustix::fs::{Mode, OFlags};

use crate::dump;
use crate::erofs;
use crate::merkle::{self, FileHasher};
use crate::repo::{Check, Commit, Load, LoadProgress, ObjectCache, Source};
use crate::tree::{Content, Metadata, Mtime, NodeId, Role, Tree, mode};

/// The most bytes of an image: a million files take a third of it.
const IMAGE_MAX: u64 = 1 << 30;
/// Where a composefs image says that it is one.
const MAGIC: [u8; 4] = 0xd078_629a_u32.to_le_bytes();

/// One of two that are compared.
#[derive(Debug)]
pub struct Side {
    /// Its files.
    pub tree: Tree,
    /// What is known of it beside.
    pub traits: Traits,
}

/// What one side keeps, so that only that is compared which both do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Traits {
    /// Times of files: a commit has none, and neither has its image.
    pub has_times: bool,
    /// Which names are one inode.
    pub has_links: bool,
    /// The format version of an image.
    pub version: Option<u32>,
    /// The digest of an image.
    pub digest: Option<Digest>,
}

impl Traits {
    /// Those of a commit.
    pub const COMMIT: Self = Self { has_times: false, has_links: false, version: None, digest: None };
}

impl Side {
    /// An image file or the text of a dump.
    #[context("reading {}", path.display())]
    pub fn file(path: &Path) -> Result<Self> {
        // Without NONBLOCK, a FIFO would be waited for.
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let mut file = File::from(rustix::fs::open(path, flags, Mode::empty())?);
        ensure!(file.metadata()?.is_file(), "it is not a regular file");
        let mut bytes = Vec::new();
        file.by_ref().take(IMAGE_MAX + 1).read_to_end(&mut bytes)?;
        ensure!(bytes.len() as u64 <= IMAGE_MAX, "it has more than the {IMAGE_MAX} bytes that are possible");
        if bytes.starts_with(&MAGIC) {
            return Self::image(&bytes);
        }
        ensure!(bytes.starts_with(b"/"), "it is neither a composefs image nor the text of a dump");
        Ok(Self::of(dump::parse(BufReader::new(bytes.as_slice()))?))
    }

    /// The bytes of an image.
    pub fn image(bytes: &[u8]) -> Result<Self> {
        let mut side = Self::of(erofs::read(bytes)?);
        side.traits.version = Some(erofs::version(bytes)?);
        side.traits.digest = Some(merkle::digest(bytes));
        Ok(side)
    }

    /// A commit, with the digests of its contents.
    pub fn commit(
        source: &Source,
        commit: &Commit,
        threads: NonZeroUsize,
        cache: &dyn ObjectCache,
        progress: &mut dyn LoadProgress,
    ) -> Result<Self> {
        let load = Load { threads, cache, check: Check::None, progress };
        let tree = source.load(commit, load)?.tree;
        Ok(Self { tree, traits: Traits::COMMIT })
    }

    /// A directory of this system, up to the file systems that are mounted below it.
    #[context("reading the directory {}", path.display())]
    pub fn directory(path: &Path) -> Result<Self> {
        let mut reader = DirectoryReader {
            tree: Tree::new(),
            inodes: HashMap::new(),
            hasher: FileHasher::new(),
            device: path.metadata()?.dev(),
        };
        reader.read(path)?;
        Ok(Self::of(reader.tree))
    }

    fn of(tree: Tree) -> Self {
        let has_times = tree.nodes().any(|(_, node)| node.meta.mtime != Mtime::default());
        Self { tree, traits: Traits { has_times, has_links: true, ..Traits::COMMIT } }
    }
}

/// Makes a tree of a directory.
struct DirectoryReader {
    tree: Tree,
    /// Inodes with several names.
    inodes: HashMap<u64, NodeId>,
    hasher: FileHasher,
    device: u64,
}

impl DirectoryReader {
    fn read(&mut self, root: &Path) -> Result<()> {
        let metadata = root.metadata()?;
        let root_node = self.node(root, &metadata)?;
        let mut open = vec![(root_node, root.to_owned())];
        while let Some((parent, path)) = open.pop() {
            for entry in std::fs::read_dir(&path).with_context(|| format!("listing {}", path.display()))? {
                let entry = entry?;
                let (name, path) = (entry.file_name(), entry.path());
                let metadata = entry.metadata().with_context(|| format!("looking at {}", path.display()))?;
                let (node, role) = self.node_or_link(&path, &metadata)?;
                let name = self.tree.add_name(name.as_bytes())?;
                self.tree.insert(parent, name, node, role)?;
                if metadata.is_dir() && metadata.dev() == self.device {
                    open.push((node, path));
                }
            }
        }
        self.tree.sort().map_err(|(_, error)| error)?;
        Ok(())
    }

    fn node_or_link(&mut self, path: &Path, metadata: &std::fs::Metadata) -> Result<(NodeId, Role)> {
        let several = metadata.nlink() > 1 && !metadata.is_dir();
        if let Some(known) = self.inodes.get(&metadata.ino()).filter(|_| several) {
            return Ok((*known, Role::Link));
        }
        let node = self.node(path, metadata)?;
        if several {
            self.inodes.insert(metadata.ino(), node);
        }
        Ok((node, Role::Place))
    }

    #[context("reading {}", path.display())]
    fn node(&mut self, path: &Path, metadata: &std::fs::Metadata) -> Result<NodeId> {
        let xattrs = self.xattrs(path)?;
        let size = if metadata.is_file() || metadata.is_symlink() { metadata.size() } else { 0 };
        let content = match metadata.mode() & mode::S_IFMT {
            mode::S_IFDIR => self.tree.add_directory()?,
            mode::S_IFLNK => self.tree.add_symlink(std::fs::read_link(path)?.as_os_str().as_bytes())?,
            mode::S_IFREG if size == 0 => Content::Empty,
            mode::S_IFREG => {
                let (digest, _) = self.hasher.digest_reader(File::open(path)?)?;
                Content::External(self.tree.add_backing(b"", Some(digest))?)
            }
            _ => Content::Special,
        };
        let meta = Metadata {
            mode: metadata.mode(),
            nlink: u32::try_from(metadata.nlink())?,
            uid: metadata.uid(),
            gid: metadata.gid(),
            rdev: u32::try_from(metadata.rdev()).unwrap_or(u32::MAX),
            size,
            mtime: Mtime { sec: metadata.mtime(), nsec: u32::try_from(metadata.mtime_nsec())? },
            xattrs,
        };
        Ok(self.tree.add_node(meta, content)?)
    }

    fn xattrs(&mut self, path: &Path) -> Result<crate::tree::XattrsId> {
        let pairs = xattrs_of(path).context("reading its xattrs")?;
        let pairs: Vec<(&[u8], &[u8])> = pairs.iter().map(|(name, value)| (&**name, &**value)).collect();
        Ok(self.tree.add_xattrs(&pairs)?)
    }
}

/// The xattrs of a file or of a symlink itself.
fn xattrs_of(path: &Path) -> io::Result<Vec<(Vec<u8>, Vec<u8>)>> {
    let mut room = vec![0; 65_536];
    let len = match rustix::fs::llistxattr(path, &mut room) {
        Ok(len) => len,
        Err(rustix::io::Errno::OPNOTSUPP) => 0,
        Err(errno) => return Err(errno.into()),
    };
    let names = room[..len].split(|byte| *byte == 0).filter(|name| !name.is_empty());
    let mut value = vec![0; 65_536];
    let mut pairs = Vec::new();
    for name in names {
        match rustix::fs::lgetxattr(path, name, &mut value) {
            Ok(len) => pairs.push((name.to_vec(), value[..len].to_vec())),
            Err(rustix::io::Errno::NODATA) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
    Ok(pairs)
}
