use std::io;
use std::path::PathBuf;

use tantivy::TantivyError;
use tantivy::directory::error::OpenReadError;

/// Why the index could not be opened, read or written.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no index in the directory.
    #[error("there is no search index in {}", .0.display())]
    Missing(PathBuf),
    /// An index is in the directory already.
    #[error("there is a search index in {} already", .0.display())]
    Exists(PathBuf),
    /// The index cannot be trusted and has to be built again.
    #[error("the search index is damaged: {0}")]
    Damaged(String),
    /// The index was written by a version that cut texts in another way; it has to be built again.
    #[error("the search index has another form than this version's: {0}")]
    OtherForm(String),
    /// There is a writer already, in this process or another.
    #[error("the search index has a writer already")]
    Locked,
    /// The writer has failed before. The index stands at its last commit; open a writer again and read on from there.
    #[error("the search index could not be written before: its writer is of no use any more")]
    Failed,
    /// The index could not be read or written.
    #[error("the search index could not be read or written: {0}")]
    Unavailable(String),
}

impl From<TantivyError> for Error {
    fn from(error: TantivyError) -> Self {
        match error {
            TantivyError::DataCorruption(_) | TantivyError::OpenReadError(OpenReadError::FileDoesNotExist(_)) => {
                Self::Damaged(error.to_string())
            }
            TantivyError::IncompatibleIndex(_) | TantivyError::OpenReadError(OpenReadError::IncompatibleIndex(_)) => {
                Self::OtherForm(error.to_string())
            }
            TantivyError::OpenReadError(OpenReadError::IoError { ref io_error, .. }) => of_io(io_error, &error),
            TantivyError::IoError(ref io_error) => of_io(io_error, &error),
            TantivyError::LockFailure(..) => Self::Locked,
            other => Self::Unavailable(other.to_string()),
        }
    }
}

impl From<io::Error> for Error {
    fn from(error: io::Error) -> Self {
        of_io(&error, &error)
    }
}

/// A file that ends too early or makes no sense is reported as an error of input and output.
fn of_io(error: &io::Error, whole: &dyn std::error::Error) -> Error {
    match error.kind() {
        io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof => Error::Damaged(whole.to_string()),
        _ => Error::Unavailable(whole.to_string()),
    }
}
