//! The only unsafe code: kernel calls that no safe wrapper covers, each errno of which becomes a name in the module that
//! calls, and how a C program begins.

#![allow(unsafe_code, reason = "what neither rustix nor std wraps; each block has its SAFETY text")]

use std::cell::UnsafeCell;
use std::ffi::c_void;
use std::os::fd::{AsFd, AsRawFd};
use std::sync::atomic::{AtomicUsize, Ordering};

use rustix::io::Errno;
use rustix::ioctl::{self, Opcode};
use rustix::thread::{UnshareFlags, unshare_unsafe};

/// `FS_VERITY_HASH_ALG_SHA256`.
pub(crate) const FS_VERITY_HASH_ALG_SHA256: u16 = 1;

const FS_IOC_ENABLE_VERITY: Opcode = ioctl::opcode::write::<EnableArg>(b'f', 133);
const FS_IOC_MEASURE_VERITY: Opcode = ioctl::opcode::read_write::<[u16; 2]>(b'f', 134);

/// `struct fsverity_enable_arg`, linux/fsverity.h.
#[repr(C)]
struct EnableArg {
    version: u32,
    hash_algorithm: u32,
    block_size: u32,
    salt_size: u32,
    salt_ptr: u64,

    sig_size: u32,
    reserved1: u32,
    sig_ptr: u64,
    reserved2: [u64; 11],
}
const _: () = assert!(size_of::<EnableArg>() == 128);

/// `struct fsverity_digest`, linux/fsverity.h, with room for a SHA-512 digest.
#[repr(C)]
pub(crate) struct MeasureArg {
    pub(crate) algorithm: u16,
    pub(crate) size: u16,
    pub(crate) digest: [u8; 64],
}

/// `FS_IOC_MEASURE_VERITY`: the digest that the kernel holds for an open file.
pub(crate) fn measure_verity(file: impl AsFd) -> Result<MeasureArg, Errno> {
    struct Measure<'a>(&'a mut MeasureArg);

    // SAFETY: the opcode is that of FS_IOC_MEASURE_VERITY, whose argument is a `struct fsverity_digest` followed by
    // at least `digest_size` bytes; the kernel writes no more than that, and `digest` has all of them.
    unsafe impl ioctl::Ioctl for Measure<'_> {
        type Output = ();
        const IS_MUTATING: bool = true;

        fn opcode(&self) -> Opcode {
            FS_IOC_MEASURE_VERITY
        }

        fn as_ptr(&mut self) -> *mut c_void {
            std::ptr::from_mut(self.0).cast()
        }

        unsafe fn output_from_ptr(_: ioctl::IoctlOutput, _: *mut c_void) -> rustix::io::Result<()> {
            Ok(())
        }
    }

    let mut arg = MeasureArg { algorithm: 0, size: 64, digest: [0; 64] };
    // SAFETY: see the `Ioctl` above; `arg` lives until the call returns.
    unsafe { ioctl::ioctl(file, Measure(&mut arg)) }?;
    Ok(arg)
}

/// `FS_IOC_ENABLE_VERITY` with SHA-256, blocks of 4096 bytes, no salt and no signature.
pub(crate) fn enable_verity(file: impl AsFd) -> Result<(), Errno> {
    let arg = EnableArg {
        version: 1,
        hash_algorithm: u32::from(FS_VERITY_HASH_ALG_SHA256),
        block_size: 4096,
        salt_size: 0,
        salt_ptr: 0,
        sig_size: 0,
        reserved1: 0,
        sig_ptr: 0,
        reserved2: [0; 11],
    };
    // SAFETY: the opcode is that of FS_IOC_ENABLE_VERITY, whose argument is a `struct fsverity_enable_arg`. The kernel
    // only reads it, and both pointers in it are null with a size of 0.
    unsafe { ioctl::ioctl(file, ioctl::Setter::<{ FS_IOC_ENABLE_VERITY }, EnableArg>::new(arg)) }
}

const LOOP_CONFIGURE: Opcode = 0x4C0A;
const LOOP_CTL_GET_FREE: Opcode = 0x4C82;

const LO_FLAGS_READ_ONLY: u32 = 1;
const LO_FLAGS_AUTOCLEAR: u32 = 4;
const LO_FLAGS_DIRECT_IO: u32 = 16;

/// `struct loop_config`, linux/loop.h, with its `struct loop_info64`.
#[repr(C)]
struct LoopConfig {
    fd: u32,
    block_size: u32,

    lo_device: u64,
    lo_inode: u64,
    lo_rdevice: u64,
    lo_offset: u64,
    lo_sizelimit: u64,
    lo_number: u32,
    lo_encrypt_type: u32,
    lo_encrypt_key_size: u32,
    lo_flags: u32,
    lo_file_name: [[u8; 32]; 2],
    lo_crypt_name: [[u8; 32]; 2],
    lo_encrypt_key: [u8; 32],
    lo_init: [u64; 2],

