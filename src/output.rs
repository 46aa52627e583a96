//! Writes an image so that nothing half-written ever has its name: an unnamed file in the same directory, fsync,
//! fs-verity, the name, fsync of the directory or of all there is. Killed at any instant, it leaves the old file or the new one.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail, ensure};
use fn_error_context::context;
use ostree_seal_root::check::verity::{self, EnableError};
use ostree_seal_trust::digest::Digest;
use rustix::fs::{AtFlags, CWD, Mode, OFlags};
use rustix::io::Errno;
use tempfile::TempPath;

use crate::atomic::{self, NewFile, TEMPORARY_PREFIX};
use crate::merkle::Hasher;

/// How much is gathered before it is hashed and written.
const BUFFER: usize = 256 * 1024;

/// What became of an image's fs-verity.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ImageVerity {
    /// The kernel enforces the digest from now on.
    Enabled,
    /// The file system or the kernel has no fs-verity.
    Unsupported,
}

/// A finished image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Written {
    /// fs-verity digest of the image.
    pub digest: Digest,
    /// Length of the image.
    pub bytes: u64,
    /// Whether the kernel enforces the digest.
    pub verity: ImageVerity,
}

/// Writes a file at `path` by what `emit` writes, or leaves everything as it was.
pub fn write_image<T>(
    path: &Path,
    emit: impl FnOnce(&mut dyn Write) -> anyhow::Result<T>,
) -> anyhow::Result<(T, Written)> {
    let mut image = NewImage::create(path)?;
    let value = emit(&mut image)?;
    Ok((value, image.seal()?.publish()?))
}

/// An image that is being written. Dropped before [`SealedImage::publish`], it's gone.
#[derive(Debug)]
pub struct NewImage {
    place: Place,
    out: BufWriter<Hashed>,
    temporary: Option<TempPath>,
}

/// An image that is complete and on the disk, but has no name yet.
#[derive(Debug)]
pub struct SealedImage {
    place: Place,
    file: File,
    temporary: Option<TempPath>,
    written: Written,
}

/// Where an image is going to be.
#[derive(Debug)]
struct Place {
    path: PathBuf,
    parent: PathBuf,
    directory: OwnedFd,
}

impl NewImage {
    /// Begins an image. Fails at once if `path` can't be written to or is something else than a regular file.
    #[context("creating {}", path.display())]
    pub fn create(path: &Path) -> anyhow::Result<Self> {
        let place = Place::find(path)?;
        atomic::remove_leftovers(&place.parent);
        let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
        let (file, temporary) = match rustix::fs::openat(&place.directory, ".", flags, Mode::RUSR) {
            Ok(file) => (File::from(file), None),
            // The file system has no unnamed files, or the kernel doesn't know them for it (ISDIR).
            Err(Errno::OPNOTSUPP | Errno::ISDIR | Errno::NOENT) => {
                let (file, path) = NewFile::create(path, 0o600)?.into_parts();
                (file, Some(path))
            }
            Err(errno) => return Err(errno.into()),
        };
        let out = BufWriter::with_capacity(BUFFER, Hashed { file, hasher: Hasher::new(), bytes: 0 });
        Ok(Self { place, out, temporary })
    }

    /// Brings the image to the disk and switches fs-verity on where the file system has it.
    pub fn seal(self) -> anyhow::Result<SealedImage> {
        let Self { place, out, temporary } = self;
        let context = format!("writing {}", place.path.display());
        seal(place, out, temporary).context(context)
    }
}

impl Write for NewImage {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        self.out.write(data)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

impl SealedImage {
    /// What was written.
    pub fn written(&self) -> Written {
        self.written
    }

    /// Gives the image its name, in place of the file that may have had it.
    pub fn publish(self) -> anyhow::Result<Written> {
        let path = self.place.path.clone();
        self.name().with_context(|| format!("naming the image {}", path.display()))
    }

    fn name(self) -> anyhow::Result<Written> {
        let Self { place, file, temporary, written } = self;
        match temporary {
            Some(temporary) => temporary.persist(&place.path)?,
            None => link(&place, &file)?,
        }
        bring_to_disk(&place, written.verity).context("writing its directory")?;
        Ok(written)
    }
}

impl Place {
    fn find(path: &Path) -> anyhow::Result<Self> {
        ensure!(path.file_name().is_some(), "the path names no file");
        match std::fs::symlink_metadata(path) {
            Ok(metadata) if metadata.is_dir() => bail!("it is a directory"),
            // A device or a symlink would be replaced, and nobody means that by naming it.
            Ok(metadata) if !metadata.is_file() => bail!("it exists and is not a regular file"),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error.into()),
        }
        let parent = match path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let directory = rustix::fs::open(parent, flags, Mode::empty())
            .with_context(|| format!("opening its directory {}", parent.display()))?;
        Ok(Self { path: path.to_owned(), parent: parent.to_owned(), directory })
    }
}

fn seal(place: Place, out: BufWriter<Hashed>, temporary: Option<TempPath>) -> anyhow::Result<SealedImage> {
    let Hashed { file, hasher, bytes } = out.into_inner().map_err(io::IntoInnerError::into_error)?;
    // As libostree does it, whatever the umask is: an image holds nothing secret.
    rustix::fs::fchmod(&file, Mode::from_raw_mode(0o644))?;
    rustix::fs::fsync(&file)?;
    // The kernel refuses to enable fs-verity while anybody has the file open for writing.
    let reader = File::open(descriptor_path(file.as_fd()))?;
    drop(file);
    let digest = hasher.finish();
    let verity = enable_verity(&reader, digest)?;
    Ok(SealedImage { place, file: reader, temporary, written: Written { digest, bytes, verity } })
}

