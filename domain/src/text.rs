use unicode_properties::{GeneralCategory, UnicodeGeneralCategory};

use crate::invisible::{stray, without_strays};

/// One field of a request that breaks a rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// The field's name.
    pub field: &'static str,
    /// What is wrong and what would be right, as the rest of a sentence that begins with the field.
    pub detail: String,
}

impl Violation {
    /// `field` breaks a rule that `detail` states.
    pub fn new(field: &'static str, detail: impl Into<String>) -> Self {
        Self { field, detail: detail.into() }
    }
}

/// What a text may be. Lengths are counted in Unicode scalar values after trimming.
pub(crate) struct TextRule {
    pub(crate) field: &'static str,
    pub(crate) max: usize,
    pub(crate) kind: Kind,
}

/// Which characters a text may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A name, a title, a place, which stands within other text: it neither breaks the line nor turns its direction, and has
    /// nothing that cannot be seen and does nothing.
    Line,
    /// What stands by itself and may have many lines.
    Text,
}

impl TextRule {
    /// `text` trimmed, or `None` when nothing of it can be seen.
    pub(crate) fn optional(&self, text: Option<&str>) -> Result<Option<String>, Violation> {
        let trimmed = text.unwrap_or_default().trim();
        if is_printable_ascii(trimmed) && trimmed.len() <= self.max {
            return Ok((!trimmed.is_empty()).then(|| trimmed.to_owned()));
        }
        if let Some(character) = trimmed.chars().find(|&character| self.kind.forbids(character)) {
            let detail = format!("has the character U+{:04X}, which is not allowed", u32::from(character));
            return Err(Violation::new(self.field, detail));
        }
        if !has_visible(trimmed) {
            return Ok(None);
        }
        if self.kind == Kind::Line
            && let Some(character) = stray(trimmed)
        {
            let detail = format!("has the character U+{:04X} where it shows nothing", u32::from(character));
            return Err(Violation::new(self.field, detail));
        }
        let length = trimmed.chars().count();
        if length > self.max {
            return Err(Violation::new(self.field, format!("has {length} characters; {} are allowed", self.max)));
        }
        Ok(Some(trimmed.to_owned()))
    }

    /// `text` trimmed, which must show something.
    pub(crate) fn required(&self, text: Option<&str>) -> Result<String, Violation> {
        if text.is_none() {
            return Err(Violation::new(self.field, "is required"));
        }
        self.optional(text)?.ok_or_else(|| {
            Violation::new(
                self.field,
                format!("is empty; 1 to {} characters are allowed, one of them visible", self.max),
            )
        })
    }
}

impl Kind {
    fn forbids(self, character: char) -> bool {
        match self {
            Self::Line => {
                character.is_control()
                    || is_noncharacter(character)
                    || turns_direction(character)
                    || is_nothing_yet(character)
            }
            Self::Text => {
                character.is_control() && !matches!(character, '\t' | '\n' | '\r') || is_noncharacter(character)
            }
        }
    }
}

/// Whether every character is one of ASCII that can be printed, blanks among them. What most texts are is found without
/// looking at each character by itself.
fn is_printable_ascii(text: &str) -> bool {
    text.bytes().fold(true, |all, byte| all & matches!(byte, b' '..=b'~'))
}

/// What Unicode promises never to give a meaning to (the Unicode Standard, section 23.7).
fn is_noncharacter(character: char) -> bool {
    matches!(character, '\u{FDD0}'..='\u{FDEF}') || u32::from(character) & 0xFFFE == 0xFFFE
}

/// Unassigned characters that are to be shown as nothing, or are beside those: two names would look alike.
fn is_nothing_yet(character: char) -> bool {
    matches!(character, '\u{FFEF}'..='\u{FFF8}')
}

/// The explicit embeddings, overrides and isolates of the bidirectional algorithm (UAX #9), which reach beyond the text
/// that has them.
fn turns_direction(character: char) -> bool {
    matches!(character, '\u{202A}'..='\u{202E}' | '\u{2066}'..='\u{2069}')
}

/// Whether a reader would see anything of `text`: more than white space, zero-width and format characters.
fn has_visible(text: &str) -> bool {
    text.chars().any(|character| !is_invisible(character))
}

fn is_invisible(character: char) -> bool {
    use GeneralCategory::{EnclosingMark, NonspacingMark};

    is_blank(character) || matches!(character.general_category(), NonspacingMark | EnclosingMark)
}

