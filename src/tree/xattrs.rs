//! Xattrs and sets of them, interned: equal ones are stored once, and are compared by their ids.

use std::hash::BuildHasher as _;

use super::data::{Tree, Xattr, XattrId, XattrsId, narrow, place, slice};
use super::error::TreeError;
use super::limits::{XATTR_BUDGET, XATTR_NAME_MAX, XATTR_VALUE_MAX};

/// What an image gets for its whiteouts besides the input's own xattrs. It must not count, or a tree that just fits could
/// be written, but neither read nor written again.
const UNCOUNTED: [(&[u8], &[u8]); 6] = [
    (b"trusted.overlay.whiteout", b""),
    (b"user.overlay.whiteout", b""),
    (b"trusted.overlay.whiteouts", b""),
    (b"user.overlay.whiteouts", b""),
    (b"trusted.overlay.opaque", b"x"),
    (b"user.overlay.opaque", b"x"),
];

impl Tree {
    /// The xattrs of a set, in bytewise order of their names.
    pub fn xattrs(&self, set: XattrsId) -> impl ExactSizeIterator<Item = &Xattr> {
        self.xattr_ids(set).iter().map(|id| &self[*id])
    }

    /// The xattrs of a set by their ids, in bytewise order of their names.
    pub fn xattr_ids(&self, set: XattrsId) -> &[XattrId] {
        let (start, len) = self.xattr_sets[set.0 as usize];
        &self.xattr_ids[start as usize..][..len as usize]
    }

    /// All interned xattrs, in the order in which they were added.
    pub fn interned_xattrs(&self) -> impl ExactSizeIterator<Item = (XattrId, &Xattr)> {
        self.xattrs.iter().enumerate().map(|(index, xattr)| (XattrId(narrow(index)), xattr))
    }

    /// Number of interned xattr sets, the empty one included: every [`XattrsId`] is below it.
    pub fn xattr_set_count(&self) -> usize {
        self.xattr_sets.len()
    }

    /// An xattr set; the same set given twice is stored once. A later value of a repeated name wins.
    pub fn add_xattrs(&mut self, pairs: &[(&[u8], &[u8])]) -> Result<XattrsId, TreeError> {
        let ids = pairs.iter().map(|(name, value)| self.add_xattr(name, value)).collect::<Result<_, _>>()?;
        self.add_xattr_set(ids)
    }

    /// One xattr; the same name and value given twice are stored once.
    pub fn add_xattr(&mut self, name: &[u8], value: &[u8]) -> Result<XattrId, TreeError> {
        if name.is_empty() || name.len() > XATTR_NAME_MAX {
            return Err(TreeError::XattrName(name.len()));
        }
        if value.len() > XATTR_VALUE_MAX {
            return Err(TreeError::XattrValue(value.len()));
        }
        let hash = self.hasher.hash_one((name, value));
        let known = self.known_xattrs.find(hash, |id| self.is_xattr(*id, name, value));
        if let Some(known) = known {
            return Ok(*known);
        }
        let id = XattrId(place(self.xattrs.len())?);
        let xattr = Xattr { name: self.add_bytes(name)?, value: self.add_bytes(value)? };
        self.xattrs.push(xattr);
        let (arena, xattrs, hasher) = (&self.arena, &self.xattrs, &self.hasher);
        self.known_xattrs.insert_unique(hash, id, |id| {
            let xattr = &xattrs[id.index()];
            hasher.hash_one((slice(arena, xattr.name), slice(arena, xattr.value)))
        });
        Ok(id)
    }

    /// A set of interned xattrs. A later value of a repeated name wins.
    pub fn add_xattr_set(&mut self, mut ids: Vec<XattrId>) -> Result<XattrsId, TreeError> {
        if ids.is_empty() {
            return Ok(XattrsId::NONE);
        }
        ids.reverse();
        ids.sort_by(|a, b| self[self[*a].name].cmp(&self[self[*b].name]));
        ids.dedup_by(|a, b| self[self[*a].name] == self[self[*b].name]);
        let budget = self.budget(&ids);
        if budget > XATTR_BUDGET {
            return Err(TreeError::XattrBudget(budget));
        }
        let hash = self.hasher.hash_one(&ids);
        if let Some(known) = self.known_sets.find(hash, |set| self.xattr_ids(*set) == ids) {
            return Ok(*known);
        }
        let start = place(self.xattr_ids.len())?;
        self.xattr_ids.extend_from_slice(&ids);
        let id = XattrsId(place(self.xattr_sets.len())?);
        self.xattr_sets.push((start, place(ids.len())?));
        let (members, sets, hasher) = (&self.xattr_ids, &self.xattr_sets, &self.hasher);
        self.known_sets.insert_unique(hash, id, |set| {
            let (start, len) = sets[set.index()];
            hasher.hash_one(&members[start as usize..][..len as usize])
        });
        Ok(id)
    }

    fn budget(&self, ids: &[XattrId]) -> usize {
        let xattrs = ids.iter().map(|id| (&self[self[*id].name], &self[self[*id].value]));
        let counted = xattrs.filter(|pair| !UNCOUNTED.contains(pair));
        12 + counted.map(|(name, value)| 7 + name.len() + value.len()).sum::<usize>()
    }

    fn is_xattr(&self, id: XattrId, name: &[u8], value: &[u8]) -> bool {
        &self[self[id].name] == name && &self[self[id].value] == value
    }
}

impl XattrsId {
    /// The set without any xattr.
    pub const NONE: Self = Self(0);

    /// Position among the interned sets.
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

impl XattrId {
    /// Position among the interned xattrs.
    pub fn index(self) -> usize {
        self.0 as usize
    }
}
