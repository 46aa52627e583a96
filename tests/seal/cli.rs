use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::thread;

use ostree::glib::variant::ToVariant as _;
use serde_json::json;

use crate::program::{Workshop, exists, value};

const CONF: &str = "[seal]\nmode = sealed\nproduct = example.com/os\naccept = note, commit\n";

#[test]
fn keygen_writes_a_key_that_only_its_owner_reads_and_overwrites_nothing() {
    let shop = Workshop::new();
    let id = shop.keygen("release");
    assert!(id.starts_with("example.com/release+"), "{id}");
    assert_eq!(fs::metadata(shop.path("release.key")).unwrap().permissions().mode() & 0o7777, 0o600);
    let before = (shop.read("release.key"), shop.read("release.vkey"));
    shop.seal(&["keygen", "--name=example.com/release", "release"]).failed(1);
    fs::remove_file(shop.path("release.key")).unwrap();
    shop.seal(&["keygen", "--name=example.com/release", "release"]).failed(1);
    assert!(!exists(&shop.path("release.key")));
    assert_eq!(shop.read("release.vkey"), before.1);
    shop.write("other.key", "precious");
    shop.seal(&["keygen", "--name=example.com/release", "other"]).failed(1);
    assert!(!exists(&shop.path("other.vkey")));
    assert_eq!(shop.read("other.key"), "precious");
}

#[test]
fn keygen_refuses_names_that_no_note_can_have() {
    let shop = Workshop::new();
    for name in ["", "two words", "a+b", "new\nline"] {
        shop.seal(&["keygen", &format!("--name={name}"), "key"]).failed(1);
        assert!(!exists(&shop.path("key.key")) && !exists(&shop.path("key.vkey")));
    }
    assert_eq!(shop.seal(&["keygen", "key"]).code, Some(2));
}

#[test]
fn sign_keeps_the_note_in_detached_metadata_and_in_a_file() {
    let shop = Workshop::new();
    let (key, id) = (shop.keygen("release"), shop.id("os"));
    let digest = shop.seal(&["digest", "--repo=repo", "os"]).done();
    let said = shop.seal(&["sign", "--repo=repo", "os", "--key=release.key", "--note=note", "--json"]);
    let expected = json!({
        "commit": id, "digest": digest.trim(), "product": "example.com/os", "index": 42, "key": key,
        "note": "added", "ostree_signature": null, "embedded_from": null,
    });
    assert_eq!(said.json(), expected);
    assert_eq!(shop.notes(&id), [shop.read("note")]);
    let start = format!(
        "ostree-seal v1\nproduct example.com/os\nimage fsverity-sha256-4096 {digest}index 42\ncommit {id}\n\n\u{2014} "
    );
    assert!(shop.read("note").starts_with(&start), "{}", shop.read("note"));
    assert_eq!(fs::metadata(shop.path("note")).unwrap().permissions().mode() & 0o777, 0o644);
    // What a pull takes along is in the one file that a pull takes along.
    assert!(exists(&shop.object(&id, "commitmeta")));
    shop.ostree(&["fsck", "--repo=repo"]).done();
}

#[test]
fn a_second_key_signs_the_same_note_and_the_same_key_signs_once() {
    let shop = Workshop::new();
    let (one, two, id) = (shop.keygen("one"), shop.keygen("two"), shop.id("os"));
    let sign = |key: &str| {
        let key = format!("--key={key}.key");
        shop.seal(&["sign", "--repo=repo", "os", &key, "--note=note", "--json"]).json()["note"].clone()
    };
    assert_eq!(sign("one"), "added");
    assert_eq!(sign("two"), "added");
    let both = shop.notes(&id);
    assert_eq!((sign("one"), sign("two")), (json!("present"), json!("present")));
    assert_eq!(shop.notes(&id), both);
    assert_eq!((both.len(), both[0].lines().count()), (1, 8));
    assert_eq!(shop.read("note"), both[0]);
    shop.trust(&format!("{CONF}threshold = 2\n"), &["one", "two"]);
    let said = shop.seal(&["verify", "--trust=trust", "--repo=repo", "os", "--json"]);
    assert_eq!(said.json()["keys"], json!([one, two]));
}

#[test]
fn signers_at_the_same_time_lose_no_signature() {
    let shop = Workshop::new();
    let names: Vec<String> = (0..8).map(|number| format!("key{number}")).collect();
    names.iter().for_each(|name| drop(shop.keygen(name)));
    thread::scope(|scope| {
        for name in &names {
            let key = format!("--key={name}.key");
            scope.spawn(|| {
                let key = key;
                shop.seal(&["sign", "--repo=repo", "os", &key]).done()
            });
        }
    });
    let notes = shop.notes(&shop.id("os"));
    assert_eq!((notes.len(), notes[0].matches('\u{2014}').count()), (1, 8));
}

