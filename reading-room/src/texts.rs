//! What the pages say, in each language they speak.

use std::borrow::Cow;

use axum::http::StatusCode;
use balcony_domain::Deed;
use balcony_http::language::preferred;

/// A language.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Language {
    English,
    Japanese,
}

/// A text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Text {
    ToTheContent,
    Movies,
    Favorites,
    Search,
    SearchComments,
    ControlRoom,
    Newest,
    Trending,
    Recommended,
    NewMovies,
    NothingYet,
    NothingFound,
    NoViews,
    Older,
    On,
    Comments,
    Released,
    Journey,
    FavoritesOfYours,
    FavoritesComments,
    SignInForFavorites,
    NeedsScript,
    Post,
    Title,
    YourComment,
    SignInToPost,
    MakeFavorite,
    NotFound,
    NoSuchPage,
    NotNow,
    TooOften,
    Away,
    AtLeast,
    AllIsProjected,
}

/// What is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Noun {
    Comment,
    FoundComment,
    View,
}

impl Language {
    /// The first of the languages in an `Accept-Language` that the pages speak; English when they speak none.
    pub(crate) fn preferred(accepted: &str) -> Self {
        match preferred(accepted, &["en", "ja"]) {
            Some("ja") => Self::Japanese,
            _ => Self::English,
        }
    }

    /// Its name in HTML.
    pub(crate) fn tag(self) -> &'static str {
        match self {
            Self::English => "en",
            Self::Japanese => "ja",
        }
    }

    /// A number of what is counted.
    pub(crate) fn count(self, number: i64, noun: Noun) -> String {
        let (one, many, japanese) = match noun {
            Noun::Comment => ("comment", "comments", "件のコメント"),
            Noun::FoundComment => ("comment found", "comments found", "件のコメントが見つかりました"),
            Noun::View => ("view", "views", "回の閲覧"),
        };
        let noun = match self {
            Self::English if number == 1 => one,
            Self::English => many,
            Self::Japanese => japanese,
        };
        format!("{number} {noun}")
    }

    pub(crate) fn say(self, text: Text) -> &'static str {
        let (english, japanese) = both(text);
        match self {
            Self::English => english,
            Self::Japanese => japanese,
        }
    }

    /// Why a movie is recommended, which the API says in `english`: so many views, and so many favourites who commented on it, of whom
    /// some are named.
    pub(crate) fn reason<'a>(self, english: &'a str, views: i64, favorites: usize, named: &[&str]) -> Cow<'a, str> {
        if self == Self::English {
            return Cow::Borrowed(english);
        }
        let names: Vec<String> = named.iter().map(|name| format!("{name} さん")).collect();
        let others = favorites.saturating_sub(names.len());
        let others = if others > 0 { format!("、ほか{others}人") } else { String::new() };
        let commented =
            (!names.is_empty()).then(|| format!("お気に入りの {}{others}が最近コメントしました", names.join("、")));
        let viewed = (views > 0).then(|| format!("話題の映画：この24時間に{views}回の閲覧"));
        Cow::Owned(commented.into_iter().chain(viewed).collect::<Vec<_>>().join("。"))
    }

    /// Why a page is not shown, where the status says enough of that.
    pub(crate) fn refusal(self, status: StatusCode) -> Option<&'static str> {
        let text = match status {
            StatusCode::NOT_FOUND | StatusCode::GONE => Text::NoSuchPage,
            StatusCode::TOO_MANY_REQUESTS => Text::TooOften,
            StatusCode::SERVICE_UNAVAILABLE => Text::Away,
            _ => return None,
        };
        Some(self.say(text))
    }

    /// What a user did, called `name` by the API, before what it was done to.
    pub(crate) fn deed(self, name: &str) -> &'static str {
        let (english, japanese) = match Deed::named(name) {
            Some(Deed::Registered) => ("joined", "参加しました"),
            Some(Deed::ChangedProfile) => ("changed the profile", "プロフィールを変更しました"),
            Some(Deed::PostedComment) => ("commented on", "コメント："),
            Some(Deed::DeletedComment) => ("deleted a comment", "コメントを削除しました"),
            Some(Deed::MadeFavorite) => ("made a favourite of", "お気に入りに追加："),
            Some(Deed::UnmadeFavorite) => ("is no longer a fan of", "お気に入りを解除："),
            Some(Deed::ViewedMovie) => ("looked at", "閲覧："),
            None => ("did something", "操作"),
        };
        match self {
            Self::English => english,
            Self::Japanese => japanese,
        }
    }
}

