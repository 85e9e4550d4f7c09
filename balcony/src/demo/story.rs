//! What happens in the demonstration, and when: people come in waves, a few argue, and a movie starts to trend.

use rand::RngExt as _;
use serde_json::{Value, json};

use super::words::comment;

/// What somebody does next.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Turn {
    /// Anybody comments on the movie of this number.
    Comment { movie: usize, body: Value },
    /// Anybody comments and regrets it.
    Regret { movie: usize, body: Value },
    /// The person of this number says the next word of the argument, on the movie of this number.
    Argue { person: usize, movie: usize, body: Value },
    /// Anybody finds a favourite.
    Favorite,
    /// Anybody views the page of the movie of this number.
    View { movie: usize },
}

/// Seconds from one wave of views to the next, at the story's own speed.
const WAVE_SECONDS: f64 = 15.0;
/// Every so many actions the argument goes on.
const ARGUE_EVERY: u32 = 12;
/// How many people argue.
const ARGUING: usize = 3;
/// What they say, in turn.
const ARGUMENT: &[&str] = &[
    "The ending ruins it. Somebody had to say so.",
    "Did we see the same film? The ending is the film.",
    "結末こそがこの映画の核心だと思います。",
    "A staircase is not a plot, however it is lit.",
    "You wanted a car chase. Go and see a car chase.",
    "二人とも落ち着いて。もう一度観てから話しましょう。",
    "I have seen it three times. It gets longer each time.",
    "Three times! So you do like it.",
    "三回も観たのですか。それは愛です。",
];

/// The `number`th of `of` actions, of which `rate` are done in a second of the story, with `movies` movies and `people` people.
pub(super) fn turn(number: u32, of: u32, rate: f64, movies: usize, people: usize, random: &mut impl rand::Rng) -> Turn {
    if number % ARGUE_EVERY == ARGUE_EVERY - 1 {
        let said = (number / ARGUE_EVERY) as usize;
        let body = json!({"body": ARGUMENT[said % ARGUMENT.len()]});
        return Turn::Argue { person: said % ARGUING.min(people), movie: 0, body };
    }
    // The movie that nobody looked at for the first half of the story: then everybody does.
    let trends = number > of / 2 && random.random_bool(0.5);
    // The first movies are the popular ones.
    let popular = random.random_range(0.0..1.0_f64).powi(2);
    let movie = if trends { movies - 1 } else { (popular * (movies - 1).max(1) as f64) as usize };
    match random.random_range(0.0..1.0) {
        at if at < wave(f64::from(number) / rate) => Turn::View { movie },
        _ => match random.random_range(0..70) {
            0..50 => Turn::Comment { movie, body: comment(random) },
            50..55 => Turn::Regret { movie, body: comment(random) },
            _ => Turn::Favorite,
        },
    }
}

/// How much of what is done are views, after so many seconds of the story.
fn wave(seconds: f64) -> f64 {
    0.4 - 0.3 * (seconds / WAVE_SECONDS * std::f64::consts::TAU).cos()
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng as _;
    use rand::rngs::StdRng;

    fn story(movies: usize, people: usize) -> Vec<Turn> {
        let mut random = StdRng::seed_from_u64(1);
        (0..3_000).map(|number| turn(number, 3_000, 50.0, movies, people, &mut random)).collect()
    }

    fn viewed(turns: &[Turn], movie: usize) -> usize {
        turns.iter().filter(|turn| **turn == Turn::View { movie }).count()
    }

    #[test]
    fn views_come_in_waves_and_the_last_movie_trends_in_the_second_half() {
        let turns = story(12, 40);
        let views = |turns: &[Turn]| turns.iter().filter(|turn| matches!(turn, Turn::View { .. })).count();
        // A wave is 750 actions long: it is low at its ends and high in its middle.
        for wave in turns.chunks_exact(750) {
            assert!(2 * views(&wave[..150]) < views(&wave[300..450]));
        }
        let (first, second) = turns.split_at(1_500);
        assert_eq!(viewed(first, 11), 0);
        assert!((0..11).all(|movie| viewed(second, 11) > 2 * viewed(second, movie)));
    }

    #[test]
    fn a_few_people_argue_about_one_movie_in_turn() {
        let turns = story(12, 40);
        let who: Vec<usize> = turns
            .iter()
            .filter_map(|turn| match turn {
                Turn::Argue { person, movie: 0, .. } => Some(*person),
                _ => None,
            })
            .collect();
        assert_eq!(who.len(), 250);
        assert!(who.iter().enumerate().all(|(number, person)| *person == number % 3));
    }

    #[test]
    fn a_story_of_one_movie_and_two_people_is_one_too() {
        for turn in story(1, 2) {
            match turn {
                Turn::Comment { movie, .. } | Turn::Regret { movie, .. } | Turn::View { movie } => assert_eq!(movie, 0),
                Turn::Argue { person, movie, .. } => assert!(person < 2 && movie == 0),
                Turn::Favorite => {}
            }
        }
    }
}
