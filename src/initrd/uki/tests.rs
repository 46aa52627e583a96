use std::fs::File;
use std::path::Path;

use proptest::prelude::{any, proptest};

use super::{initrds, is_pe, is_unified, of_deployment, targets};
use crate::beneath::Below;

/// An EFI program with these sections, each longer in the file than in memory, as linkers align them.
pub(in crate::initrd) fn image(sections: &[(&str, &[u8])]) -> Vec<u8> {
    const PE: usize = 0x80;
    const OPTIONAL: usize = 240;
    let mut bytes = vec![0; PE];
    bytes[..2].copy_from_slice(b"MZ");
    bytes[0x3c] = 0x80;
    bytes.extend(b"PE\0\0\x64\x86");
    bytes.extend(u16::try_from(sections.len()).unwrap().to_le_bytes());
    bytes.extend([0; 12]);
    bytes.extend(u16::try_from(OPTIONAL).unwrap().to_le_bytes());
    bytes.extend([0; 2 + OPTIONAL]);
    let mut start = (bytes.len() + 40 * sections.len()).next_multiple_of(512);
    let mut contents = Vec::new();
    for (name, content) in sections {
        let padded = content.len().next_multiple_of(512);
        let mut field = [0; 8];
        field[..name.len()].copy_from_slice(name.as_bytes());
        bytes.extend(field);
        for number in [content.len(), 0x1000, padded, start] {
            bytes.extend(u32::try_from(number).unwrap().to_le_bytes());
        }
        bytes.extend([0; 16]);
        contents.extend_from_slice(content);
        contents.resize(contents.len() + padded - content.len(), 0);
        start += padded;
    }
    bytes.resize(bytes.len().next_multiple_of(512), 0);
    bytes.extend(contents);
    bytes
}

fn file(bytes: &[u8]) -> File {
    let mut file = tempfile::tempfile().unwrap();
    std::io::Write::write_all(&mut file, bytes).unwrap();
    file
}

/// What the command lines of a file with these bytes name.
fn targets_of(bytes: &[u8]) -> Vec<String> {
    targets(&file(bytes))
}

/// What the kernel gets of a file with these bytes.
fn initrds_of(bytes: &[u8]) -> anyhow::Result<Vec<&[u8]>> {
    let found = initrds(&file(bytes))?.into_iter();
    let place = |at: u64| usize::try_from(at).unwrap();
    Ok(found.map(|range| &bytes[place(range.start)..place(range.end)]).collect())
}

#[test]
fn sections_are_found_by_name_and_cut_to_their_length() {
    let bytes =
        image(&[(".linux", b"kernel"), (".cmdline", b"ro ostree=/a ostree=/b\n"), (".initrd", b"cpio")]);
    assert_eq!(initrds_of(&bytes).unwrap(), [b"cpio"]);
    assert_eq!(targets_of(&bytes), ["/a"]);
    assert!(is_pe(&file(&bytes)) && !is_pe(&file(b"MZ")) && !is_pe(&file(b"070701")));
}

#[test]
fn microcode_comes_before_the_initramfs() {
    let bytes = image(&[(".initrd", b"main"), (".ucode", b"microcode")]);
    assert_eq!(initrds_of(&bytes).unwrap(), [b"microcode".as_slice(), b"main"]);
}

#[test]
fn refuses_what_it_can_not_tell() {
    let reason = |bytes: &[u8]| initrds_of(bytes).unwrap_err().to_string();
    assert!(reason(&image(&[(".initrd", b"a"), (".initrd", b"b")])).contains("two sections"));
    let profiles = image(&[(".initrd", b"a"), (".profile", b"ID=x"), (".initrd", b"b")]);
    assert!(reason(&profiles).contains("profiles"));
    // Profiles that only differ in the command line do no harm.
    let profiles = image(&[(".initrd", b"a"), (".cmdline", b"x"), (".profile", b"ID=x"), (".cmdline", b"y")]);
    assert_eq!(initrds_of(&profiles).unwrap(), [b"a"]);
    assert_eq!(targets_of(&profiles), [""; 0]);
    let mut cut = image(&[(".initrd", &[7; 600])]);
    cut.truncate(cut.len() - 500);
    assert!(reason(&cut).contains(".initrd (600 bytes"), "{}", reason(&cut));
    // Whose image it is can be told all the same, so that it isn't passed over.
    let mut cut = image(&[(".cmdline", b"ostree=/a"), (".initrd", &[7; 600])]);
    cut.truncate(cut.len() - 500);
    assert_eq!(targets_of(&cut), ["/a"]);
    // A profile may be booted as well as the image itself.
    let profiles =
        image(&[(".cmdline", b"quiet"), (".profile", b"ID=x"), (".cmdline", b"ostree=/b"), (".initrd", b"")]);
    assert_eq!(targets_of(&profiles), ["/b"]);
    assert!(reason(b"MZ").contains("fill whole buffer"), "{}", reason(b"MZ"));
}

