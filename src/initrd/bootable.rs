//! The initramfs that boots a deployment: in a unified kernel image made for it, in what its boot entry names, or else
//! in its tree. There may be several, of which somebody else takes one: the firmware, its boot loader, or libostree.

use std::path::Path;

use anyhow::{Result, ensure};

use super::content::{self, Budget};
use super::policy::{self, Bootable, Trust};
use super::uki;
use crate::beneath::Below;
use crate::refused::Refused;
use crate::sysroot::{Deployment, Sysroot};

/// The most initramfs images that are asked about one deployment: one for each kernel or profile is a handful.
const CANDIDATES_MAX: usize = 32;

/// All that may boot a deployment, at least one.
#[derive(Debug)]
pub struct Candidates {
    first: Bootable,
    others: Vec<Bootable>,
}

/// Reads each initramfs that may boot a deployment. A unified kernel image whose own command line names the deployment was
/// made to boot it, whatever libostree's boot entry says; its command line is the only one that can't be edited.
pub fn of(sysroot: &Sysroot, deployment: &Deployment) -> Candidates {
    let tree = Below::new(&deployment.directory, "");
    let found = uki::of_deployment(sysroot.path(), sysroot.physical(), &tree);
    Candidates::read(found.and_then(|images| match (images.is_empty(), deployment.initrds.is_empty()) {
        (false, _) => Ok(images.into_iter().map(|image| vec![image]).collect()),
        (true, false) if !deployment.staged => Ok(vec![deployment.initrds.clone()]),
        (true, _) => of_tree(&tree, &deployment.staged_overlays),
    }))
    .unwrap_or_else(|error| Candidates::one(Bootable::Unreadable(tree.path(), error)))
}

/// Reads each initramfs that may boot a tree for which there is no boot entry.
pub fn in_tree(directory: &Path) -> Candidates {
    let tree = Below::new(directory, "");
    Candidates::read(of_tree(&tree, &[]))
        .unwrap_or_else(|error| Candidates::one(Bootable::Unreadable(tree.path(), error)))
}

/// Reads an initramfs or a unified kernel image that somebody names.
pub fn in_file(path: &Path) -> Result<Bootable> {
    Ok(read(&[Below::new("/", path.canonicalize()?)], &mut Budget::default()))
}

/// What libostree's boot entry would name: for each initramfs in a tree its files, which are the image and behind it the
/// overlays. libostree names no overlays where the initramfs is in its kernel's file.
pub(super) fn of_tree(tree: &Below, overlays: &[Below]) -> Result<Vec<Vec<Below>>> {
    let with_overlays = |image: Below| match uki::is_unified(&image) {
        true => vec![image],
        false => [&[image], overlays].concat(),
    };
    Ok(tree_initramfs(tree)?.into_iter().map(with_overlays).collect())
}

/// The initramfs where libostree looks for it: beside the kernel, or in the older places. It may be in the kernel's file,
/// if that is a unified kernel image.
fn tree_initramfs(tree: &Below) -> Result<Vec<Below>> {
    let mut found = Vec::new();
    for modules in tree.join("usr/lib/modules").list()? {
        let beside = [modules.join("initramfs.img"), modules.join("initramfs")];
        let mut with_kernel = None;
        for initramfs in beside {
            if with_kernel.is_none() && initramfs.exists()? && modules.join("vmlinuz").exists()? {
                with_kernel = Some(initramfs);
            }
        }
        match with_kernel {
            Some(initramfs) => found.push(initramfs),
            None => found.extend(uki::in_directory(&modules)?),
        }
    }
    for place in ["usr/lib/ostree-boot", "boot"] {
        if found.is_empty() {
            let names = tree.join(place).list()?.into_iter();
            found.extend(names.filter(|file| file.file_name().as_encoded_bytes().starts_with(b"initr")));
        }
    }
    Ok(found)
}

impl Candidates {
    fn one(first: Bootable) -> Self {
        Self { first, others: Vec::new() }
    }

    /// Reads what is booted with these files, for each candidate one or several, with one budget for all of them.
    pub(super) fn read(found: Result<Vec<Vec<Below>>>) -> Result<Self> {
        let found = found?;
        ensure!(
            found.len() <= CANDIDATES_MAX,
            "{} kernels and initramfs images may boot it, expected at most {CANDIDATES_MAX}; remove those that nobody boots",
            found.len()
        );
        let mut budget = Budget::default();
        let mut all = found.into_iter().map(|files| read(&files, &mut budget));
        let first = all.next().unwrap_or(Bootable::None);
        Ok(Self { first, others: all.collect() })
    }

    /// The one that sorts first, which says nothing of its being taken.
    pub fn first(&self) -> &Bootable {
        &self.first
    }

    /// What each will ask of the deployment in `directory`, in their order, if all ask for a sealed image; or else what asks
    /// for nothing.
    pub fn trusts(&self, directory: &Path) -> Result<Vec<Trust>> {
        let all = self.iter().enumerate().map(|(index, candidate)| {
            policy::of_deployment(directory, candidate).map_err(|error| self.naming(index, error))
        });
        let mut all = all.collect::<Result<Vec<_>>>()?;
        let is_sealed = |trust: &Trust| matches!(trust, Trust::Sealed { .. });
        let Some(unchecked) = all.iter().position(|trust| !is_sealed(trust)) else { return Ok(all) };
        match all.iter().position(is_sealed) {
            None => Ok(vec![all.swap_remove(0)]),
            Some(checked) => Err(Refused(format!(
                "{} would check it and {} would boot it without any check, and nothing here says which of them boots; \
                 remove the one that doesn't belong there",
                self.name(checked),
                self.name(unchecked),
            ))
            .into()),
        }
    }

