//! Circles in a topology that is only known at run time.

use std::collections::HashSet;

/// A way from step `first` back to itself past no earlier step, so that over all `first` each circle is found once. Steps are
/// numbers below `steps`; `starts` says whether what one publishes is what another reads. The way begins and ends with `first`.
pub fn circle(first: usize, steps: usize, starts: impl Fn(usize, usize) -> bool) -> Option<Vec<usize>> {
    let mut ways = vec![vec![first]];
    let mut visited = HashSet::new();
    while let Some(way) = ways.pop() {
        let last = *way.last()?;
        for next in (first..steps).filter(|next| starts(last, *next)) {
            if next == first {
                return Some([&way[..], &[first]].concat());
            }
            if visited.insert(next) {
                ways.push([&way[..], &[next]].concat());
            }
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_circle_is_found_once() {
        let all = |edges: &[(usize, usize)]| -> Vec<Option<Vec<usize>>> {
            (0..4).map(|first| circle(first, 4, |one, other| edges.contains(&(one, other)))).collect()
        };
        assert_eq!(all(&[(0, 1), (1, 2), (0, 2), (2, 3)]), [None, None, None, None]);
        assert_eq!(all(&[(3, 1), (1, 2), (2, 3), (2, 0)]), [None, Some(vec![1, 2, 3, 1]), None, None]);
        assert_eq!(all(&[(0, 0), (2, 3), (3, 2)]), [Some(vec![0, 0]), None, Some(vec![2, 3, 2]), None]);
    }
}