/// Whether nothing of `character` can be seen, whatever it stands beside.
pub(crate) fn is_blank(character: char) -> bool {
    // Format characters by category; the rest are the characters of Default_Ignorable_Code_Point (Unicode 16) that are
    // none, and the blanks that are letters or symbols by category.
    character.is_whitespace()
        || character.is_control()
        || character.general_category() == GeneralCategory::Format
        || matches!(character,
            '\u{034F}' | '\u{115F}' | '\u{1160}' | '\u{17B4}' | '\u{17B5}' | '\u{180B}'..='\u{180F}' | '\u{2065}'
            | '\u{2800}' | '\u{3164}' | '\u{FE00}'..='\u{FE0F}' | '\u{FFA0}' | '\u{FFF0}'..='\u{FFF8}' | '\u{1D159}'
            | '\u{E0000}'..='\u{E0FFF}')
}

/// The display name of somebody who has only a token yet: the token's `name` as far as the rules for names allow,
/// else the beginning of the user's id.
pub fn name_from_token(name: Option<&str>, user: crate::UserId) -> String {
    let allowed: String =
        name.unwrap_or_default().chars().filter(|&character| !Kind::Line.forbids(character)).collect();
    let cut: String = without_strays(&allowed).trim().chars().take(NAME_MAX).collect();
    // What a character mattered to may be cut off.
    let cut = without_strays(&cut);
    if has_visible(&cut) { cut.trim_end().to_owned() } else { format!("user-{}", &user.to_string()[..8]) }
}

