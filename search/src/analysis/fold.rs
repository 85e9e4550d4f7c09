use icu_casemap::{CaseMapper, CaseMapperBorrowed};
use icu_normalizer::properties::{CanonicalDecomposition, CanonicalDecompositionBorrowed, Decomposed};

/// Brings letters to one form: no case, no accents. The text is in NFKC before.
pub(super) struct Folder {
    cases: CaseMapperBorrowed<'static>,
    decompositions: CanonicalDecompositionBorrowed<'static>,
}

impl Folder {
    pub(super) fn new() -> Self {
        Self { cases: CaseMapper::new(), decompositions: CanonicalDecomposition::new() }
    }

    /// Appends the form of `character` to `folded`; a mark that is folded away adds nothing.
    pub(super) fn fold(&self, character: char, folded: &mut String) {
        if character.is_ascii() {
            return folded.push(character.to_ascii_lowercase());
        }
        if is_folded_away(character) {
            return;
        }
        let character = self.cases.simple_fold(self.without_accents(character));
        match letters(character) {
            Some(letters) => folded.push_str(letters),
            None => folded.push(character),
        }
    }

    fn without_accents(&self, character: char) -> char {
        // The letter is more than и with a mark: to fold it would make one word of many pairs.
        if matches!(character, 'й' | 'Й') {
            return character;
        }
        let mut base = character;
        while let Decomposed::Expansion(letter, mark) = self.decompositions.decompose(base) {
            if !is_folded_away(mark) {
                break;
            }
            base = letter;
        }
        base
    }
}

/// Accents of Latin, Greek and Cyrillic, and the points of Hebrew and Arabic.
fn is_folded_away(character: char) -> bool {
    matches!(character,
        '\u{300}'..='\u{36F}'
        | '\u{591}'..='\u{5BD}' | '\u{5BF}' | '\u{5C1}' | '\u{5C2}' | '\u{5C4}' | '\u{5C5}' | '\u{5C7}'
        | '\u{610}'..='\u{61A}' | '\u{640}' | '\u{64B}'..='\u{65F}' | '\u{670}'
        | '\u{1AB0}'..='\u{1AFF}' | '\u{1DC0}'..='\u{1DFF}'
        | '\u{20D0}'..='\u{20FF}'
        | '\u{FE20}'..='\u{FE2F}')
}

/// Letters that are folded by their sound, because they have no decomposition.
fn letters(character: char) -> Option<&'static str> {
    Some(match character {
        'ß' => "ss",
        'æ' => "ae",
        'œ' => "oe",
        'ø' => "o",
        'đ' | 'ð' => "d",
        'ł' => "l",
        'ħ' => "h",
        'ŧ' => "t",
        'ı' => "i",
        'þ' => "th",
        _ => return None,
    })
}