    reserved: [u64; 8],
}
const _: () = assert!(size_of::<LoopConfig>() == 304);

/// `LOOP_CTL_GET_FREE`: the number of a loop device that was free when the kernel looked.
pub(crate) fn loop_get_free(control: impl AsFd) -> Result<u32, Errno> {
    struct GetFree;

    // SAFETY: the opcode is that of LOOP_CTL_GET_FREE, which takes no argument and returns the number.
    unsafe impl ioctl::Ioctl for GetFree {
        type Output = u32;
        const IS_MUTATING: bool = false;

        fn opcode(&self) -> Opcode {
            LOOP_CTL_GET_FREE
        }

        fn as_ptr(&mut self) -> *mut c_void {
            std::ptr::null_mut()
        }

        unsafe fn output_from_ptr(number: ioctl::IoctlOutput, _: *mut c_void) -> rustix::io::Result<u32> {
            u32::try_from(number).map_err(|_| Errno::NODEV)
        }
    }

    // SAFETY: see the `Ioctl` above; there is no argument.
    unsafe { ioctl::ioctl(control, GetFree) }
}

/// `LOOP_CONFIGURE`: binds an open file to a loop device, read-only, with blocks of 4096 bytes and without a second
/// copy in the page cache, until the last user of the device is gone.
pub(crate) fn loop_configure(device: impl AsFd, file: impl AsFd) -> Result<(), Errno> {
    let config = LoopConfig {
        fd: u32::try_from(file.as_fd().as_raw_fd()).map_err(|_| Errno::BADF)?,
        block_size: 4096,
        lo_device: 0,
        lo_inode: 0,
        lo_rdevice: 0,
        lo_offset: 0,
        lo_sizelimit: 0,
        lo_number: 0,
        lo_encrypt_type: 0,
        lo_encrypt_key_size: 0,
        lo_flags: LO_FLAGS_READ_ONLY | LO_FLAGS_AUTOCLEAR | LO_FLAGS_DIRECT_IO,
        lo_file_name: [[0; 32]; 2],
        lo_crypt_name: [[0; 32]; 2],
        lo_encrypt_key: [0; 32],
        lo_init: [0; 2],
        reserved: [0; 8],
    };
    // SAFETY: the opcode is that of LOOP_CONFIGURE, whose argument is a `struct loop_config`. The kernel only reads it,
    // and the descriptor in it is open until the call returns.
    unsafe { ioctl::ioctl(device, ioctl::Setter::<{ LOOP_CONFIGURE }, LoopConfig>::new(config)) }
}

/// `unshare(CLONE_NEWNS)`: this thread gets a copy of its mount namespace, and a working directory of its own.
pub(crate) fn unshare_mount_namespace() -> Result<(), Errno> {
    // SAFETY: what makes `unshare` unsafe is the separation of descriptor tables, which is not asked for.
    unsafe { unshare_unsafe(UnshareFlags::NEWNS) }
}

/// Memory for the C library's own start, which asks its `malloc` for some kilobytes before `main`, and that in turn would
/// ask for random bytes. Each request takes its part of the block; nothing is given back, and all of it is zero.
#[derive(Debug)]
#[repr(align(16))]
pub struct StartMemory {
    block: UnsafeCell<[u8; START_MEMORY]>,
    used: AtomicUsize,
}

const START_MEMORY: usize = 64 << 10;

// SAFETY: the bytes of the block are only reached through pointers that were given out, and no two of their ranges overlap,
// since `used` grows by atomic operations alone.
unsafe impl Sync for StartMemory {}

impl StartMemory {
    /// A block of which nothing is given out.
    #[allow(clippy::new_without_default, reason = "a default could not be a constant")]
    pub const fn new() -> Self {
        Self { block: UnsafeCell::new([0; START_MEMORY]), used: AtomicUsize::new(0) }
    }

    /// `size` zero bytes, aligned to 16; null if there are none left.
    pub fn give(&self, size: usize) -> *mut u8 {
        let fits = |used: usize| {
            used.checked_add(size)?.checked_next_multiple_of(16).filter(|end| *end <= START_MEMORY)
        };
        match self.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, fits) {
            // SAFETY: `used` is at most START_MEMORY.
            Ok(used) => unsafe { self.block.get().cast::<u8>().add(used) },
            Err(_) => std::ptr::null_mut(),
        }
    }

    /// Another range of `size` bytes that begins with what is in `range`, which isn't used any more.
    ///
    /// # Safety
    ///
    /// `range` is null or was given by this block.
    pub unsafe fn give_again(&self, range: *mut u8, size: usize) -> *mut u8 {
        let new = self.give(size);
        if !range.is_null() && !new.is_null() {
            // How long the old range is isn't known, but all of it lies before the new one.
            let len = size.min(new.addr() - range.addr());
            // SAFETY: both ranges are in the block and have `len` bytes, the old one up to the new one at most.
            unsafe { std::ptr::copy_nonoverlapping(range, new, len) };
        }
        new
    }
}