    /// Says which candidate an error is about, where there are several.
    pub fn naming(&self, index: usize, error: anyhow::Error) -> anyhow::Error {
        if self.others.is_empty() {
            error
        } else {
            error.context(format!("as {} would boot it", self.name(index)))
        }
    }

    /// That there are several, in one sentence.
    pub fn ambiguity(&self) -> Option<String> {
        let names: Vec<_> = self.iter().map(Bootable::name).collect();
        (names.len() > 1).then(|| {
            format!(
                "{} may boot it, and which of them does is up to the firmware and the boot loader, which nothing here \
                 authenticates",
                names.join(" or ")
            )
        })
    }

    fn name(&self, index: usize) -> String {
        self.iter().nth(index).map(Bootable::name).unwrap_or_default()
    }

    /// Each of them.
    pub fn iter(&self) -> impl Iterator<Item = &Bootable> {
        std::iter::once(&self.first).chain(&self.others)
    }
}

fn read(files: &[Below], budget: &mut Budget) -> Bootable {
    match files.first() {
        None => Bootable::None,
        Some(first) => match content::read(files, budget) {
            Ok(initramfs) => Bootable::Read(first.path(), Box::new(initramfs)),
            Err(error) => Bootable::Unreadable(first.path(), error),
        },
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::{Bootable, Candidates, of_tree, tree_initramfs};
    use crate::beneath::Below;
    use crate::initrd::uki::tests::image;

    #[test]
    fn each_initramfs_that_libostree_may_take_is_found() {
        let root = tempfile::tempdir().unwrap();
        let put = |name: &str, bytes: &[u8]| {
            let path = root.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, bytes).unwrap();
        };
        let tree = Below::new(root.path(), "");
        let found = || -> Vec<Below> { tree_initramfs(&tree).unwrap() };
        assert_eq!(found(), []);
        put("boot/initrd.img-6.1", b"cpio");
        assert_eq!(found(), [tree.join("boot/initrd.img-6.1")]);
        put("usr/lib/ostree-boot/initramfs-6.1", b"cpio");
        assert_eq!(found(), [tree.join("usr/lib/ostree-boot/initramfs-6.1")]);
        // An initramfs without a kernel beside it is none.
        put("usr/lib/modules/6.9/initramfs.img", b"cpio");
        assert_eq!(found().len(), 1);
        put("usr/lib/modules/6.9/vmlinuz", b"kernel");
        put("usr/lib/modules/6.10/b.efi", &image(&[(".initrd", b"cpio")]));
        put("usr/lib/modules/6.10/a.efi", &image(&[(".initrd", b"cpio")]));
        put("usr/lib/modules/6.10/c.efi", &image(&[(".linux", b"kernel")]));
        let modules = tree.join("usr/lib/modules");
        let all = ["6.10/a.efi", "6.10/b.efi", "6.9/initramfs.img"].map(|name| modules.join(name));
        assert_eq!(found(), all);
        let overlay = Below::new(root.path(), "overlay.img");
        let with_overlays = of_tree(&tree, std::slice::from_ref(&overlay)).unwrap();
        assert_eq!(with_overlays[0], [all[0].clone()]);
        assert_eq!(with_overlays[2], [all[2].clone(), overlay]);
    }

    #[test]
    fn all_that_may_boot_a_deployment_has_one_budget_and_is_not_without_number() {
        let root = tempfile::tempdir().unwrap();
        let add = |number: usize, initramfs: &[u8]| {
            let modules = root.path().join(format!("usr/lib/modules/{number:02}"));
            fs::create_dir_all(&modules).unwrap();
            fs::write(modules.join("vmlinuz"), "kernel").unwrap();
            fs::write(modules.join("initramfs.img"), initramfs).unwrap();
        };
        let candidates = || Candidates::read(of_tree(&Below::new(root.path(), ""), &[]));
        let programs: Vec<String> = (0..33).map(|number| format!("{number}/ostree-seal-root")).collect();
        let program = vec![7; 1 << 20];
        let files: Vec<_> = programs.iter().map(|name| (name.as_str(), program.as_slice())).collect();
        let bytes = crate::initrd::content::tests::archive(&files);
        (0..2).for_each(|number| add(number, &bytes));
        let both = candidates().unwrap();
        let [Bootable::Read(..), Bootable::Unreadable(_, error)] = both.iter().collect::<Vec<_>>()[..] else {
            panic!("{both:?}")
        };
        let error = format!("{error:#}");
        assert!(error.contains("what is to be read of it has more than 67108864 bytes"), "{error}");
        (0..33).for_each(|number| add(number, b""));
        let error = format!("{:#}", candidates().unwrap_err());
        assert_eq!(
            error,
            "33 kernels and initramfs images may boot it, expected at most 32; remove those that nobody boots"
        );
    }
}
