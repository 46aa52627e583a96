//! What needs no file system with fs-verity. The rest runs in the guests, see `tests/vm`.

use std::borrow::Cow;
use std::fs::File;
use std::num::NonZeroUsize;
use std::os::fd::AsFd as _;
use std::path::Path;

use ostree_seal_root::check::verity::{EnableError, MeasureError};
use ostree_seal_trust::digest::Digest;
use rustix::io::Errno;

use super::order::inode_order;
use super::{Object, ObjectError, Pass, Problem, SealedObjects, coverage, keep_sealed, seal_objects};

const NOTHING: Digest = Digest([0; 32]);
const THREADS: NonZeroUsize = NonZeroUsize::new(4).unwrap();

type SealPass = fn(&File, &[Object<'_>], &Pass<'_>) -> Result<SealedObjects, ObjectError>;
/// Both that make [`SealedObjects`].
const PASSES: [SealPass; 2] = [
    |directory, list, pass| seal_objects(directory, list, pass),
    |directory, list, pass| keep_sealed(directory, list, pass),
];

fn object(path: &str) -> Object<'_> {
    Object { path: Cow::Borrowed(path.as_bytes()), digest: Some(NOTHING) }
}

fn pass() -> Pass<'static> {
    Pass { queue_depth: THREADS, progress: &|| {} }
}

fn directory_of(names: &[&str]) -> (tempfile::TempDir, File) {
    let directory = tempfile::tempdir().unwrap();
    for name in names {
        let path = directory.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap_or(Path::new("/"))).unwrap();
        std::fs::write(path, name).unwrap();
    }
    let opened = File::open(directory.path()).unwrap();
    (directory, opened)
}

#[test]
fn the_order_is_that_of_the_inode_numbers() {
    use std::os::unix::fs::MetadataExt;
    let names: Vec<String> =
        (0..300).map(|n| format!("{:02x}/{:04}.file", n * 7 % 256, n * 31 % 300)).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let (directory, opened) = directory_of(&names);
    let objects: Vec<_> = names.iter().rev().map(|name| object(name)).collect();
    let order = inode_order(opened.as_fd(), &objects, THREADS).unwrap();
    let inodes: Vec<u64> = order
        .iter()
        .map(|index| {
            directory
                .path()
                .join(std::str::from_utf8(&objects[*index].path).unwrap())
                .metadata()
                .unwrap()
                .ino()
        })
        .collect();
    assert_eq!(inodes.len(), 300);
    assert!(inodes.is_sorted());
}

#[test]
fn a_missing_object_is_named_before_anything_is_done() {
    let (_directory, opened) = directory_of(&["aa/1.file", "aa/2.file"]);
    for missing in ["aa/3.file", "bb/1.file"] {
        let objects = [object("aa/1.file"), object(missing), object("aa/2.file")];
        for seal in PASSES {
            let error = seal(&opened, &objects, &pass()).unwrap_err();
            assert_eq!(error, ObjectError { object: missing.to_owned(), problem: Problem::Missing });
            assert!(error.is_refusal());
        }
    }
}

#[test]
fn a_name_with_a_nul_is_not_passed_over() {
    let (_directory, opened) = directory_of(&["aa/1.file"]);
    for seal in PASSES {
        let error = seal(&opened, &[object("aa/1.file\0")], &pass()).unwrap_err();
        assert!(matches!(error.problem, Problem::Missing | Problem::Open(Errno::INVAL)), "{error}");
    }
}

#[test]
fn a_directory_symlink_or_fifo_under_an_objects_name_is_refused() {
    let (directory, opened) = directory_of(&["aa/1.file"]);
    let aa = directory.path().join("aa");
    std::fs::create_dir(aa.join("directory.file")).unwrap();
    std::os::unix::fs::symlink("1.file", aa.join("link.file")).unwrap();
    let mode = rustix::fs::Mode::RUSR;
    rustix::fs::mknodat(rustix::fs::CWD, aa.join("fifo.file"), rustix::fs::FileType::Fifo, mode, 0).unwrap();
    for name in ["aa/directory.file", "aa/link.file", "aa/fifo.file"] {
        for seal in PASSES {
            let error = seal(&opened, &[object("aa/1.file"), object(name)], &pass()).unwrap_err();
            assert_eq!(error, ObjectError { object: name.to_owned(), problem: Problem::NotRegular });
        }
    }
}

#[test]
fn a_symlink_is_passed_over_before_there_is_an_image() {
    let (directory, opened) = directory_of(&["aa/1.file"]);
    std::os::unix::fs::symlink("1.file", directory.path().join("aa/link.file")).unwrap();
    let link = Object { digest: None, ..object("aa/link.file") };
    assert_eq!(inode_order(opened.as_fd(), &[link, object("aa/1.file")], THREADS), Ok(vec![1]));
}

#[test]
fn coverage_counts_without_opening() {
    let (_directory, opened) = directory_of(&["aa/1.file", "aa/2.file"]);
    let objects = [object("aa/1.file"), object("aa/2.file"), object("aa/3.file")];
    let counted = coverage(&opened, &objects).unwrap();
    assert_eq!((counted.with_verity, counted.without, counted.missing), (0, 2, 1));
}

#[test]
fn a_kernel_or_file_system_without_verity_is_an_error_and_no_refusal() {
    let directory = tempfile::tempdir_in("/dev/shm").unwrap();
    std::fs::create_dir(directory.path().join("aa")).unwrap();
    std::fs::write(directory.path().join("aa/1.file"), "x").unwrap();
    let opened = File::open(directory.path()).unwrap();
    for seal in PASSES {
        let error = seal(&opened, &[object("aa/1.file")], &pass()).unwrap_err();
        assert_eq!(error.problem, Problem::Measure(MeasureError::Unsupported));
        assert!(!error.is_refusal());
    }
}

#[test]
fn no_objects_are_sealed_objects() {
    let (_directory, opened) = directory_of(&[]);
    for seal in PASSES {
        let sealed = seal(&opened, &[], &pass()).unwrap();
        assert_eq!((sealed.enabled(), sealed.before()), (0, 0));
    }
}

#[test]
fn a_full_disk_says_what_to_do() {
    let problem = Problem::Enable(EnableError::Os(Errno::NOSPC));
    let text = ObjectError { object: "aa/1.file".to_owned(), problem }.to_string();
    assert!(text.contains("aa/1.file") && text.contains("free some space"), "{text}");
}
