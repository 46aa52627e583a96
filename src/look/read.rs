//! Contents that were checked. A digest covers a whole file, so a content is read twice: first all of it, to compare it and
//! to keep the hash of each block; then again, and a block is given on when it still has its hash. A disk that answers
//! differently the second time is found out, and what is kept is less than a hundredth of the file.

use std::io::{self, Write};

use anyhow::{Context as _, Result, ensure};

use super::item::Item;
use super::path::FoundFile;
use super::view::{Expected, View};
use crate::merkle::Leaves;
use crate::refused::Refused;
use crate::shown::text_of;

/// Writes the content of a regular file. Not a byte of it goes out if it isn't what it must be.
pub fn copy(view: &dyn View, file: &FoundFile, out: &mut dyn Write) -> Result<io::Result<()>> {
    let (item, path) = (&file.item, text_of(&file.path));
    let reading = || format!("reading {path}");
    let expected = view.expected(item).with_context(reading)?;
    let leaves = check(view, item, expected).with_context(reading)?;
    let again = view.content(item).with_context(reading)?;
    // What the reader of the output does is another matter than what the disk does.
    let mut written = Ok(());
    leaves
        .copy(again, &mut |bytes| {
            if written.is_ok() {
                written = out.write_all(bytes);
            }
            if written.is_ok() { Ok(()) } else { Err(io::ErrorKind::WriteZero.into()) }
        })
        .or_else(|error| if written.is_err() { Ok(()) } else { Err(error) })
        .with_context(reading)?;
    Ok(written)
}

fn check(view: &dyn View, item: &Item, expected: Expected) -> Result<Leaves> {
    let content = view.content(item)?;
    match expected {
        Expected::Unknown => Err(Refused(
            "nothing says what its content must be: the image has no digest for it, so it isn't shown"
                .to_owned(),
        )
        .into()),
        Expected::Image => Ok(Leaves::of(content, &mut |_| ())?),
        Expected::Digest(digest, payload) => {
            let leaves = Leaves::of(content, &mut |_| ())?;
            let found = leaves.digest();
            if found != digest {
                return Err(Refused(format!(
                    "the object {} is damaged: its content has the fs-verity digest {found}, the image has {digest}",
                    text_of(&payload)
                ))
                .into());
            }
            ensure!(leaves.size() == item.size, "it has {} bytes, its size is {}", leaves.size(), item.size);
            Ok(leaves)
        }
        Expected::Name(mut name, object) => {
            let leaves = Leaves::of(content, &mut |bytes| name.update(bytes))?;
            name.require(&object)?;
            Ok(leaves)
        }
    }
}
