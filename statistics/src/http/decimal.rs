use serde::{Serialize, Serializer};
use serde_json::value::RawValue;

/// A whole number whose last digits are decimals, in JSON: 524 with two decimals is `5.24`, exactly.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Decimal {
    pub(super) units: i64,
    pub(super) decimals: u8,
}

impl std::fmt::Display for Decimal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let decimals = usize::from(self.decimals);
        if decimals == 0 {
            return write!(f, "{}", self.units);
        }
        let digits = format!("{:0>1$}", self.units.unsigned_abs(), decimals + 1);
        let (whole, rest) = digits.split_at(digits.len() - decimals);
        write!(f, "{}{whole}.{rest}", if self.units < 0 { "-" } else { "" })
    }
}

impl Serialize for Decimal {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.decimals == 0 {
            return serializer.serialize_i64(self.units);
        }
        let text = RawValue::from_string(self.to_string()).map_err(serde::ser::Error::custom)?;
        text.serialize(serializer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_written_with_its_decimals_whatever_its_sign() {
        for (units, decimals, text) in [
            (524, 2, "5.24"),
            (500, 2, "5.00"),
            (5, 2, "0.05"),
            (0, 2, "0.00"),
            (-5, 2, "-0.05"),
            (-524, 2, "-5.24"),
            (-524, 0, "-524"),
            (1, 12, "0.000000000001"),
            (i64::MAX, 2, "92233720368547758.07"),
            (i64::MIN, 2, "-92233720368547758.08"),
        ] {
            let written = serde_json::to_string(&Decimal { units, decimals }).expect("JSON");
            assert_eq!(written, text);
        }
    }
}
