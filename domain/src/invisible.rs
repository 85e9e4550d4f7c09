//! Characters that show nothing (Default_Ignorable_Code_Point, Unicode 16), and where they matter to what is beside them.
//!
//! In a name such a character is allowed where a script or an emoji needs it; elsewhere two names that look alike would differ
//! by it. After the context rules of PRECIS (RFC 8264, RFC 5892, appendix A) and of identifiers (UAX #31, UTS #39), which
//! are for stricter names: here whoever writes a script correctly is never refused.

use unicode_properties::{GeneralCategory, UnicodeEmoji, UnicodeGeneralCategory};

const ZWNJ: char = '\u{200C}';
const ZWJ: char = '\u{200D}';
/// Encloses a digit, `#` or `*` in a key, after U+FE0F.
const KEYCAP: char = '\u{20E3}';
/// What the flags of England, Scotland and Wales begin with.
const BLACK_FLAG: char = '\u{1F3F4}';
const END_OF_TAGS: char = '\u{E007F}';

/// The first character of `text` that shows nothing and matters to nothing beside it.
pub(crate) fn stray(text: &str) -> Option<char> {
    if !text.chars().any(shows_nothing) {
        return None;
    }
    let chars: Vec<char> = text.chars().collect();
    (0..chars.len()).find(|&at| !matters(&chars, at)).map(|at| chars[at])
}

/// `text` without the characters that show nothing and matter to nothing beside them.
pub(crate) fn without_strays(text: &str) -> String {
    let chars: Vec<char> = text.chars().collect();
    let kept: String = (0..chars.len()).filter(|&at| matters(&chars, at)).map(|at| chars[at]).collect();
    // One may have mattered to another that is gone.
    if stray(&kept).is_some() { kept.chars().filter(|&character| !shows_nothing(character)).collect() } else { kept }
}

/// Whether a character is shown by itself as nothing (Default_Ignorable_Code_Point).
fn shows_nothing(character: char) -> bool {
    matches!(character,
        '\u{AD}' | '\u{34F}' | '\u{61C}' | '\u{115F}' | '\u{1160}' | '\u{17B4}' | '\u{17B5}' | '\u{180B}'..='\u{180F}'
        | '\u{200B}'..='\u{200F}' | '\u{202A}'..='\u{202E}' | '\u{2060}'..='\u{206F}' | '\u{3164}'
        | '\u{FE00}'..='\u{FE0F}' | '\u{FEFF}' | '\u{FFA0}' | '\u{FFF0}'..='\u{FFF8}' | '\u{1BCA0}'..='\u{1BCA3}'
        | '\u{1D173}'..='\u{1D17A}' | '\u{E0000}'..='\u{E0FFF}')
}

/// Whether the character at `at` can be seen, or changes how what is beside it is shown.
fn matters(chars: &[char], at: usize) -> bool {
    let before = at.checked_sub(1).map(|before| chars[before]);
    let after = chars.get(at + 1).copied();
    match chars[at] {
        // Marks of direction, as names in Arabic and Hebrew have them.
        '\u{200E}' | '\u{200F}' | '\u{61C}' => true,
        ZWNJ | ZWJ => joins(chars, at),
        // Keeps marks in the order that they have.
        '\u{34F}' => before.is_some_and(is_mark) && after.is_some_and(is_mark),
        // Fillers of syllables of old Hangul that have no consonant, or no vowel.
        '\u{115F}' => match after {
            Some('\u{1160}') => chars.get(at + 2).copied().is_some_and(is_final_consonant),
            after => after.is_some_and(is_vowel),
        },
        '\u{1160}' => match before {
            Some('\u{115F}') => after.is_some_and(is_final_consonant),
            before => before.is_some_and(is_initial_consonant),
        },
        '\u{180B}'..='\u{180F}' => before.is_some_and(is_mongolian),
        // As text or as an emoji.
        '\u{FE0E}' | '\u{FE0F}' => match before {
            Some('#' | '*' | '0'..='9') => after == Some(KEYCAP),
            before => before.is_some_and(|before| before.is_emoji_char()),
        },
        '\u{FE00}'..='\u{FE0D}' => before.is_some_and(has_variants),
        '\u{E0100}'..='\u{E01EF}' => before.is_some_and(is_ideograph),
        '\u{E0020}'..=END_OF_TAGS => is_of_flag(chars, at),
        // Shorthand is written above and below the line.
        '\u{1BCA0}'..='\u{1BCA3}' => before.is_some_and(|before| matches!(before, '\u{1BC00}'..='\u{1BC9F}')),
        other => !shows_nothing(other),
    }
}