#[context("enabling fs-verity")]
fn enable_verity(file: &File, digest: Digest) -> anyhow::Result<ImageVerity> {
    match verity::enable(file) {
        Ok(_) => {}
        Err(EnableError::Unsupported) => return Ok(ImageVerity::Unsupported),
        Err(error) => return Err(error.into()),
    }
    let measured = verity::measure(file)?;
    ensure!(measured == digest, "the kernel measures {measured} where {digest} was written");
    Ok(ImageVerity::Enabled)
}

/// With fs-verity the whole file system: the log of btrfs, which fsync is content with, knows the file's fs-verity without its
/// Merkle tree, and after a power cut there would be a file that can't be opened.
fn bring_to_disk(place: &Place, verity: ImageVerity) -> Result<(), Errno> {
    match verity {
        ImageVerity::Enabled => rustix::fs::syncfs(&place.directory),
        ImageVerity::Unsupported => rustix::fs::fsync(&place.directory),
    }
}

fn link(place: &Place, file: &File) -> anyhow::Result<()> {
    match link_as(place, file, &place.path) {
        Err(Errno::EXIST) => {}
        result => return Ok(result?),
    }
    // A link can't replace a file, a rename can. A kill between the two leaves the temporary name behind, for the next run.
    atomic::hold(file)?;
    let temporary = tempfile::Builder::new()
        .prefix(TEMPORARY_PREFIX)
        .make_in(&place.parent, |path| Ok(link_as(place, file, path)?))?;
    temporary.into_temp_path().persist(&place.path)?;
    Ok(())
}

fn link_as(place: &Place, file: &File, path: &Path) -> Result<(), Errno> {
    let name = path.file_name().ok_or(Errno::INVAL)?;
    let source = descriptor_path(file.as_fd());
    rustix::fs::linkat(CWD, source, &place.directory, name, AtFlags::SYMLINK_FOLLOW)
}

fn descriptor_path(file: BorrowedFd<'_>) -> PathBuf {
    format!("/proc/self/fd/{}", file.as_raw_fd()).into()
}

/// A file and the digest of what goes into it.
#[derive(Debug)]
struct Hashed {
    file: File,
    hasher: Hasher,
    bytes: u64,
}

impl Write for Hashed {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        let len = self.file.write(data)?;
        self.hasher.update(&data[..len]);
        self.bytes += len as u64;
        Ok(len)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::os::unix::fs::{PermissionsExt as _, symlink};
    use std::path::Path;

    use super::{NewImage, write_image};
    use crate::merkle;

    fn names(directory: &Path) -> Vec<String> {
        let entries = std::fs::read_dir(directory).unwrap();
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }

    #[test]
    fn writes_the_bytes_and_says_their_digest() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("image");
        let data = vec![7; 1_000_000];
        let (value, written) = write_image(&path, |out| {
            out.write_all(&data[..999])?;
            out.write_all(&data[999..])?;
            Ok("value")
        })
        .unwrap();
        assert_eq!(value, "value");
        assert_eq!(std::fs::read(&path).unwrap(), data);
        assert_eq!(written.bytes, 1_000_000);
        assert_eq!(written.digest, merkle::digest(&data));
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o644);
        assert_eq!(names(directory.path()), ["image"]);
    }

    #[test]
    fn replaces_an_older_image_and_leaves_nothing_beside_it() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("image");
        std::fs::write(&path, "old").unwrap();
        write_image(&path, |out| Ok(out.write_all(b"new")?)).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"new");
        assert_eq!(names(directory.path()), ["image"]);
    }

    #[test]
    fn keeps_the_older_image_when_the_new_one_fails() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("image");
        std::fs::write(&path, "old").unwrap();
        let result = write_image(&path, |out| {
            out.write_all(b"half")?;
            Err::<(), _>(anyhow::anyhow!("no more"))
        });
        assert_eq!(result.unwrap_err().to_string(), "no more");
        assert_eq!(std::fs::read(&path).unwrap(), b"old");
        assert_eq!(names(directory.path()), ["image"]);
    }

    #[test]
    fn has_no_name_before_it_is_published() {
        let directory = tempfile::tempdir().unwrap();
        let mut image = NewImage::create(&directory.path().join("image")).unwrap();
        image.write_all(b"content").unwrap();
        let sealed = image.seal().unwrap();
        assert_eq!(names(directory.path()), [""; 0]);
        sealed.publish().unwrap();
        assert_eq!(names(directory.path()), ["image"]);
    }

    #[test]
    fn refuses_what_is_no_regular_file() {
        let directory = tempfile::tempdir().unwrap();
        let link = directory.path().join("link");
        symlink("nowhere", &link).unwrap();
        for (path, reason) in [
            (directory.path(), "it is a directory"),
            (&link, "it exists and is not a regular file"),
            (Path::new("/dev/null"), "it exists and is not a regular file"),
            (Path::new("/"), "the path names no file"),
        ] {
            let error = NewImage::create(path).unwrap_err();
            assert_eq!(format!("{error:#}"), format!("creating {}: {reason}", path.display()));
        }
    }

    #[test]
    fn says_which_directory_is_missing() {
        let error = NewImage::create(Path::new("/nowhere/image")).unwrap_err();
        let expected =
            "creating /nowhere/image: opening its directory /nowhere: No such file or directory (os error 2)";
        assert_eq!(format!("{error:#}"), expected);
    }
}
