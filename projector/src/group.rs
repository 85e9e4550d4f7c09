use balcony_store::Generation;

/// The consumer group in which all processes share out the work on `generation`.
pub(crate) fn group(prefix: &str, generation: &Generation) -> String {
    format!("{prefix}{}_{}", generation.projection.replace('-', "_"), generation.number)
}