/// Whether the joiner or non-joiner at `at` does something: within an emoji, after a virama, and between letters of scripts
/// that join them. A joiner also gives a letter at an end the form that it has within a word.
fn joins(chars: &[char], at: usize) -> bool {
    let is_variation = |character| matches!(character, '\u{180B}'..='\u{180D}' | '\u{180F}' | '\u{FE00}'..='\u{FE0F}');
    let passes = |character: &char| is_mark(*character) || is_variation(*character);
    let (before, after) = (&chars[..at], &chars[at + 1..]);
    let base = before.iter().rev().copied().find(|character| !passes(character));
    let next = after.iter().copied().find(|character| !passes(character));
    let is_cursive = |character: Option<char>| character.is_some_and(is_cursive);
    let is_joined =
        |character: Option<char>| character.is_some_and(|character| self::is_cursive(character) || is_indic(character));
    let is_pictured =
        |character: Option<char>| character.is_some_and(|character| !character.is_ascii() && character.is_emoji_char());
    let is_after_virama = before.last().copied().is_some_and(is_virama);
    is_after_virama
        || is_joined(base) && is_joined(next)
        || chars[at] == ZWJ && (is_cursive(base) || is_cursive(next))
        || chars[at] == ZWJ && is_pictured(base_of_emoji(before)) && is_pictured(after.first().copied())
}

/// The character that the emoji at the end of `chars` begins with.
fn base_of_emoji(chars: &[char]) -> Option<char> {
    let is_added = |character: &char| matches!(*character, '\u{FE0F}' | '\u{1F3FB}'..='\u{1F3FF}' | KEYCAP | '\u{E0020}'..=END_OF_TAGS);
    chars.iter().rev().copied().find(|character| !is_added(character))
}

/// Whether the tag at `at` is one of those by which a flag says whose it is: some, and the end.
fn is_of_flag(chars: &[char], at: usize) -> bool {
    let is_tag = |character: &&char| matches!(character, '\u{E0020}'..=END_OF_TAGS);
    let first = at - chars[..at].iter().rev().take_while(is_tag).count();
    let length = chars[first..].iter().take_while(is_tag).count();
    let tags = &chars[first..first + length];
    let ends = tags.iter().position(|tag| *tag == END_OF_TAGS);
    first > 0 && chars[first - 1] == BLACK_FLAG && length > 1 && ends == Some(length - 1)
}

fn is_mark(character: char) -> bool {
    use GeneralCategory::{EnclosingMark, NonspacingMark, SpacingMark};

    !shows_nothing(character) && matches!(character.general_category(), NonspacingMark | SpacingMark | EnclosingMark)
}

/// Scripts whose letters join.
fn is_cursive(character: char) -> bool {
    matches!(character,
        '\u{600}'..='\u{7FF}' | '\u{840}'..='\u{8FF}' | '\u{1800}'..='\u{18AF}' | '\u{A840}'..='\u{A87F}'
        | '\u{FB50}'..='\u{FDFF}' | '\u{FE70}'..='\u{FEFC}' | '\u{10AC0}'..='\u{10AFF}' | '\u{10B80}'..='\u{10BAF}'
        | '\u{10D00}'..='\u{10D3F}' | '\u{10EC0}'..='\u{10EFF}' | '\u{10F30}'..='\u{10F6F}' | '\u{10F70}'..='\u{10FDF}'
        | '\u{11660}'..='\u{1167F}' | '\u{1E900}'..='\u{1E95F}')
}

