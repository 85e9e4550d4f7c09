use std::collections::BTreeSet;

use serde_json::json;
use uuid::Uuid;

use crate::world::{Dice, EVERYTHING, Model, World, favorite, ids, unfavorite, user_called};

pub(crate) async fn it_holds_the_comments_of_favorites_as_a_plain_sort_gives_them(mut world: World) {
    let mut dice = Dice::new();
    let mut model = Model::people(&mut world).await;
    let readers = ["ann", "bo", "cy"];
    let mut favorites: Vec<BTreeSet<Uuid>> = vec![BTreeSet::new(); readers.len()];
    for _ in 0..25 {
        for _ in 0..12 {
            model.post(&mut world, &mut dice, 15);
        }
        for _ in 0..3 {
            model.delete(&mut world, &mut dice);
        }
        for (reader, favorites) in readers.iter().zip(&mut favorites) {
            let followee = dice.pick(&model.users).0;
            let follower = user_called(reader);
            let event = if favorites.remove(&followee) {
                unfavorite(follower, followee)
            } else {
                favorites.insert(followee);
                favorite(follower, followee)
            };
            world.append(0, event);
        }
        world.catch_up(EVERYTHING).await;
        for (reader, favorites) in readers.iter().zip(&favorites) {
            let limit = dice.roll(1..12_usize);
            let timeline = world.walk(Some(reader), "/v1/me/timeline", limit).await;
            let expected = model.newest(|posted| favorites.contains(&posted.author));
            assert_eq!(ids(&timeline), expected, "{limit} a page");
        }
    }
}

pub(crate) async fn it_is_empty_for_whoever_has_no_favorites(mut world: World) {
    let mut dice = Dice::new();
    let mut model = Model::people(&mut world).await;
    model.post(&mut world, &mut dice, 15);
    world.catch_up(EVERYTHING).await;
    for path in ["/v1/me/timeline", "/v1/me/favorites"] {
        let answer = world.get_as("nobody", path).await;
        assert_eq!((answer.status, answer.body), (200, json!({"items": [], "next_cursor": null})), "{path}");
    }
}

pub(crate) async fn a_company_has_the_comments_on_its_movies(mut world: World) {
    let mut dice = Dice::new();
    let mut model = Model::people(&mut world).await;
    for _ in 0..80 {
        model.post(&mut world, &mut dice, 15);
    }
    world.catch_up(EVERYTHING).await;
    let companies: BTreeSet<Uuid> = model.movies.iter().filter_map(|(_, company)| *company).collect();
    for company in companies {
        let its: Vec<Uuid> =
            model.movies.iter().filter(|(_, owner)| *owner == Some(company)).map(|(id, _)| *id).collect();
        let expected = model.newest(|posted| its.contains(&posted.movie));
        for limit in [1, 3, 20, 100] {
            let found = world.walk(None, &format!("/v1/companies/{company}/comments"), limit).await;
            assert_eq!(ids(&found), expected);
        }
    }
}
