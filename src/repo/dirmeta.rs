//! Owner, mode and xattrs: a dirmeta object, and the `user.ostreemeta` xattr of a file in a bare-user repository.
//! `(uuua(ayay))`, GVariant; the numbers are big-endian.

use ostree_seal_trust::gvariant::{Array, GVariantError, Tuple};

/// Owner, mode and xattrs of a directory or a file.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Dirmeta<'a> {
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) mode: u32,
    pub(super) xattrs: Vec<Xattr<'a>>,
}

/// Name, without the NUL that ends it in the object, and value.
pub(super) type Xattr<'a> = (&'a [u8], &'a [u8]);

impl<'a> Dirmeta<'a> {
    /// Reads a dirmeta object.
    pub(super) fn parse(bytes: &'a [u8]) -> Result<Self, GVariantError> {
        let mut tuple = Tuple::new(bytes);
        Ok(Self {
            uid: tuple.be_u32()?,
            gid: tuple.be_u32()?,
            mode: tuple.be_u32()?,
            xattrs: parse_xattrs(tuple.last(1)?)?,
        })
    }
}

/// Reads `a(ayay)`: what a `.file-xattrs` object is as a whole.
pub(super) fn parse_xattrs(bytes: &[u8]) -> Result<Vec<Xattr<'_>>, GVariantError> {
    let array = Array::new(bytes, 1)?;
    let mut xattrs = Vec::with_capacity(array.remaining());
    for element in array {
        let mut tuple = Tuple::new(element?);
        let (nul, name) = tuple.framed(1)?.split_last().ok_or(GVariantError::Text)?;
        if *nul != 0 || name.contains(&0) {
            return Err(GVariantError::Text);
        }
        xattrs.push((name, tuple.last(1)?));
    }
    Ok(xattrs)
}