#[test]
fn sign_leaves_other_detached_metadata_as_it_is() {
    let shop = Workshop::new();
    shop.keygen("release");
    let id = shop.id("os");
    let foreign = vec![vec![1_u8, 2, 3], vec![]].to_variant();
    shop.set_detached(&id, "ostree.gpgsigs", &foreign);
    shop.set_detached(&id, "vendor.thing", &("text", 7_u64).to_variant());
    shop.set_detached(&id, "ostree-seal.note", &vec!["somebody else's"].to_variant());
    shop.seal(&["sign", "--repo=repo", "os", "--key=release.key"]).done();
    let after = shop.detached(&id).unwrap();
    assert_eq!(value(&after, "ostree.gpgsigs").unwrap(), foreign);
    assert_eq!(value(&after, "vendor.thing").unwrap(), ("text", 7_u64).to_variant());
    assert_eq!(shop.notes(&id)[0], "somebody else's");
    assert_eq!((after.n_children(), shop.notes(&id).len()), (3, 2));
    assert!(after.is_normal_form());
}

#[test]
fn product_and_index_come_from_flag_or_commit_and_must_agree() {
    let shop = Workshop::with_metadata(&["--add-metadata-string=ostree-seal.product=example.com/os"]);
    shop.keygen("release");
    let sign = |arguments: &[&str]| {
        shop.seal(&[["sign", "--repo=repo", "os", "--key=release.key"].as_slice(), arguments].concat())
    };
    let error = sign(&[]).failed(1);
    assert!(error.contains("--index") && error.contains("ostree-seal.index"), "{error}");
    let error = sign(&["--index=7", "--product=example.com/car"]).failed(1);
    assert!(error.contains("example.com/car") && error.contains("example.com/os"), "{error}");
    assert!(shop.detached(&shop.id("os")).is_none());
    sign(&["--index=7", "--product=example.com/os"]).done();
    assert!(shop.notes(&shop.id("os"))[0].contains("\nindex 7\n"));
    for wrong in ["--index=-1", "--index=x", "--product=two words", "--digest=abc"] {
        assert_eq!(sign(&[wrong]).code, Some(2), "{wrong}");
    }
}

#[test]
fn index_is_written_by_ostree_as_it_is_read_here() {
    // What `ostree commit --add-metadata` really writes: eight bytes, little-endian, where this machine is.
    let shop = Workshop::with_metadata(&[
        "--add-metadata-string=ostree-seal.product=example.com/os",
        "--add-metadata=ostree-seal.index=uint64 72623859790382856",
    ]);
    let bytes = fs::read(shop.object(&shop.id("os"), "commit")).unwrap();
    assert!(bytes.windows(9).any(|window| window == [8, 7, 6, 5, 4, 3, 2, 1, 0]));
    shop.keygen("release");
    shop.seal(&["sign", "--repo=repo", "os", "--key=release.key"]).done();
    assert!(shop.notes(&shop.id("os"))[0].contains("\nindex 72623859790382856\n"));
}

#[test]
fn sign_refuses_a_digest_that_the_commit_does_not_promise() {
    let shop = Workshop::new();
    shop.keygen("release");
    shop.seal(&["sign", "--repo=repo", "os", "--key=release.key", "--embed"]).done();
    let digest = format!("--digest={}", "1a".repeat(32));
    let error = shop.seal(&["sign", "--repo=repo", "os", "--key=release.key", &digest]).failed(3);
    assert!(error.contains(&"1a".repeat(32)), "{error}");
}

#[test]
fn sign_does_not_touch_the_commit_where_the_note_file_says_something_else() {
    let shop = Workshop::new();
    shop.keygen("release");
    shop.write("note", "not a note");
    shop.seal(&["sign", "--repo=repo", "os", "--key=release.key", "--note=note"]).failed(1);
    assert_eq!(shop.read("note"), "not a note");
    assert!(shop.detached(&shop.id("os")).is_none());
}

#[test]
fn signature_of_a_commit_needs_the_digest_in_it() {
    let shop = Workshop::new();
    shop.keygen("release");
    let error = shop.seal(&["sign", "--repo=repo", "os", "--key=release.key", "--ostree"]).failed(1);
    assert!(error.contains("--embed"), "{error}");
    assert!(shop.detached(&shop.id("os")).is_none());
}

