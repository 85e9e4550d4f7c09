use tokio::runtime::Runtime;

/// What a thread that waits for channels waits with.
pub(crate) fn waiting_runtime() -> Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .expect("a runtime without input and output needs nothing from the system")
}
