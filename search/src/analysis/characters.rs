use icu_properties::CodePointMapData;
use icu_properties::CodePointMapDataBorrowed;
use icu_properties::props::GeneralCategory;

/// What a character is in a word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Of a script that does not put spaces between words.
    Unspaced,
    /// A letter or digit of another script.
    Spaced,
    /// Not a letter by itself: belongs to the letter before.
    Mark,
    /// Punctuation inside a word.
    Other,
}

pub(super) fn kind(character: char) -> Kind {
    if is_unspaced(character) {
        Kind::Unspaced
    } else if character.is_alphanumeric() {
        Kind::Spaced
    } else if character.is_ascii() || is_punctuation_in_words(character) {
        Kind::Other
    } else {
        Kind::Mark
    }
}

/// The characters outside ASCII that Unicode lets stand inside words without being part of them.
fn is_punctuation_in_words(character: char) -> bool {
    matches!(character, '\u{B7}' | '\u{387}' | '\u{55F}' | '\u{5F4}' | '\u{2000}'..='\u{206F}' | '\u{FE10}'..='\u{FE1F}' | '\u{FE30}'..='\u{FE6F}')
}

/// What a reader does not see, wherever it stands: Unicode's `Default_Ignorable_Code_Point`, which will not change where
/// characters are assigned. It does not tell texts apart.
pub(super) fn is_invisible(character: char) -> bool {
    matches!(character,
        '\u{AD}'
        | '\u{34F}'
        | '\u{61C}'
        | '\u{115F}'..='\u{1160}'
        | '\u{17B4}'..='\u{17B5}'
        | '\u{180B}'..='\u{180F}'
        | '\u{200B}'..='\u{200F}'
        | '\u{202A}'..='\u{202E}'
        | '\u{2060}'..='\u{206F}'
        | '\u{3164}'
        | '\u{FE00}'..='\u{FE0F}'
        | '\u{FEFF}'
        | '\u{FFA0}'
        | '\u{FFF0}'..='\u{FFF8}'
        | '\u{1BCA0}'..='\u{1BCA3}'
        | '\u{1D173}'..='\u{1D17A}'
        | '\u{E0000}'..='\u{E0FFF}')
}

pub(super) fn is_arabic(character: char) -> bool {
    matches!(character,
        '\u{600}'..='\u{6FF}'
        | '\u{750}'..='\u{77F}'
        | '\u{870}'..='\u{8FF}'
        | '\u{FB50}'..='\u{FDFF}'
        | '\u{FE70}'..='\u{FEFC}')
}

/// Han, kana, Hangul, Bopomofo, Thai, Lao, Khmer and Myanmar.
pub(crate) fn is_unspaced(character: char) -> bool {
    matches!(character,
        '\u{0E01}'..='\u{0EFF}'
        | '\u{1000}'..='\u{109F}'
        | '\u{1100}'..='\u{11FF}'
        | '\u{1780}'..='\u{17FF}'
        | '\u{19E0}'..='\u{19FF}'
        | '\u{3005}'..='\u{3007}'
        | '\u{3041}'..='\u{309F}'
        | '\u{30A1}'..='\u{30FA}'
        | '\u{30FC}'..='\u{30FF}'
        | '\u{3105}'..='\u{312F}'
        | '\u{31A0}'..='\u{31BF}'
        | '\u{31F0}'..='\u{31FF}'
        | '\u{3400}'..='\u{4DBF}'
        | '\u{4E00}'..='\u{9FFF}'
        | '\u{AA60}'..='\u{AA7F}'
        | '\u{AC00}'..='\u{D7A3}'
        | '\u{F900}'..='\u{FAFF}'
        | '\u{20000}'..='\u{3FFFF}')
}

/// Han and Hangul, where one character can be a word. It is a term of the index then.
pub(crate) fn stands_alone(character: char) -> bool {
    matches!(character,
        '\u{3005}'..='\u{3007}'
        | '\u{3400}'..='\u{4DBF}'
        | '\u{4E00}'..='\u{9FFF}'
        | '\u{AC00}'..='\u{D7A3}'
        | '\u{F900}'..='\u{FAFF}'
        | '\u{20000}'..='\u{3FFFF}')
}

pub(super) fn is_katakana(character: char) -> bool {
    matches!(character, '\u{30A1}'..='\u{30FA}' | '\u{30FC}'..='\u{30FF}' | '\u{31F0}'..='\u{31FF}')
}

pub(super) fn is_hiragana(character: char) -> bool {
    matches!(character, '\u{3041}'..='\u{309F}')
}

/// Whether a character outside ASCII ends whatever stands before it. Only the frequent ones are here: they need not
/// go through normalization and segmentation, which would find the others.
pub(super) fn separates(character: char) -> bool {
    match character {
        '\u{80}'..='\u{BF}' => {
            !matches!(character, 'ª' | '\u{AD}' | '²' | '³' | 'µ' | '¹' | 'º' | '¼' | '½' | '¾' | '©' | '®')
        }
        '×' | '÷' => true,
        '\u{2000}'..='\u{206F}' => !is_invisible(character),
        '\u{3000}'..='\u{303F}' => {
            !matches!(character, '\u{3005}'..='\u{3007}' | '\u{3012}' | '\u{3013}' | '\u{3020}' | '\u{3036}' | '\u{3038}'..='\u{303A}')
        }
        '\u{30A0}' | '\u{30FB}' => true,
        '\u{FF01}'..='\u{FF0F}' | '\u{FF1A}'..='\u{FF20}' | '\u{FF3B}'..='\u{FF40}' | '\u{FF5B}'..='\u{FF65}' => true,
        _ => character.is_whitespace(),
    }
}

/// Tells symbols and marks by their category.
#[derive(Clone, Copy)]
pub(super) struct Symbols(CodePointMapDataBorrowed<'static, GeneralCategory>);

impl Symbols {
    pub(super) fn new() -> Self {
        Self(CodePointMapData::<GeneralCategory>::new())
    }

    /// Emoji, and signs such as ♪.
    pub(super) fn is_symbol(self, character: char) -> bool {
        !character.is_ascii() && self.0.get(character) == GeneralCategory::OtherSymbol
    }

    /// Vowel signs, tone marks and the like.
    pub(super) fn is_mark(self, character: char) -> bool {
        matches!(
            self.0.get(character),
            GeneralCategory::NonspacingMark | GeneralCategory::SpacingMark | GeneralCategory::EnclosingMark
        )
    }
}
