//! From the table of objects to the tree that libostree would give to libcomposefs (composefs profile `ostree`):
//! every time stamp 0, every name an inode of its own, no content inline, a file's payload its path in a bare
//! repository, and the top-level directories that a boot needs.

use std::collections::HashMap;

use anyhow::{Context as _, anyhow, ensure};

use super::explore::DirectoryInfo;
use super::object::{ObjectInfo, ObjectKind};
use super::store::ObjectPath;
use super::walk::Objects;
use super::xattrs::{XattrList, Xattrs};
use crate::tree::mode::{S_IFDIR, S_IFMT};
use crate::tree::{Content, DirectoryId, Metadata, Mtime, NodeId, Role, Tree, TreeError, XattrsId};

/// Directories that libostree adds to the root where the commit has no such name: `root:root`, mode 0755, no xattrs.
const FORCED_DIRECTORIES: [&str; 5] = ["usr", "etc", "boot", "var", "sysroot"];

/// The deepest path, in directories: the longest path that the kernel takes can't name more.
const DEPTH_MAX: usize = 2048;

/// The most names. A few objects can spell any number of paths, and this many fit into no image that a system boots.
const ENTRIES_MAX: usize = 1 << 26;

/// Makes the tree.
pub(super) fn assemble(objects: &Objects) -> anyhow::Result<Tree> {
    let mut assembly = Assembly {
        objects,
        tree: Tree::new(),
        xattrs: HashMap::new(),
        files: vec![None; objects.files.len()],
        path: String::new(),
        depth: 0,
    };
    let info = objects.dirmetas.first().context("the commit has no root")?;
    assembly.add_directory(0, info)?;
    add_forced_directories(&mut assembly.tree)?;
    let mut tree = assembly.tree;
    if let Err((directory, error)) = tree.sort() {
        return Err(at_path(error, &path_of(&tree, directory)));
    }
    Ok(tree)
}

struct Assembly<'a> {
    objects: &'a Objects,
    tree: Tree,
    /// Xattr lists that the tree has already, by their place in memory.
    xattrs: HashMap<*const XattrList, XattrsId>,
    /// File objects that the tree has already.
    files: Vec<Option<(XattrsId, Content)>>,
    /// Where the walk is, without the slash at the end.
    path: String,
    depth: usize,
}

