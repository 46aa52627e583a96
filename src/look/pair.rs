//! Two commits, as far as they differ: only those directories are read whose checksums do. What is the same in both is in
//! neither tree, so that comparing the two costs what differs.

use anyhow::{Result, ensure};
use ostree_seal_root::check::verity;
use ostree_seal_trust::digest::Digest;

use super::sides::{Side, Traits};
use crate::merkle::FileHasher;
use crate::repo::{Checksum, Commit, DirectoryMeta, FileMeta, Listed, ObjectContent, Source, Xattrs};
use crate::tree::{Content, Metadata, Mtime, NodeId, Role, Tree, XattrsId, mode};

/// The deepest path, in directories: the longest path that the kernel takes can't name more.
const DEPTH_MAX: usize = 2048;

/// Two commits of one repository.
pub fn commits(source: &Source, old: &Commit, new: &Commit) -> Result<(Side, Side)> {
    let mut pair = Pair { source, trees: [Tree::new(), Tree::new()] };
    let roots = [old, new].map(|commit| (commit.dirtree, commit.dirmeta));
    let mut nodes = Vec::new();
    for (side, (_, dirmeta)) in roots.iter().enumerate() {
        nodes.push(pair.directory(side, dirmeta)?);
    }
    let [old, new] = roots.map(|(dirtree, _)| dirtree);
    pair.compare([(nodes[0], old), (nodes[1], new)], 0)?;
    let side = |mut tree: Tree| -> Result<Side> {
        tree.sort().map_err(|(_, error)| error)?;
        Ok(Side { tree, traits: Traits::COMMIT })
    };
    let [old, new] = pair.trees;
    Ok((side(old)?, side(new)?))
}

struct Pair<'s> {
    source: &'s Source,
    trees: [Tree; 2],
}

/// A directory of one of the two trees.
type SidedNode = (usize, NodeId);