/// Makes a function the whole program: `program!(run)`, where `run` gets the number of arguments and returns the exit code.
///
/// The C library calls it, with a `malloc` of ours ([`StartMemory`]); Rust's own memory comes from the global allocator.
/// What Rust's runtime does before a `main` of its own (guard pages, signal handlers, a look at `/proc/self/maps`) is left
/// out, since it costs more than all that `ostree-seal-root` does before its first mount.
#[macro_export]
macro_rules! program {
    ($run:ident) => {
        /// Exports the names that a C program consists of, and the allocator's. A library must not do that to who links it.
        #[allow(unsafe_code, reason = "exports; each has its SAFETY text")]
        mod exported {
            use core::ffi::{c_char, c_int, c_void};

            static MEMORY: $crate::sys::StartMemory = $crate::sys::StartMemory::new();

            const ENOMEM: c_int = 12;

            // SAFETY: this is the signature of the C library's entry, and `no_main` keeps Rust from having one as well.
            #[unsafe(no_mangle)]
            extern "C" fn main(argc: c_int, _argv: *const *const c_char) -> c_int {
                let run: fn(usize) -> u8 = super::$run;
                run(usize::try_from(argc).unwrap_or(0).saturating_sub(1)).into()
            }

            // SAFETY: this and the six below are the C library's, in its signatures; they replace its allocator as a whole.
            #[unsafe(no_mangle)]
            extern "C" fn malloc(size: usize) -> *mut c_void {
                MEMORY.give(size).cast()
            }

            // SAFETY: see malloc.
            #[unsafe(no_mangle)]
            extern "C" fn calloc(count: usize, size: usize) -> *mut c_void {
                count.checked_mul(size).map_or(core::ptr::null_mut(), |size| malloc(size))
            }

            // SAFETY: see malloc.
            #[unsafe(no_mangle)]
            unsafe extern "C" fn realloc(range: *mut c_void, size: usize) -> *mut c_void {
                // SAFETY: the caller passes on what malloc, calloc or realloc gave, all of which is MEMORY's.
                unsafe { MEMORY.give_again(range.cast(), size).cast() }
            }

            // SAFETY: see malloc.
            #[unsafe(no_mangle)]
            extern "C" fn free(_range: *mut c_void) {}

            // SAFETY: see malloc.
            #[unsafe(no_mangle)]
            extern "C" fn aligned_alloc(alignment: usize, size: usize) -> *mut c_void {
                if alignment > 16 { core::ptr::null_mut() } else { malloc(size) }
            }

            // SAFETY: see malloc.
            #[unsafe(no_mangle)]
            extern "C" fn memalign(alignment: usize, size: usize) -> *mut c_void {
                aligned_alloc(alignment, size)
            }

            // SAFETY: see malloc.
            #[unsafe(no_mangle)]
            unsafe extern "C" fn posix_memalign(
                result: *mut *mut c_void,
                alignment: usize,
                size: usize,
            ) -> c_int {
                let range = aligned_alloc(alignment, size);
                if range.is_null() {
                    return ENOMEM;
                }
                // SAFETY: the caller passes a place for the result.
                unsafe { result.write(range) };
                0
            }
        }
    };
}

#[cfg(test)]
mod tests {
    use super::{START_MEMORY, StartMemory};

    static MEMORY: StartMemory = StartMemory::new();

    #[test]
    fn ranges_of_start_memory_are_aligned_disjoint_and_limited() {
        // SAFETY: all ranges are within the block, and no other test uses MEMORY.
        unsafe {
            let one = MEMORY.give(3);
            let two = MEMORY.give(20);
            assert_eq!((one.addr() % 16, two.addr() - one.addr()), (0, 16));
            one.write_bytes(1, 3);
            two.write_bytes(2, 20);
            let three = MEMORY.give_again(one, 40);
            assert_eq!((three.addr() - two.addr(), three.read(), three.add(2).read()), (32, 1, 1));
            assert_eq!(two.add(19).read(), 2);
            assert_eq!(MEMORY.give_again(std::ptr::null_mut(), 16).read(), 0);
            assert!(MEMORY.give(START_MEMORY).is_null());
            assert!(MEMORY.give(usize::MAX - 8).is_null());
            assert!(MEMORY.give_again(three, START_MEMORY).is_null());
        }
    }
}
