//! What a guest test asks the kernel and busybox has no command for. Static, built from the boot package's own code:
//!
//! * `vm-helper enable [FILE...]` switches fs-verity on and prints how many files got it and how many had it;
//! * `vm-helper measure [FILE...]` prints `DIGEST  FILE`, as `sha256sum` would.
//!
//! Without files, their names are read from standard input, one a line. The first failure ends it, with exit code 1.

use std::fs::File;
use std::io::BufRead;
use std::process::ExitCode;

use ostree_seal_root::verity::{self, Enabled};

fn main() -> ExitCode {
    let mut args = std::env::args().skip(1);
    let verb = args.next().unwrap_or_default();
    let files: Vec<String> = args.collect();
    let done = match verb.as_str() {
        "enable" => enable(&files),
        "measure" => each(&files, measure),
        _ => Err(format!("usage: vm-helper enable|measure [FILE...], not '{verb}'")),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("vm-helper: {error}");
            ExitCode::FAILURE
        }
    }
}

fn enable(files: &[String]) -> Result<(), String> {
    let (mut now, mut before) = (0_u64, 0_u64);
    each(files, |path, file| {
        match verity::enable(file).map_err(|e| format!("enabling fs-verity on {path}: {e}"))? {
            Enabled::Now => now += 1,
            Enabled::Before => before += 1,
        }
        Ok(())
    })?;
    println!("enabled {now}, had it {before}");
    Ok(())
}

fn measure(path: &str, file: &File) -> Result<(), String> {
    let digest = verity::measure(file).map_err(|e| format!("measuring {path}: {e}"))?;
    println!("{digest}  {path}");
    Ok(())
}

fn each(files: &[String], mut act: impl FnMut(&str, &File) -> Result<(), String>) -> Result<(), String> {
    let mut open_and_act = |path: &str| {
        let file = File::open(path).map_err(|e| format!("opening {path}: {e}"))?;
        act(path, &file)
    };
    if !files.is_empty() {
        return files.iter().try_for_each(|path| open_and_act(path));
    }
    for line in std::io::stdin().lock().lines() {
        open_and_act(&line.map_err(|e| format!("reading the list of files: {e}"))?)?;
    }
    Ok(())
}
