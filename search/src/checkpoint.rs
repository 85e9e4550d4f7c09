use balcony_event_log::Positions;

use crate::Error;

/// Counts the ways in which texts have been cut and fields laid out. An index of another form is built again: raise
/// it whenever the same comment would be indexed differently.
const FORM: u32 = 2;

/// `positions` as the text that travels in a commit: the form, a checksum, and the positions as JSON.
pub(crate) fn encode(positions: &Positions) -> String {
    let rows = positions.to_json();
    format!("{FORM} {:08x} {rows}", crc32fast::hash(rows.as_bytes()))
}

/// Reads what [`encode`] wrote.
pub(crate) fn decode(payload: &str) -> Result<Positions, Error> {
    let damaged = || Error::Damaged(format!("{payload:?} are no positions"));
    let mut parts = payload.splitn(3, ' ');
    let (Some(form), Some(sum), Some(rows)) = (parts.next(), parts.next(), parts.next()) else {
        return Err(damaged());
    };
    if u32::from_str_radix(sum, 16) != Ok(crc32fast::hash(rows.as_bytes())) {
        return Err(damaged());
    }
    if form.parse() != Ok(FORM) {
        return Err(Error::OtherForm(format!("{form}, not {FORM}")));
    }
    Positions::from_json(rows).map_err(|_| damaged())
}

#[cfg(test)]
mod tests {
    use balcony_event_log::TopicPartition;

    use super::*;

    #[test]
    fn positions_come_back_and_a_changed_byte_is_noticed() {
        let positions: Positions =
            [(TopicPartition::new("balcony.events", 0), 41), (TopicPartition::new("b", 7), 0)].into_iter().collect();
        let payload = encode(&positions);
        assert_eq!(decode(&payload).ok(), Some(positions));
        for place in 0..payload.len() {
            let mut changed = payload.clone().into_bytes();
            changed[place] ^= 1;
            assert!(decode(&String::from_utf8(changed).expect("ASCII")).is_err(), "{place}");
        }
        assert!(decode("").is_err());
    }
}
