use super::{FILE, LINK, Member, archive, archive_of, read};

#[test]
fn units_tell_who_sets_up_the_root() {
    let ours = "usr/lib/systemd/system/ostree-seal-root.service";
    let pulled_in = "etc/systemd/system/initrd-root-fs.target.requires/ostree-seal-root.service";
    let other = "usr/lib/systemd/system/ostree-prepare-root.service";
    let mask = "etc/systemd/system/ostree-prepare-root.service";
    let link = (LINK, 1, pulled_in, b"/usr/lib/systemd/system/ostree-seal-root.service".as_slice());
    let (ours, other) = ((FILE, 1, ours, b"[Unit]".as_slice()), (FILE, 1, other, b"[Unit]".as_slice()));
    let found = read(&archive_of(&[ours, other]));
    assert!(!found.starts_program() && found.starts_prepare_root());
    let found = read(&archive_of(&[ours, link, other]));
    assert!(found.starts_program() && found.starts_prepare_root());
    for null in ["/dev/null", "../../../dev/null", "/dev/../dev//null"] {
        let found = read(&archive_of(&[ours, link, other, (LINK, 1, mask, null.as_bytes())]));
        assert!(found.starts_program() && !found.starts_prepare_root(), "{null}");
    }
    // A mask where systemd doesn't look for one is none.
    let elsewhere = (LINK, 1, "etc/ostree-prepare-root.service", b"/dev/null".as_slice());
    assert!(read(&archive_of(&[ours, link, other, elsewhere])).starts_prepare_root());
    let found = read(&archive(&[("scripts/local-bottom/ostree-seal", b"")]));
    assert!(found.starts_program() && !found.starts_prepare_root());
}

#[test]
fn a_masked_unit_starts_nothing() {
    let pulled_in = "usr/lib/systemd/system/initrd-root-fs.target.requires/ostree-seal-root.service";
    let ours = (FILE, 1, "usr/lib/systemd/system/ostree-seal-root.service", b"[Unit]".as_slice());
    let link = (LINK, 1, pulled_in, b"../ostree-seal-root.service".as_slice());
    let masks: [(u32, &str, &[u8]); 4] = [
        (LINK, "etc/systemd/system/ostree-seal-root.service", b"/dev/null"),
        (FILE, "etc/systemd/system/ostree-seal-root.service", b""),
        (LINK, "run/systemd/system/ostree-seal-root.service", b"../../../dev/null"),
        (LINK, "etc/systemd/system/initrd-root-fs.target.requires/ostree-seal-root.service", b"/dev/null"),
    ];
    assert!(read(&archive_of(&[ours, link])).starts_program());
    for (mode, name, content) in masks {
        let found = read(&archive_of(&[ours, link, (mode, 1, name, content)]));
        assert_eq!((found.starts_program(), found.masked()), (false, Some(name)));
    }
}

#[test]
fn a_unit_is_masked_through_any_links() {
    let pulled_in = "usr/lib/systemd/system/initrd-root-fs.target.requires/ostree-seal-root.service";
    let mask = "etc/systemd/system/ostree-seal-root.service";
    let ours = (FILE, 1, "usr/lib/systemd/system/ostree-seal-root.service", b"[Unit]".as_slice());
    let pull = (LINK, 1, pulled_in, b"../nothing".as_slice());
    let link = |name, target| (LINK, 1, name, target);
    let null = ("usr/null", b"/dev/null".as_slice());
    let cases: [&[Member<'_>]; 5] = [
        &[link(null.0, null.1), link(mask, b"../../../usr/null")],
        &[link(null.0, null.1), link(mask, b"/usr/../usr/null")],
        &[(FILE, 1, "usr/empty", b""), link(mask, b"/usr/empty")],
        &[link(mask, b"/usr/nothing")],
        &[
            link("usr/units/ostree-seal-root.service", b"/dev/null"),
            link("etc/systemd/system", b"../../usr/units"),
        ],
    ];
    assert!(read(&archive_of(&[ours, pull])).starts_program());
    for case in cases {
        let found = read(&archive_of(&[&[ours, pull], case].concat()));
        assert_eq!((found.starts_program(), found.masked()), (false, Some(mask)), "{case:?}");
    }
    // A link to the unit itself is none, nor is a name that nobody looks at.
    let same = link(mask, b"/usr/lib/systemd/system/ostree-seal-root.service");
    assert!(read(&archive_of(&[ours, pull, same])).starts_program());
    let elsewhere = link("usr/share/a.requires/ostree-seal-root.service", b"x");
    assert!(!read(&archive_of(&[ours, elsewhere])).starts_program());
}