#[test]
fn embed_makes_the_same_commit_with_the_digest() {
    let shop = Workshop::new();
    let parent = shop.id("os");
    shop.write("tree/usr/bin/second", "another release");
    let metadata = ["--add-metadata-string=version=42.1", "--add-metadata-string=vendor.build=x"];
    let old = shop.commit(&metadata);
    shop.keygen("release");
    let digest = shop.seal(&["digest", "--repo=repo", "os"]).done().trim().to_owned();
    let embed = ["sign", "--repo=repo", "os", "--key=release.key", "--embed", "--ostree", "--json"];
    let bindings = ["--product=example.com/os", "--index=43"];
    let said = shop.seal(&[embed.as_slice(), &bindings].concat()).json();
    let new = shop.id("os");
    assert_eq!((&said["commit"], &said["embedded_from"]), (&json!(new), &json!(old)));
    let load = |id: &str| shop.repo().load_variant(ostree::ObjectType::Commit, id).unwrap();
    let (before, after) = (load(&old), load(&new));
    for member in 1..8 {
        assert_eq!(after.child_value(member), before.child_value(member), "{member}");
    }
    assert_eq!(ostree::commit_get_parent(&after).unwrap(), parent);
    let (before, after) = (before.child_value(0), after.child_value(0));
    for entry in before.iter() {
        let key = entry.child_value(0);
        let key = key.str().unwrap();
        assert_eq!(value(&after, key), value(&before, key), "{key}");
    }
    assert_eq!(after.n_children(), before.n_children() + 3);
    assert!(value(&before, "ostree.ref-binding").is_some());
    let embedded: Vec<u8> = value(&after, "ostree.composefs.digest.v0").unwrap().get().unwrap();
    assert_eq!(embedded.iter().map(|byte| format!("{byte:02x}")).collect::<String>(), digest);
    assert_eq!(shop.seal(&["digest", "--repo=repo", "os"]).done().trim(), digest);
    shop.ostree(&["fsck", "--repo=repo"]).done();

    let again = shop.seal(&[embed.as_slice(), &bindings].concat()).json();
    assert_eq!(shop.id("os"), new);
    assert_eq!(again["embedded_from"], json!(null));
    assert_eq!((&again["note"], &again["ostree_signature"]), (&json!("present"), &json!("present")));
}

#[test]
fn embed_needs_a_branch() {
    let shop = Workshop::new();
    shop.keygen("release");
    let id = shop.id("os");
    let error = shop.seal(&["sign", "--repo=repo", &id, "--key=release.key", "--embed"]).failed(1);
    assert!(error.contains("not a branch"), "{error}");
    assert_eq!(shop.id("os"), id);
}

#[test]
fn verify_says_yes_to_what_was_signed() {
    let shop = Workshop::new();
    let (key, id) = (shop.keygen("release"), shop.id("os"));
    shop.trust(CONF, &["release"]);
    shop.write("trust/trusted.d/broken.vkey", "garbage");
    shop.seal(&["sign", "--repo=repo", "os", "--key=release.key", "--note=note"]).done();
    let digest = shop.seal(&["convert", "--repo=repo", "os", "image"]).done().trim().to_owned();
    let verify = |subject: &[&str]| shop.seal(&[["verify", "--trust=trust"].as_slice(), subject].concat());
    for subject in [["--repo=repo", "os", "--json"], ["--image=image", "--note=note", "--json"]] {
        let said = verify(&subject);
        assert_eq!((said.code, said.err.as_str()), (Some(0), ""));
        let output = said.json();
        let source = output["digest_source"].as_str().unwrap().to_owned();
        assert!(source == "computed" || source == "measured", "{source}");
        assert_eq!(
            output,
            json!({
                "verdict": "verified", "reason": null, "digest": digest, "digest_source": source,
                "expected_digest": digest, "evidence": "note", "product": "example.com/os", "index": 42,
                "commit": id, "keys": [key], "skipped_signatures": [],
                "skipped_keys": [{"name": "trust/trusted.d/broken.vkey", "reason": "it is not one line NAME+HASH+BASE64"}],
            })
        );
    }
    let text = verify(&["--repo=repo", "os"]).done();
    assert!(text.starts_with("verified\n") && text.contains("computed") && text.contains(&key), "{text}");
}

