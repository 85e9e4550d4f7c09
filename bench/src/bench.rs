use crate::options::Options;
use crate::progress::Progress;
use crate::scratch::Scratch;

/// What every scenario measures with.
#[derive(Clone, Copy)]
pub(crate) struct Bench<'a> {
    pub(crate) options: &'a Options,
    pub(crate) scratch: &'a Scratch,
    pub(crate) progress: &'a Progress,
}