/// Scripts whose consonants form clusters, which joiners and non-joiners choose the form of: those that come from Brahmi, but
/// for Thai and Lao.
fn is_indic(character: char) -> bool {
    matches!(character,
        '\u{900}'..='\u{DFF}' | '\u{F00}'..='\u{109F}' | '\u{1700}'..='\u{17FF}' | '\u{1900}'..='\u{194F}'
        | '\u{1A00}'..='\u{1AAF}' | '\u{1B00}'..='\u{1C4F}' | '\u{1CD0}'..='\u{1CFF}' | '\u{A800}'..='\u{A82F}'
        | '\u{A880}'..='\u{A8FF}' | '\u{A930}'..='\u{A95F}' | '\u{A980}'..='\u{AA7F}' | '\u{AAE0}'..='\u{AAFF}'
        | '\u{ABC0}'..='\u{ABFF}' | '\u{10A00}'..='\u{10A5F}' | '\u{11000}'..='\u{11FFF}')
}

/// Marks that take a consonant's vowel (Canonical_Combining_Class 9).
fn is_virama(character: char) -> bool {
    matches!(
        character,
        '\u{94D}'
            | '\u{9CD}'
            | '\u{A4D}'
            | '\u{ACD}'
            | '\u{B4D}'
            | '\u{BCD}'
            | '\u{C4D}'
            | '\u{CCD}'
            | '\u{D3B}'
            | '\u{D3C}'
            | '\u{D4D}'
            | '\u{DCA}'
            | '\u{E3A}'
            | '\u{EBA}'
            | '\u{F84}'
            | '\u{1039}'
            | '\u{103A}'
            | '\u{1714}'
            | '\u{1715}'
            | '\u{1734}'
            | '\u{17D2}'
            | '\u{1A60}'
            | '\u{1B44}'
            | '\u{1BAA}'
            | '\u{1BAB}'
            | '\u{1BF2}'
            | '\u{1BF3}'
            | '\u{2D7F}'
            | '\u{A806}'
            | '\u{A82C}'
            | '\u{A8C4}'
            | '\u{A953}'
            | '\u{A9C0}'
            | '\u{AAF6}'
            | '\u{ABED}'
            | '\u{10A3F}'
            | '\u{11046}'
            | '\u{11070}'
            | '\u{1107F}'
            | '\u{110B9}'
            | '\u{11133}'
            | '\u{11134}'
            | '\u{111C0}'
            | '\u{11235}'
            | '\u{112EA}'
            | '\u{1134D}'
            | '\u{113CE}'
            ..='\u{113D0}'
                | '\u{11442}'
                | '\u{114C2}'
                | '\u{115BF}'
                | '\u{1163F}'
                | '\u{116B6}'
                | '\u{1172B}'
                | '\u{11839}'
                | '\u{1193D}'
                | '\u{1193E}'
                | '\u{119E0}'
                | '\u{11A34}'
                | '\u{11A47}'
                | '\u{11A99}'
                | '\u{11C3F}'
                | '\u{11D44}'
                | '\u{11D45}'
                | '\u{11D97}'
                | '\u{11F41}'
                | '\u{11F42}'
    )
}

fn is_initial_consonant(character: char) -> bool {
    matches!(character, '\u{1100}'..='\u{115E}' | '\u{A960}'..='\u{A97C}')
}

fn is_vowel(character: char) -> bool {
    matches!(character, '\u{1161}'..='\u{11A7}' | '\u{D7B0}'..='\u{D7C6}')
}

fn is_final_consonant(character: char) -> bool {
    matches!(character, '\u{11A8}'..='\u{11FF}' | '\u{D7CB}'..='\u{D7FB}')
}

fn is_mongolian(character: char) -> bool {
    matches!(character, '\u{1807}' | '\u{1810}'..='\u{1819}' | '\u{1820}'..='\u{18AF}')
}