#[test]
fn verify_says_no_and_why_in_text_and_json() {
    let shop = Workshop::new();
    let stranger = shop.keygen("stranger");
    shop.keygen("release");
    shop.trust(CONF, &["release"]);
    let verify = || shop.seal(&["verify", "--trust=trust", "--repo=repo", "os", "--json"]);
    let said = verify();
    let reason = said.json()["reason"].as_str().unwrap().to_owned();
    assert!(reason.starts_with("no accepted signature covers the image"), "{reason}");
    assert_eq!(said.failed(3), format!("error: verifying: {reason}\n"));
    shop.seal(&["sign", "--repo=repo", "os", "--key=stranger.key"]).done();
    let output = verify().json();
    assert_eq!((&output["verdict"], &output["evidence"]), (&json!("refused"), &json!("note")));
    assert_eq!(output["skipped_signatures"], json!([{"name": stranger, "reason": "no trusted key"}]));
    assert_eq!(output["expected_digest"], json!(null));
    verify().failed(3);
    shop.seal(&["sign", "--repo=repo", "os", "--key=release.key"]).done();
    verify().done();
    shop.trust(&CONF.replace("/os", "/car"), &["release"]);
    assert!(verify().failed(3).contains("example.com/car"));
    shop.trust(&format!("{CONF}minimum-index = 43\n"), &["release"]);
    assert!(verify().failed(3).contains("43"));
    shop.trust("[seal]\nmode = unsealed\n", &[]);
    assert_eq!(verify().json()["verdict"], "unsealed");
    verify().failed(3);
    fs::remove_file(shop.path("trust/policy.conf")).unwrap();
    assert!(verify().failed(3).contains("there is no policy"));
    shop.seal(&["verify", "--trust=trust", "--image=nowhere"]).failed(3);
    shop.trust(CONF, &["release"]);
    shop.seal(&["verify", "--trust=trust", "--image=nowhere"]).failed(1);
    shop.seal(&["verify", "--trust=trust", "--repo=repo", "nowhere"]).failed(1);
}

#[test]
fn verify_takes_one_subject_and_its_companions_only() {
    let shop = Workshop::new();
    for arguments in [
        ["--repo=repo", "--json"].as_slice(),
        &["os"],
        &["--image=image", "os"],
        &["--image=image", "--deployment=x"],
        &["--repo=repo", "os", "--note=note"],
        &[],
    ] {
        let said = shop.seal(&[["verify", "--trust=trust"].as_slice(), arguments].concat());
        assert_eq!(said.code, Some(2), "{arguments:?}: {}", said.err);
    }
}

#[test]
fn one_of_several_notes_is_enough_for_a_commit() {
    let shop = Workshop::with_metadata(&[]);
    shop.keygen("release");
    shop.trust(CONF, &["release"]);
    for (product, index) in [("example.com/car", "1"), ("example.com/os", "2")] {
        let (product, index) = (format!("--product={product}"), format!("--index={index}"));
        shop.seal(&["sign", "--repo=repo", "os", "--key=release.key", &product, &index]).done();
    }
    assert_eq!(shop.notes(&shop.id("os")).len(), 2);
    let said = shop.seal(&["verify", "--trust=trust", "--repo=repo", "os", "--json"]);
    assert_eq!(said.json()["index"], 2);
}

#[test]
fn verify_looks_at_a_deployment_as_the_initramfs_does() {
    let shop = Workshop::new();
    shop.keygen("release");
    shop.trust(CONF, &["release"]);
    let id = shop.id("os");
    shop.seal(&["sign", "--repo=repo", "os", "--key=release.key", "--embed", "--ostree", "--note=note"])
        .done();
    let new = shop.id("os");
    fs::create_dir_all(shop.path("sysroot/ostree")).unwrap();
    let directory = format!("sysroot/ostree/deploy/test/deploy/{new}.0");
    fs::create_dir_all(shop.path(&directory)).unwrap();
    let image = format!("{directory}/.ostree.cfs");
    shop.seal(&["convert", "--repo=repo", "os", &image]).done();
    fs::rename(shop.path("repo"), shop.path("sysroot/ostree/repo")).unwrap();
    let option = format!("--deployment={directory}");
    let verify = || shop.seal(&["verify", "--trust=trust", &option, "--json"]);
    assert_eq!(verify().json()["evidence"], "commit");
    verify().done();
    fs::copy(shop.path("note"), shop.path(&directory).join(".ostree.seal")).unwrap();
    assert_eq!(verify().json()["evidence"], "note");
    verify().done();

    let mut bytes = fs::read(shop.path(&image)).unwrap();
    bytes[1100] ^= 1;
    fs::remove_file(shop.path(&image)).unwrap();
    shop.write(&image, &bytes);
    assert!(verify().failed(3).contains("the signed digest is"));
    let older = format!("sysroot/ostree/deploy/test/deploy/{id}.0");
    fs::rename(shop.path(&directory), shop.path(&older)).unwrap();
    let option = format!("--deployment={older}");
    shop.seal(&["verify", "--trust=trust", &option]).failed(3);
    let error = shop.seal(&["verify", "--trust=trust", "--deployment=tree"]).failed(1);
    assert!(error.contains("ostree/deploy"), "{error}");
}

