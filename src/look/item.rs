//! A file as an image, a commit and a tree have it.

use std::rc::Rc;

use ostree_seal_trust::digest::Digest;

use crate::repo::Checksum;
use crate::tree::{Mtime, mode};

/// Names and values of xattrs, sorted by name.
pub type XattrsOf = Rc<Vec<Rc<(Vec<u8>, Vec<u8>)>>>;

/// One inode.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    /// `st_mode`.
    pub mode: u32,
    /// Link count, where it is known: a commit doesn't say.
    pub nlink: Option<u32>,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Device number.
    pub rdev: u32,
    /// Bytes of content or of a symlink's target; 0 for all others.
    pub size: u64,
    /// Time of the last change.
    pub mtime: Mtime,
    /// Extended attributes.
    pub xattrs: XattrsOf,
    /// What it is.
    pub body: Rc<Body>,
    /// Which one it is.
    pub id: Id,
}

/// What a file is, beside its metadata.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Body {
    /// A directory.
    Directory,
    /// A regular file with its content.
    Inline(Vec<u8>),
    /// A regular file whose content is an object.
    Object {
        /// Path below the object directory; empty if it isn't known.
        payload: Vec<u8>,
        /// fs-verity digest of the content, if it is known.
        digest: Option<Digest>,
    },
    /// A symlink and its target.
    Symlink(Vec<u8>),
    /// A device, FIFO or socket.
    Special,
}

/// Tells the files of one view apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Id {
    /// A slot of an image.
    Slot(usize),
    /// A file object of a commit.
    File(Checksum),
    /// A directory of a commit.
    Directory {
        /// Its names.
        dirtree: Checksum,
        /// Its owner, mode and xattrs.
        dirmeta: Checksum,
    },
}

/// The seven types of files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Directory.
    Directory,
    /// Regular file.
    File,
    /// Symbolic link.
    Symlink,
    /// Character device.
    CharacterDevice,
    /// Block device.
    BlockDevice,
    /// FIFO.
    Fifo,
    /// Socket.
    Socket,
}

impl Item {
    /// Its type.
    pub fn kind(&self) -> Kind {
        match self.mode & mode::S_IFMT {
            mode::S_IFDIR => Kind::Directory,
            mode::S_IFLNK => Kind::Symlink,
            mode::S_IFCHR => Kind::CharacterDevice,
            mode::S_IFBLK => Kind::BlockDevice,
            mode::S_IFIFO => Kind::Fifo,
            mode::S_IFSOCK => Kind::Socket,
            _ => Kind::File,
        }
    }

    /// A symlink's target.
    pub fn target(&self) -> Option<&[u8]> {
        match &*self.body {
            Body::Symlink(target) => Some(target),
            _ => None,
        }
    }

    /// `drwxr-xr-x`, as `ls -l` has it.
    pub fn permissions(&self) -> String {
        let letter = self.kind().ls_letter();
        let mut text = String::from(letter);
        for (shift, special, set) in [(6, 0o4000, 's'), (3, 0o2000, 's'), (0, 0o1000, 't')] {
            let bits = self.mode >> shift;
            text.push(if bits & 4 != 0 { 'r' } else { '-' });
            text.push(if bits & 2 != 0 { 'w' } else { '-' });
            text.push(match (bits & 1 != 0, self.mode & special != 0) {
                (true, true) => set,
                (false, true) => set.to_ascii_uppercase(),
                (true, false) => 'x',
                (false, false) => '-',
            });
        }
        text
    }
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::Directory,
        Self::File,
        Self::Symlink,
        Self::CharacterDevice,
        Self::BlockDevice,
        Self::Fifo,
        Self::Socket,
    ];

    /// The letter that `find -type` has for it.
    pub fn find_letter(self) -> char {
        match self {
            Self::File => 'f',
            Self::CharacterDevice => 'c',
            other => other.ls_letter(),
        }
    }

    fn ls_letter(self) -> char {
        match self {
            Self::Directory => 'd',
            Self::File => '-',
            Self::Symlink => 'l',
            Self::CharacterDevice => 'c',
            Self::BlockDevice => 'b',
            Self::Fifo => 'p',
            Self::Socket => 's',
        }
    }

    /// What `stat` calls it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Directory => "directory",
            Self::File => "regular file",
            Self::Symlink => "symbolic link",
            Self::CharacterDevice => "character special file",
            Self::BlockDevice => "block special file",
            Self::Fifo => "fifo",
            Self::Socket => "socket",
        }
    }
}

#[cfg(test)]
mod tests {
    use std::rc::Rc;

    use super::{Body, Id, Item};
    use crate::tree::Mtime;

    #[test]
    fn permissions_read_as_in_ls() {
        for (mode, text) in [
            (0o040755, "drwxr-xr-x"),
            (0o100644, "-rw-r--r--"),
            (0o104755, "-rwsr-xr-x"),
            (0o106644, "-rwSr-Sr--"),
            (0o041777, "drwxrwxrwt"),
            (0o101600, "-rw------T"),
            (0o120777, "lrwxrwxrwx"),
            (0o020000, "c---------"),
            (0o060001, "b--------x"),
            (0o010000, "p---------"),
            (0o140000, "s---------"),
        ] {
            let item = Item {
                mode,
                nlink: None,
                uid: 0,
                gid: 0,
                rdev: 0,
                size: 0,
                mtime: Mtime::default(),
                xattrs: Rc::default(),
                body: Rc::new(Body::Special),
                id: Id::Slot(0),
            };
            assert_eq!(item.permissions(), text);
        }
    }
}