/// The most characters of a name or a title.
pub(crate) const NAME_MAX: usize = 200;

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    const RULE: TextRule = TextRule { field: "f", max: 5, kind: Kind::Line };
    const LINES: TextRule = TextRule { kind: Kind::Text, ..RULE };

    #[test]
    fn text_is_trimmed_of_unicode_white_space_before_it_is_counted() {
        assert_eq!(RULE.required(Some("\u{3000}\u{2003} ab\u{85}\n")), Ok("ab".into()));
        assert_eq!(RULE.required(Some("  12345  ")), Ok("12345".into()));
        assert!(RULE.required(Some("123456")).is_err());
        assert_eq!(RULE.required(Some("🎬🎬🎬🎬🎬")), Ok("🎬🎬🎬🎬🎬".into()));
    }

    #[test]
    fn text_without_a_visible_character_is_empty() {
        let long = "\u{200B}".repeat(9);
        for text in [
            "",
            " ",
            "\u{200B}\u{200D}",
            "\u{2060}",
            "\u{FEFF}",
            "\u{3164}",
            "\u{FE0F}",
            "\u{00AD}",
            "\u{E0020}",
            "\u{301}",
            "\u{20DD}",
            "\u{34F}",
            "\u{180B}",
            "\u{1D159}",
            &long,
        ] {
            assert!(RULE.required(Some(text)).is_err(), "{text:?}");
            assert_eq!(RULE.optional(Some(text)), Ok(None), "{text:?}");
        }
        assert_eq!(LINES.optional(Some("\u{200B}a")), Ok(Some("\u{200B}a".into())));
        // Marks that take room of their own can be seen.
        assert_eq!(RULE.optional(Some("\u{93E}")), Ok(Some("\u{93E}".into())));
    }

    #[test]
    fn every_character_of_ascii_is_looked_at() {
        for byte in 0..=127_u8 {
            let text = format!("a{}b", char::from(byte));
            let allowed = (b' '..=b'~').contains(&byte);
            assert_eq!(RULE.required(Some(&text)).is_ok(), allowed, "{byte}");
            let allowed = allowed || matches!(byte, b'\t' | b'\n' | b'\r');
            assert_eq!(LINES.required(Some(&text)).is_ok(), allowed, "{byte}");
        }
        assert!(RULE.required(Some("abc def")).is_err(), "too long");
    }

    #[test]
    fn what_turns_the_direction_of_text_may_stand_in_bodies_alone() {
        for character in ('\u{202A}'..='\u{202E}').chain('\u{2066}'..='\u{2069}') {
            let text = format!("a{character}b");
            assert!(RULE.required(Some(&text)).is_err(), "{text:?}");
            assert_eq!(LINES.required(Some(&text)), Ok(text));
        }
        // Marks of direction that reach no further than themselves, as names in Arabic and Hebrew have them.
        for character in ['\u{200E}', '\u{200F}', '\u{61C}'] {
            assert!(RULE.required(Some(&format!("a{character}b"))).is_ok(), "{character:?}");
        }
    }

    #[test]
    fn what_shows_nothing_may_stand_in_bodies_alone() {
        for character in ['\u{200B}', '\u{200C}', '\u{200D}', '\u{2060}', '\u{FEFF}', '\u{AD}', '\u{E0041}', '\u{3164}']
        {
            let text = format!("a{character}b");
            let refused = RULE.required(Some(&text)).map_err(|violation| violation.detail);
            assert!(refused.is_err_and(|detail| detail.contains("shows nothing")), "{text:?}");
            assert_eq!(LINES.required(Some(&text)), Ok(text));
        }
        assert_eq!(RULE.required(Some("👩\u{200D}🚀")), Ok("👩\u{200D}🚀".into()));
    }

    #[test]
    fn noncharacters_are_refused() {
        for character in ['\u{FDD0}', '\u{FDEF}', '\u{FFFE}', '\u{FFFF}', '\u{1FFFE}', '\u{10FFFF}'] {
            for rule in [RULE, LINES] {
                assert!(rule.required(Some(&format!("a{character}"))).is_err(), "{character:?}");
            }
        }
        for character in ['\u{FDCF}', '\u{FDF0}', '\u{FFFD}', '\u{10FFFD}'] {
            assert!(RULE.required(Some(&format!("a{character}"))).is_ok(), "{character:?}");
        }
    }

    #[test]
    fn names_have_no_characters_that_may_be_shown_as_nothing_one_day() {
        for character in ['\u{FFEF}', '\u{FFF0}', '\u{FFF8}'] {
            assert!(RULE.required(Some(&format!("Mia{character}"))).is_err(), "{character:?}");
            assert!(LINES.required(Some(&format!("Mia{character}"))).is_ok(), "{character:?}");
        }
        for character in ['\u{FFEE}', '\u{FFF9}'] {
            assert!(RULE.required(Some(&format!("Mia{character}"))).is_ok(), "{character:?}");
        }
    }

    #[test]
    fn control_characters_are_refused_except_line_breaks_and_tabs_where_lines_are_allowed() {
        for character in ['\0', '\u{1F}', '\u{7F}', '\u{80}', '\u{9F}', '\u{85}'] {
            assert!(LINES.required(Some(&format!("a{character}b"))).is_err(), "{character:?}");
        }
        for character in ['\t', '\n', '\r'] {
            assert!(LINES.required(Some(&format!("a{character}b"))).is_ok());
            assert!(RULE.required(Some(&format!("a{character}b"))).is_err());
        }
    }

    #[test]
    fn a_token_without_a_usable_name_still_gives_one() {
        let user = crate::UserId(Uuid::from_u128(0xabcd_ef01 << 96));
        assert_eq!(name_from_token(Some("  Mia\n "), user), "Mia");
        assert_eq!(name_from_token(Some(" \u{200B}"), user), "user-abcdef01");
        assert_eq!(name_from_token(None, user), "user-abcdef01");
        assert_eq!(name_from_token(Some(&"x".repeat(300)), user).chars().count(), 200);
        assert_eq!(name_from_token(Some("M\u{202E}i\u{FFFF}a"), user), "Mia");
        assert_eq!(name_from_token(Some("\u{FEFF}Mi\u{200B}a \u{200D}"), user), "Mia");
        assert_eq!(name_from_token(Some("👩\u{200D}🚀"), user), "👩\u{200D}🚀");
        assert_eq!(
            name_from_token(Some(&format!("{}👩\u{200D}🚀", "x".repeat(198))), user),
            format!("{}👩", "x".repeat(198))
        );
    }

    proptest::proptest! {
        #[test]
        fn what_is_accepted_is_trimmed_visible_and_within_its_length(text in "\\PC*|[\\s\\p{Cf}a]*") {
            if let Ok(kept) = LINES.required(Some(&text)) {
                proptest::prop_assert_eq!(kept.trim(), &kept);
                proptest::prop_assert!(has_visible(&kept) && kept.chars().count() <= 5);
                proptest::prop_assert_eq!(LINES.required(Some(&kept)), Ok(kept));
            }
        }
    }
}
