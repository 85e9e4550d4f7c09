//! The grammar of RFC 3339, section 5.6, and the limits of section 5.7.

use time::{Date, Month, OffsetDateTime, PrimitiveDateTime, Time};

/// Milliseconds since 1970-01-01T00:00:00Z of a `date-time`; `None` for any other text.
pub(crate) fn milliseconds(text: &[u8]) -> Option<i64> {
    let [y1, y2, y3, y4, b'-', m1, m2, b'-', d1, d2, b'T' | b't', rest @ ..] = text else { return None };
    let year = number([*y1, *y2])? * 100 + number([*y3, *y4])?;
    let month = Month::try_from(u8::try_from(number([*m1, *m2])?).ok()?).ok()?;
    let date = Date::from_calendar_date(year, month, u8::try_from(number([*d1, *d2])?).ok()?).ok()?;

    let [h1, h2, b':', n1, n2, b':', s1, s2, rest @ ..] = rest else { return None };
    let [hour, minute, second] = [number([*h1, *h2])?, number([*n1, *n2])?, number([*s1, *s2])?];
    if hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    let (fraction, zone) = fraction(rest)?;
    let seconds = i64::from(hour * 3_600 + minute * 60 + second.min(59)) - offset(zone)?;
    let since = PrimitiveDateTime::new(date, Time::MIDNIGHT).assume_utc() - OffsetDateTime::UNIX_EPOCH;
    let seconds = since.whole_seconds() + seconds;
    match second {
        0..60 => Some(seconds * 1_000 + fraction),
        // Nothing counts leap seconds, so this is the last there is before the next month.
        _ => is_last_of_month(seconds).then_some(seconds * 1_000 + 999),
    }
}

/// Whether a month ends after this second since 1970.
fn is_last_of_month(second: i64) -> bool {
    let Ok(time) = OffsetDateTime::from_unix_timestamp(second) else { return false };
    let is_last_day = time.date().next_day().is_none_or(|next| next.day() == 1);
    is_last_day && time.to_hms() == (23, 59, 59)
}

fn number(digits: [u8; 2]) -> Option<i32> {
    let [tens, ones] = digits;
    (tens.is_ascii_digit() && ones.is_ascii_digit()).then(|| i32::from(tens - b'0') * 10 + i32::from(ones - b'0'))
}

/// The milliseconds of `time-secfrac`, if there is one, and what follows.
fn fraction(text: &[u8]) -> Option<(i64, &[u8])> {
    let [b'.', rest @ ..] = text else { return Some((0, text)) };
    let count = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let (digits, zone) = rest.split_at(count);
    let kept = digits.iter().chain(b"000").take(3);
    let milliseconds = kept.fold(0, |number, digit| number * 10 + i64::from(digit - b'0'));
    (count > 0).then_some((milliseconds, zone))
}

/// The seconds by which `time-offset` is ahead of UTC.
fn offset(text: &[u8]) -> Option<i64> {
    let (sign, text) = match text {
        [b'Z' | b'z'] => return Some(0),
        [b'+', text @ ..] => (1, text),
        [b'-', text @ ..] => (-1, text),
        _ => return None,
    };
    let [h1, h2, b':', m1, m2] = text else { return None };
    let (hours, minutes) = (number([*h1, *h2])?, number([*m1, *m2])?);
    (hours < 24 && minutes < 60).then_some(sign * i64::from(hours * 3_600 + minutes * 60))
}
