use std::collections::HashSet;

use tantivy::index::SegmentMeta;
use tantivy::indexer::{LogMergePolicy, MergeCandidate, MergePolicy};

/// A segment is at most this large, so that a merge ends soon and what cannot be interrupted in a search (one step
/// of a phrase within one segment) is short.
const SEGMENT_DOCUMENTS: u32 = 1_000_000;

/// The share of deleted documents from which a segment is written anew without them.
const DELETED_SHARE: f32 = 0.2;

/// Merges segments of like size, never to more than [`SEGMENT_DOCUMENTS`], and frees segments of what was deleted.
#[derive(Debug)]
pub(crate) struct Merging(LogMergePolicy);

impl Default for Merging {
    fn default() -> Self {
        let mut by_size = LogMergePolicy::default();
        by_size.set_max_docs_before_merge(SEGMENT_DOCUMENTS as usize / 2);
        Self(by_size)
    }
}

impl MergePolicy for Merging {
    fn compute_merge_candidates(&self, segments: &[SegmentMeta]) -> Vec<MergeCandidate> {
        let mut candidates = self.0.compute_merge_candidates(segments);
        for candidate in &mut candidates {
            let mut chosen: Vec<_> = segments.iter().filter(|segment| candidate.0.contains(&segment.id())).collect();
            chosen.sort_unstable_by_key(|segment| segment.num_docs());
            let mut documents = 0;
            chosen.retain(|segment| {
                documents += segment.num_docs();
                documents <= SEGMENT_DOCUMENTS
            });
            candidate.0 = chosen.iter().map(|segment| segment.id()).collect();
        }
        candidates.retain(|candidate| candidate.0.len() > 1);

        let merged: HashSet<_> = candidates.iter().flat_map(|candidate| candidate.0.iter().copied()).collect();
        let wasteful = segments.iter().filter(|segment| {
            segment.num_deleted_docs() as f32 > segment.max_doc() as f32 * DELETED_SHARE
                && !merged.contains(&segment.id())
        });
        candidates.extend(wasteful.map(|segment| MergeCandidate(vec![segment.id()])));
        candidates
    }
}

#[cfg(test)]
mod tests {
    use tantivy::index::SegmentId;
    use tantivy::{Index, schema::Schema};

    use super::*;

    fn segments(sizes: &[(u32, u32)]) -> Vec<SegmentMeta> {
        let index = Index::create_in_ram(Schema::builder().build());
        let segment = |&(documents, deleted)| {
            let meta = index.new_segment_meta(SegmentId::generate_random(), documents);
            if deleted > 0 { meta.with_delete_meta(deleted, 1) } else { meta }
        };
        sizes.iter().map(segment).collect()
    }

    fn merges(sizes: &[(u32, u32)]) -> Vec<u32> {
        let segments = segments(sizes);
        let size = |id| segments.iter().find(|segment| segment.id() == id).map_or(0, SegmentMeta::num_docs);
        let candidates = Merging::default().compute_merge_candidates(&segments);
        candidates.into_iter().map(|candidate| candidate.0.into_iter().map(size).sum()).collect()
    }

    #[test]
    fn segments_of_like_size_are_merged_but_never_to_more_than_the_bound() {
        assert_eq!(merges(&[(1_000, 0); 8]), [8_000]);
        assert_eq!(merges(&[(1_000, 0); 7]), [0u32; 0]);
        assert_eq!(merges(&[(400_000, 0); 8]), [800_000]);
        assert_eq!(merges(&[(900_000, 0); 8]), [0u32; 0]);
    }

    #[test]
    fn a_segment_of_any_size_is_freed_of_many_deleted_documents() {
        assert_eq!(merges(&[(1_000_000, 300_000)]), [700_000]);
        assert_eq!(merges(&[(1_000_000, 100_000)]), [0u32; 0]);
        assert_eq!(merges(&[(1_000, 300)]), [700]);
    }
}
