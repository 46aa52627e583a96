//! A commit of a repository. Its directories are read one by one, and of its files what is not content.

use std::io::Read;
use std::rc::Rc;

use anyhow::{Context as _, Result, bail};

use super::item::{Body, Id, Item, XattrsOf};
use super::view::{Expected, View};
use crate::repo::{Checksum, Commit, FileMeta, Listed, Source, Xattrs};
use crate::tree::Mtime;

/// A commit.
#[derive(Debug)]
pub struct CommitView {
    source: Source,
    commit: Commit,
}

impl CommitView {
    /// The commit of this repository.
    pub fn new(source: Source, commit: Commit) -> Self {
        Self { source, commit }
    }

    fn directory(&self, dirtree: Checksum, dirmeta: Checksum) -> Result<Item> {
        let meta = self.source.directory_meta(&dirmeta)?;
        Ok(Item {
            mode: meta.mode,
            nlink: None,
            uid: meta.uid,
            gid: meta.gid,
            rdev: 0,
            size: 0,
            mtime: Mtime::default(),
            xattrs: xattrs(&meta.xattrs),
            body: Rc::new(Body::Directory),
            id: Id::Directory { dirtree, dirmeta },
        })
    }

    fn items(&self, listed: Vec<(Vec<u8>, Listed)>) -> Result<Vec<(Vec<u8>, Item)>> {
        let object = |(_, listed): &(_, Listed)| match listed {
            Listed::File(object) => Some(*object),
            Listed::Directory { .. } => None,
        };
        let objects: Vec<_> = listed.iter().filter_map(object).collect();
        let mut metas = self.source.file_metas(&objects)?.into_iter();
        let mut items = Vec::with_capacity(listed.len());
        for (name, listed) in listed {
            let item = match listed {
                Listed::File(object) => file(object, metas.next().context("a file was not read")?),
                Listed::Directory { dirtree, dirmeta } => self.directory(dirtree, dirmeta)?,
            };
            items.push((name, item));
        }
        Ok(items)
    }

    fn listing(&self, directory: &Item) -> Result<Vec<(Vec<u8>, Listed)>> {
        match directory.id {
            Id::Directory { dirtree, .. } => self.source.listing(&dirtree),
            Id::File(_) => Ok(Vec::new()),
            Id::Slot(_) => bail!("a directory of something else was asked for"),
        }
    }
}

impl View for CommitView {
    fn root(&mut self) -> Result<Item> {
        self.directory(self.commit.dirtree, self.commit.dirmeta)
    }

    fn entries(&mut self, directory: &Item) -> Result<Vec<(Vec<u8>, Item)>> {
        let mut items = self.items(self.listing(directory)?)?;
        items.sort_by(|a, b| a.0.cmp(&b.0));
        Ok(items)
    }

    fn entry(&mut self, directory: &Item, name: &[u8]) -> Result<Option<Item>> {
        let mut listing = self.listing(directory)?;
        listing.retain(|(other, _)| other == name);
        Ok(self.items(listing)?.pop().map(|(_, item)| item))
    }

    fn content(&self, file: &Item) -> Result<Box<dyn Read>> {
        match file.id {
            Id::File(object) => Ok(Box::new(self.source.content(&object)?)),
            _ => bail!("it has no content"),
        }
    }

    fn expected(&self, file: &Item) -> Result<Expected> {
        let Id::File(object) = file.id else { return Ok(Expected::Unknown) };
        let metas = self.source.file_metas(&[object])?;
        let meta = metas.first().context("the file was not read")?;
        Ok(Expected::Name(Box::new(self.source.name_check(meta)), object))
    }
}

fn file(object: Checksum, meta: FileMeta) -> Item {
    let FileMeta { uid, gid, mode, xattrs: of_file, size, target } = meta;
    let payload = {
        let hex = object.to_string();
        format!("{}/{}.file", &hex[..2], &hex[2..]).into_bytes()
    };
    let body = match target {
        Some(target) => Body::Symlink(target.into()),
        None => Body::Object { payload, digest: None },
    };
    Item {
        mode,
        nlink: None,
        uid,
        gid,
        rdev: 0,
        size,
        mtime: Mtime::default(),
        xattrs: xattrs(&of_file),
        body: Rc::new(body),
        id: Id::File(object),
    }
}

fn xattrs(xattrs: &Xattrs) -> XattrsOf {
    let mut list: Vec<_> =
        xattrs.0.iter().map(|(name, value)| Rc::new((name.to_vec(), value.to_vec()))).collect();
    list.sort();
    Rc::new(list)
}
