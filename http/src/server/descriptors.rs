use rlimit::{Resource, increase_nofile_limit};

/// As many descriptors as a process needs for the most connections it serves.
const ENOUGH: u64 = 65_536;

/// Lets this process have more open files and connections, as far as it may, and gives how many it may have.
pub(super) fn raise() -> usize {
    let raised = increase_nofile_limit(ENOUGH).or_else(|_| Resource::NOFILE.get().map(|(current, _)| current));
    // Where even that is not known, what every system gives.
    usize::try_from(raised.unwrap_or(1_024)).unwrap_or(usize::MAX)
}
