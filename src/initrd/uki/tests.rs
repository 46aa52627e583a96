use std::path::Path;

use proptest::prelude::{any, proptest};

use super::{Uki, is_pe, is_unified, of_deployment, target};

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

#[test]
fn sections_are_found_by_name_and_cut_to_their_length() {
    let bytes =
        image(&[(".linux", b"kernel"), (".cmdline", b"ro ostree=/a ostree=/b\n"), (".initrd", b"cpio")]);
    let uki = Uki::parse(&bytes).unwrap();
    assert_eq!(uki.initrds, [b"cpio"]);
    assert_eq!(target(&bytes).as_deref(), Some("/a"));
    assert!(is_pe(&bytes) && !is_pe(b"MZ") && !is_pe(b"070701"));
}

#[test]
fn microcode_comes_before_the_initramfs() {
    let bytes = image(&[(".initrd", b"main"), (".ucode", b"microcode")]);
    assert_eq!(Uki::parse(&bytes).unwrap().initrds, [b"microcode".as_slice(), b"main"]);
}

#[test]
fn refuses_what_it_can_not_tell() {
    let reason = |bytes: &[u8]| Uki::parse(bytes).unwrap_err().to_string();
    assert!(reason(&image(&[(".initrd", b"a"), (".initrd", b"b")])).contains("two sections"));
    let profiles = image(&[(".initrd", b"a"), (".profile", b"ID=x"), (".initrd", b"b")]);
    assert!(reason(&profiles).contains("profiles"));
    // Profiles that only differ in the command line do no harm.
    let profiles = image(&[(".initrd", b"a"), (".cmdline", b"x"), (".profile", b"ID=x"), (".cmdline", b"y")]);
    assert_eq!(Uki::parse(&profiles).unwrap().cmdline.as_deref(), Some("x"));
    let mut cut = image(&[(".initrd", &[7; 600])]);
    cut.truncate(cut.len() - 500);
    assert!(reason(&cut).contains(".initrd (600 bytes"), "{}", reason(&cut));
    // Whose image it is can be told all the same, so that it isn't passed over.
    let mut cut = image(&[(".cmdline", b"ostree=/a"), (".initrd", &[7; 600])]);
    cut.truncate(cut.len() - 500);
    assert_eq!(target(&cut).as_deref(), Some("/a"));
    assert!(reason(b"MZ").contains("ends before"));
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
    assert_eq!(of_deployment(root.path(), root.path(), &deployment), None);
    std::fs::write(
        esp.join("a.efi"),
        image(&[(".initrd", b""), (".cmdline", b"ostree=/ostree/boot.0/os/abc/0")]),
    )
    .unwrap();
    std::fs::write(
        esp.join("b.efi"),
        image(&[(".initrd", b""), (".cmdline", b"ro ostree=/ostree/boot.1/os/abc/0")]),
    )
    .unwrap();
    std::fs::write(esp.join("c.efi"), b"no program").unwrap();
    assert_eq!(of_deployment(root.path(), root.path(), &deployment), Some(esp.join("b.efi")));
    assert!(is_unified(&esp.join("b.efi")) && !is_unified(&esp.join("c.efi")));
}

proptest! {
    #[test]
    fn garbage_never_panics(bytes in any::<Vec<u8>>(), position in 0..0x300_usize, byte in any::<u8>(), len in 0..3000_usize) {
        drop((Uki::parse(&bytes), target(&bytes)));
        let mut damaged = image(&[(".linux", b"kernel"), (".cmdline", b"ostree=/a"), (".initrd", &[1; 700])]);
        damaged[position] = byte;
        drop(Uki::parse(&damaged));
        damaged.truncate(len);
        drop(Uki::parse(&damaged));
    }

    #[test]
    fn what_goes_in_comes_out(initrd in any::<Vec<u8>>(), cmdline in "[a-z=/ ]{0,60}") {
        let bytes = image(&[(".cmdline", cmdline.as_bytes()), (".linux", b"kernel"), (".initrd", &initrd)]);
        let uki = Uki::parse(&bytes).unwrap();
        assert_eq!(uki.initrds, [initrd.as_slice()]);
        assert_eq!(uki.cmdline.as_deref(), Some(cmdline.trim()));
    }
}
