//! This process's own memory, as Linux counts it.

use anyhow::Context as _;

/// Begins to look for the peak anew.
pub(crate) fn forget_peak() -> anyhow::Result<()> {
    std::fs::write("/proc/self/clear_refs", "5").context("/proc/self/clear_refs")
}

/// The most that was resident since then, in MiB.
pub(crate) fn peak() -> anyhow::Result<f64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).context("no VmHWM in /proc/self/status")?;
    let kibibytes: f64 = line.trim().trim_end_matches("kB").trim().parse()?;
    Ok(kibibytes / 1_024.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peak_is_remembered_until_it_is_forgotten() {
        forget_peak().expect("Linux");
        let before = peak().expect("Linux");
        let large = vec![1_u8; 64 << 20];
        std::hint::black_box(&large);
        drop(large);
        assert!(peak().expect("Linux") >= before + 60.0);
    }
}