/// A root with a deployment that `ostree=` in boot.1 leads to.
fn root_with_deployment(root: &Path) -> std::path::PathBuf {
    let deployment = root.join("ostree/deploy/os/deploy/abc.0");
    std::fs::create_dir_all(&deployment).unwrap();
    std::fs::create_dir_all(root.join("ostree/boot.1/os/abc")).unwrap();
    std::os::unix::fs::symlink("../../../deploy/os/deploy/abc.0", root.join("ostree/boot.1/os/abc/0"))
        .unwrap();
    deployment
}

#[test]
fn an_image_on_the_esp_belongs_to_the_deployment_on_its_command_line() {
    let root = tempfile::tempdir().unwrap();
    let deployment = root_with_deployment(root.path());
    let esp = root.path().join("boot/efi/EFI/Linux");
    std::fs::create_dir_all(&esp).unwrap();
    let found = || of_deployment(root.path(), root.path(), &Below::new(&deployment, "")).unwrap();
    let of_esp = |name: &str| Below::partition(root.path(), "boot/efi").join("EFI/Linux").join(name);
    assert_eq!(found(), []);
    let put = |name: &str, cmdline: &str| {
        let bytes = image(&[(".initrd", b""), (".cmdline", cmdline.as_bytes())]);
        std::fs::write(esp.join(name), bytes).unwrap();
    };
    put("a.efi", "ostree=/ostree/boot.0/os/abc/0");
    put("b.efi", "ro ostree=/ostree/boot.1/os/abc/0");
    std::fs::write(esp.join("c.efi"), b"no program").unwrap();
    assert_eq!(found(), [of_esp("b.efi")]);
    assert!(is_unified(&of_esp("b.efi")) && !is_unified(&of_esp("c.efi")));
    // One that was planted under a name that sorts first, and the same file where the ESP is mounted twice.
    put("a.efi", "ostree=/ostree/deploy/os/deploy/abc.0 ostree=/other");
    std::fs::create_dir_all(root.path().join("efi/EFI/Linux")).unwrap();
    std::fs::hard_link(esp.join("b.efi"), root.path().join("efi/EFI/Linux/b.efi")).unwrap();
    assert_eq!(found(), [of_esp("a.efi"), of_esp("b.efi")]);
}

#[test]
fn of_a_large_image_little_is_read() {
    let mut bytes = image(&[(".cmdline", b"ostree=/a"), (".initrd", b"")]);
    // A program for another system stands before the header, as linkers put it there.
    let moved = 0x300_u32;
    bytes.splice(0x40..0x40, std::iter::repeat_n(0, moved as usize - 0x80));
    bytes[0x3c..0x40].copy_from_slice(&moved.to_le_bytes());
    assert_eq!(targets_of(&bytes), [""; 0]);
    bytes[0x3c..0x40].copy_from_slice(&u32::MAX.to_le_bytes());
    assert_eq!(targets_of(&bytes), [""; 0]);
    let directory = tempfile::tempdir().unwrap();
    let file = std::fs::File::create_new(directory.path().join("x.efi")).unwrap();
    std::io::Write::write_all(&mut &file, &image(&[(".cmdline", b"ostree=/a"), (".initrd", b"")])).unwrap();
    file.set_len(super::IMAGE_MAX as u64).unwrap();
    assert!(is_unified(&Below::new(directory.path(), "x.efi")));
    file.set_len(super::IMAGE_MAX as u64 + 1).unwrap();
    assert!(!is_unified(&Below::new(directory.path(), "x.efi")));
}

proptest! {
    #[test]
    fn garbage_never_panics(bytes in any::<Vec<u8>>(), position in 0..0x300_usize, byte in any::<u8>(), len in 0..3000_usize) {
        drop((initrds_of(&bytes), targets_of(&bytes)));
        let mut damaged = image(&[(".linux", b"kernel"), (".cmdline", b"ostree=/a"), (".initrd", &[1; 700])]);
        damaged[position] = byte;
        drop((initrds_of(&damaged), targets_of(&damaged)));
        damaged.truncate(len);
        drop((initrds_of(&damaged), targets_of(&damaged)));
    }

    #[test]
    fn what_goes_in_comes_out(initrd in any::<Vec<u8>>(), cmdline in "[a-z=/ ]{0,60}( ostree=[a-z/]{0,9})?") {
        let bytes = image(&[(".cmdline", cmdline.as_bytes()), (".linux", b"kernel"), (".initrd", &initrd)]);
        assert_eq!(initrds_of(&bytes).unwrap(), [initrd.as_slice()]);
        let named = cmdline.split_ascii_whitespace().find_map(|argument| argument.strip_prefix("ostree="));
        assert_eq!(targets_of(&bytes), Vec::from_iter(named));
    }
}
