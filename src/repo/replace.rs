//! An object put in the place of a damaged or missing one, whole: what is there stays until the new one is complete, checked
//! and on the disk.

use std::fs::{File, FileTimes};
use std::io::{self, Write as _};
use std::path::Path;
use std::time::SystemTime;

use anyhow::{Context as _, Result, bail, ensure};
use fn_error_context::context;
use ostree_seal_root::check::verity::{self, EnableError};
use ostree_seal_trust::digest::Digest;
use rustix::fs::XattrFlags;

use super::checksum::Checksum;
use super::file::FileMeta;
use super::name::serialize_xattrs;
use super::source::Source;
use super::store::{ObjectPath, RepoMode, Store};
use crate::atomic::NewFile;
use crate::merkle::Leaves;

impl Source {
    /// Takes an object from another repository, if that has it whole. It gets fs-verity where the file system has that and
    /// `digest` is what an image expects. Regular files of repositories that can be mounted only.
    #[context("replacing object {object}.file")]
    pub fn replace_file(&self, object: &Checksum, digest: Option<Digest>, from: &Self) -> Result<()> {
        let path = |store: &Store| ObjectPath::new(object, store.mode.file_extension());
        // It is replaced where it lies; a missing one belongs into the repository itself.
        let store = self.stores.iter().find(|store| store.has(&path(store))).unwrap_or(&self.stores[0]);
        ensure!(
            matches!(store.mode, RepoMode::Bare | RepoMode::BareUser | RepoMode::BareUserOnly),
            "nothing is replaced in a repository of mode {}; pull the commit again",
            store.mode.name()
        );
        let meta = from.file_metas(&[*object])?.pop().context("it was not read")?;
        ensure!(meta.target.is_none(), "it is a symlink; `ostree fsck --delete`, then pull the commit again");
        let leaves = whole(from, object, &meta)?;
        if let Some(expected) = digest {
            let found = leaves.digest();
            ensure!(
                found == expected,
                "the other repository's has the digest {found}, the image expects {expected}"
            );
        }
        let target =
            store.path.join("objects").join(String::from_utf8_lossy(path(store).as_bytes()).as_ref());
        let directory = target.parent().context("an object lies in a directory")?;
        std::fs::create_dir_all(directory)?;
        write(store, &target, &meta, (digest, leaves), from.content(object)?)?;
        File::open(directory)?.sync_all().context("syncing its directory")?;
        Ok(())
    }
}

/// Reads the other repository's object and compares it with its name.
fn whole(from: &Source, object: &Checksum, meta: &FileMeta) -> Result<Leaves> {
    let mut name = from.name_check(meta);
    let leaves = Leaves::of(from.content(object)?, &mut |bytes| name.update(bytes))?;
    name.require(object).context("the other repository's is damaged, too")?;
    Ok(leaves)
}

fn write(
    store: &Store,
    target: &Path,
    meta: &FileMeta,
    (digest, leaves): (Option<Digest>, Leaves),
    content: impl io::Read,
) -> Result<()> {
    let mut new = NewFile::create(target, 0o600)?;
    leaves.copy(content, &mut |bytes| new.file().write_all(bytes))?;
    describe(store, new.file(), meta)?;
    new.file().sync_all()?;
    let (file, temporary) = new.into_parts();
    if digest.is_some() {
        // The kernel takes no file that is open for writing.
        drop(file);
        let file = File::open(&temporary)?;
        match verity::enable(&file) {
            Ok(_) | Err(EnableError::Unsupported) => {}
            Err(error) => bail!("switching fs-verity on: {error}"),
        }
        file.sync_all()?;
    }
    temporary.persist(target).map_err(|error| error.error)?;
    Ok(())
}

/// Owner, mode, xattrs and time, as libostree gives them to an object in a repository of this mode.
fn describe(store: &Store, file: &File, meta: &FileMeta) -> Result<()> {
    let mode = rustix::fs::Mode::from_raw_mode(meta.mode & 0o7777);
    let pairs = || meta.xattrs.0.iter().map(|(name, value)| (&**name, &**value));
    match store.mode {
        RepoMode::Bare => {
            std::os::unix::fs::fchown(file, Some(meta.uid), Some(meta.gid)).context("giving it its owner")?;
            rustix::fs::fchmod(file, mode)?;
            for (name, value) in pairs().filter(|_| !store.disable_xattrs) {
                rustix::fs::fsetxattr(file, name, value, XattrFlags::empty())
                    .context("giving it its xattrs")?;
            }
        }
        RepoMode::BareUser => {
            let numbers = [meta.uid, meta.gid, meta.mode];
            let value = [&numbers.map(to_be).concat()[..], &serialize_xattrs(pairs())].concat();
            rustix::fs::fsetxattr(file, "user.ostreemeta", &value, XattrFlags::empty())
                .context("giving it its xattr user.ostreemeta")?;
            // As libostree has it: a checkout of a user keeps what it can.
            let mode = (meta.mode & 0o775) | 0o400;
            rustix::fs::fchmod(file, rustix::fs::Mode::from_raw_mode(mode))?;
        }
        _ => rustix::fs::fchmod(file, mode)?,
    }
    let epoch = SystemTime::UNIX_EPOCH;
    file.set_times(FileTimes::new().set_accessed(epoch).set_modified(epoch))?;
    Ok(())
}

#[allow(clippy::big_endian_bytes, reason = "OSTree's numbers are big-endian on every machine")]
fn to_be(number: u32) -> [u8; 4] {
    number.to_be_bytes()
}
