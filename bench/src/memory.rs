//! The memory of processes, as Linux counts it.

use anyhow::Context as _;

/// Begins to look for this process's peak anew.
pub(crate) fn forget_peak() -> anyhow::Result<()> {
    std::fs::write("/proc/self/clear_refs", "5").context("/proc/self/clear_refs")
}

/// The most of this process that was resident since then, in MiB.
pub(crate) fn peak() -> anyhow::Result<f64> {
    peak_of(std::process::id())
}

/// The most of the process `pid` that was resident since it began, in MiB.
pub(crate) fn peak_of(pid: u32) -> anyhow::Result<f64> {
    mebibytes(pid, "VmHWM:")
}

/// What is resident of the process `pid`, in MiB.
pub(crate) fn resident(pid: u32) -> anyhow::Result<f64> {
    mebibytes(pid, "VmRSS:")
}

fn mebibytes(pid: u32, field: &str) -> anyhow::Result<f64> {
    let file = format!("/proc/{pid}/status");
    let status = std::fs::read_to_string(&file).context(file.clone())?;
    let value = status.lines().find_map(|line| line.strip_prefix(field));
    let value = value.with_context(|| format!("no {field} in {file}"))?;
    let kibibytes: f64 = value.trim().trim_end_matches("kB").trim().parse()?;
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
        assert!(resident(std::process::id()).expect("Linux") >= 64.0);
        drop(large);
        assert!(peak().expect("Linux") >= before + 60.0);
    }
}