impl Assembly<'_> {
    /// Adds a directory and all below it. The depth limit bounds the recursion.
    fn add_directory(&mut self, dirtree: u32, info: &DirectoryInfo) -> anyhow::Result<NodeId> {
        let objects = self.objects;
        let (files, directories) = objects.entries(dirtree).context("a dirtree is missing")?;
        let node = self.directory_node(info).map_err(|error| self.at(error, ""))?;
        ensure!(self.depth < DEPTH_MAX, "{} is nested deeper than {DEPTH_MAX} directories", self.path);
        for (name, file) in files {
            let name = objects.name(*name);
            self.add_file(node, name, *file).map_err(|error| self.at(error, name))?;
        }
        for (name, dirtree, dirmeta) in directories {
            self.add_subdirectory(node, objects.name(*name), (*dirtree, *dirmeta))?;
        }
        ensure!(self.tree.len() <= ENTRIES_MAX, "the commit has more than {ENTRIES_MAX} names");
        Ok(node)
    }

    fn add_subdirectory(
        &mut self,
        parent: NodeId,
        name: &str,
        (dirtree, dirmeta): (u32, u32),
    ) -> anyhow::Result<()> {
        let objects = self.objects;
        let info = objects.dirmetas.get(dirmeta as usize).context("a dirmeta is missing")?;
        let len = self.path.len();
        self.path.push('/');
        self.path.push_str(name);
        self.depth += 1;
        let node = self.add_directory(dirtree, info)?;
        self.depth -= 1;
        self.path.truncate(len);
        insert(&mut self.tree, parent, name, node).map_err(|error| self.at(error.into(), name))
    }

    fn directory_node(&mut self, info: &DirectoryInfo) -> anyhow::Result<NodeId> {
        ensure!(info.mode & S_IFMT == S_IFDIR, "the mode {:o} in its dirmeta is no directory's", info.mode);
        let xattrs = self.xattr_set(&info.xattrs)?;
        let content = self.tree.add_directory()?;
        let meta = metadata(info.mode, (info.uid, info.gid), 0, xattrs);
        Ok(self.tree.add_node(meta, content)?)
    }

    fn add_file(&mut self, parent: NodeId, name: &str, file: u32) -> anyhow::Result<()> {
        let objects = self.objects;
        let (object, info) = &objects.files[file as usize];
        let info = info.as_ref().with_context(|| format!("object {object} was not read"))?;
        let (xattrs, content) = match self.files[file as usize] {
            Some(known) => known,
            None => self.file_content(file, info)?,
        };
        let size = match &info.kind {
            ObjectKind::Empty => 0,
            ObjectKind::Regular { size, .. } => *size,
            ObjectKind::Symlink(target) => target.len() as u64,
        };
        let meta = metadata(info.mode, (info.uid, info.gid), size, xattrs);
        let node = self.tree.add_node(meta, content)?;
        Ok(insert(&mut self.tree, parent, name, node)?)
    }

    /// What all names of a file object share.
    fn file_content(&mut self, file: u32, info: &ObjectInfo) -> anyhow::Result<(XattrsId, Content)> {
        let xattrs = self.xattr_set(&info.xattrs)?;
        let content = match &info.kind {
            ObjectKind::Empty => Content::Empty,
            ObjectKind::Symlink(target) => self.tree.add_symlink(target)?,
            ObjectKind::Regular { digest, .. } => {
                // The path is that of a bare repository whatever the mode is: the image is the same for all.
                let payload = ObjectPath::new(&self.objects.files[file as usize].0, "file");
                Content::External(self.tree.add_backing(payload.as_bytes(), Some(*digest))?)
            }
        };
        self.files[file as usize] = Some((xattrs, content));
        Ok((xattrs, content))
    }

    fn xattr_set(&mut self, xattrs: &Xattrs) -> Result<XattrsId, TreeError> {
        if xattrs.0.is_empty() {
            return Ok(XattrsId::NONE);
        }
        let place = std::sync::Arc::as_ptr(&xattrs.0);
        if let Some(known) = self.xattrs.get(&place) {
            return Ok(*known);
        }
        let pairs: Vec<(&[u8], &[u8])> = xattrs.0.iter().map(|(name, value)| (&**name, &**value)).collect();
        let id = self.tree.add_xattrs(&pairs)?;
        self.xattrs.insert(place, id);
        Ok(id)
    }

    fn at(&self, error: anyhow::Error, name: &str) -> anyhow::Error {
        match name {
            "" if self.path.is_empty() => error.context("/"),
            "" => error.context(self.path.clone()),
            name => error.context(format!("{}/{name}", self.path)),
        }
    }
}

fn add_forced_directories(tree: &mut Tree) -> anyhow::Result<()> {
    for name in FORCED_DIRECTORIES {
        let entries = tree.children(Tree::ROOT).expect("invariant: the root is a directory");
        if entries.iter().any(|entry| tree[entry.name] == *name.as_bytes()) {
            continue;
        }
        let content = tree.add_directory()?;
        let node = tree.add_node(metadata(S_IFDIR | 0o755, (0, 0), 0, XattrsId::NONE), content)?;
        insert(tree, Tree::ROOT, name, node)?;
    }
    Ok(())
}

fn insert(tree: &mut Tree, parent: NodeId, name: &str, node: NodeId) -> Result<(), TreeError> {
    let name = tree.add_name(name.as_bytes())?;
    tree.insert(parent, name, node, Role::Place)
}

fn metadata(mode: u32, (uid, gid): (u32, u32), size: u64, xattrs: XattrsId) -> Metadata {
    Metadata { mode, nlink: 1, uid, gid, rdev: 0, size, mtime: Mtime::default(), xattrs }
}

fn at_path(error: TreeError, path: &str) -> anyhow::Error {
    anyhow!(error).context(format!("directory {path}"))
}

/// A directory's path, for an error message.
fn path_of(tree: &Tree, wanted: DirectoryId) -> String {
    let mut open = vec![(Tree::ROOT, String::new())];
    while let Some((node, path)) = open.pop() {
        let Content::Directory(directory) = tree[node].content else { continue };
        if directory == wanted {
            return if path.is_empty() { "/".to_owned() } else { path };
        }
        for entry in tree.entries(directory) {
            open.push((entry.node, format!("{path}/{}", tree[entry.name].escape_ascii())));
        }
    }
    "/".to_owned()
}
