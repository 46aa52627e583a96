//! What real shells offer when somebody types: for `ostree-seal` and for `ostree seal`.

#![allow(
    clippy::unwrap_used,
    unreachable_pub,
    reason = "a test program: a panic is its answer, and nobody links it"
)]

mod common;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use common::{Run, scratch, seal};
use tempfile::TempDir;

/// What `make install` installs, in directories of their own.
struct Shells(TempDir);

/// What is typed before <TAB>, one of the words that must be offered, and one that must not.
const TYPED: [(&str, &str, &str); 8] = [
    ("ostree-seal dig", "digest", "deploy"),
    ("ostree-seal digest --thr", "--threads", "--repo"),
    ("ostree-seal note ", "attach", "digest"),
    ("ostree-seal note attach --sig", "--signature", "--key"),
    ("ostree-seal gen", "", "generate"),
    ("ostree seal dig", "digest", "deploy"),
    ("ostree seal sign --emb", "--embed", "--key"),
    ("ostree seal note att", "attach", "text"),
];

impl Shells {
    fn new() -> Self {
        let scratch = scratch();
        let generated = scratch.path().join("completions");
        seal(&["generate", "completions", &generated.display().to_string()]).ok();
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("completions");
        for (from, to) in [
            (generated.join("ostree-seal.bash"), "bash/completions/ostree-seal"),
            (source.join("ostree-seal.bash"), "bash.d/ostree-seal"),
            (generated.join("_ostree-seal"), "zsh/_ostree-seal"),
            (source.join("_ostree"), "zsh/_ostree"),
            (generated.join("ostree-seal.fish"), "fish/completions/ostree-seal.fish"),
            (source.join("ostree-seal.fish"), "fish/conf.d/ostree-seal.fish"),
        ] {
            let to = scratch.path().join(to);
            fs::create_dir_all(to.parent().unwrap()).unwrap();
            fs::copy(from, to).unwrap();
        }
        Self(scratch)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// The words that a shell offers for what is typed, each on a line.
    fn offered(&self, shell: &str, script: &str, typed: &str) -> String {
        let directory = Path::new(env!("CARGO_BIN_EXE_ostree-seal")).parent().unwrap();
        let mut command = Command::new(shell);
        command.args(["-c", script, shell, typed]).current_dir(self.0.path());
        command.env("HOME", self.0.path()).env("XDG_CONFIG_HOME", self.0.path());
        command
            .env("BASH_COMPLETION_USER_DIR", self.path("bash"))
            .env("OURS", self.path("bash.d/ostree-seal"));
        command.env("ZSH_FUNCTIONS", self.path("zsh")).env("TYPED", typed);
        command.env("PATH", format!("{}:{}", directory.display(), std::env::var("PATH").unwrap()));
        let run = Run::of(&mut command);
        assert_eq!(run.code, Some(0), "{shell}: {typed}: {}{}", run.stdout, run.stderr);
        run.stdout
    }

    fn assert_offers(&self, shell: &str, script: &str) {
        for (typed, wanted, unwanted) in TYPED {
            let offered = self.offered(shell, script, typed);
            let words: Vec<&str> =
                offered.lines().map(|line| line.split(['\t', ' ']).next().unwrap().trim()).collect();
            assert!(wanted.is_empty() || words.contains(&wanted), "{shell}: {typed}: {words:?}");
            assert!(!words.contains(&unwanted), "{shell}: {typed}: {words:?}");
        }
    }
}

/// What bash does when <TAB> is typed: the function that is registered for the command, with its three arguments.
const BASH: &str = r#"
    . /usr/share/bash-completion/bash_completion
    . "$OURS"
    read -r -a COMP_WORDS <<<"$TYPED"
    [[ $TYPED != *' ' ]] || COMP_WORDS+=('')
    COMP_CWORD=$((${#COMP_WORDS[@]} - 1)) COMP_LINE=$TYPED COMP_POINT=${#TYPED}
    complete -p "${COMP_WORDS[0]}" >/dev/null 2>&1 || __load_completion "${COMP_WORDS[0]}" || _comp_load "${COMP_WORDS[0]}"
    function=$(complete -p "${COMP_WORDS[0]}" | sed 's/.*-F \([^ ]*\) .*/\1/')
    "$function" "${COMP_WORDS[0]}" "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD - 1]}" || true
    printf '%s\n' "${COMPREPLY[@]}"
"#;

#[test]
fn bash_completes_commands_and_options_also_behind_ostree() {
    Shells::new().assert_offers("bash", BASH);
}

#[test]
fn fish_completes_commands_and_options_also_behind_ostree() {
    Shells::new().assert_offers("fish", r#"complete --do-complete "$TYPED""#);
}

/// zsh completes for an editor only: one in a pseudo-terminal, whose list of matches is printed.
const ZSH: &str = r#"
    zmodload zsh/zpty
    zpty shell "HOME=$HOME zsh -f -i"
    ask() { zpty -w shell "$1"; }
    ask 'PS1=; unsetopt zle_bracketed_paste 2>/dev/null; stty -echo cols 300'
    ask 'fpath=($ZSH_FUNCTIONS $fpath); autoload -Uz compinit; compinit -u -D'
    ask 'LISTMAX=10000; zstyle ":completion:*" list-grouped false; setopt no_list_beep no_menu_complete'
    ask 'show() { compadd() { if [[ ${@[(I)-(O|A|D)]} -gt 0 ]]; then builtin compadd "$@"; else local -a found; builtin compadd -A found "$@"; print -rl -- OFFERED\ ${^found}; builtin compadd "$@"; fi }; _main_complete }'
    ask 'zle -C show-them complete-word show; bindkey "^I" show-them; print READY'
    while zpty -r shell line; do [[ $line == *READY* && $line != *print* ]] && break; done
    zpty -w -n shell "$TYPED"$'\t'
    # What is typed ahead would keep it from completing: it has time until it offers something, or 3 seconds.
    for try in {1..30}; do
        sleep 0.1
        while zpty -r -t shell line; do
            print -r -- "$line" | grep -o 'OFFERED [^[:space:]]*' | cut -d' ' -f2
            [[ $line != *OFFERED* ]] || (( try >= 25 )) || try=25
        done
        (( try < 30 )) || break
    done
    zpty -d shell
    true
"#;

#[test]
fn zsh_completes_commands_and_options_also_behind_ostree() {
    Shells::new().assert_offers("zsh", ZSH);
}
