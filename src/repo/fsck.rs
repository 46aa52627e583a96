//! Contents compared with their checksums, by libostree.

use std::path::Path;

use anyhow::Result;
use fn_error_context::context;
use ostree::{gio, glib};

use super::checksum::Checksum;

/// Whether libostree's error is about an object's content. It has the same kind for a wrong checksum and for EIO, which
/// is told by its words, always in English, since this program sets no locale.
fn is_of_content(error: &glib::Error) -> bool {
    match error.kind() {
        Some(gio::IOErrorEnum::NotFound) => true,
        Some(gio::IOErrorEnum::Failed) => !error.message().contains("Input/output error"),
        _ => false,
    }
}

/// Compares the content of file objects with their checksums, up to the first that is damaged or missing, which comes
/// back with the reason. One that can't be read says nothing of its content. `done` is called after each object.
#[context("checking objects in {}", repository.display())]
pub fn fsck_files(
    repository: &Path,
    objects: &[Checksum],
    done: impl Fn(),
) -> Result<Option<(Checksum, String)>> {
    let repo = ostree::Repo::new_for_path(repository);
    repo.open(gio::Cancellable::NONE)?;
    for object in objects {
        let name = object.to_string();
        match repo.fsck_object(ostree::ObjectType::File, &name, gio::Cancellable::NONE) {
            Ok(()) => done(),
            Err(error) if is_of_content(&error) => return Ok(Some((*object, error.to_string()))),
            Err(error) => return Err(anyhow::Error::new(error).context(format!("object {name}.file"))),
        }
    }
    Ok(None)
}
