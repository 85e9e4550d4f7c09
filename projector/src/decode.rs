use balcony_event_log::Record;

/// An event as it is read back from a record.
pub trait Decode: Send + Sync + Sized + 'static {
    /// Reads the event. `None` is an event of a type this program does not know, which is passed over.
    ///
    /// # Errors
    /// A text for the operator that says what is wrong with a record that should be an event and is not.
    fn decode(record: &Record) -> Result<Option<Self>, String>;
}

/// For a step that reads records as they are, whatever they say.
impl Decode for Record {
    fn decode(record: &Record) -> Result<Option<Self>, String> {
        Ok(Some(record.clone()))
    }
}

/// For a step whose events are texts: the payload, in UTF-8.
impl Decode for String {
    fn decode(record: &Record) -> Result<Option<Self>, String> {
        let text = std::str::from_utf8(&record.payload).map_err(|error| error.to_string())?;
        Ok(Some(text.to_owned()))
    }
}
