//! The arguments that a note's text is made of.

use anyhow::Context as _;
use clap::Args;
use ostree_seal_trust::digest::Digest;
use ostree_seal_trust::names::{CommitId, Product};
use ostree_seal_trust::note::Statement;

use super::commit::CommitArgs;
use super::progress::ObjectBar;
use crate::convert;
use crate::repo::{Check, Commit, Load, NoCache, Source};
use crate::seal::Bindings;

/// Product, index and commit of a note.
#[derive(Debug, Args)]
pub(super) struct BindingArgs {
    /// What the image is meant for, such as example.com/os [default: ostree-seal.product of the commit's metadata]
    #[arg(long, value_name = "NAME")]
    product: Option<Product>,

    /// The release's place in the order of releases [default: ostree-seal.index of the commit's metadata]
    #[arg(long, value_name = "N")]
    index: Option<u64>,

    /// The image's digest, instead of the one that converting the commit gives
    #[arg(long, value_name = "HEX")]
    digest: Option<Digest>,

    /// Leave the commit out of the note, so that it holds for any commit with the same image; containers need that
    /// where the commit is made anew on the device
    #[arg(long)]
    any_commit: bool,
}

impl BindingArgs {
    /// What the command line says, completed by what the commit says.
    pub(super) fn bindings(&self, commit: &[u8]) -> anyhow::Result<Bindings> {
        Bindings { product: self.product.clone(), index: self.index }.and(Bindings::of_commit(commit)?)
    }

    /// The digest of a commit's image: given, or computed. The commit may promise another one, which is a refusal.
    pub(super) fn digest(
        &self,
        args: &CommitArgs,
        source: &Source,
        commit: &Commit,
    ) -> anyhow::Result<Digest> {
        let digest = match self.digest {
            Some(digest) => digest,
            None => digest_of_commit(args, source, commit)?,
        };
        convert::check_promise(commit, digest)?;
        Ok(digest)
    }

    /// What the note of this commit says.
    pub(super) fn statement(
        &self,
        commit: &Commit,
        bindings: Bindings,
        image: Digest,
    ) -> anyhow::Result<Statement> {
        let (product, index) = bindings.complete()?;
        let commit = if self.any_commit { None } else { Some(commit_id(commit)?) };
        Ok(Statement { product, image, index, commit })
    }
}

/// The digest of a commit's image.
pub(super) fn digest_of_commit(
    args: &CommitArgs,
    source: &Source,
    commit: &Commit,
) -> anyhow::Result<Digest> {
    // Who signs vouches for the contents: each is read, whatever the kernel or a cache has of it.
    let check = args.check(Check::All);
    let load = Load { threads: args.threads(), cache: &NoCache, check, progress: &mut ObjectBar::new() };
    Ok(convert::digest(source, commit, load)?.0)
}

/// A commit's id as the boot program knows it.
pub(super) fn commit_id(commit: &Commit) -> anyhow::Result<CommitId> {
    commit.checksum.to_string().parse().context("reading the commit's id")
}
