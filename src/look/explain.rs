//! Why two digests differ, in words: the cause that explains all of it, if there is one, else what differs most.

use std::collections::BTreeMap;

use super::change::{Change, ChangeKind, Diff, What};
use super::sides::Traits;
use crate::shown::text_of;

/// One sentence.
pub fn explain(diff: &Diff, old: Traits, new: Traits) -> String {
    match diff.changes.as_slice() {
        [] => same_trees(old, new),
        [one] => format!("{} differs: {}", text_of(&one.path), of_one(one)),
        changes => of_many(changes),
    }
}

fn same_trees(old: Traits, new: Traits) -> String {
    if old.digest.is_some() && old.digest == new.digest {
        return "the two are the same image, byte for byte".to_owned();
    }
    match (old.version, new.version) {
        (Some(a), Some(b)) if a != b => format!("same tree, image format version {b} instead of {a}"),
        (Some(_), Some(_)) if old.has_times != new.has_times => {
            "same tree, but one side has times of files and the other has none".to_owned()
        }
        (Some(_), Some(_)) => {
            "same tree, laid out in another way: another program wrote the image".to_owned()
        }
        _ => "nothing differs of what both sides keep".to_owned(),
    }
}

fn of_one(change: &Change) -> String {
    match &change.kind {
        ChangeKind::Added => "it was added".to_owned(),
        ChangeKind::Removed => "it was removed".to_owned(),
        ChangeKind::Renamed(from) => format!("it was {}", text_of(from)),
        ChangeKind::Changed => words(&change.what).join(", "),
    }
}

fn of_many(changes: &[Change]) -> String {
    if let Some(text) = only_links(changes) {
        return text;
    }
    let first = text_of(&changes[0].path);
    let properties = words(&changes[0].what);
    let is_same = |change: &Change| change.kind == ChangeKind::Changed && words(&change.what) == properties;
    let count = changes.len();
    if changes.iter().all(is_same) {
        return format!(
            "these {count} paths differ only in {}: {first} and others",
            properties.join(" and ")
        );
    }
    let mut counts: BTreeMap<String, (usize, &Change)> = BTreeMap::new();
    for change in changes {
        let entry = counts.entry(cause(change)).or_insert((0, change));
        entry.0 += 1;
    }
    let mut counts: Vec<_> = counts.into_iter().collect();
    counts.sort_by_key(|(_, (count, _))| std::cmp::Reverse(*count));
    let parts = counts.iter().map(|(cause, (count, first))| {
        format!("{count} {cause} ({}{})", text_of(&first.path), if *count > 1 { ", …" } else { "" })
    });
    format!("{count} paths differ: {}", parts.collect::<Vec<_>>().join("; "))
}

/// Hard links that one side has and the other hasn't are one decision of whoever made it.
fn only_links(changes: &[Change]) -> Option<String> {
    let (mut old_has, mut new_has) = (false, false);
    for change in changes {
        let [What::Links(old, new)] = change.what.as_slice() else { return None };
        old_has |= !old.is_empty();
        new_has |= !new.is_empty();
    }
    let count = changes.len();
    Some(if old_has != new_has {
        let side = if old_has { "first" } else { "second" };
        format!("hard links were kept on the {side} side only: {count} paths")
    } else {
        format!("these {count} paths differ only in which of them are hard links")
    })
}

fn cause(change: &Change) -> String {
    match &change.kind {
        ChangeKind::Added => "added".to_owned(),
        ChangeKind::Removed => "removed".to_owned(),
        ChangeKind::Renamed(_) => "renamed".to_owned(),
        ChangeKind::Changed => format!("with another {}", words(&change.what).join(" and ")),
    }
}

/// The names of properties, each once. Who has another content says nothing new with its size.
pub(super) fn words(what: &[What]) -> Vec<String> {
    let has_content = what.iter().any(|what| matches!(what, What::Content(..)));
    let mut words = Vec::new();
    for what in what {
        let word = match what {
            What::Type(..) => "type",
            What::Mode(..) => "mode",
            What::Owner(..) => "owner",
            What::Xattr(name, ..) => {
                words.push(text_of(name));
                continue;
            }
            What::Size(..) if has_content => continue,
            What::Size(..) => "size",
            What::Content(..) => "content",
            What::Target(..) => "target",
            What::Links(..) => "hard links",
            What::Mtime(..) => "time",
            What::Device(..) => "device number",
        };
        words.push(word.to_owned());
    }
    words
}
