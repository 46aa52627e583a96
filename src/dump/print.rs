//! Nodes to lines, as `composefs-info dump` prints them: depth first, names in bytewise order.

use std::io::{self, Write};

use super::escape::{Mistaken, escape};
use crate::erofs::Sharing;
use crate::tree::{Content, Entry, NodeId, Paths, Role, Tree};

/// Writes the dump of a sorted tree. [`super::parse`] makes the same tree of it.
pub fn print(tree: &Tree, out: &mut (impl Write + ?Sized)) -> io::Result<()> {
    let Some((root, _)) = tree.nodes().next() else { return Ok(()) };
    let has_links = tree.nodes().filter_map(|(node, _)| tree.children(node)).flatten().any(is_link);
    let mut printer = Printer {
        tree,
        sharing: Sharing::new(tree).map_err(io::Error::other)?,
        paths: has_links.then(|| tree.paths()),
        path: Vec::new(),
        out: io::BufWriter::with_capacity(64 * 1024, out),
    };
    printer.line(root, None)?;
    printer.below(root)?;
    printer.out.flush()
}

fn is_link(entry: &Entry) -> bool {
    entry.role == Role::Link
}

struct Printer<'t, W: Write> {
    tree: &'t Tree,
    sharing: Sharing,
    /// Where the nodes are placed, if there are hard links.
    paths: Option<Paths>,
    /// The path of the line, escaped; empty for the root.
    path: Vec<u8>,
    out: W,
}

impl<W: Write> Printer<'_, W> {
    /// Prints what is below a directory.
    fn below(&mut self, root: NodeId) -> io::Result<()> {
        let entries = |node| self.tree.children(node).unwrap_or_default();
        let mut open = vec![(entries(root).iter(), 0)];
        while let Some((rest, path_len)) = open.last_mut() {
            let Some(entry) = rest.next() else {
                open.pop();
                continue;
            };
            self.path.truncate(*path_len);
            self.path.push(b'/');
            escape(&self.tree[entry.name], Mistaken::Path, &mut self.path)?;
            if is_link(entry) {
                let paths = self.paths.as_ref();
                let target = paths.and_then(|paths| paths.path(self.tree, entry.node));
                let target = target.ok_or_else(|| io::Error::other("a hard link leads out of the tree"))?;
                self.line(entry.node, Some(&target))?;
                continue;
            }
            self.line(entry.node, None)?;
            if let Some(children) = self.tree.children(entry.node) {
                open.push((children.iter(), self.path.len()));
            }
        }
        Ok(())
    }

    /// Prints a node's line; `link_target` is the path at which it is placed if this is another name.
    fn line(&mut self, node: NodeId, link_target: Option<&[u8]>) -> io::Result<()> {
        let (tree, out) = (self.tree, &mut self.out);
        let meta = &tree[node].meta;
        let content = tree[node].content;
        let size = match content {
            Content::Symlink(target) => target.len() as u64,
            _ => meta.size,
        };
        out.write_all(if self.path.is_empty() { b"/" } else { &self.path })?;
        write!(out, " {size} {}{:o}", if link_target.is_some() { "@" } else { "" }, meta.mode)?;
        write!(out, " {} {} {} {}", meta.nlink, meta.uid, meta.gid, meta.rdev)?;
        write!(out, " {}.{} ", meta.mtime.sec, meta.mtime.nsec)?;
        let (payload, digest) = match content {
            Content::External(backing) => (Some(tree[backing].payload), tree[backing].digest),
            Content::Symlink(target) => (Some(target), None),
            _ => (None, None),
        };
        let payload = payload.map(|payload| &tree[payload]).filter(|payload| !payload.is_empty());
        optional(link_target.or(payload), out)?;
        let inline = match content {
            Content::Inline(content) => Some(&tree[content]),
            _ => None,
        };
        out.write_all(b" ")?;
        optional(inline, out)?;
        match digest {
            Some(digest) => write!(out, " {digest}")?,
            None => out.write_all(b" -")?,
        }
        for id in self.sharing.stored_order(tree, node) {
            out.write_all(b" ")?;
            escape(&tree[tree[id].name], Mistaken::Xattr, out)?;
            out.write_all(b"=")?;
            escape(&tree[tree[id].value], Mistaken::Xattr, out)?;
        }
        out.write_all(b"\n")
    }
}

fn optional(field: Option<&[u8]>, out: &mut impl Write) -> io::Result<()> {
    match field {
        Some(field) => escape(field, Mistaken::Optional, out),
        None => out.write_all(b"-"),
    }
}