#[test]
fn no_output_of_any_command_has_the_private_key_in_it() {
    let shop = Workshop::new();
    shop.keygen("release");
    shop.trust(CONF, &["release"]);
    let file = shop.read("release.key");
    let secret = file.trim().splitn(5, '+').last().unwrap();
    shop.seal(&["keygen", "--to-ostree", "release"]).done();
    let ostree_secret = shop.read("release.ostree-secret");
    shop.write("short.key", &file[..file.len() - 4]);
    shop.write("other-hash.key", file.replace("release+", "release+0"));
    shop.write("ostree.key", &ostree_secret);
    let mut said = vec![
        shop.seal(&["keygen", "--name=example.com/x", "--from-ostree=release.key", "x"]),
        shop.seal(&["keygen", "--name=example.com/x", "--from-ostree=release.ostree-secret", "x"]),
        shop.seal(&["keygen", "--name=example.com/x", "--public=release.key", "y"]),
        shop.seal(&["verify", "--trust=trust", "--repo=repo", "os", "--json"]),
        shop.seal(&["note", "attach", "--key=release.key", "--signature=release.key", "--note=n"]),
    ];
    for key in ["release.key", "short.key", "other-hash.key", "ostree.key", "repo/config"] {
        let key = format!("--key={key}");
        for more in [["--json"].as_slice(), &["--embed", "--ostree"], &["--note=release.key"]] {
            said.push(shop.seal(&[["sign", "--repo=repo", "os", &key].as_slice(), more].concat()));
        }
    }
    shop.write("trust/trusted.d/oops.vkey", &file);
    said.push(shop.seal(&["verify", "--trust=trust", "--repo=repo", "os", "--json"]));
    assert!(said.iter().any(|said| said.code == Some(0)) && said.iter().any(|said| said.code == Some(1)));
    for said in &said {
        let text = format!("{}{}", said.out, said.err);
        for secret in [secret, ostree_secret.trim()] {
            let leaked = (0..secret.len() - 8).any(|at| text.contains(&secret[at..at + 8]));
            // The public half, base64 as well, is at the end of ostree's form; it starts at another bit.
            assert!(!leaked, "{text}");
        }
    }
}

#[test]
fn every_flipped_bit_of_an_image_is_refused() {
    use ostree_seal::merkle;
    use ostree_seal_trust::check;
    use ostree_seal_trust::digest::Digest;

    let shop = Workshop::new();
    let digest: Digest = shop.seal(&["convert", "--repo=repo", "os", "image"]).done().trim().parse().unwrap();
    let mut image = fs::read(shop.path("image")).unwrap();
    let statement = ostree_seal_trust::note::Statement { image: digest, ..crate::fixture::statement() };
    let key = crate::fixture::release();
    let evidence = crate::fixture::evidence(crate::fixture::note(&statement.to_string(), &[&key]));
    let policy = crate::fixture::trusting(&[&key]);
    let accepts = |image: &[u8]| check::check(merkle::digest(image), &evidence, &policy).is_ok();
    assert!(accepts(&image));
    let bits = image.len() * 8;
    // 20,000 different bits, spread by a step that shares no factor with their number.
    let step = (1..).map(|add| bits / 20_000 * 7 + add).find(|step| gcd(*step, bits) == 1).unwrap();
    assert!(bits >= 20_000);
    for bit in (0..20_000).map(|number| number * step % bits) {
        image[bit / 8] ^= 1 << (bit % 8);
        assert!(!accepts(&image), "bit {bit}");
        image[bit / 8] ^= 1 << (bit % 8);
    }
    for length in [0, 1, 4096, image.len() - 4096, image.len() - 1] {
        assert!(!accepts(&image[..length]), "{length}");
    }
    image.push(0);
    assert!(!accepts(&image));
}

fn gcd(a: usize, b: usize) -> usize {
    if b == 0 { a } else { gcd(b, a % b) }
}