/// The blocks of Han, which have a variation sequence for each form that a dictionary or a name has.
fn is_ideograph(character: char) -> bool {
    matches!(character,
        '\u{3005}' | '\u{3007}' | '\u{3400}'..='\u{4DBF}' | '\u{4E00}'..='\u{9FFF}' | '\u{F900}'..='\u{FAFF}'
        | '\u{20000}'..='\u{3FFFD}')
}

/// What has standardized variation sequences, by block: ideographs, symbols, and letters of some scripts.
fn has_variants(character: char) -> bool {
    use GeneralCategory::{MathSymbol, OtherSymbol};

    is_ideograph(character)
        || matches!(character,
            '0' | '\u{1000}'..='\u{109F}' | '\u{AA60}'..='\u{AA7F}' | '\u{A840}'..='\u{A87F}' | '\u{3001}' | '\u{3002}'
            | '\u{FF01}' | '\u{FF0C}' | '\u{FF0E}' | '\u{FF1A}' | '\u{FF1B}' | '\u{FF1F}' | '\u{10AC0}'..='\u{10AFF}'
            | '\u{13000}'..='\u{143FF}')
        || matches!(character.general_category(), MathSymbol | OtherSymbol) && !character.is_ascii()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is written so, where a character that shows nothing matters.
    const WRITTEN: &[(&str, &str)] = &[
        ("Persian, a prefix", "می\u{200C}خواهم"),
        ("Persian, a plural", "کتاب\u{200C}ها"),
        ("Persian, after a letter that does not join", "کار\u{200C}ها"),
        ("Persian, an abbreviation", "سال ۱۳۹۹ ه\u{200D}"),
        ("Urdu, with a mark before", "ن\u{64F}\u{200C}ما"),
        ("Hindi, a half form", "क्\u{200D}ष"),
        ("Hindi, no ligature", "क्\u{200C}ष"),
        ("Marathi, an eyelash", "र्\u{200D}य"),
        ("Bengali, ya-phalaa", "র\u{200D}্যাম"),
        ("Malayalam, a chillu", "അവന്\u{200D}"),
        ("Kannada, a name that ends so", "ಪ್ರಕಾಶ್\u{200C} ರಾಜ್\u{200C}"),
        ("Sinhala", "ශ්\u{200D}රී ලංකා"),
        ("Nepali", "गर्\u{200D}यो"),
        ("Mongolian, a form of a letter", "ᠮᠣᠩᠭᠣᠯ ᠤ\u{180B}"),
        ("Mongolian, a vowel apart", "ᠠᠷ\u{180E}ᠠ"),
        ("Japanese, a form of a character", "葛\u{E0100}城市"),
        ("Japanese, a compatibility form", "神\u{FE00}"),
        ("Hebrew, marks in their order", "יְרוּשָׁלַ\u{34F}ִם"),
        ("Hebrew, a mark of direction", "שלום\u{200F}!"),
        ("Korean, no consonant", "\u{115F}\u{1161}"),
        ("Korean, no vowel", "\u{1100}\u{1160}"),
        ("Korean, a final consonant alone", "\u{115F}\u{1160}\u{11AB}"),
        ("Burmese, dotted", "\u{1000}\u{FE00}"),
        ("an emoji", "I ❤\u{FE0F} Ran"),
        ("a text", "☺\u{FE0E}"),
        ("a key", "1\u{FE0F}\u{20E3}"),
        ("a profession", "👩🏽\u{200D}🚀"),
        ("a family", "👨\u{200D}👩\u{200D}👧\u{200D}👦"),
        ("a couple", "🧑🏻\u{200D}❤\u{FE0F}\u{200D}💋\u{200D}🧑🏿"),
        ("a sign behind it", "👩\u{200D}⚕\u{FE0F}"),
        ("a sign in front", "❤\u{FE0F}\u{200D}🔥"),
        ("a shaken head", "🙂\u{200D}↔\u{FE0F}"),
        ("a flag", "🏳\u{FE0F}\u{200D}🌈"),
        ("a flag of pirates", "🏴\u{200D}☠\u{FE0F}"),
        ("the flag of Scotland", "🏴\u{E0067}\u{E0062}\u{E0073}\u{E0063}\u{E0074}\u{E007F}"),
        ("no such character", "Ōmori Pictures, S.L. — 七人の侍 ٢ 🎬 e\u{301}"),
    ];

    /// What looks like something else.
    const STRAY: &[(&str, char)] = &[
        ("Mi\u{200B}a", '\u{200B}'),
        ("ภาษา\u{200B}ไทย", '\u{200B}'),
        ("Mi\u{200C}a", ZWNJ),
        ("Mia\u{200C}", ZWNJ),
        ("Mi\u{200D}a", ZWJ),
        ("\u{200D}Mia", ZWJ),
        ("Ми\u{200D}ша", ZWJ),
        ("七人\u{200D}の侍", ZWJ),
        ("علی\u{200C}", ZWNJ),
        ("علی\u{200C}\u{200C}رضا", ZWNJ),
        ("राम\u{200C}", ZWNJ),
        ("🎬\u{200D}", ZWJ),
        ("🎬\u{200D} Ran", ZWJ),
        ("🎬\u{200C}🎬", ZWNJ),
        ("1\u{200D}2", ZWJ),
        ("Mi\u{2060}a", '\u{2060}'),
        ("\u{FEFF}Mia", '\u{FEFF}'),
        ("Mi\u{AD}a", '\u{AD}'),
        ("Mi\u{34F}a", '\u{34F}'),
        ("Mia\u{115F}", '\u{115F}'),
        ("Mia\u{1160}", '\u{1160}'),
        ("Mia\u{115F}\u{1160}", '\u{115F}'),
        ("Mia\u{3164}", '\u{3164}'),
        ("Mia\u{FFA0}", '\u{FFA0}'),
        ("ក\u{17B4}", '\u{17B4}'),
        ("Mia\u{180B}", '\u{180B}'),
        ("Mia\u{180E}", '\u{180E}'),
        ("Mia\u{2061}", '\u{2061}'),
        ("Mia\u{2064}", '\u{2064}'),
        ("Mia\u{2065}", '\u{2065}'),
        ("Mia\u{206F}", '\u{206F}'),
        ("Mia\u{FE0F}", '\u{FE0F}'),
        ("Mia 1\u{FE0F}", '\u{FE0F}'),
        ("Mia\u{FE00}", '\u{FE00}'),
        ("Mia\u{E0100}", '\u{E0100}'),
        ("Mia\u{1D173}", '\u{1D173}'),
        ("Mia\u{1BCA0}", '\u{1BCA0}'),
        ("Mia\u{E0001}", '\u{E0001}'),
        ("Mia\u{E0041}", '\u{E0041}'),
        ("Mia\u{E0041}\u{E007F}", '\u{E0041}'),
        ("🏴\u{E0067}", '\u{E0067}'),
        ("🏴\u{E007F}", '\u{E007F}'),
        ("Mia\u{E0FFF}", '\u{E0FFF}'),
    ];

    #[test]
    fn what_a_script_or_an_emoji_needs_is_no_stray() {
        for (what, text) in WRITTEN {
            assert_eq!(stray(text), None, "{what}: {text:?}");
            assert_eq!(without_strays(text), *text, "{what}");
        }
    }

    #[test]
    fn what_shows_nothing_and_changes_nothing_is_a_stray() {
        for (text, character) in STRAY {
            assert_eq!(stray(text), Some(*character), "{text:?}");
        }
    }

    proptest::proptest! {
        #[test]
        fn without_strays_there_is_none(text in "[\\p{Cf}\\u{FE00}-\\u{FE0F}\\u{E0020}-\\u{E007F}a0क्क🏴👩🏽ب]*") {
            let left = without_strays(&text);
            proptest::prop_assert_eq!(stray(&left), None, "{:?}", left);
        }
    }
}
