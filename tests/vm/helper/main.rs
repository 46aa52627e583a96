//! What a guest test asks the kernel and busybox has no command for. Static, built from the boot package's own code:
//!
//! * `vm-helper enable [FILE...]` switches fs-verity on and prints how many files got it and how many had it;
//! * `vm-helper measure [FILE...]` prints `DIGEST  FILE`, as `sha256sum` would;
//! * `vm-helper locate FILE OFFSET DEVICE` prints where on a device of 4096-byte blocks the byte at OFFSET may be: the
//!   places with a block that equals the file's;
//! * `vm-helper time PROGRAM [ARG...]` prints the wall time of a program in microseconds, its exit status, and
//!   its peak memory in KiB;
//! * `vm-helper setxattr NAME VALUE FILE` sets an extended attribute;
//! * `vm-helper archives TABLE` prints the names of the cases in a table of archives, `archives TABLE NAME...` writes the
//!   archives of these cases, `expected TABLE SUITE NAME` prints what its kernel makes of one, and `list DIRECTORY` what it has made;
//! * `vm-helper replay LOG DISK SEED PART PARTS` cuts the power, see replay.rs.
//!
//! Without files, their names are read from standard input, one a line. The first failure ends it, with exit code 1.

use std::fs::File;
use std::io::{BufRead, ErrorKind, Read, Write};
use std::os::unix::fs::FileExt;
use std::process::{Command, ExitCode};
use std::time::Instant;

use ostree_seal_root::check::verity::{self, Enabled};

mod archives;
mod replay;

fn main() -> ExitCode {
    let mut args = std::env::args().skip(1);
    let verb = args.next().unwrap_or_default();
    let files: Vec<String> = args.collect();
    let done = match verb.as_str() {
        "enable" => enable(&files),
        "measure" => each(&files, measure),
        "locate" => locate(&files),
        "time" => time(&files),
        "setxattr" => set_xattr(&files),
        "archives" => write_archives(&files),
        "expected" => expected(&files),
        "list" => list(&files),
        "replay" => cut_power(&files),
        _ => Err(format!(
            "usage: vm-helper enable|measure [FILE...]|locate|time|setxattr|archives|expected|list|replay, not '{verb}'"
        )),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("vm-helper: {error}");
            ExitCode::FAILURE
        }
    }
}

fn table(files: &[String]) -> Result<Vec<archives::Case>, String> {
    let path = files.first().ok_or("which table?")?;
    archives::parse(&std::fs::read_to_string(path).map_err(|error| format!("{path}: {error}"))?)
}

fn write_archives(files: &[String]) -> Result<(), String> {
    for case in table(files)? {
        if files.len() == 1 {
            println!("{}{}", case.name, if case.alone { " alone" } else { "" });
        } else if files[1..].contains(&case.name) {
            let mut bytes = case.bytes()?;
            // Where a boot loader would put the next file.
            bytes.resize(bytes.len().next_multiple_of(4), 0);
            std::io::stdout().write_all(&bytes).map_err(|error| error.to_string())?;
        }
    }
    Ok(())
}

fn expected(files: &[String]) -> Result<(), String> {
    let [_, suite, name] = files else { return Err("expected TABLE SUITE NAME".to_owned()) };
    let cases = table(files)?;
    let case = cases.iter().find(|case| case.name == *name).ok_or("no such case")?;
    case.expected(suite).iter().for_each(|line| println!("{line}"));
    Ok(())
}

fn list(files: &[String]) -> Result<(), String> {
    let directory = files.first().ok_or("which directory?")?;
    archives::list(directory.as_ref())?.iter().for_each(|line| println!("{line}"));
    Ok(())
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

fn locate(args: &[String]) -> Result<(), String> {
    let [path, offset, device] = args else { return Err("usage: locate FILE OFFSET DEVICE".to_owned()) };
    let offset: u64 = offset.parse().map_err(|e| format!("reading the offset {offset}: {e}"))?;
    let mut wanted = vec![0; 4096];
    let file = File::open(path).map_err(|e| format!("opening {path}: {e}"))?;
    read_block(&file, offset - offset % 4096, &mut wanted).map_err(|e| format!("reading {path}: {e}"))?;
    let mut device = File::open(device).map_err(|e| format!("opening {device}: {e}"))?;
    let (mut chunk, mut position) = (vec![0; 1 << 20], 0_u64);
    loop {
        match device.read_exact(&mut chunk) {
            Ok(()) => {}
            Err(e) if e.kind() == ErrorKind::UnexpectedEof => return Ok(()),
            Err(e) => return Err(format!("reading the device: {e}")),
        }
        for block in chunk.chunks(4096) {
            if block == wanted {
                println!("{}", position + offset % 4096);
            }
            position += 4096;
        }
    }
}

/// Reads a block, of which the file may have only a part.
fn read_block(file: &File, at: u64, block: &mut [u8]) -> std::io::Result<()> {
    let (mut at, mut rest) = (at, block);
    while !rest.is_empty() {
        let len = file.read_at(rest, at)?;
        if len == 0 {
            break;
        }
        at += len as u64;
        rest = &mut rest[len..];
    }
    Ok(())
}

fn time(args: &[String]) -> Result<(), String> {
    let (program, args) = args.split_first().ok_or("usage: time PROGRAM [ARG...]")?;
    let begin = Instant::now();
    let status = Command::new(program).args(args).status().map_err(|e| format!("running {program}: {e}"))?;
    println!("{} {} {}", begin.elapsed().as_micros(), status.code().unwrap_or(-1), peak_of_children());
    Ok(())
}

/// The largest resident set of a program that this one has waited for, in KiB.
#[allow(unsafe_code, reason = "neither std nor rustix has getrusage")]
fn peak_of_children() -> i64 {
    const RUSAGE_CHILDREN: i32 = -1;
    unsafe extern "C" {
        fn getrusage(who: i32, usage: *mut [i64; 18]) -> i32;
    }
    // Two pairs of seconds and microseconds, then `ru_maxrss`, on 64-bit machines.
    let mut usage = [0; 18];
    // SAFETY: `struct rusage` has 18 longs on 64-bit machines, and the call writes no more than those.
    let status = unsafe { getrusage(RUSAGE_CHILDREN, &raw mut usage) };
    if status == 0 { usage[4] } else { -1 }
}

fn set_xattr(args: &[String]) -> Result<(), String> {
    let [name, value, path] = args else { return Err("usage: setxattr NAME VALUE FILE".to_owned()) };
    rustix::fs::setxattr(path, name, value.as_bytes(), rustix::fs::XattrFlags::empty())
        .map_err(|e| format!("setting {name} of {path}: {e}"))
}

const REPLAY: &str = "usage: replay LOG DISK SEED PART PARTS";

fn cut_power(args: &[String]) -> Result<(), String> {
    let [log, disk, numbers @ ..] = args else { return Err(REPLAY.to_owned()) };
    let numbers: Vec<u64> = numbers.iter().filter_map(|number| number.parse().ok()).collect();
    let [seed, number, of] = numbers[..] else { return Err(REPLAY.to_owned()) };
    let number_of = |number: u64| usize::try_from(number).map_err(|e| format!("{number}: {e}"));
    let part = replay::Part { number: number_of(number)?, of: number_of(of.max(1))? };
    replay::replay(log, disk, seed, part).map_err(|e| format!("replaying {log} on {disk}: {e}"))
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
