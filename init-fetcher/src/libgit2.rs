//! libgit2's process-wide options, set once before anything else of it is used.

#![allow(unsafe_code, reason = "libgit2 takes process-wide options only through unsafe functions")]

use git2::opts;

use crate::config::Limits;

/// Bytes of a pack that are mapped at a time. The default of 1 GiB would count as memory of the
/// container wherever a large pack was touched.
const WINDOW: usize = 1 << 20;
/// Bytes of packs that are mapped in all.
const MAPPED: usize = 16 << 20;
/// Objects that are kept in memory; trees are read once.
const CACHE: isize = 2 << 20;

/// Sets the options.
///
/// # Errors
/// What libgit2 says; it has no reason to refuse any of these.
pub fn configure(limits: Limits) -> Result<(), git2::Error> {
    let max_object = usize::try_from(limits.bytes).unwrap_or(usize::MAX);
    // SAFETY: these functions are unsafe because they write process-wide variables without a lock. No
    // other thread of this process uses libgit2, now or later, and this runs before its first use.
    unsafe {
        for level in [
            git2::ConfigLevel::System,
            git2::ConfigLevel::XDG,
            git2::ConfigLevel::Global,
            git2::ConfigLevel::ProgramData,
        ] {
            // No configuration but our own: there is no HOME, and /etc/gitconfig is not ours.
            opts::set_search_path(level, "")?;
        }
        opts::set_mwindow_size(WINDOW)?;
        opts::set_mwindow_mapped_limit(MAPPED)?;
        opts::set_cache_max_size(CACHE)?;
        // A delta may claim any size for its result, which is allocated before it is made: hold it to
        // the limit on what is written. SAFETY: the option takes one `size_t`, as passed here.
        let option = libgit2_sys::GIT_OPT_SET_PACK_MAX_OBJECT_SIZE.cast_signed();
        libgit2_sys::git_libgit2_opts(option, max_object);
    }
    // The pack indexer names every object by the hash of its content as it arrives; what is read later is
    // found by that name. Hashing it again while reading would double the cost and catch no sender.
    opts::strict_hash_verification(false);
    Ok(())
}
