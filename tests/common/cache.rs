//! Where the scripts of `tests/tools` keep what is slow to make: CACHE of `tests/tools/common.sh`.

use std::path::PathBuf;

pub(crate) fn cache() -> PathBuf {
    let named = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let home = || named("HOME").unwrap_or_default().join(".cache");
    named("OSTREE_SEAL_CACHE")
        .unwrap_or_else(|| named("XDG_CACHE_HOME").unwrap_or_else(home).join("ostree-seal"))
}

/// Whether a test that needs what `make check` puts there may be skipped without it. In `make check` it may not.
pub(crate) fn may_be_missing() -> bool {
    std::env::var_os("OSTREE_SEAL_REQUIRE_ORACLE").is_none_or(|value| value != "1")
}
