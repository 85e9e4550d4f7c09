//! What people and movies of the demonstration are called, and what is said.

use rand::RngExt as _;
use rand::seq::IndexedRandom as _;
use serde_json::{Value, json};

pub(super) fn pick<'a, T>(from: &'a [T], random: &mut impl rand::Rng) -> &'a T {
    from.choose(random).expect("there is at least one")
}

pub(super) fn title(number: u32) -> String {
    let title = TITLES[number as usize % TITLES.len()];
    match number as usize / TITLES.len() {
        0 => title.to_owned(),
        again => format!("{title} {}", again + 1),
    }
}

pub(super) fn comment(random: &mut impl rand::Rng) -> Value {
    let sentences: Vec<&str> = (0..random.random_range(1..=3)).map(|_| *pick(SENTENCES, random)).collect();
    let body = sentences.join(" ");
    if random.random_bool(0.3) { json!({"title": pick(HEADINGS, random), "body": body}) } else { json!({"body": body}) }
}

const TITLES: &[&str] = &[
    "The Last Row",
    "雨の劇場",
    "Curtain at Nine",
    "Der letzte Vorhang",
    "Ushers",
    "二階席の幽霊",
    "Intermission",
    "La Fila Vacía",
    "Reel Six",
    "The Projectionist's Daughter",
    "Popcorn Noir",
    "Sous le Balcon",
];
pub(super) const NAMES: &[&str] = &[
    "Mia", "Jonas", "結衣", "Aylin", "Tomás", "Ingrid", "Kwame", "陽翔", "Priya", "Noor", "Lars", "Zoë", "Mateo",
    "Amara", "蓮", "Olga", "Finn", "Chiara", "Samuel", "Leila",
];
pub(super) const LOCATIONS: &[&str] = &["Oslo", "東京", "Berlin", "Accra", "Lima", "Mumbai"];
const HEADINGS: &[&str] = &["Again!", "A slow burn", "傑作", "Not for me", "Bring tissues", "Überraschend gut"];
const SENTENCES: &[&str] = &[
    "I did not expect to laugh that much.",
    "The second half drags, but the ending earns it.",
    "音楽が本当に素晴らしかった。",
    "Watch it on the largest screen you can find.",
    "最後の場面で泣いてしまいました。",
    "Nobody lights a staircase like this director.",
    "Die Kamera schwebt, als hätte sie kein Gewicht.",
    "I would see it again tomorrow.",
    "Two hours that felt like twenty minutes.",
    "もう一度観たい。",
    "The dialogue is sharp, the plot less so.",
    "Que maravilla de reparto.",
    "My neighbour in row F snored through all of it.",
];
