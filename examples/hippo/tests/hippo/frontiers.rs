//! What frontiers announce of a table.

use balcony_store::sqlx::{AssertSqlSafe, Connection as _, Executor as _, PgConnection, SqliteConnection};
use balcony_test_support::Services;
use serde_json::json;

use crate::world::Hippo;

fn config(database: &str, table: &str) -> String {
    format!(
        r#"
[[frontier]]
name = "sales"
table = "{table}"
database = "{database}"
column = "number"

[[step]]
name = "count"
subscribe = ["frontier-adw"]
command = ["sh", "-c", "echo $MESSAGE_PARTITION"]
"#
    )
}

/// Lets the table grow by what `execute` does, while hippo is killed again and again.
async fn each_state_is_announced_once(mut hippo: Hippo, table: &str, mut execute: impl AsyncFnMut(String)) {
    execute(format!("CREATE TABLE {table} (number BIGINT)")).await;
    hippo.start();
    for (number, jobs) in [(3, 1), (8, 2)] {
        execute(format!("INSERT INTO {table} VALUES ({number})")).await;
        hippo.finished("count", jobs).await;
        hippo.kill();
        hippo.start();
    }
    execute(format!("INSERT INTO {table} VALUES (9)")).await;
    hippo.finished("count", 3).await;
    hippo.stop();
    let announced: Vec<_> = hippo
        .messages("frontier-adw")
        .into_iter()
        .map(|mut one| {
            assert_eq!((&one["db"], &one["table"]), (&json!("shop"), &json!("orders")));
            (one["method"].take(), one["partition"][0]["value"].take())
        })
        .collect();
    assert_eq!(
        announced,
        [(json!("insert"), json!("3")), (json!("update"), json!("8")), (json!("update"), json!("9"))]
    );
}

#[tokio::test]
async fn a_table_that_grows_is_announced_once_for_each_state() {
    let hippo = Hippo::embedded(&config("shop.db", "orders"));
    let url = format!("sqlite://{}?mode=rwc", hippo.path("shop.db").display());
    let mut shop = SqliteConnection::connect(&url).await.unwrap();
    let execute = async |sql: String| _ = shop.execute(AssertSqlSafe(sql)).await.unwrap();
    each_state_is_announced_once(hippo, "orders", execute).await;
}

#[tokio::test]
async fn a_table_of_postgresql_that_grows_is_announced_once_for_each_state() {
    let Some(services) = Services::shared() else { return };
    let installed = services.installation().await;
    let (_, url) = installed.settings.iter().find(|(name, _)| *name == "DATABASE_URL").unwrap();
    let hippo = Hippo::embedded(&config(url, "shop.orders"));
    let mut shop = PgConnection::connect(url).await.unwrap();
    shop.execute("CREATE SCHEMA shop").await.unwrap();
    let execute = async |sql: String| _ = shop.execute(AssertSqlSafe(sql)).await.unwrap();
    each_state_is_announced_once(hippo, "shop.orders", execute).await;
    shop.close().await.unwrap();
}