fn both(text: Text) -> (&'static str, &'static str) {
    match text {
        Text::ToTheContent => ("To the content", "本文へ"),
        Text::Movies => ("Movies", "映画"),
        Text::Favorites => ("Favourites", "お気に入り"),
        Text::Search => ("Search", "検索"),
        Text::SearchComments => ("Search comments", "コメントを検索"),
        Text::ControlRoom => ("Control room", "管制室"),
        Text::Newest => ("What people say", "みんなのコメント"),
        Text::Trending => ("Trending now", "いま話題"),
        Text::Recommended => ("For you", "おすすめ"),
        Text::NewMovies => ("New here", "新着の映画"),
        Text::NothingYet => ("Nobody has said anything yet.", "まだコメントがありません。"),
        Text::NothingFound => ("Nothing was found.", "見つかりませんでした。"),
        Text::NoViews => ("No page was viewed in the last half hour.", "この30分間の閲覧はありません。"),
        Text::Older => ("Older", "以前のもの"),
        Text::On => ("on", "→"),
        Text::Comments => ("Comments", "コメント"),
        Text::Released => ("Released", "公開日"),
        Text::Journey => ("What happened", "あゆみ"),
        Text::FavoritesOfYours => ("Your favourites", "あなたのお気に入り"),
        Text::FavoritesComments => ("What your favourites say", "お気に入りの人のコメント"),
        Text::SignInForFavorites => {
            ("Sign in to see what your favourites say.", "サインインすると、お気に入りの人のコメントが見られます。")
        }
        Text::NeedsScript => {
            ("Signing in and posting need JavaScript.", "サインインと投稿には JavaScript が必要です。")
        }
        Text::Post => ("Post", "投稿する"),
        Text::Title => ("Title (may be left out)", "タイトル（省略可）"),
        Text::YourComment => ("Your comment", "コメント"),
        Text::SignInToPost => ("Sign in to comment.", "コメントするにはサインインしてください。"),
        Text::MakeFavorite => ("Make a favourite", "お気に入りに追加"),
        Text::NotFound => ("There is nothing here", "ページが見つかりません"),
        Text::NoSuchPage => ("No page is at this address.", "このアドレスにページはありません。"),
        Text::NotNow => ("This cannot be shown at the moment", "現在表示できません"),
        Text::TooOften => (
            "That was asked too often. Try again in a while.",
            "リクエストが多すぎます。しばらくしてからもう一度お試しください。",
        ),
        Text::Away => (
            "The service has no answer at the moment. Try again in a while.",
            "サービスが応答できません。しばらくしてからもう一度お試しください。",
        ),
        Text::AtLeast => ("at least", "少なくとも"),
        Text::AllIsProjected => (
            "Everything on this page is a projection of a log of events.",
            "このページはすべて、イベントログの投影です。",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_deed_of_a_journey_has_words() {
        for language in [Language::English, Language::Japanese] {
            let unknown = language.deed("something else");
            for deed in Deed::ALL {
                assert_ne!(language.deed(deed.name()), unknown, "{deed:?}");
            }
        }
    }

    #[test]
    fn a_number_and_its_noun_agree() {
        let shown = [0, 1, 2].map(|number| Language::English.count(number, Noun::Comment));
        assert_eq!(shown, ["0 comments", "1 comment", "2 comments"]);
        assert_eq!(Language::English.count(1, Noun::View), "1 view");
        assert_eq!(Language::English.count(1, Noun::FoundComment), "1 comment found");
        assert_eq!(Language::Japanese.count(1, Noun::View), "1 回の閲覧");
    }

    #[test]
    fn what_speaks_for_a_movie_is_said_in_japanese() {
        for (views, favorites, favorite_count, words) in [
            (12, &[][..], 0, "話題の映画：この24時間に12回の閲覧"),
            (0, &["Mia"], 1, "お気に入りの Mia さんが最近コメントしました"),
            (0, &["Mia", "Jo"], 2, "お気に入りの Mia さん、Jo さんが最近コメントしました"),
            (
                3,
                &["Mia", "Jo"],
                4,
                "お気に入りの Mia さん、Jo さん、ほか2人が最近コメントしました。話題の映画：この24時間に3回の閲覧",
            ),
        ] {
            assert_eq!(Language::Japanese.reason("in English", views, favorite_count, favorites), words);
            assert_eq!(Language::English.reason("in English", views, favorite_count, favorites), "in English");
        }
    }
}