impl Pair<'_> {
    /// Adds what differs in two directories that have their nodes. The depth limit bounds the recursion.
    fn compare(&mut self, [old, new]: [(NodeId, Checksum); 2], depth: usize) -> Result<()> {
        ensure!(depth < DEPTH_MAX, "a commit is nested deeper than {DEPTH_MAX} directories");
        if old.1 == new.1 {
            return Ok(());
        }
        let mut lists = [self.source.listing(&old.1)?, self.source.listing(&new.1)?];
        lists.iter_mut().for_each(|list| list.sort_by(|a, b| a.0.cmp(&b.0)));
        let [olds, news] = lists;
        let mut news = news.into_iter().peekable();
        for (name, listed) in olds {
            while let Some((name, listed)) = news.next_if(|(other, _)| *other < name) {
                self.all((1, new.0), &name, listed, depth)?;
            }
            match news.next_if(|(other, _)| *other == name) {
                Some((_, other)) => self.both([(old.0, listed), (new.0, other)], &name, depth)?,
                None => self.all((0, old.0), &name, listed, depth)?,
            }
        }
        news.try_for_each(|(name, listed)| self.all((1, new.0), &name, listed, depth))
    }

    /// A name that both have.
    fn both(&mut self, sides: [(NodeId, Listed); 2], name: &[u8], depth: usize) -> Result<()> {
        let [(old_parent, old), (new_parent, new)] = sides;
        if old == new {
            return Ok(());
        }
        let (Listed::Directory { dirtree: a, dirmeta: ma }, Listed::Directory { dirtree: b, dirmeta: mb }) =
            (old, new)
        else {
            let digests = self.digests(&old, &new)?;
            for (side, (parent, listed)) in sides.into_iter().enumerate() {
                match (listed, digests) {
                    (Listed::File(object), Some(digests)) => {
                        let node = self.file(side, &object, Some(digests[side]))?;
                        self.insert(side, parent, name, node)?;
                    }
                    _ => self.all((side, parent), name, listed, depth)?,
                }
            }
            return Ok(());
        };
        let old = self.directory(0, &ma)?;
        let new = self.directory(1, &mb)?;
        self.insert(0, old_parent, name, old)?;
        self.insert(1, new_parent, name, new)?;
        self.compare([(old, a), (new, b)], depth + 1)
    }

    /// The digests of two contents of one size: objects with other names may have the same content, if something else of
    /// them differs.
    fn digests(&self, old: &Listed, new: &Listed) -> Result<Option<[Digest; 2]>> {
        let (Listed::File(old), Listed::File(new)) = (old, new) else { return Ok(None) };
        let metas = self.source.file_metas(&[*old, *new])?;
        let [a, b] = metas.as_slice() else { return Ok(None) };
        if a.target.is_some() || b.target.is_some() || a.size != b.size || a.size == 0 {
            return Ok(None);
        }
        Ok(Some([self.digest(old)?, self.digest(new)?]))
    }

    fn digest(&self, object: &Checksum) -> Result<Digest> {
        let content = self.source.content(object)?;
        if let ObjectContent::Plain(file) = &content {
            if let Ok(digest) = verity::measure(file) {
                return Ok(digest);
            }
        }
        let (digest, _) = FileHasher::new().digest_reader(content)?;
        Ok(digest)
    }

    /// A name and all below it, on one side.
    fn all(&mut self, (side, parent): SidedNode, name: &[u8], listed: Listed, depth: usize) -> Result<()> {
        ensure!(depth < DEPTH_MAX, "a commit is nested deeper than {DEPTH_MAX} directories");
        match listed {
            Listed::File(object) => {
                let node = self.file(side, &object, None)?;
                self.insert(side, parent, name, node)
            }
            Listed::Directory { dirtree, dirmeta } => {
                let node = self.directory(side, &dirmeta)?;
                self.insert(side, parent, name, node)?;
                for (name, listed) in self.source.listing(&dirtree)? {
                    self.all((side, node), &name, listed, depth + 1)?;
                }
                Ok(())
            }
        }
    }

    fn insert(&mut self, side: usize, parent: NodeId, name: &[u8], node: NodeId) -> Result<()> {
        let tree = &mut self.trees[side];
        let name = tree.add_name(name)?;
        Ok(tree.insert(parent, name, node, Role::Place)?)
    }

    fn directory(&mut self, side: usize, dirmeta: &Checksum) -> Result<NodeId> {
        let DirectoryMeta { uid, gid, mode, xattrs } = self.source.directory_meta(dirmeta)?;
        let tree = &mut self.trees[side];
        let content = tree.add_directory()?;
        let xattrs = add_xattrs(tree, &xattrs)?;
        Ok(tree.add_node(metadata((mode, uid, gid), 0, xattrs), content)?)
    }

    fn file(&mut self, side: usize, object: &Checksum, digest: Option<Digest>) -> Result<NodeId> {
        let mut metas = self.source.file_metas(std::slice::from_ref(object))?;
        let Some(FileMeta { uid, gid, mode, xattrs, size, target }) = metas.pop() else {
            anyhow::bail!("object {object} was not read");
        };
        let tree = &mut self.trees[side];
        let content = match target {
            Some(target) => tree.add_symlink(&target)?,
            None if size == 0 => Content::Empty,
            None => {
                let hex = object.to_string();
                let payload = format!("{}/{}.file", &hex[..2], &hex[2..]);
                Content::External(tree.add_backing(payload.as_bytes(), digest)?)
            }
        };
        let xattrs = add_xattrs(tree, &xattrs)?;
        Ok(tree.add_node(metadata((mode, uid, gid), size, xattrs), content)?)
    }
}

fn add_xattrs(tree: &mut Tree, xattrs: &Xattrs) -> Result<XattrsId> {
    let pairs: Vec<(&[u8], &[u8])> = xattrs.0.iter().map(|(name, value)| (&**name, &**value)).collect();
    Ok(tree.add_xattrs(&pairs)?)
}

fn metadata((mode, uid, gid): (u32, u32, u32), size: u64, xattrs: XattrsId) -> Metadata {
    let size = if mode & mode::S_IFMT == mode::S_IFDIR { 0 } else { size };
    Metadata { mode, nlink: 1, uid, gid, rdev: 0, size, mtime: Mtime::default(), xattrs }
}
